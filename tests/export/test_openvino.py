"""The OpenVINO IR: INT8 where it should be, equal to torch, the same bytes every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edge_bts.export.bisect import convolutions, look_into_ir, look_into_onnx
from edge_bts.export.onnx_graph import onnx_from_quantized
from edge_bts.export.openvino_ir import ir_from_model, part_sigmoids
from edge_bts.runtime import open_backend
from edge_bts.runtime._openvino import compile_model
from edge_bts.telemetry import import_openvino

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


def model_of(channels: int, side: int) -> Any:
    """An image through a 3x3 convolution to that many channels, its bias and a sigmoid."""
    openvino = import_openvino()
    ops = openvino.opset13
    random = np.random.default_rng(0)
    image = ops.parameter([1, 3, side, side], np.float32)
    weight = random.normal(size=(channels, 3, 3, 3)).astype(np.float32)
    answer = ops.convolution(image, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    bias = random.normal(size=(1, channels, 1, 1)).astype(np.float32)
    return openvino.Model([ops.sigmoid(ops.add(answer, bias))], [image])


def kernel_of_sigmoid(compiled: Any) -> str:
    """What kind of node computes the sigmoid in the end."""
    found = {
        str(node.get_rt_info()["layerType"].astype(str))
        for node in compiled.get_runtime_model().get_ordered_ops()
        if "Sigmoid" in str(node.get_rt_info()["originalLayersNames"].astype(str))
    }
    return found.pop() if len(found) == 1 else str(found)


@pytest.mark.parametrize(("channels", "side", "parted"), [(1, 64, True), (4, 64, False)])
def test_a_sigmoid_of_one_channel_leaves_the_convolution(
    channels: int, side: int, parted: bool
) -> None:
    """The plugin does not put it back, the answer is the same bits; wider maps stay as they are."""
    model, other = (model_of(channels, side) for _ in range(2))
    part_sigmoids(other)
    kernels = [kernel_of_sigmoid(compile_model(m, 1)) for m in (model, other)]
    assert kernels[0] == "Convolution"
    assert (kernels[1] != "Convolution") == parted
    image = np.random.default_rng(1).normal(size=(1, 3, side, side)).astype(np.float32)
    before, after = (compile_model(m, 1)([image])[0] for m in (model, other))
    assert after.shape == before.shape
    np.testing.assert_array_equal(after, before)


def test_an_odd_map_stays_as_it_is() -> None:
    """A map of an odd number of pixels has no two halves: it is computed as it was."""
    model, other = (model_of(1, 5) for _ in range(2))
    part_sigmoids(other)
    assert [n.get_type_name() for n in other.get_ops()] == [
        n.get_type_name() for n in model.get_ops()
    ]


def test_the_gates_of_the_exported_student_are_parted(ir: tuple[bytes, bytes]) -> None:
    """Each of the four gates has its sigmoid on a flat view; the head's four channels do not."""
    model = import_openvino().Core().read_model(*ir)
    sigmoids = [node for node in model.get_ops() if node.get_type_name() == "Sigmoid"]
    ranks = sorted(len(node.get_output_shape(0)) for node in sigmoids)
    assert ranks == [3, 3, 3, 3, 4]


def test_a_parted_convolution_can_be_looked_at(workshop: Any, ir: tuple[bytes, bytes]) -> None:
    """The search for the first tensor that differs finds the gates' last ones by their bias."""
    content = onnx_from_quantized(workshop.quantized, SIZE, 19).SerializeToString()
    gates = [name for name in convolutions(content) if "psi" in name]
    names, look = look_into_ir(content, ir)
    assert len(gates) == 4
    assert set(gates) <= set(names)
    reference, image = look_into_onnx(content, optimize=False), workshop.images[0].numpy()
    for gate in gates:
        came, expected = look(gate, image).ravel(), reference(gate, image).ravel()
        assert np.linalg.norm(came - expected) < 0.1 * np.linalg.norm(expected)
