"""Networks by name, their ONNX and their cost: what rows are made from."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bts.benchmarks.complexity import Complexity, of_openvino
from edge_bts.bundle import Bundle
from edge_bts.errors import InputError
from edge_bts.runtime.opening import read_model
from edge_bts.telemetry import import_openvino

if TYPE_CHECKING:
    from torch import nn

    from edge_bts.models import ModelSpec

__all__ = [
    "count_bundle",
    "count_onnx",
    "export_onnx",
    "is_here",
    "parse_manifest",
    "parse_network",
]


def is_here(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(package) is not None


def count_bundle(bundle: Bundle) -> Complexity | None:
    """Count the float graph of a bundle; None without one, or without OpenVINO."""
    name = bundle.manifest.models.get("reference")
    if name is None or not is_here("openvino"):
        return None
    return of_openvino(import_openvino().Core().read_model(read_model(bundle, name)))


def count_onnx(path: Path) -> Complexity | None:
    """Count an ONNX that was exported here; None without OpenVINO."""
    if not is_here("openvino"):
        return None
    return of_openvino(import_openvino().Core().read_model(path))


def parse_network(text: str) -> ModelSpec:
    """Read ``name:key=value,...``, as a user writes it.

    Raises:
        InputError: It is not of that form.
    """
    from edge_bts.models import ModelSpec

    name, _, rest = text.partition(":")
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    if any(not key or not value for key, value in options.items()):
        raise InputError(
            "Expected a teacher as a checkpoint, a bundle or name:key=value,... such as "
            f"attention_unet:width=64, but got {text!r}."
        )
    return ModelSpec(name=name, options={k: _number(v) for k, v in options.items()})


def parse_manifest(text: str) -> ModelSpec | None:
    """Read what ``str(ModelSpec)`` wrote into a manifest; None for anything else, or no torch."""
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if match is None or not is_here("torch"):
        return None
    from edge_bts.models import model_names

    if match[1] not in model_names():
        return None
    return parse_network(f"{match[1]}:{match[2].replace(' ', '')}")


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def export_onnx(module: nn.Module, imgsz: int, path: Path) -> None:
    """Write a module of logits, with its sigmoid, as a float ONNX of batch 1."""
    import warnings

    import torch

    # The exporter puts its argument, and with it the module inside, back into the mode it had.
    whole = torch.nn.Sequential(module, torch.nn.Sigmoid()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            whole,
            (torch.zeros(1, 1, imgsz, imgsz),),
            str(path),
            dynamo=False,
            opset_version=19,
            input_names=["image"],
            output_names=["probability"],
        )
