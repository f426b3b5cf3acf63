"""A real engine, where TensorRT and a GPU are: built, checked, run, with and without graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_device import Phases

from edge_bts import geometry
from edge_bts.bundle import Bundle, write_bundle
from edge_bts.errors import EnvironmentMismatchError

SIDE = 64


def int8_network() -> Any:
    """Conv, Q/DQ, Conv in INT8, 1x1 Conv, Sigmoid: by the rules of the linter."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {
        "w1": rng.normal(0, 0.3, (16, 1, 3, 3)).astype(np.float32),
        "w2": rng.integers(-127, 128, (16, 16, 3, 3)).astype(np.int8),
        "w3": rng.normal(0, 0.3, (1, 16, 1, 1)).astype(np.float32),
        "s": np.array(0.02, np.float32),
        "z": np.array(0, np.int8),
        "s2": np.linspace(5e-4, 1e-3, 16).astype(np.float32),
        "z2": np.zeros(16, np.int8),
    }
    node, pads = onnx.helper.make_node, [1, 1, 1, 1]
    nodes = [
        node("Conv", ["image", "w1"], ["a"], "conv1", pads=pads),
        node("Relu", ["a"], ["b"], "relu"),
        node("QuantizeLinear", ["b", "s", "z"], ["q"], "quantize"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantize"),
        node("DequantizeLinear", ["w2", "s2", "z2"], ["dw"], "weights", axis=0),
        node("Conv", ["d", "dw"], ["c"], "conv2", pads=pads),
        node("Conv", ["c", "w3"], ["logits"], "head"),
        node("Sigmoid", ["logits"], ["probability"], "sigmoid"),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, SIDE, SIDE])
        for name in ("image", "probability")
    ]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = onnx.helper.make_graph(nodes, "int8", ends[:1], ends[1:], constants)
    opset = onnx.helper.make_opsetid("", 19)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)


@pytest.fixture
def real_bundle(tmp_path: Path) -> Bundle:
    """An INT8 bundle whose answers ONNX Runtime gave."""
    pytest.importorskip("onnxruntime")
    from edge_bts.export.golden import Golden, pack_golden
    from edge_bts.runtime import open_backend

    content = int8_network().SerializeToString()
    infer = open_backend("onnxruntime", content, threads=1).infer
    frames = np.random.default_rng(3).integers(0, 256, (2, SIDE, SIDE)).astype(np.uint8)
    golden = pack_golden(
        Golden(frames, np.zeros_like(frames)),
        infer,
        [infer],
        lambda frame: geometry.normalise(frame, 0.5, 0.25),
        0.5,
    )
    fields = {
        "name": "real",
        "geometry": {"imgsz": SIDE},
        "normalisation": {"mean": 0.5, "std": 0.25},
        "threshold": 0.5,
        "precision": "int8",
        "models": {"onnxruntime": "model.onnx", "tensorrt": "model.onnx"},
    }
    files: dict[str, bytes | Path] = {"model.onnx": content, "golden.safetensors": golden}
    return write_bundle(tmp_path / "real.ebts", fields, files)


def test_the_network_keeps_tensorrts_rules() -> None:
    """What the tests below build breaks no rule that the linter calls an error."""
    from edge_bts.export.lint import lint

    broken = [finding for finding in lint(int8_network()) if finding.rule.level == "error"]
    assert broken == []


@pytest.mark.tensorrt
@pytest.mark.gpu
@pytest.mark.parametrize("graph", [False, True])
def test_a_real_engine_is_built_and_runs(real_bundle: Bundle, tmp_path: Path, graph: bool) -> None:
    """Built here by TensorRT, opened from the cache, it agrees with ONNX Runtime."""
    from edge_bts.runtime import open_backend, open_network
    from edge_bts.tensorrt.build import BuildRequest, build_engine, prepare

    request = BuildRequest(real_bundle, cache=tmp_path / "cache", cuda_graph=graph)
    try:
        plan = prepare(request)
    except EnvironmentMismatchError as error:
        pytest.skip(str(error))
    built = build_engine(plan, Phases(), print)
    assert built.fresh
    assert not build_engine(prepare(request), Phases(), print).fresh
    print(built.sidecar.model_dump_json(indent=1))
    segmenter = open_network(real_bundle, backend="tensorrt", cache=tmp_path / "cache")
    image = np.random.default_rng(5).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)
    expected = open_backend("onnxruntime", real_bundle.read("model.onnx"), threads=1).infer(image)
    for _ in range(3):
        assert np.abs(segmenter.backend.infer(image) - expected).mean() < 0.01
    assert segmenter.backend.describe()["cuda_graph"] is graph
