"""A tiny network in every form that a backend opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SIDE = 32


@pytest.fixture(scope="session")
def tiny_module() -> Any:
    """A convolution net that returns logits for (1, 1, S, S)."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 1, 3, padding=1),
    )
    return layers.eval()


@pytest.fixture(scope="session")
def tiny_onnx(tiny_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The net with its sigmoid as ONNX."""
    import torch

    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    torch.onnx.export(
        torch.nn.Sequential(tiny_module, torch.nn.Sigmoid()).eval(),
        (torch.zeros(1, 1, SIDE, SIDE),),
        path,
        dynamo=False,
        opset_version=19,
        input_names=["image"],
        output_names=["probability"],
    )
    return path


@pytest.fixture(scope="session")
def tiny_ir(tiny_onnx: Path) -> Path:
    """The net as an OpenVINO IR, made from the ONNX."""
    openvino = pytest.importorskip("openvino")
    path = tiny_onnx.with_suffix(".xml")
    openvino.save_model(openvino.Core().read_model(tiny_onnx), path, compress_to_fp16=False)
    return path
