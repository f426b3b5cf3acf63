"""The ONNX graphs: legal for TensorRT, equal to torch, the same bytes every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from edge_bts.errors import AccuracyGateError, InputError
from edge_bts.export.onnx_check import check_onnx
from edge_bts.export.onnx_codes import store_codes
from edge_bts.export.onnx_graph import onnx_from_model, onnx_from_quantized
from edge_bts.export.onnx_half import half_from_onnx

SIZE = 64


@pytest.fixture(scope="module")
def graphs(workshop: Any) -> dict[str, Any]:
    """Every graph that a bundle can hold."""
    reference = onnx_from_model(workshop.folded, SIZE, 19)
    pairs = onnx_from_quantized(workshop.quantized, SIZE, 19)
    return {
        "fp32": reference,
        "fp16": half_from_onnx(reference),
        "pairs": pairs,
        "int8": store_codes(pairs),
        "device": half_from_onnx(pairs),
    }


def run(graph: Any, image: torch.Tensor) -> np.ndarray[Any, Any]:
    """Run a graph operator by operator, as the standard defines it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["probability"], {"image": image.numpy()})[0])


@pytest.mark.parametrize("name", ["fp32", "fp16", "pairs", "int8", "device"])
def test_graphs_keep_the_rules(graphs: dict[str, Any], name: str) -> None:
    """Signature, opset 19, IR 9, standard operators, no Identity, INT8 zero points of 0."""
    check_onnx(graphs[name], SIZE, 19)
    assert graphs[name].ir_version == 9
    assert [(i.domain, i.version) for i in graphs[name].opset_import] == [("", 19)]


def test_opset_20_is_written_on_request(workshop: Any) -> None:
    """The newest opset that all TensorRT 10 parsers read can be asked for."""
    check_onnx(onnx_from_model(workshop.folded, SIZE, 20), SIZE, 20)


@pytest.mark.parametrize(
    ("name", "source", "largest", "mean"),
    [
        ("fp32", "folded", 1e-5, 1e-6),
        ("fp16", "folded", 2e-2, 1e-3),
        # A value on the edge between two INT8 steps may fall either way.
        ("pairs", "quantized", 0.2, 3e-3),
        ("int8", "quantized", 0.2, 3e-3),
        ("device", "quantized", 0.2, 3e-3),
    ],
)
def test_onnx_runtime_computes_what_torch_does(
    workshop: Any, graphs: dict[str, Any], name: str, source: str, largest: float, mean: float
) -> None:
    """Probabilities of each graph are those of the module that it came from."""
    for image in workshop.images[:3]:
        with torch.no_grad():
            expected = torch.sigmoid(getattr(workshop, source)(image)).numpy()
        difference = np.abs(run(graphs[name], image) - expected)
        assert difference.max() < largest
        assert difference.mean() < mean


def test_types_of_the_device_graph(graphs: dict[str, Any]) -> None:
    """Ends are float32, everything between FP16 or INT8; only scales of Resize are float32."""
    graph = graphs["device"].graph
    assert {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)} == {
        TensorProto.FLOAT
    }
    resized = {n for node in graph.node if node.op_type == "Resize" for n in node.input[1:]}
    floats = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    assert floats
    assert floats <= resized
    assert [node.op_type for node in graph.node[-2:]] == ["Cast", "Sigmoid"]


def test_int8_weights_are_the_codes_of_the_pairs(graphs: dict[str, Any]) -> None:
    """Float32, FP16 and stored form of a quantized weight have the same INT8 codes."""
    stored = {t.name: numpy_helper.to_array(t) for t in graphs["int8"].graph.initializer}
    checked = 0
    for form in ("pairs", "device"):
        values = {t.name: numpy_helper.to_array(t) for t in graphs[form].graph.initializer}
        for node in graphs[form].graph.node:
            if node.op_type == "QuantizeLinear" and node.input[0] in values:
                weight, scale = (values[n].astype(np.float64) for n in node.input[:2])
                codes = np.clip(np.rint(weight / scale.reshape(-1, 1, 1, 1)), -128, 127)
                assert (codes == stored[f"{node.input[0]}_int8"]).all()
                checked += 1
    assert checked == 2 * 47


def test_bytes_are_the_same_every_time(workshop: Any, graphs: dict[str, Any]) -> None:
    """A second conversion of the same weights gives the same file."""
    again = half_from_onnx(onnx_from_quantized(workshop.quantized, SIZE, 19))
    first, second = (g.SerializeToString(deterministic=True) for g in (graphs["device"], again))
    assert first == second


def _break_zero_type(graph: Any) -> None:
    node = next(n for n in graph.node if n.op_type == "QuantizeLinear")
    for tensor in graph.initializer:
        if tensor.name == node.input[2]:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((), np.uint8), tensor.name))


def _break_scale(graph: Any) -> None:
    node = next(n for n in graph.node if n.op_type == "QuantizeLinear")
    for tensor in graph.initializer:
        if tensor.name == node.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((), np.float32), tensor.name))


def _drop_zero_point(graph: Any) -> None:
    del next(n for n in graph.node if n.op_type == "QuantizeLinear").input[2]


def _custom_domain(graph: Any) -> None:
    graph.node[3].domain = "org.example"


@pytest.mark.parametrize(
    "damage", [_break_zero_type, _break_scale, _drop_zero_point, _custom_domain]
)
def test_graphs_that_a_device_would_refuse_are_caught(graphs: dict[str, Any], damage: Any) -> None:
    """UINT8 or missing zero points, scales of 0 and foreign operators end the export."""
    broken = onnx.ModelProto()
    broken.CopyFrom(graphs["pairs"])
    damage(broken.graph)
    with pytest.raises(AccuracyGateError):
        check_onnx(broken, SIZE, 19)


def test_weights_beyond_fp16_are_refused(graphs: dict[str, Any]) -> None:
    """A weight that would become infinite names --fp32."""
    broken = onnx.ModelProto()
    broken.CopyFrom(graphs["fp32"])
    tensor = next(t for t in broken.graph.initializer if t.name == "head.bias")
    tensor.CopyFrom(numpy_helper.from_array(np.full(4, 1e6, np.float32), tensor.name))
    with pytest.raises(InputError, match="--fp32"):
        half_from_onnx(broken)
