"""OpenVINO IR from a torch model: float, or from the quantized model with its FakeQuantize.

The Q/DQ ONNX is not used for this: OpenVINO's CPU plugin computes concatenations of signed INT8
wrongly when they come from there, without a word.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_bts.export.deploy import INPUT, OUTPUT, WithSigmoid, example_input
from edge_bts.export.environment import quiet
from edge_bts.telemetry import import_openvino

__all__ = ["ir_from_model", "part_sigmoids"]


def ir_from_model(module: nn.Module, imgsz: int, *, half: bool = False) -> tuple[bytes, bytes]:
    """Convert a module that returns logits; the graph ends in a sigmoid.

    Args:
        module: Float, or of :func:`edge_bts.export.quantize.quantize`.
        imgsz: Side S of the static input (1, 1, S, S).
        half: Store float weights as FP16, half the size; computed in float32 all the same.

    Returns:
        The bytes of the ``.xml`` and of the ``.bin``.
    """
    openvino = import_openvino()
    wrapped = WithSigmoid(copy.deepcopy(module)).eval()
    with quiet(), _unchecked_trace():
        # A static shape: with a dynamic one some INT8 kernels refuse to compile.
        model = openvino.convert_model(
            wrapped, example_input=example_input(imgsz), input=[(1, 1, imgsz, imgsz)]
        )
    part_sigmoids(model)
    # Names come from a counter of the process; these make equal models equal files.
    model.set_friendly_name("edge_bts")
    for index, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{index}")
    model.inputs[0].tensor.set_names({INPUT})
    model.outputs[0].tensor.set_names({OUTPUT})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, str(path), compress_to_fp16=half)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def part_sigmoids(model: Any) -> None:
    """Take bias and sigmoid of a one-channel map out of the convolution, in place.

    The CPU plugin computes them inside, 16 channels wide, of which one is there: two thirds of an
    attention gate's last convolution. The answer is the same to the bit. Bias and sigmoid move to
    a flat view of the map; were the bias one number there, the plugin would put both back, hence
    the same number twice, for the two halves of the view.
    """
    ops = import_openvino().opset13
    for sigmoid in model.get_ordered_ops():
        if sigmoid.get_type_name() != "Sigmoid":
            continue
        add, shape = sigmoid.input_value(0).get_node(), list(sigmoid.get_output_shape(0))
        if add.get_type_name() != "Add" or shape[:2] != [1, 1] or prod(shape) % 2:
            continue
        answer, bias = add.input_value(0), add.input_value(1).get_node()
        if answer.get_node().get_type_name() != "Convolution" or not _is_number(bias):
            continue
        halves = ops.reshape(answer, np.array([1, 2, prod(shape) // 2]), special_zero=False)
        twice = np.full((1, 2, 1), bias.get_data().item(), np.float32)
        flat = ops.sigmoid(ops.add(halves, twice))
        sigmoid.output(0).replace(ops.reshape(flat, np.array(shape), special_zero=False).output(0))


def _is_number(node: Any) -> bool:
    return bool(node.get_type_name() == "Constant" and prod(node.get_output_shape(0)) == 1)


@contextlib.contextmanager
def _unchecked_trace() -> Iterator[None]:
    """Spare the tracer's self-check: it takes as long as the conversion, and the ladder does it."""
    trace = torch.jit.trace
    torch.jit.trace = functools.partial(trace, check_trace=False)
    try:
        yield
    finally:
        torch.jit.trace = trace
