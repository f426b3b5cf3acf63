"""The comparison of frame paths: both find the same lesion, and quotients are of the same round."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_bts.benchmarks import frame_path
from edge_bts.bundle import open_bundle_folder
from edge_bts.data.phantom import simulate_cine
from edge_bts.errors import EdgeBtsError
from edge_bts.runtime import open_bundle
from edge_bts.signing import find_trust

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

MODELS = Path(__file__).parents[2] / "models"
BUNDLE, KEY = MODELS / "busi-nano.ebts", MODELS / "release.pub"
STAGES = ("preprocess", "inference", "postprocess", "frame")


def program(path: Path, body: str) -> Path:
    """Write a program that stands for frame_times."""
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return path


def test_quotients_are_of_the_times_of_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library of 1, 4 and 1 ms beside ways of 3, 6 and 3: twice a frame, thrice around it."""
    said = {f"{s}_ms": {"p50": t, "p99": 2 * t} for s, t in zip(STAGES, (1, 4, 1, 6), strict=True)}
    said |= {"share": 4 / 6, "backend": "b", "manifest_sha256": "0"}
    said |= {"peak_rss_mb": 80.0, "rss_at_start_mb": 9.0}
    fake = program(tmp_path / "frame_times", f"print('''{json.dumps(said)}''')")
    theirs = {s: {"p50": t, "p99": 3 * t} for s, t in zip(STAGES, (3, 6, 3, 12), strict=True)}
    monkeypatch.setattr(frame_path, "_time", lambda *_: theirs)
    found = frame_path.measure(fake, BUNDLE, KEY, rounds=2, frames=10)
    for quotients in found["times_the_library"].values():
        assert quotients["frame_p50"] == {"median": 2, "lowest": 2, "highest": 2}
        assert quotients["frame_p99"]["median"] == 3
        assert quotients["around_p50"]["median"] == 3
    assert found["share_of_network"] == 4 / 6
    assert found["peak_rss_mb"] == 80


def test_the_ways_in_python_do_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between OpenCV's resizes lies the image that our own geometry makes, to a few gray levels."""
    bundle = open_bundle_folder(BUNDLE, find_trust([KEY]))
    frame = next(iter(simulate_cine(0, "malignant", height=480, width=640, spacing_mm=None))).image
    seen: list[np.ndarray] = []
    for infer in (frame_path._openvino(bundle), frame_path._onnxruntime(bundle)):

        def look(image: np.ndarray, infer: frame_path.Infer = infer) -> np.ndarray:
            seen.append(image)
            return infer(image)

        times = frame_path._time(bundle, look, frame, 1)
        assert times["frame"]["p50"] > times["inference"]["p50"] > 0
    ours: list[np.ndarray] = []
    segmenter = open_bundle(BUNDLE, trust=find_trust([KEY]))
    monkeypatch.setattr(
        type(segmenter.backend), "infer", lambda _, image: ours.append(image) or image
    )
    segmenter.predict(frame)
    for image in seen:
        assert np.abs(image - ours[0]).mean() < 1 / 255 / bundle.manifest.std


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    """What frame_times complains of is in the sentence."""
    fake = program(tmp_path / "frame_times", "import sys; sys.exit('no such key')")
    with pytest.raises(EdgeBtsError, match="no such key"):
        frame_path.measure(fake, BUNDLE, KEY, rounds=1, frames=1)
