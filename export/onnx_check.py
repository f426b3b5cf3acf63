"""What an exported graph must keep to, checked before it goes into a bundle."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from edge_bts.errors import AccuracyGateError
from edge_bts.export.deploy import INPUT, OUTPUT
from edge_bts.export.onnx_graph import IR_VERSION, initializer_values

__all__ = ["check_onnx", "describe_onnx"]


def check_onnx(model: Any, imgsz: int, opset: int) -> None:
    """Check signature, versions, operators and every Q/DQ pair of a graph.

    Raises:
        AccuracyGateError: Names the first rule that is broken: the graph would be refused or
            computed differently on a device.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise AccuracyGateError(f"The exported graph is not valid ONNX: {error}") from None
    imports = {(entry.domain, entry.version) for entry in model.opset_import}
    _rule(imports == {("", opset)}, f"imports opset {opset} alone", imports)
    _rule(model.ir_version == IR_VERSION, f"has IR version {IR_VERSION}", model.ir_version)
    ends = [(v.name, _shape(v)) for v in (*model.graph.input, *model.graph.output)]
    shape = (1, 1, imgsz, imgsz)
    _rule(ends == [(INPUT, shape), (OUTPUT, shape)], f"maps {INPUT} to {OUTPUT}, {shape}", ends)
    operators = Counter(node.op_type for node in model.graph.node)
    _rule("Identity" not in operators, "has no Identity", operators["Identity"])
    _rule(not any(n.domain for n in model.graph.node), "has standard operators only", operators)
    external = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    _rule(not external, "holds its data", external)
    _check_pairs(model.graph)


def describe_onnx(model: Any) -> dict[str, Any]:
    """Return opset, IR version and operator counts, JSON-able."""
    return {
        "opset": int(model.opset_import[0].version),
        "ir_version": int(model.ir_version),
        "operators": dict(sorted(Counter(n.op_type for n in model.graph.node).items())),
    }


def _check_pairs(graph: Any) -> None:
    values = initializer_values(graph)
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        _rule(len(node.input) == 3, "has explicit zero points", node.name)
        _rule(all(name in values for name in node.input[1:]), "has constant scales", node.name)
        scale, zero = values[node.input[1]], values[node.input[2]]
        _rule(zero.dtype == np.int8 and not zero.any(), "has INT8 zero points of 0", node.name)
        _rule(zero.shape == scale.shape, "has a zero point for each scale", node.name)
        _rule(bool(np.all(scale > 0)), "has scales above 0", node.name)
        if scale.ndim:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            of_weight = node.op_type == "DequantizeLinear" or node.input[0] in values
            _rule(axis == 0 and of_weight, "scales weights alone by channel, on axis 0", node.name)
        else:
            _rule(node.input[0] not in values, "scales weights by channel", node.name)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)


def _rule(holds: bool, expected: str, came: Any) -> None:
    if not holds:
        raise AccuracyGateError(
            f"Expected an exported graph that {expected}, but got {came}; this is a defect of the "
            "export or of an unpinned package."
        )
