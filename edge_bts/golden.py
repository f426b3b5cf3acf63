"""Golden frames: known questions and answers inside a bundle, for a device to check itself by."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.bundle import Bundle
from edge_bts.errors import InputError

__all__ = ["GOLDEN_NAME", "Golden", "difference", "read_golden"]

GOLDEN_NAME = "golden.safetensors"
_KEY = "edge_bts"


@dataclass(frozen=True)
class Golden:
    """Frames in model geometry and what the network of the bundle says of them.

    Attributes:
        frames: uint8 (N, S, S), not yet normalised.
        probability: float32 (N, S, S) in [0, 1].
        threshold: Where the masks are cut.
        mean_abs: Largest allowed mean difference of probability, for each frame.
        pixels: Largest allowed share of the mask's pixels that differ, for each frame.
    """

    frames: NDArray[np.uint8]
    probability: NDArray[np.float32]
    threshold: float
    mean_abs: float
    pixels: float


def read_golden(bundle: Bundle) -> Golden:
    """Read the golden frames of a bundle.

    Raises:
        InputError: The bundle has none, or they are not what `edge-bts export` writes.
        IntegrityError: The file is not what the manifest says.
    """
    content = bundle.read(GOLDEN_NAME)
    try:
        from safetensors.numpy import load

        tensors = load(content)
        header = _header(content)
        golden = Golden(
            tensors["frames"],
            tensors["probability"],
            float(header["threshold"]),
            float(header["tolerance"]["mean_abs"]),
            float(header["tolerance"]["pixels"]),
        )
    except Exception as error:  # safetensors' own class derives from Exception alone
        raise InputError(
            f"Expected {GOLDEN_NAME} of {bundle.path} to hold frames, probability and tolerance, "
            f"but reading it failed ({error}); export the bundle again."
        ) from None
    shape = (len(golden.frames), bundle.manifest.imgsz, bundle.manifest.imgsz)
    if not (
        shape[0] > 0
        and golden.frames.shape == golden.probability.shape == shape
        and golden.frames.dtype == np.uint8
        and golden.probability.dtype == np.float32
    ):
        raise InputError(
            f"Expected frames uint8 and probability float32 of (N, {shape[1]}, {shape[2]}) in "
            f"{GOLDEN_NAME} of {bundle.path}, but they are {golden.frames.dtype} "
            f"{golden.frames.shape} and {golden.probability.dtype} {golden.probability.shape}; "
            "export the bundle again."
        )
    return golden


def difference(
    came: NDArray[np.float32], expected: NDArray[np.float32], threshold: float
) -> tuple[float, float]:
    """Return mean absolute difference of probability and share of mask pixels that differ.

    Values that are no numbers count as a difference of 1.
    """
    apart = np.nan_to_num(np.abs(came - expected), nan=1.0, posinf=1.0)
    cut = geometry.threshold(came, threshold) != geometry.threshold(expected, threshold)
    return float(apart.mean(dtype=np.float64)), float(cut.mean())


def _header(content: bytes) -> Any:
    """Return the record of :func:`edge_bts.export.golden.pack_golden` in the file's header."""
    (size,) = struct.unpack_from("<Q", content)
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
