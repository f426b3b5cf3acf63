"""``edge-bts export``: flags, plan and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edge_bts.cli import _export, _options
from edge_bts.errors import InputError
from edge_bts.signing import load_signing_key, new_key


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command in this process; errors of ours come through."""
    monkeypatch.setenv("EDGE_BTS_ALLOCATOR", "system")  # do not start the process again
    app = typer.Typer()
    app.callback()(lambda: None)
    _export.register(app)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["export", *arguments], catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--int8", "--fp16"], "--int8 and --fp16"),
        (["--fp32", "--precision", "int8"], "--fp32 and --precision int8"),
        (["--precision", "int4"], "int4"),
    ],
)
def test_conflicting_precisions_are_both_named(
    invoke: Any, flags: list[str], named: str, tmp_path: Path
) -> None:
    """Two precisions are an error that names both, not a choice of ours."""
    with pytest.raises(InputError, match=named):
        invoke("student.safetensors", "-o", str(tmp_path / "a.ebts"), *flags)


def test_two_spellings_of_one_precision_are_fine() -> None:
    """--int8 with --precision int8 asks for one thing twice."""
    assert _options.one_precision("int8", {"int8": True, "fp16": False}) == "int8"
    assert _options.one_precision(None, {"int8": False}) is None


def test_dry_run_prints_the_plan_and_writes_nothing(
    invoke: Any, workshop: Any, tmp_path: Path
) -> None:
    """The plan names epochs, images and opset as the flags set them."""
    output = invoke(
        str(workshop.checkpoint), "--int8", "--data", str(workshop.data), "--dry-run",
        "--qat-epochs", "2", "--calibration-images", "5", "--seed", "9",
        "--set", "export.opset=20", "-o", str(tmp_path / "a.ebts"),
    )  # fmt: skip
    assert "fine-tune 2 epochs" in output
    assert "gates of accuracy on 2 images of discs, val part" in output
    assert "ranges from 5 training images" in output
    assert "opset 20" in output
    assert output.count('"seed": 9') == 2
    assert list(tmp_path.iterdir()) == []


def test_the_plan_names_the_key(invoke: Any, workshop: Any, tmp_path: Path) -> None:
    """--sign is opened before anything slow, and its id stands in the plan."""
    key = new_key(tmp_path / "me")[0]
    arguments = (str(workshop.checkpoint), "--fp32", "--dry-run", "-o", str(tmp_path / "a.ebts"))
    assert f"signed by {load_signing_key(key).id}" in invoke(*arguments, "--sign", str(key))
    with pytest.raises(InputError, match="none"):
        invoke(*arguments, "--sign", str(tmp_path / "none.key"))


def test_a_misspelt_setting_is_refused(invoke: Any, workshop: Any, tmp_path: Path) -> None:
    """--set with a key that the section lacks is an error."""
    with pytest.raises(InputError, match="epoch"):
        invoke(
            str(workshop.checkpoint), "--fp32", "-o", str(tmp_path / "a.ebts"),
            "--set", "export.qat.epoch=1",
        )  # fmt: skip


def test_engine_is_built_after_the_bundle(
    invoke: Any, workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--engine goes on with the bundle that was written; without it nothing is built."""
    from edge_bts.export import pipeline

    done: list[str] = []
    monkeypatch.setattr(pipeline, "export", lambda *_, **__: done.append("export") or "bundle")
    monkeypatch.setattr(_export, "_build_engine", done.append)
    arguments = (str(workshop.checkpoint), "--fp32", "-o", str(tmp_path / "a.ebts"))
    invoke(*arguments)
    invoke(*arguments, "--engine")
    assert done == ["export", "export", "bundle"]


def test_ptq_is_no_fine_tune(invoke: Any, workshop: Any, tmp_path: Path) -> None:
    """--ptq is a spelling of --qat-epochs 0; other epochs, or teachers, contradict it."""
    asked = [str(workshop.checkpoint), "--int8", "--data", str(workshop.data), "--dry-run"]
    asked += ["-o", str(tmp_path / "a.ebts"), "--ptq"]
    output = invoke(*asked)
    assert "fine-tune" not in output
    assert '"epochs": 0' in output
    assert output == invoke(*asked[:-1], "--qat-epochs", "0")
    with pytest.raises(InputError, match="--ptq and --qat-epochs 3"):
        invoke(*asked, "--qat-epochs", "3")
    teacher = str(workshop.checkpoint)
    with pytest.raises(InputError, match="--ptq"):
        invoke(*asked, "--teachers", teacher, teacher)


def test_gates_can_be_judged_on_the_test_part(invoke: Any, workshop: Any, tmp_path: Path) -> None:
    """--gate-on test names that part in the plan; another word is refused."""
    asked = [str(workshop.checkpoint), "--fp16", "--data", str(workshop.data), "--dry-run"]
    asked += ["-o", str(tmp_path / "a.ebts"), "--latency-gate", "--gate-on"]
    output = invoke(*asked, "test")
    assert "gates of accuracy on 5 images of discs, test part, and of latency" in output
    with pytest.raises(InputError, match=r"gates\.on"):
        invoke(*asked, "train")


def test_sensitivity_makes_no_bundle(invoke: Any, workshop: Any, tmp_path: Path) -> None:
    """Its output is JSON, of INT8 alone."""
    asked = [str(workshop.checkpoint), "--data", str(workshop.data), "--sensitivity", "-o"]
    with pytest.raises(InputError, match=r"NAME\.json"):
        invoke(*asked, str(tmp_path / "a.ebts"))
    with pytest.raises(InputError, match="--int8"):
        invoke(*asked, str(tmp_path / "a.json"), "--fp16")
    with pytest.raises(InputError, match="--dry-run"):
        invoke(*asked, str(tmp_path / "a.json"), "--dry-run")
