"""A bundle, and the three versions of TensorRT as fakes made from records of the real bindings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_device import SIDE, VERSIONS, Machine, Phases, fake_machine, onnx_sigmoid, sigmoid

from edge_bts.bundle import Bundle

INT8_SUMMARY = {"int8_convolutions": 3, "layers": {"head": "fp16"}}


@pytest.fixture(params=list(VERSIONS))
def machine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Machine:
    """Each version in turn."""
    return fake_machine(request.param, monkeypatch, tmp_path / "cache")


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """The oldest version alone, where versions make no difference."""
    return fake_machine("10.3.0", monkeypatch, tmp_path / "cache")


@pytest.fixture
def make_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bundle]:
    """Return a function that writes a bundle of the tiny network, signed by a trusted key."""
    from edge_bts import geometry
    from edge_bts.bundle import write_bundle
    from edge_bts.export.golden import Golden, pack_golden
    from edge_bts.signing import TRUSTED_KEYS_VARIABLE, load_signing_key, new_key

    secret, public = new_key(tmp_path / "maker")
    monkeypatch.setenv(TRUSTED_KEYS_VARIABLE, str(public))

    def make(precision: str = "int8", name: str = "tiny") -> Bundle:
        frames = np.random.default_rng(3).integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
        golden = pack_golden(
            Golden(frames, np.zeros_like(frames)),
            sigmoid,
            [sigmoid],
            lambda frame: geometry.normalise(frame, 0.5, 0.25),
            0.5,
        )
        models = {"reference": "model.fp32.onnx"}
        files: dict[str, bytes | Path] = {
            "model.fp32.onnx": onnx_sigmoid(),
            "golden.safetensors": golden,
            "report.json": json.dumps({"quantization": INT8_SUMMARY}).encode(),
        }
        if precision != "fp32":
            models["tensorrt"] = "model.onnx"
            files["model.onnx"] = onnx_sigmoid()
        fields = {
            "name": name,
            "geometry": {"imgsz": SIDE},
            "normalisation": {"mean": 0.5, "std": 0.25},
            "threshold": 0.5,
            "precision": precision,
            "models": models,
        }
        key = load_signing_key(secret)
        return write_bundle(tmp_path / f"{name}.ebts", fields, files, key=key)

    return make


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle]) -> Bundle:
    """An INT8 bundle."""
    return make_bundle()


@pytest.fixture
def build(bundle: Bundle) -> Callable[..., Any]:
    """Return a function that builds the INT8 bundle; what was said stands in ``build.said``."""
    from edge_bts.tensorrt.build import BuildRequest, build_engine, prepare

    said: list[str] = []

    def run(report: Any = None, **options: Any) -> Any:
        request = BuildRequest(**{"bundle": bundle, **options})
        return build_engine(prepare(request), report or Phases(), said.append)

    run.said = said  # type: ignore[attr-defined]
    return run
