"""The known-answer check: the golden frames of the bundle through an engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.bundle import Bundle
from edge_bts.golden import GOLDEN_NAME, GoldenFrames, read_golden, self_test
from edge_bts.tensorrt.cache import Answer

__all__ = ["check_answer"]

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def check_answer(
    infer: Infer, bundle: Bundle, precision: str, mend: str, frames: int | None = None
) -> Answer:
    """Run golden frames through an engine and compare.

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
        SelfTestError: A frame differs by more than the bundle allows.
        EnvironmentMismatchError: OpenVINO is needed and is not here.
    """
    golden = read_golden(bundle.read(GOLDEN_NAME), bundle.manifest.imgsz)
    count = len(golden.frames) if frames is None else min(frames, len(golden.frames))
    mean_abs, pixels = self_test(
        infer,
        golden,
        bundle.manifest,
        who="the engine",
        mend=mend,
        frames=count,
        expected=_expected(bundle, precision, golden, count),
    )
    return Answer(frames=count, mean_abs=mean_abs, pixels=pixels)


def _expected(
    bundle: Bundle, precision: str, golden: GoldenFrames, count: int
) -> list[NDArray[np.float32]] | None:
    manifest = bundle.manifest
    if precision == manifest.precision:
        return None
    from edge_bts.runtime.backend import open_backend

    reference = open_backend("openvino", bundle.read(manifest.models["reference"]), threads=1)
    images = (geometry.normalise(f, manifest.mean, manifest.std) for f in golden.frames[:count])
    return [reference.infer(image[np.newaxis, np.newaxis])[0, 0] for image in images]
