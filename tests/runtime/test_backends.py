from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime import Backend, open_backend

SIDE = 32


@pytest.fixture
def image() -> np.ndarray:
    """A normalised image."""
    return np.random.default_rng(1).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)


def test_backends_agree(tiny_module: Any, tiny_onnx: Path, tiny_ir: Path, image: Any) -> None:
    """Every backend returns the probability that the module itself computes."""
    import torch

    pytest.importorskip("onnxruntime")
    expected = tiny_module(torch.from_numpy(image)).sigmoid().detach().numpy()
    ir = (tiny_ir.read_bytes(), tiny_ir.with_suffix(".bin").read_bytes())
    backends = [
        open_backend("torch", tiny_module, threads=1),
        open_backend("onnxruntime", tiny_onnx, threads=1),
        open_backend("onnxruntime", tiny_onnx.read_bytes(), threads=1),
        open_backend("openvino", tiny_ir, threads=1),
        open_backend("openvino", ir, threads=1),
        open_backend("openvino", tiny_onnx.read_bytes(), threads=1),
    ]
    for backend in backends:
        assert isinstance(backend, Backend)
        output = backend.infer(image)
        assert output.shape == (1, 1, SIDE, SIDE)
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected, atol=1e-6)
        assert backend.threads == 1
        assert backend.version[0].isdigit()


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime", "torch"])
def test_results_are_not_overwritten(
    kind: Any, tiny_module: Any, tiny_onnx: Path, image: Any
) -> None:
    """A second inference leaves the array of the first as it was."""
    pytest.importorskip(kind)
    backend = open_backend(kind, tiny_module if kind == "torch" else tiny_onnx, threads=1)
    first = backend.infer(image)
    kept = first.copy()
    backend.infer(-image)
    np.testing.assert_array_equal(first, kept)


def test_openvino_computes_in_float32(tiny_ir: Path) -> None:
    """A float network is not run in bfloat16 on CPUs that have it."""
    backend = open_backend("openvino", tiny_ir, threads=1)
    assert set(backend.describe()["convolutions"]) == {"f32"}


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 1, SIDE, SIDE)),
        np.zeros((1, 1, SIDE, SIDE + 1), np.float32),
        np.zeros((1, 1, 2 * SIDE, 2 * SIDE), np.float32),
        np.zeros((SIDE, SIDE), np.float32),
    ],
)
def test_other_images_are_refused(tiny_ir: Path, wrong: Any) -> None:
    """An image of another dtype or shape is an InputError that says both."""
    backend = open_backend("openvino", tiny_ir, threads=1)
    with pytest.raises(InputError, match=r"float32 \(1, 1, 32, 32\), but got"):
        backend.infer(wrong)


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
def test_damaged_files_are_refused(kind: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    """A truncated or missing file is one sentence, not the library's exception."""
    pytest.importorskip(kind)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(tiny_onnx.read_bytes()[:200])
    with pytest.raises(InputError, match="refused"):
        open_backend(kind, damaged)
    with pytest.raises(InputError, match="No such file"):
        open_backend(kind, tmp_path / "absent.onnx")


def test_openvino_refuses_quantized_onnx(tmp_path: Path) -> None:
    """The Q/DQ ONNX, which OpenVINO computes wrongly, never reaches it."""
    path = tmp_path / "qdq.onnx"
    path.write_bytes(b"\x08\x09 QuantizeLinear")
    with pytest.raises(InputError, match="QuantizeLinear"):
        open_backend("openvino", path)


def test_other_signatures_are_refused(tmp_path: Path) -> None:
    """A graph with other names or a batch is not taken for one of ours."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "other.onnx"
    torch.onnx.export(
        torch.nn.Conv2d(1, 1, 1), (torch.zeros(2, 1, 8, 8),), path, dynamo=False,
        input_names=["image"], output_names=["probability"],
    )  # fmt: skip
    for kind in ("onnxruntime", "openvino"):
        with pytest.raises(InputError, match="Expected a graph from image"):
            open_backend(kind, path)  # type: ignore[arg-type]


def test_options_are_checked(tiny_ir: Path) -> None:
    """Unknown backends, no threads and what is no module are named."""
    with pytest.raises(InputError, match="among openvino"):
        open_backend("tensorflow", tiny_ir)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1 thread"):
        open_backend("openvino", tiny_ir, threads=0)
    pytest.importorskip("torch")
    with pytest.raises(InputError, match="Expected a torch module"):
        open_backend("torch", tiny_ir)


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime", "torch"])
def test_missing_library_is_an_environment_error(
    kind: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library is absent the error says what to install, with exit code 3."""
    monkeypatch.setitem(__import__("sys").modules, kind, None)
    with pytest.raises(EnvironmentMismatchError, match="pip install"):
        open_backend(kind, tiny_onnx)
