"""ONNX from a module: plain operators, static shape, the same bytes for the same weights."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from torch import nn

from edge_bts import __version__
from edge_bts.export.deploy import INPUT, OUTPUT, WithSigmoid, example_input
from edge_bts.export.environment import quiet
from edge_bts.export.quantize import use_onnx_pairs

__all__ = ["IR_VERSION", "onnx_from_model", "onnx_from_quantized"]

IR_VERSION = 9
"""Of ONNX 1.15: what opset 19 and 20 came with, and what TensorRT 10.3 reads."""


def onnx_from_model(module: nn.Module, imgsz: int, opset: int) -> Any:
    """Export a float module that returns logits; the graph ends in a sigmoid.

    Returns:
        An ``onnx.ModelProto`` from ``image`` to ``probability``, both float32 (1, 1, S, S).
    """
    import onnx
    import torch

    buffer: Any = io.BytesIO()  # torch takes a stream; its types say path only
    with quiet(), torch.no_grad():
        # The exporter of torch 2.9+ (dynamo) cannot trace NNCF's quantizers.
        torch.onnx.export(
            WithSigmoid(module).eval(),
            (example_input(imgsz),),
            buffer,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    return _tidy(onnx.load_from_string(buffer.getvalue()))


def onnx_from_quantized(module: nn.Module, imgsz: int, opset: int) -> Any:
    """Export a model of :func:`edge_bts.export.quantize.quantize` with Q/DQ pairs, float32."""
    return onnx_from_model(use_onnx_pairs(module), imgsz, opset)


def _tidy(model: Any) -> Any:
    """Remove what the exporter leaves behind, and say who made the graph."""
    graph = model.graph
    _constants_to_initializers(graph)
    _drop_identities(graph)
    _drop_unused(graph)
    _rename(graph)
    del graph.value_info[:]
    graph.name = "edge_bts"
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "edge-bts", __version__
    model.doc_string = ""
    del model.metadata_props[:]
    initializers = sorted(graph.initializer, key=lambda tensor: str(tensor.name))
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    for node in graph.node:
        node.doc_string = ""
    return model


def _constants_to_initializers(graph: Any) -> None:
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    _set_nodes(graph, kept)


def _drop_identities(graph: Any) -> None:
    """Let consumers read what an Identity reads: torch shares equal biases in that way."""
    source: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "Identity" and node.output[0] != OUTPUT:
            source[node.output[0]] = source.get(node.input[0], node.input[0])
            continue
        for index, name in enumerate(node.input):
            node.input[index] = source.get(name, name)
        kept.append(node)
    _set_nodes(graph, kept)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rename(graph: Any) -> None:
    """Name tensors and nodes after the modules, without the exporter's wrapper and slashes."""

    def short(name: str) -> str:
        if name in ("", INPUT, OUTPUT):
            return name
        return name.removeprefix("/").removeprefix("module/").removeprefix("module.")

    for node in graph.node:
        node.name = short(node.name)
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = short(name)
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)


def _set_nodes(graph: Any, nodes: list[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def initializer_values(graph: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the initializers of a graph as arrays, by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
