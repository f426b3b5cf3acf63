"""A tiny network in every form that a backend opens."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libedge_bts import MOST, OK, Library
from native_build import compile_all, configure

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.runtime.native import import_runtime

SIDE = 32


@pytest.fixture(scope="session")
def extension() -> None:
    """Skips where the C++ library is not built into Python; a failure where CI demands it."""
    try:
        import_runtime()
    except EnvironmentMismatchError as error:
        if os.environ.get("EDGE_BTS_REQUIRE_NATIVE"):
            raise
        pytest.skip(str(error))


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


@pytest.fixture(scope="session")
def native_build(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the one build of libedge_bts and its tests, with OpenVINO."""
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("libedge_bts")
    configure(
        repository,
        folder,
        "-DCMAKE_BUILD_TYPE=Release",
        "-DEDGE_BTS_BUILD_RUNTIME=ON",
        "-DEDGE_BTS_BUILD_TESTS=ON",
        "-DEDGE_BTS_WERROR=ON",
    )
    compile_all(folder)
    return folder


@pytest.fixture(scope="session")
def library(native_build: Path) -> Library:
    """libedge_bts, loaded."""
    return Library(native_build / "runtime" / "libedge_bts.so")


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key pair ``maker.key`` and ``maker.pub``; its stem."""
    from edge_bts.signing import new_key

    stem = tmp_path_factory.mktemp("keys") / "maker"
    new_key(stem)
    return stem


@pytest.fixture(scope="session")
def blob_bundle(maker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle with golden frames, whose network marks bright patches."""
    openvino = pytest.importorskip("openvino")
    from edge_bts import geometry
    from edge_bts.bundle import write_bundle
    from edge_bts.export.golden import golden_phantoms, pack_golden
    from edge_bts.runtime import open_backend
    from edge_bts.signing import load_signing_key

    side, mean, std = 48, 0.25, 0.2
    ops = openvino.opset13
    image = ops.parameter([1, 1, side, side], np.float32, name="image")
    blurred = ops.avg_pool(image, [1, 1], [1, 1], [1, 1], [3, 3], True)
    logit = ops.multiply(ops.subtract(blurred, np.float32(0.7)), np.float32(2.5))
    probability = ops.sigmoid(logit)
    image.output(0).set_names({"image"})
    probability.output(0).set_names({"probability"})
    folder = tmp_path_factory.mktemp("blob")
    openvino.save_model(
        openvino.Model([probability], [image], "blob"), folder / "m.xml", compress_to_fp16=False
    )
    backend = open_backend("openvino", folder / "m.xml", threads=1)
    golden = pack_golden(
        golden_phantoms(2, 0, side),
        backend.infer,
        [backend.infer],
        lambda frame: geometry.normalise(frame, mean, std),
        0.5,
    )
    fields = {
        "name": "blob",
        "precision": "fp32",
        "geometry": {"imgsz": side},
        "normalisation": {"mean": mean, "std": std},
        "threshold": 0.4,
        "presence_threshold": 0.8,
        "models": {"openvino": "model.openvino.xml"},
    }
    files = {
        "model.openvino.xml": (folder / "m.xml").read_bytes(),
        "model.openvino.bin": (folder / "m.bin").read_bytes(),
        "golden.safetensors": golden,
    }
    key = load_signing_key(maker.with_suffix(".key"))
    return write_bundle(folder / "blob.ebts", fields, files, key=key).path


@pytest.fixture(scope="session")
def segmenter(blob_bundle: Path, maker: Path) -> Any:
    """Python's segmenter of the same bundle."""
    from edge_bts.runtime import open_bundle
    from edge_bts.signing import Trust, load_public_key

    trust = Trust((load_public_key(maker.with_suffix(".pub")).hex(),))
    return open_bundle(blob_bundle, trust=trust, threads=1)


@pytest.fixture(scope="session")
def trusting(maker: Path) -> dict[str, Any]:
    """Options that trust the maker."""
    keys = (c.c_char_p * 1)(str(maker.with_suffix(".pub")).encode())
    return {"key_files": keys, "key_file_count": 1, "threads": 1}


@pytest.fixture(scope="session")
def model(library: Library, blob_bundle: Path, trusting: dict[str, Any]) -> Iterator[Any]:
    """The bundle, opened."""
    status, model = library.open(blob_bundle, **trusting)
    assert status == OK, library.error()
    yield model
    library.model_close(model)


@pytest.fixture(scope="session")
def session(library: Library, model: Any) -> Iterator[Any]:
    """A session for frames up to 200 x 200 that lists all components."""
    status, session = library.session(model, max_width=MOST, max_height=MOST, max_components=65536)
    assert status == OK, library.error()
    yield session
    library.session_destroy(session)
