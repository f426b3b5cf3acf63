"""Networks of somebody else: measured like ours if whole, refused in one sentence if not."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts.benchmarks.bench import bench
from edge_bts.benchmarks.foreign import Foreign, count_foreign, read_foreign
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.signing import Trust

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SHORT: dict[str, Any] = {
    **{"seconds": 0.05, "frames": 6, "warmup_seconds": 0.0, "height": 64, "width": 80},
    **{"roofline": False, "layers": False},
}


def peer(
    path: Path,
    shape: tuple[Any, ...] = ("batch", 3, 32, 32),
    operators: tuple[str, ...] = ("Sigmoid",),
    kind: int = 1,
    inputs: int = 1,
    domain: str = "",
) -> Path:
    """Write a 3x3 convolution to two channels, then the operators one after another."""
    from onnx import helper, numpy_helper

    dtype = {1: np.float32, 10: np.float16, 6: np.int32}[kind]
    weight = np.random.default_rng(0).normal(size=(2, shape[1], 3, 3)).astype(dtype)
    names = ["a", *(f"b{n}" for n in range(len(operators)))]
    nodes = [helper.make_node("Sum", [f"x{n}" for n in range(inputs)], ["s"])] if inputs > 1 else []
    nodes.append(
        helper.make_node("Conv", ["s" if inputs > 1 else "x0", "w"], ["a"], pads=[1, 1, 1, 1])
    )
    nodes += [
        helper.make_node(operator, [before], [after], domain=domain)
        for operator, before, after in zip(operators, names, names[1:], strict=False)
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "peer",
            [helper.make_tensor_value_info(f"x{n}", kind, shape) for n in range(inputs)],
            [helper.make_tensor_value_info(names[-1], kind, (shape[0], 2, *shape[2:]))],
            [numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "shape",
    [("batch", 3, 32, 32), (1, 1, 32, 32), (1, 3, "height", "width"), (None, 1, None, None)],
)
def test_both_backends_run_the_same_network(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    """Open sizes are closed alike, and the two libraries agree on what comes out."""
    path = peer(tmp_path / "peer.onnx", shape)
    content = read_foreign(path)
    opened = [Foreign(content, path.name, kind, 1, 32) for kind in ("onnxruntime", "openvino")]
    channels = shape[1]
    image = np.random.default_rng(1).normal(size=(1, channels, 32, 32)).astype(np.float32)
    first, second = (found._infer(image) for found in opened)
    np.testing.assert_allclose(first, second, atol=1e-5)
    for found in opened:
        assert found.imgsz == 32
        times = found.segment(np.full((60, 50), 99, np.uint8)).times_ms
        assert set(times) == {"preprocess", "inference", "postprocess"}


def test_half_floats_are_fed_as_such(tmp_path: Path) -> None:
    """A peer in FP16 gets FP16 and answers."""
    path = peer(tmp_path / "half.onnx", (1, 3, 32, 32), kind=10)
    found = Foreign(read_foreign(path), path.name, "onnxruntime", 1, 32)
    assert found.describe()["details"] == {"input": [1, 3, 32, 32], "dtype": "float16"}
    assert min(found.segment(np.zeros((40, 40), np.uint8)).times_ms.values()) >= 0


def test_its_cost_is_counted_in_another_process(tmp_path: Path) -> None:
    """3 x 3 x 3 weights for two channels on 32 x 32 pixels; None for what OpenVINO refuses."""
    cost = count_foreign(peer(tmp_path / "peer.onnx"), 32)
    assert cost is not None
    assert cost.macs == 3 * 3 * 3 * 2 * 32 * 32
    assert cost.layers[0].kind == "conv 3x3"
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    assert count_foreign(tmp_path / "broken.onnx", 32) is None


def test_a_peer_alone_is_a_benchmark(tmp_path: Path) -> None:
    """Its rows are of its own name, and the first is what ratios refer to."""
    path = peer(tmp_path / "unext.onnx")
    result = bench([path], trust=Trust(), settings=BenchSettings(**SHORT))
    assert [row.label for row in result.rows] == [
        *("unext, onnxruntime fp32", "unext, openvino fp32"),
    ]
    assert {row.role for row in result.rows} == {"peer"}
    assert result.reference == "unext, onnxruntime fp32"
    assert result.subjects[0].name == "unext.onnx"
    assert result.networks["unext.onnx"].macs > 0


def test_quantized_onnx_is_not_given_to_openvino(tmp_path: Path) -> None:
    """Its CPU plugin computes signed Q/DQ wrongly: that row is skipped and says so."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, (1, 1, 32, 32)) for name in "xy"]
    constants = {"s": np.float32(0.1), "z": np.int8(0)}
    graph = helper.make_graph(
        *(nodes, "q", ends[:1], ends[1:]),
        [numpy_helper.from_array(np.array(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "int8.onnx").write_bytes(model.SerializeToString())
    result = bench([tmp_path / "int8.onnx"], trust=Trust(), settings=BenchSettings(**SHORT))
    assert [row.label for row in result.rows] == ["int8, onnxruntime int8"]
    assert "computes ONNX with Q/DQ wrongly" in result.skipped[0].reason


def peer_ir(folder: Path, name: str = "peer", *, quantized: bool = False) -> Path:
    """Write the same as an OpenVINO IR, with a quantizer before the convolution if asked."""
    from edge_bts.telemetry import import_openvino

    openvino = import_openvino()
    model = openvino.Core().read_model(peer(folder / "source.onnx", (1, 3, 32, 32)))
    if quantized:
        convolution = next(n for n in model.get_ops() if n.get_type_name() == "Convolution")
        ends = [np.float32(end).reshape(1, 1, 1, 1) for end in (-4, 4)]
        image = convolution.input_value(0)
        codes = openvino.opset13.fake_quantize(image, *ends, *ends, 256)
        convolution.input(0).replace_source_output(codes.output(0))
    openvino.save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)
    return folder / f"{name}.xml"


def test_an_ir_is_a_peer_in_openvino(tmp_path: Path) -> None:
    """A float IR has its row and its cost, and computes what the ONNX does that it came from."""
    path = peer_ir(tmp_path)
    came = Foreign(read_foreign(path), path.name, "openvino", 1, 32)
    onnx_path = tmp_path / "source.onnx"
    expected = Foreign(read_foreign(onnx_path), "source.onnx", "onnxruntime", 1, 32)
    image = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(came._infer(image), expected._infer(image), atol=1e-5)
    with pytest.raises(InputError, match=r"peer\.xml is an OpenVINO IR"):
        Foreign(read_foreign(path), path.name, "onnxruntime", 1, 32)
    result = bench([path], trust=Trust(), settings=BenchSettings(**SHORT))
    assert [row.label for row in result.rows] == ["peer, openvino fp32"]
    assert result.networks["peer.xml"].macs == 3 * 3 * 3 * 2 * 32 * 32
    both = path.read_bytes() + path.with_suffix(".bin").read_bytes()
    assert result.subjects[0].sha256 == hashlib.sha256(both).hexdigest()
    assert result.rows[0].file_bytes == len(both)


def test_an_ir_with_quantizers_is_int8(tmp_path: Path) -> None:
    """The precision of its row is INT8, and OpenVINO runs it."""
    path = peer_ir(tmp_path, "peer-int8", quantized=True)
    result = bench([path], trust=Trust(), settings=BenchSettings(**SHORT | {"layers": True}))
    assert [row.label for row in result.rows] == ["peer-int8, openvino int8"]
    assert result.skipped == []
    assert result.rows[0].layers


@pytest.mark.parametrize("kind", ["no weights", "no graph", "cut weights"])
def test_a_bad_ir_is_one_sentence(tmp_path: Path, kind: str) -> None:
    """Without its weights, with half of them, or with another text: exit code 2."""
    path = peer_ir(tmp_path)
    weights = path.with_suffix(".bin")
    if kind == "no weights":
        weights.unlink()
    elif kind == "no graph":
        path.write_text("<net><layers/></net>")
    else:
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    command = [sys.executable, "-m", "edge_bts.cli", "bench", str(path), "--quick"]
    command += ["--set", "bench.roofline=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("edge-bts: Expected ")
    assert len(done.stderr.strip().splitlines()) == 1


def hostile(folder: Path, kind: str) -> Path:
    """Write a file of that kind of badness."""
    path = folder / "bad.onnx"
    if kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(peer(path).read_bytes()[:-40])
    elif kind == "domain":
        peer(path, operators=("Gelu",), domain="com.microsoft")
    elif kind == "external":
        model = onnx.load(peer(path))
        (tensor,) = model.graph.initializer
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../etc/passwd"
        path.write_bytes(model.SerializeToString())
    elif kind == "two inputs":
        peer(path, inputs=2)
    elif kind == "integers":
        peer(path, (1, 3, 32, 32), operators=(), kind=6)
    elif kind == "five channels":
        peer(path, (1, 5, 32, 32))
    elif kind == "no such operator":
        peer(path, operators=("Frobnicate",))
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *("random", "empty", "cut", "domain", "external", "two inputs", "integers"),
        *("five channels", "no such operator", "absent"),
    ],
)
def test_bad_onnx_is_one_sentence(tmp_path: Path, kind: str) -> None:
    """Whatever is wrong with it: exit code 2, no traceback, nothing written."""
    command = [sys.executable, "-m", "edge_bts.cli", "bench", str(hostile(tmp_path, kind))]
    command += ["--quick", "-o", str(tmp_path / "out.json"), "--set", "bench.roofline=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("edge-bts: Expected ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out.json").exists()


def test_a_missing_backend_is_an_environment_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is installed that runs a row, the error says what to install."""
    from edge_bts.benchmarks import rows

    monkeypatch.setattr(rows, "is_here", lambda _package: False)
    with pytest.raises(EnvironmentMismatchError, match="onnxruntime is not installed"):
        bench([peer(tmp_path / "peer.onnx")], trust=Trust(), settings=BenchSettings(**SHORT))


def test_one_bad_peer_does_not_wait_for_the_others(tmp_path: Path) -> None:
    """A file that cannot be measured is refused before minutes are spent on the good ones."""
    good, bad = peer(tmp_path / "good.onnx"), hostile(tmp_path, "random")
    with pytest.raises(InputError, match=r"bad\.onnx"):
        bench([good, bad], trust=Trust(), settings=BenchSettings(**SHORT))


def test_only_the_backends_that_are_asked_for(tmp_path: Path) -> None:
    """Rows of others are neither measured nor said to be missing; none at all is an error."""
    path = peer(tmp_path / "peer.onnx")
    only = BenchSettings(**SHORT, backends=["openvino"])
    result = bench([path], trust=Trust(), settings=only)
    assert [row.label for row in result.rows] == ["peer, openvino fp32"]
    assert result.skipped == []
    none = BenchSettings(**SHORT, backends=["native"])
    with pytest.raises(InputError, match="a row in native"):
        bench([path], trust=Trust(), settings=none)
