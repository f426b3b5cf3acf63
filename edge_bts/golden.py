"""Golden frames: phantoms in a bundle with the probabilities that every backend must come to.

``golden.safetensors`` is written by :mod:`edge_bts.export.golden`. A runtime runs the first frame
when it opens a bundle: a library, a CPU or a driver that computes something else is found before
it draws a mask.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_bts import geometry
from edge_bts.errors import InputError, SelfTestError
from edge_bts.manifest import Manifest, first_fault

__all__ = [
    "GOLDEN_NAME",
    "METADATA_KEY",
    "GoldenFrames",
    "Tolerance",
    "difference",
    "read_golden",
    "self_test",
]

GOLDEN_NAME = "golden.safetensors"
METADATA_KEY = "edge_bts"

_Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Tolerance(BaseModel):
    """How far a backend may be from the stored frames.

    Attributes:
        mean_abs: Mean absolute difference of probability.
        pixels: Share of the mask's pixels that differ.
    """

    model_config = ConfigDict(frozen=True)

    mean_abs: _Share
    pixels: _Share

    def keeps(self, mean_abs: float, pixels: float) -> bool:
        """Say whether a :func:`difference` is within the tolerance."""
        return mean_abs <= self.mean_abs and pixels <= self.pixels


class _Header(BaseModel):
    threshold: Annotated[float, Field(gt=0, lt=1)]
    tolerance: Tolerance


class GoldenFrames:
    """Frames in model geometry and what is expected of them.

    Attributes:
        frames: uint8 (N, S, S).
        probability: float32 (N, S, S) in [0, 1].
        mask: uint8 (N, S, S), 1 where the probability reaches ``threshold``.
        threshold: Of the mask.
        tolerance: For each frame.
    """

    def __init__(self, tensors: dict[str, NDArray[Any]], header: _Header) -> None:
        self.frames, self.probability, self.mask = (tensors[name] for name in _TENSORS)
        self.threshold = header.threshold
        self.tolerance = header.tolerance


_TENSORS = {"frames": np.uint8, "probability": np.float32, "mask": np.uint8}


def read_golden(content: bytes, imgsz: int) -> GoldenFrames:
    """Read the bytes of ``golden.safetensors``; ``imgsz`` is the side S of the model's square.

    Raises:
        InputError: They are not golden frames of that size.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        header = _Header.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        raise _no_golden(first_fault(error)) from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _no_golden(f"{type(error).__name__}: {error}") from None
    count = len(tensors["frames"]) if "frames" in tensors else 0
    came = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    wanted = {name: (np.dtype(kind), (count, imgsz, imgsz)) for name, kind in _TENSORS.items()}
    if came != wanted or count == 0:
        raise _no_golden(f"it holds {came}")
    return GoldenFrames(tensors, header)


def difference(
    came: NDArray[np.float32], expected: NDArray[np.float32], threshold: float
) -> tuple[float, float]:
    """Return how far two probabilities (S, S) are apart, in the terms of :class:`Tolerance`.

    What is not a finite number differs by 1, as far as probability can be.
    """
    apart = np.nan_to_num(np.abs(came - expected), nan=1.0, posinf=1.0)
    mean_abs = float(apart.mean(dtype=np.float64))
    masks = [geometry.threshold(probability, threshold) for probability in (came, expected)]
    return mean_abs, float((masks[0] != masks[1]).mean())


def self_test(
    infer: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    golden: GoldenFrames,
    manifest: Manifest,
    *,
    who: str,
    mend: str,
    frames: int = 1,
    expected: Sequence[NDArray[np.float32]] | None = None,
) -> tuple[float, float]:
    """Run golden frames and compare; the only judge of what opens a bundle or builds an engine.

    Args:
        infer: Normalised (1, 1, S, S) float32 to probability.
        golden: Of the bundle.
        manifest: Of the bundle.
        who: What runs it, for the message.
        mend: What to do if it fails, for the message.
        frames: How many are run, the first ones.
        expected: Their probabilities (S, S); None: those of the bundle's own precision.

    Returns:
        The largest differences, see :func:`difference`.

    Raises:
        SelfTestError: What runs here computes something else than at export.
    """
    answers = golden.probability if expected is None else expected
    found = []
    for frame, answer in zip(golden.frames[:frames], answers, strict=False):
        image = geometry.normalise(frame, manifest.mean, manifest.std)
        came = infer(image[np.newaxis, np.newaxis])[0, 0]
        found.append(difference(came, answer, golden.threshold))
    mean_abs, pixels = (max(values) for values in zip(*found, strict=True))
    allowed = golden.tolerance
    if not allowed.keeps(mean_abs, pixels):
        raise SelfTestError(
            f"Expected {who} to reproduce the golden frames of {manifest.name} to "
            f"{allowed.mean_abs:.2g} in probability and {allowed.pixels:.2%} of the mask, but it "
            f"differs by {mean_abs:.2g} and {pixels:.2%}: it computes something else than was "
            f"checked at export; {mend}."
        )
    return mean_abs, pixels


def _no_golden(fault: str) -> InputError:
    return InputError(
        f"Expected {GOLDEN_NAME} to hold frames, probability and mask with their tolerance, but "
        f"{fault}; export the bundle again."
    )
