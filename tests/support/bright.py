"""A bundle whose masks can be told without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_bts.bundle import write_bundle

_SIDE = 32


def bright_bundle(folder: Path) -> Path:
    """Write a network of one convolution that finds what is bright: probability = σ(8 · input)."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("openvino")
    layer = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(layer.weight, 8.0)
    torch.nn.init.zeros_(layer.bias)
    torch.onnx.export(
        torch.nn.Sequential(layer, torch.nn.Sigmoid()).eval(),
        (torch.zeros(1, 1, _SIDE, _SIDE),),
        folder / "model.onnx",
        dynamo=False,
        input_names=["image"],
        output_names=["probability"],
    )
    graph = (folder / "model.onnx").read_bytes()
    path = folder / "bright.ebts"
    write_bundle(
        path,
        {
            "name": "bright",
            "precision": "fp32",
            "geometry": {"imgsz": _SIDE},
            "normalisation": {"mean": 0.5, "std": 0.25},
            "threshold": 0.5,
            "models": {"onnxruntime": "model.onnx", "reference": "model.fp32.onnx"},
        },
        {"model.onnx": graph, "model.fp32.onnx": graph},
    )
    return path
