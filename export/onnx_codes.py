"""INT8 weights stored as INT8, for ONNX Runtime; TensorRT's parser wants both Q and DQ."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from edge_bts.export.onnx_graph import initializer_values

__all__ = ["store_codes"]


def store_codes(model: Any) -> Any:
    """Return a copy of a Q/DQ graph in which quantized weights are INT8 initializers.

    The QuantizeLinear of a weight is computed here, exactly as the operator is defined (ONNX:
    divide, round half to even, saturate), and removed: a quarter of the size, the same values.
    """
    from onnx import numpy_helper

    model = copy.deepcopy(model)
    graph = model.graph
    values = initializer_values(graph)
    codes: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in values:
            array = _quantize(values[node.input[0]], values[node.input[1]])
            name = f"{node.input[0]}_int8"
            _replace(graph, node.input[0], numpy_helper.from_array(array, name))
            codes[node.output[0]] = name
            continue
        for index, name in enumerate(node.input):
            node.input[index] = codes.get(name, name)
        kept.append(type(node).FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(kept)
    return model


def _quantize(weight: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    step = scale.reshape(-1, *[1] * (weight.ndim - 1)) if scale.ndim else scale
    return np.asarray(np.clip(np.rint(weight / step), -128, 127).astype(np.int8))


def _replace(graph: Any, name: str, tensor: Any) -> None:
    for initializer in graph.initializer:
        if initializer.name == name:
            initializer.CopyFrom(tensor)
