"""FP16 types outside the quantized islands, as TensorRT's strong typing wants them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from edge_bts.errors import InputError
from edge_bts.export.deploy import INPUT, OUTPUT
from edge_bts.export.onnx_graph import initializer_values

__all__ = ["half_from_onnx"]


def half_from_onnx(model: Any) -> Any:
    """Return a copy whose floats are FP16: weights, activations, scales of Q/DQ pairs.

    Input and output stay float32, with a cast after the input and one before the last sigmoid, so
    that probabilities near 0 and 1 keep their digits. Scales of Resize stay float32: rounded, they
    give other sizes. INT8 codes of weights are exactly those of the float32 graph.

    Raises:
        InputError: A weight that FP16 cannot hold.
    """
    from onnx import TensorProto, numpy_helper

    model = copy.deepcopy(model)
    graph = model.graph
    values = initializer_values(graph)
    kept = {n for node in graph.node if node.op_type == "Resize" for n in node.input[1:3]}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in values:
            weight, scale = (values[name] for name in node.input[:2])
            values[node.input[0]] = _on_grid(weight, scale)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(_half(values[tensor.name]), tensor.name))
    _cast_ends(graph)
    return model


def _half(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    largest = float(np.abs(values).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):  # also catches NaN
        raise InputError(
            f"Expected weights within the range of FP16, but one is {largest}; export with --fp32."
        )
    return values.astype(np.float16)


def _on_grid(weight: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Move weights (K, ...) to the middle of their INT8 step, where rounding cannot flip them."""
    step = scale.astype(np.float16).astype(np.float32)
    step = step.reshape(-1, *[1] * (weight.ndim - 1)) if step.ndim else step
    return np.asarray(np.clip(np.rint(weight / step), -128, 127) * step)


def _cast_ends(graph: Any) -> None:
    from onnx import TensorProto, helper

    last = graph.node[-1]
    if last.op_type != "Sigmoid" or list(last.output) != [OUTPUT]:
        raise ValueError(f"Expected the graph to end in a sigmoid, but it ends in {last.op_type}.")
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == INPUT:
                node.input[index] = f"{INPUT}_half"
    logits = f"{OUTPUT}_logits"
    into = helper.make_node(
        "Cast", [INPUT], [f"{INPUT}_half"], name=f"{INPUT}/Cast", to=TensorProto.FLOAT16
    )
    out_of = helper.make_node(
        "Cast", [last.input[0]], [logits], name=f"{OUTPUT}/Cast", to=TensorProto.FLOAT
    )
    last.input[0] = logits
    nodes = [into, *graph.node[:-1], out_of, last]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
