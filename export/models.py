"""The files of a bundle that hold a network, by precision, and the rungs that run them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edge_bts.export.onnx_check import check_onnx, describe_onnx
from edge_bts.export.onnx_codes import store_codes
from edge_bts.export.onnx_graph import onnx_from_model, onnx_from_quantized
from edge_bts.export.onnx_half import half_from_onnx
from edge_bts.export.openvino_ir import ir_from_model
from edge_bts.export.parity import Rung, onnx_infer
from edge_bts.export.settings import ExportSettings
from edge_bts.onnx_wire import check_graph
from edge_bts.runtime import open_backend

__all__ = ["ExportedModels", "export_models", "rungs", "torch_infer"]

REFERENCE = "model.fp32.onnx"
DEVICE = "model.onnx"
CPU_INT8 = "model.int8.onnx"
IR = ("model.openvino.xml", "model.openvino.bin")


@dataclass
class ExportedModels:
    """What :func:`export_models` made.

    Attributes:
        files: Content by name.
        serves: Which file serves which backend, as in the manifest.
        graphs: Description of each ONNX graph, JSON-able.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    serves: dict[str, str] = field(default_factory=dict)
    graphs: dict[str, Any] = field(default_factory=dict)


def export_models(
    student: nn.Module, deployed: nn.Module, imgsz: int, settings: ExportSettings
) -> ExportedModels:
    """Convert the networks for every backend and check each graph.

    Files: always ``model.fp32.onnx``, the float reference, and the OpenVINO IR. For ``fp16`` and
    ``int8`` ``model.onnx``, FP16-typed outside INT8, for TensorRT. For ``int8`` besides
    ``model.int8.onnx``, the same values in float32 types: ONNX Runtime's CPU kernels multiply the
    two scales of a convolution in the graph's type, and in FP16 that product loses its digits.

    Args:
        student: The folded float model.
        deployed: What the bundle is about: ``student``, or the quantized model.
        imgsz: Side of the input.
        settings: Precision and opset.
    """
    made = ExportedModels()
    reference = onnx_from_model(student, imgsz, settings.opset)
    _add(made, REFERENCE, reference, imgsz, settings)
    made.serves = {"reference": REFERENCE, "onnxruntime": REFERENCE, "openvino": IR[0]}
    if settings.precision == "fp16":
        _add(made, DEVICE, half_from_onnx(reference), imgsz, settings)
        made.serves |= {"onnxruntime": DEVICE, "tensorrt": DEVICE}
    elif settings.precision == "int8":
        pairs = onnx_from_quantized(deployed, imgsz, settings.opset)
        _add(made, DEVICE, half_from_onnx(pairs), imgsz, settings)
        _add(made, CPU_INT8, store_codes(pairs), imgsz, settings)
        made.serves |= {"onnxruntime": CPU_INT8, "tensorrt": DEVICE}
    half = settings.precision == "fp16"
    made.files.update(zip(IR, ir_from_model(deployed, imgsz, half=half), strict=True))
    return made


def _add(made: ExportedModels, name: str, model: Any, imgsz: int, settings: ExportSettings) -> None:
    check_onnx(model, imgsz, settings.opset)
    content: bytes = model.SerializeToString(deterministic=True)
    check_graph(content, name)  # as every device will
    made.files[name] = content
    made.graphs[name] = describe_onnx(model)


def rungs(
    student: nn.Module, deployed: nn.Module, made: ExportedModels, precision: str
) -> list[Rung]:
    """Return the parity ladder of what was exported, torch float first."""
    ladder = [Rung("torch float", torch_infer(student), "torch float")]
    top = "torch float"

    def add(name: str, file: str, against: str, *, plain: bool = False) -> None:
        ladder.append(Rung(name, onnx_infer(made.files[file], plain=plain), against, gated=True))

    if precision == "int8":
        top = "torch int8"
        ladder.append(Rung(top, torch_infer(deployed), "torch float"))
        add("onnxruntime fp32", REFERENCE, "torch float")
        add("onnx fp16-typed, plain", DEVICE, top, plain=True)
    name = made.serves["onnxruntime"]
    add(f"onnx {precision}, plain", name, top, plain=True)
    add(f"onnxruntime {precision}", name, top)
    ir = (made.files[IR[0]], made.files[IR[1]])
    openvino = open_backend("openvino", ir, precision=precision)
    ladder.append(Rung(f"openvino {precision}", openvino.infer, top, gated=True))
    return ladder


def torch_infer(module: nn.Module) -> Any:
    """Return a function from normalised float32 (1, 1, S, S) to probability."""
    import torch

    @torch.no_grad()
    def infer(image: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = torch.sigmoid(module(torch.from_numpy(image))).numpy()
        return output

    return infer
