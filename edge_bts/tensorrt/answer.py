"""The known-answer check: the golden frames of the bundle through an engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.bundle import Bundle
from edge_bts.errors import AccuracyGateError
from edge_bts.golden import GOLDEN_NAME, GoldenFrames, difference, read_golden
from edge_bts.tensorrt.cache import Answer

__all__ = ["check_answer"]

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def check_answer(
    infer: Infer, bundle: Bundle, precision: str, mend: str, frames: int | None = None
) -> Answer:
    """Run golden frames and compare.

    Args:
        infer: Normalised (1, 1, S, S) float32 to probability.
        bundle: Whose golden frames are run.
        precision: Of the engine. The answers in the bundle are those of its own precision; for
            the float reference beside it OpenVINO computes them from the ONNX.
        mend: What to do if the check fails, for the message.
        frames: How many; None: all.

    Returns:
        The largest differences.

    Raises:
        AccuracyGateError: A frame differs by more than the bundle allows.
        EnvironmentMismatchError: OpenVINO is needed and is not here.
    """
    golden = read_golden(bundle.read(GOLDEN_NAME), bundle.manifest.imgsz)
    mean, std = bundle.manifest.mean, bundle.manifest.std
    count = len(golden.frames) if frames is None else min(frames, len(golden.frames))
    images = [
        geometry.normalise(frame, mean, std)[np.newaxis, np.newaxis]
        for frame in golden.frames[:count]
    ]
    found = [
        difference(infer(image)[0, 0], expected, golden.threshold)
        for image, expected in zip(
            images, _expected(bundle, precision, golden, images), strict=True
        )
    ]
    mean_abs, pixels = (max(values) for values in zip(*found, strict=True))
    allowed = golden.tolerance
    if not allowed.keeps(mean_abs, pixels):
        raise AccuracyGateError(
            f"Expected the engine to answer the golden frames within {allowed.mean_abs:.4f} of "
            f"probability and {allowed.pixels:.2%} of the mask, but it is {mean_abs:.4f} and "
            f"{pixels:.2%} off; {mend}."
        )
    return Answer(frames=count, mean_abs=mean_abs, pixels=pixels)


def _expected(
    bundle: Bundle, precision: str, golden: GoldenFrames, images: list[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    manifest = bundle.manifest
    if precision == manifest.precision:
        return list(golden.probability[: len(images)])
    from edge_bts.runtime.backend import open_backend

    reference = open_backend("openvino", bundle.read(manifest.models["reference"]), threads=1)
    return [reference.infer(image)[0, 0] for image in images]
