"""Whether a frame shows a lesion at all: one figure out of the probabilities, no second network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["presence"]


def presence(probability: NDArray[np.floating[Any]]) -> float:
    """Return the presence score of a frame: the mean of the highest probabilities of its square.

    They are the k highest of the network's S x S output, before the way back to source geometry,
    k = 0.002 · S² rounded, at least 1 (256: 131), computed as ``(S * S + 250) // 500``. NaN
    counts as 0. The sum is of float64: exact for float32 above 2^-21, so that the order in which
    they are added does not show.

    A frame is *present* if its score reaches the presence threshold of the model, or else its mask
    is emptied; a threshold of 0 empties none. Why this score: a lesion is a patch of sure pixels,
    a false find on normal tissue a few half-sure ones. The single highest pixel is noise, the
    area over the mask's threshold favours large lesions.

    Args:
        probability: (S, S) in [0, 1], model geometry.

    Returns:
        The score in [0, 1].
    """
    values = np.nan_to_num(probability.ravel(), nan=0.0)
    count = max(1, (values.size + 250) // 500)
    return float(np.partition(values, -count)[-count:].mean(dtype=np.float64))
