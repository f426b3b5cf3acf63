"""What an exported graph must keep to, checked before it goes into a bundle."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edge_bts.errors import AccuracyGateError
from edge_bts.export.deploy import INPUT, OUTPUT
from edge_bts.export.lint import lint
from edge_bts.export.onnx_graph import IR_VERSION

__all__ = ["check_onnx", "describe_onnx"]

_MEND = "this is a defect of the export or of an unpinned package."


def check_onnx(model: Any, imgsz: int, opset: int) -> None:
    """Check signature and versions of a graph of ours, and every rule of TensorRT.

    Raises:
        AccuracyGateError: Names the first rule that is broken: the graph would be refused or
            computed differently on a device.
    """
    for finding in lint(model):
        if finding.rule.level == "error" or finding.rule.id in ("identity", "names"):
            raise AccuracyGateError(f"{str(finding).capitalize()}; {_MEND}")
    imports = {(entry.domain, entry.version) for entry in model.opset_import}
    _rule(imports == {("", opset)}, f"imports opset {opset} alone", imports)
    _rule(model.ir_version == IR_VERSION, f"has IR version {IR_VERSION}", model.ir_version)
    ends = [(v.name, _shape(v)) for v in (*model.graph.input, *model.graph.output)]
    shape = (1, 1, imgsz, imgsz)
    _rule(ends == [(INPUT, shape), (OUTPUT, shape)], f"maps {INPUT} to {OUTPUT}, {shape}", ends)


def describe_onnx(model: Any) -> dict[str, Any]:
    """Return opset, IR version and operator counts, JSON-able."""
    return {
        "opset": int(model.opset_import[0].version),
        "ir_version": int(model.ir_version),
        "operators": dict(sorted(Counter(n.op_type for n in model.graph.node).items())),
    }


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)


def _rule(holds: bool, expected: str, came: Any) -> None:
    if not holds:
        raise AccuracyGateError(f"Expected an exported graph that {expected}, got {came}; {_MEND}")
