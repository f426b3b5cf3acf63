"""What goes to the browser.

A frame and its mask are one message with one number, so that neither can be drawn with another:

    b"EBV1" | u32 size of the JSON, little-endian | JSON | gray pixels, row by row | mask bits

The mask has a bit for every pixel in the order of the pixels, the highest bit of a byte first.
What else is said (:class:`Notice`) is text.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.measure import Component

__all__ = ["MOST_COMPONENTS", "Notice", "Shown"]

MOST_COMPONENTS = 16
"""A message describes as many of the largest components; the mask shows all."""


@dataclass(frozen=True)
class Notice:
    """How the stream stands: ``state`` for the page, ``text`` for the reader."""

    state: str
    text: str

    def message(self) -> str:
        """Return it as the browser gets it."""
        return json.dumps({"kind": "status", "state": self.state, "text": self.text})


@dataclass(frozen=True)
class Shown:
    """One frame with what was found on it.

    Attributes:
        number: Of the frame among those that came, from 1.
        order: Of the frame among those that were segmented, from 1; a browser that misses one
            was too slow for it.
        dropped: Frames that a newer one replaced before their turn, so far.
        image: uint8 H x W.
        mask: uint8 H x W, 1 on lesion; empty if not ``usable``.
        components: Of the mask, the largest first.
        spacing_mm: Of a pixel; None: unknown.
        presence: Score in [0, 1] that there is a lesion; None: nothing was computed.
        health: Words in small letters; none: all is well.
        usable: Whether what was found may be drawn.
        error: Why nothing could be found; empty if it could.
        times_ms: Of the stages.
        age_ms: From the arrival of the frame to its result.
        time: Of the arrival, in seconds since 1970.
    """

    number: int
    order: int
    dropped: int
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    components: Sequence[Component]
    spacing_mm: float | None
    presence: float | None
    health: Sequence[str]
    usable: bool
    error: str
    times_ms: dict[str, float]
    age_ms: float
    time: float

    def message(self) -> bytes:
        """Return it as the browser gets it."""
        height, width = self.image.shape
        said = {
            "number": self.number,
            "order": self.order,
            "dropped": self.dropped,
            "width": width,
            "height": height,
            "spacing_mm": self.spacing_mm,
            "presence": self.presence,
            "health": list(self.health),
            "usable": self.usable,
            "error": self.error,
            "found": len(self.components),
            "components": [_component(part) for part in self.components[:MOST_COMPONENTS]],
            "times_ms": self.times_ms,
            "age_ms": self.age_ms,
            "time": self.time,
        }
        head = json.dumps(said, allow_nan=False).encode()
        pixels, bits = np.ascontiguousarray(self.image), np.packbits(self.mask)
        start = b"EBV1" + struct.pack("<I", len(head))
        return b"".join((start, head, pixels.tobytes(), bits.tobytes()))


def _component(part: Component) -> dict[str, Any]:
    names = ("area_px", "area_mm2", "longest_px", "orthogonal_px", "longest_mm", "orthogonal_mm")
    said = {name: getattr(part, name) for name in names}
    return said | {
        "bbox": part.bbox,
        "longest_ends": part.longest_ends,
        "contour": part.contour.ravel().tolist(),
    }
