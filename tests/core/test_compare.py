"""Comparing bundles: what differs is named with both values, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_bts.bundle import Bundle, write_bundle
from edge_bts.cli import app
from edge_bts.compare import compare_bundles
from edge_bts.errors import IntegrityError

onnx = pytest.importorskip("onnx")

RNG = np.random.default_rng(0)
WEIGHTS = {name: RNG.normal(size=shape) for name, shape in (("a", (4, 3)), ("b", (5,)))}


def graph(weights: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """A graph that holds the weights and does nothing with them."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 32, 32])
        for name in ("image", "probability")
    ]
    made = helper.make_graph(
        [helper.make_node("Sigmoid", ["image"], ["probability"])],
        "g",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)])
    content: bytes = model.SerializeToString()
    return content


def make(path: Path, weights: dict[str, Any] = WEIGHTS, dice: float = 0.8, **fields: Any) -> Bundle:
    """Write a bundle."""
    report = {
        "operating_points": {"tuned": {"dice": dice, "threshold": 0.5}},
        "parity": {"rows": []},
        "quantization": {"int8_convolutions": 4, "layers": {}},
    }
    manifest = {
        "name": path.stem,
        "geometry": {"imgsz": 32},
        "normalisation": {"mean": 0.25, "std": 0.2},
        "threshold": 0.5,
        "precision": "int8",
        "models": {"reference": "model.fp32.onnx"},
        "gates": {"dice_mean_drop": {"value": 0.001, "at_most": 0.005, "n": 65}},
        "provenance": {"dataset": "discs", "settings": {"export": {"qat": {"epochs": 3}}}},
    }
    files: dict[str, bytes | Path] = {
        "model.fp32.onnx": graph(weights),
        "report.json": json.dumps(report).encode(),
    }
    return write_bundle(path, {**manifest, **fields}, files)


def test_a_bundle_is_the_same_as_its_copy(tmp_path: Path) -> None:
    """Two writes of one content are the same to the bit, and nothing is listed."""
    first, second = (make(tmp_path / folder / "x.ebts") for folder in "ab")
    found = compare_bundles(first, second)
    assert found.same
    lists = (found.model, found.data, found.settings, found.figures, found.gates, found.files)
    assert not any(lists)
    assert found.weights is not None
    assert (found.weights.tensors, found.weights.equal, found.weights.relative) == (2, 2, 0)
    assert found.notes == []


def test_every_kind_of_change_is_named_with_both_values(tmp_path: Path) -> None:
    """Threshold, data, settings, a figure and a gate appear, each where it belongs, alone."""
    first = make(tmp_path / "x.ebts")
    second = make(
        tmp_path / "again" / "x.ebts",
        dice=0.7,
        threshold=0.6,
        gates={"dice_mean_drop": {"value": 0.004, "at_most": 0.005, "n": 65}},
        provenance={"dataset": "other", "settings": {"export": {"qat": {"epochs": 0}}}},
    )
    found = compare_bundles(first, second)
    assert not found.same
    assert [(c.what, c.before, c.after) for c in found.model] == [("threshold", 0.5, 0.6)]
    assert [(c.what, c.before, c.after) for c in found.data] == [("data set", "discs", "other")]
    assert [(c.what, c.before, c.after) for c in found.settings] == [("export.qat.epochs", 3, 0)]
    assert [(c.what, c.before, c.after) for c in found.figures] == [
        ("operating point.tuned.dice", 0.8, 0.7)
    ]
    assert [c.what for c in found.gates] == ["dice_mean_drop"]
    assert found.gates[0].before == "0.0010 (at most 0.005, n=65)"
    assert [c.what for c in found.files] == ["report.json"]


def test_weights_are_compared_tensor_by_tensor(tmp_path: Path) -> None:
    """The relative change is that of the norms, over all and of each tensor that moved."""
    moved = {**WEIGHTS, "b": WEIGHTS["b"] * 1.1}
    found = compare_bundles(make(tmp_path / "x.ebts"), make(tmp_path / "y.ebts", moved)).weights
    assert found is not None
    assert (found.tensors, found.equal) == (2, 1)
    assert found.largest == {"b": pytest.approx(0.1, rel=1e-5)}
    both = np.concatenate([value.ravel() for value in WEIGHTS.values()])
    step = 0.1 * np.linalg.norm(WEIGHTS["b"])
    assert found.relative == pytest.approx(step / np.linalg.norm(both), rel=1e-5)


def test_tensors_of_another_shape_are_not_compared(tmp_path: Path) -> None:
    """What one of them alone has is listed by name."""
    other = {"a": WEIGHTS["a"][:2], "c": WEIGHTS["b"]}
    found = compare_bundles(make(tmp_path / "x.ebts"), make(tmp_path / "y.ebts", other)).weights
    assert found is not None
    assert found.tensors == 0
    assert (found.only_before, found.only_after) == (["a", "b"], ["a", "c"])


def test_without_onnx_the_rest_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without the package is told so; thresholds and figures are compared there too."""
    monkeypatch.setattr("edge_bts.compare.find_spec", lambda _: None)
    found = compare_bundles(make(tmp_path / "x.ebts"), make(tmp_path / "y.ebts", threshold=0.4))
    assert found.weights is None
    assert "pip install" in found.notes[0]
    assert {c.what for c in found.model} == {"name", "threshold"}


def test_a_damaged_bundle_is_not_compared(tmp_path: Path) -> None:
    """A file that is not what its manifest says ends it with the error of exit code 7."""
    first, second = make(tmp_path / "x.ebts"), make(tmp_path / "y.ebts")
    (second.path / "report.json").write_bytes(
        b"{}" + b" " * (second.manifest.files["report.json"].size - 2)
    )
    with pytest.raises(IntegrityError, match=r"report\.json"):
        compare_bundles(first, second)


def test_the_command_prints_what_differs_and_writes_the_report(tmp_path: Path) -> None:
    """Both values stand in one row; the JSON holds the same."""
    make(tmp_path / "x.ebts")
    make(tmp_path / "y.ebts", threshold=0.6)
    paths = [str(tmp_path / "x.ebts"), str(tmp_path / "y.ebts")]
    report = tmp_path / "report.json"
    done = CliRunner().invoke(app, ["compare", *paths, "--allow-unsigned", "-o", str(report)])
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if "threshold" in line)
    assert "0.5" in row
    assert "0.6" in row
    assert "Settings: the same" in done.stdout
    assert json.loads(report.read_text())["model"][1]["after"] == 0.6
