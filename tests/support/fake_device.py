"""A device whose tensorrt and cuda-python are fakes, made from records of the real bindings."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeRuntime, Gpu
from fake_tensorrt import World, make_fake

API = Path(__file__).resolve().parent.parent / "tensorrt" / "api"
SIDE = 32
# TensorRT with the CUDA bindings of the JetPack, or desktop, that ships it.
VERSIONS = {
    "10.3.0": "12.9.10",
    "10.13.3.9.post1": "13.4.4",
    "11.4.0.106": "13.4.4",
}


def sigmoid(image: np.ndarray) -> np.ndarray:
    """What the network of the bundle computes."""
    return (1 / (1 + np.exp(-image))).astype(np.float32)


@dataclass
class Machine:
    """A device with fakes: what its packages do is changed through ``world`` and ``gpu``."""

    trt: Any
    world: World
    gpu: Gpu
    runtime: FakeRuntime
    cache: Path


def fake_machine(version: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Machine:
    """Put fakes of the version where imports find them, and the engine cache in ``cache``."""
    gpu = Gpu()
    cuda_record = json.loads((API / f"cuda-{VERSIONS[version]}.json").read_text())
    runtime = FakeRuntime(cuda_record, gpu)
    world = World(runtime, SIDE, sigmoid)
    trt = make_fake(json.loads((API / f"tensorrt-{version}.json").read_text()), world)
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    for name, module in {
        "tensorrt": trt,
        "cuda": types.ModuleType("cuda"),
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": runtime,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("EDGE_BTS_CACHE", str(cache))
    return Machine(trt, world, gpu, runtime, cache)


def onnx_sigmoid() -> bytes:
    """A real ONNX file that computes :func:`sigmoid`."""
    onnx = pytest.importorskip("onnx")
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, SIDE, SIDE])
        for name in ("image", "probability")
    ]
    node = onnx.helper.make_node("Sigmoid", ["image"], ["probability"])
    graph = onnx.helper.make_graph([node], "tiny", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 19)
    content: bytes = onnx.helper.make_model(
        graph, opset_imports=[opset], ir_version=9
    ).SerializeToString()
    return content


class Phases:
    """A report that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self.told.append(("start", phase, parent, steps))

    def step(self, phase: str, step: int) -> None:
        self.told.append(("step", phase, step))

    def finish(self, phase: str) -> None:
        self.told.append(("finish", phase))
