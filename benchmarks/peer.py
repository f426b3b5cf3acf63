"""Somebody else's PyTorch network as files to measure: ``python -m edge_bts.benchmarks.peer``.

``MODULE:CALLABLE '{"argument": value}' -o FOLDER/NAME`` imports their module (its folder in
``PYTHONPATH``), builds the network with random weights and writes ``NAME.onnx`` and
``NAME-int8.xml`` with its ``.bin``, which ``edge-bts bench`` sets beside a student. ``--then``
names methods of the network to call first, such as the one that folds it for deployment.
"""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["write_peer"]

_FRAMES = 32  # for the ranges of activations


def write_peer(network: nn.Module, path: Path, *, channels: int = 3, imgsz: int = 256) -> str:
    """Write a network of logits as ONNX and as INT8 IR, and compare both with it.

    Args:
        network: Maps (1, channels, imgsz, imgsz) to one map of logits, or a list that begins so.
        path: Folder and name, without a suffix.
        channels: Of the input.
        imgsz: Side of the input, pixels.

    Returns:
        Parameters, MACs and the largest differences of probability, as a sentence.
    """
    import nncf
    import torch

    from edge_bts.benchmarks.complexity import of_openvino
    from edge_bts.runtime._openvino import compile_model
    from edge_bts.telemetry import import_openvino

    class Probability(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> Tensor:
            answer = self.network(image)
            return torch.sigmoid(answer[0] if isinstance(answer, list | tuple) else answer)

    whole = Probability().eval()
    frames = list(_frames(channels, imgsz))
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.with_name(f"{path.name}.onnx")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        expected = whole(torch.from_numpy(frames[0])).numpy()
        torch.onnx.export(
            whole,
            (torch.from_numpy(frames[0]),),
            str(target),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["probability"],
        )
    openvino = import_openvino()
    model = openvino.Core().read_model(target)
    cost = of_openvino(model)
    quantized = nncf.quantize(model, nncf.Dataset(frames), subset_size=len(frames))
    openvino.save_model(
        quantized, str(path.with_name(f"{path.name}-int8.xml")), compress_to_fp16=False
    )
    away = [
        float(np.abs(compile_model(form, 1)([frames[0]])[0] - expected).max())
        for form in (model, quantized)
    ]
    parameters = sum(p.numel() for p in network.parameters())
    return (
        f"{path.name}: {parameters:,} parameters, {cost.macs / 1e9:.3f} GMACs; "
        f"from torch differ ONNX {away[0]:.1e}, INT8 {away[1]:.1e}"
    )


def _frames(channels: int, imgsz: int) -> Iterator[NDArray[np.float32]]:
    from edge_bts import geometry
    from edge_bts.data.phantom import simulate

    for seed in range(_FRAMES):
        gray = simulate(seed, "benign", height=480, width=576).image
        square = geometry.normalise(geometry.letterbox(gray, imgsz), 0.25, 0.2)
        yield np.ascontiguousarray(np.broadcast_to(square, (1, channels, imgsz, imgsz)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, write, and print what was written."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m edge_bts.benchmarks.peer")
    parser.add_argument("network", metavar="MODULE:CALLABLE")
    parser.add_argument("arguments", nargs="?", default="{}", type=json.loads, metavar="JSON")
    parser.add_argument("--then", action="append", default=[], metavar="METHOD", help="repeatable")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER/NAME")
    given = parser.parse_args(arguments)
    module, _, name = given.network.partition(":")
    torch.manual_seed(0)
    network: Any = getattr(importlib.import_module(module), name)(**given.arguments).eval()
    for method in given.then:
        getattr(network, method)()
    print(write_peer(network, given.output, channels=given.channels))


if __name__ == "__main__":
    main()
