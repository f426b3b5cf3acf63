"""The OpenVINO IR: INT8 where it should be, equal to torch, the same bytes every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edge_bts.export.openvino_ir import ir_from_model
from edge_bts.runtime import open_backend

SIZE = 64


@pytest.fixture(scope="module")
def ir(workshop: Any) -> tuple[bytes, bytes]:
    """The IR of the quantized student."""
    return ir_from_model(workshop.quantized, SIZE)


def test_int8_in_openvino_is_int8_in_torch(workshop: Any, ir: tuple[bytes, bytes]) -> None:
    """Masks agree, and so do probabilities but for values between two INT8 steps."""
    backend = open_backend("openvino", ir, precision="int8", threads=1)
    for image in workshop.images:
        with torch.no_grad():
            expected = torch.sigmoid(workshop.quantized(image)).numpy()
        came = backend.infer(image.numpy())
        assert np.abs(came - expected).mean() < 3e-3
        a, b = came > 0.5, expected > 0.5
        assert 2 * (a & b).sum() / max(1, a.sum() + b.sum()) > 0.97


def test_most_convolutions_run_in_int8(ir: tuple[bytes, bytes]) -> None:
    """The compiled model has 47 INT8 convolutions and 6 float ones."""
    kinds = open_backend("openvino", ir, threads=1).describe()["convolutions"]
    assert kinds.get("f32") == 6
    assert sum(count for kind, count in kinds.items() if kind in ("i8", "u8")) == 47


def test_weights_are_stored_as_int8(workshop: Any, ir: tuple[bytes, bytes]) -> None:
    """The weights take about a byte a parameter."""
    parameters = sum(p.numel() for p in workshop.folded.parameters())
    assert len(ir[1]) < 1.3 * parameters


def test_conversion_gives_the_same_bytes(workshop: Any, ir: tuple[bytes, bytes]) -> None:
    """Names do not depend on what else the process has converted."""
    assert ir_from_model(workshop.quantized, SIZE) == ir


def test_float_ir_is_float_torch(workshop: Any) -> None:
    """The float IR computes the student; FP16 storage halves it and costs little."""
    whole, half = (ir_from_model(workshop.folded, SIZE, half=h) for h in (False, True))
    assert len(half[1]) < 0.6 * len(whole[1])
    image = workshop.images[0]
    with torch.no_grad():
        expected = torch.sigmoid(workshop.folded(image)).numpy()
    for ir, tolerance in ((whole, 1e-4), (half, 2e-2)):
        came = open_backend("openvino", ir, threads=1).infer(image.numpy())
        assert np.abs(came - expected).max() < tolerance
