"""A bundle as export writes it, through build and run, with ONNX Runtime in TensorRT's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_device import Phases, fake_machine

SIZE = 64


def test_an_exported_bundle_is_built_and_run(
    bundle: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files, geometry, golden frames and tolerances of a real export are what build expects."""
    from edge_bts.runtime import open_network
    from edge_bts.tensorrt.build import BuildRequest, build_engine, prepare

    reference = open_network(bundle, backend="onnxruntime", threads=1)
    machine = fake_machine("10.3.0", monkeypatch, tmp_path / "cache")
    machine.world.side = SIZE
    machine.world.network = lambda image: reference.backend.infer(image[np.newaxis, np.newaxis])
    built = build_engine(prepare(BuildRequest(bundle)), Phases(), print)
    assert built.sidecar.onnx.file == "model.onnx"
    assert (built.sidecar.onnx.ir, built.sidecar.onnx.opset) == (9, 19)
    assert built.sidecar.quantization is not None
    assert built.sidecar.quantization["int8_convolutions"] > 0
    frame = np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8)
    came = open_network(bundle, backend="tensorrt").predict(frame)
    np.testing.assert_array_equal(came.probability, reference.predict(frame).probability)
