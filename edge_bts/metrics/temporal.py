"""How calm masks are from frame to frame: flicker, presence that toggles, areas that jitter.

A loop is described by what its frames have before presence decides (:class:`Trace`), so that the
figures of any presence thresholds follow without another inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_bts.metrics.overlap import dice

__all__ = ["Trace", "area_jitter", "change", "flicker", "held", "toggles"]


@dataclass(frozen=True)
class Trace:
    """A loop of N frames as a model sees it, whatever its presence threshold.

    Attributes:
        presence: Presence scores, (N,).
        area: Pixels of the masks, (N,).
        change: :func:`change` of each frame and the one before, (N - 1,).
    """

    presence: NDArray[np.float64]
    area: NDArray[np.int64]
    change: NDArray[np.float64]

    def shown(self, enter: float, keep: float | None = None) -> NDArray[np.bool_]:
        """Return which frames show a mask: present (:func:`held`), and with a pixel."""
        return held(self.presence, enter, keep) & (self.area > 0)


def change(
    before: NDArray[np.uint8], after: NDArray[np.uint8], motion: tuple[int, int] = (0, 0)
) -> float:
    """Return 1 - Dice of two masks in a row, the known motion taken out; 0 where both are empty.

    They are compared where both see the tissue; what enters or leaves the frame counts for nothing.

    Args:
        before: H x W, not 0 on lesion.
        after: The next one, H x W.
        motion: (right, down) in whole pixels: what lay at (x, y) lies at (x + right, y + down).
    """
    right, down = motion
    height, width = before.shape
    rows = slice(max(0, -down), height - max(0, down))
    columns = slice(max(0, -right), width - max(0, right))
    moved_rows = slice(max(0, down), height - max(0, -down))
    moved_columns = slice(max(0, right), width - max(0, -right))
    return 1.0 - dice(before[rows, columns], after[moved_rows, moved_columns])


def held(
    presence: Sequence[float] | NDArray[np.float64], enter: float, keep: float | None = None
) -> NDArray[np.bool_]:
    """Return in which frames of a loop a lesion is present, by hysteresis.

    It is ``presence_keep`` of the C library: once a frame reached ``enter``, those that follow are
    present down to ``keep``; None or 0: each frame is on its own.
    """
    present = np.zeros(len(presence), np.bool_)
    for index, score in enumerate(presence):
        follows = keep and index > 0 and present[index - 1]
        present[index] = score >= (keep if follows else enter)
    return present


def flicker(trace: Trace, shown: NDArray[np.bool_]) -> float | None:
    """Return the mean change of the pairs of frames in a row that show a mask.

    A pair of which one alone shows a mask has changed by 1, a pair without a mask does not count.

    Returns:
        In [0, 1], 0 is still; None if no pair shows a mask.
    """
    before, after = shown[:-1], shown[1:]
    changes = np.where(before & after, trace.change, 1.0)[before | after]
    return float(changes.mean()) if changes.size else None


def toggles(shown: NDArray[np.bool_]) -> int:
    """Return how often a mask comes or goes from one frame to the next."""
    return int(np.count_nonzero(shown[1:] != shown[:-1]))


def area_jitter(area: NDArray[np.int64], shown: NDArray[np.bool_]) -> float | None:
    """Return the noise of the area from frame to frame, as a share of the mean area.

    Growth and shrinking are no noise: it is the root mean square of the second differences
    a[t-1] - 2 a[t] + a[t+1] over sqrt(6), which is the standard deviation of independent noise
    whatever the slope, over the runs of three frames that show a mask.

    Returns:
        At least 0; None if no three frames in a row show a mask.
    """
    runs = shown[:-2] & shown[1:-1] & shown[2:]
    if not runs.any():
        return None
    second = np.diff(area.astype(np.float64), 2)[runs]
    return math.sqrt(float(np.mean(second**2)) / 6) / float(area[1:-1][runs].mean())
