"""`edge-bts build`, `run --backend tensorrt`, `export --engine` and doctor's lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from fake_device import Machine
from typer.testing import CliRunner

from edge_bts.bundle import Bundle
from edge_bts.cli import _build, _doctor_checks, _export, _run
from edge_bts.errors import EnvironmentMismatchError, InputError


@pytest.fixture
def invoke() -> Any:
    """Run a command in this process; errors of ours come through."""
    app = typer.Typer()
    app.callback()(lambda: None)
    for module in (_build, _run):
        module.register(app)

    def run(*arguments: object) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_build_prints_what_was_built(machine: Machine, bundle: Bundle, invoke: Any) -> None:
    """Plan and phases go to standard error, the table to standard output."""
    result = invoke("build", bundle.path, "--int8", "--cuda-graph", "--cache", machine.cache)
    for text in (
        "built now",
        "tiny, int8",
        "2, 2 of them (100%) in INT8, 1 only reformat",
        "3 right",
    ):
        assert text in result.stdout
    assert "TensorRT: Tactics of Building, 3 steps" in result.stderr
    assert "note: TensorRT: a warning of the builder" in result.stderr
    again = invoke("build", bundle.path, "--int8", "--cuda-graph", "--cache", machine.cache)
    assert "was there and passes every check" in again.stdout


def test_bars_follow_the_phases(jetson: Machine, bundle: Bundle, monkeypatch: Any) -> None:
    """On a terminal phases are nested bars; all are gone at the end."""
    bars = _build._Bars()
    monkeypatch.setattr(_build, "_progress", lambda: bars)
    from edge_bts.tensorrt.build import BuildRequest

    _build.build_and_show(BuildRequest(bundle=bundle))
    assert bars._open == {}
    assert jetson.cache.exists()


@pytest.mark.parametrize("kind", [_build._Bars, _build._Lines])
def test_phases_of_one_name_do_not_stop_a_build(kind: Any) -> None:
    """Names may be used again while the first is open, and ends may come twice."""
    with kind() as report:
        for _ in range(2):
            report.start("tactics", "a parent that was never told", 3)
            report.step("tactics", 0)
        for _ in range(2):
            report.finish("tactics")
        report.step("tactics", 1)


def test_dry_run_prints_the_plan_and_writes_nothing(
    machine: Machine, bundle: Bundle, invoke: Any
) -> None:
    """No builder is made."""
    result = invoke("build", bundle.path, "--dry-run", "--level", "5")
    assert "optimisation level 5" in result.stdout
    assert machine.world.calls == []
    assert not machine.cache.exists()


def test_dla_is_refused(bundle: Bundle, invoke: Any) -> None:
    """In one sentence, before anything is opened."""
    with pytest.raises(InputError, match="--dla"):
        invoke("build", bundle.path, "--dla")


def test_two_precisions_are_refused(bundle: Bundle, invoke: Any) -> None:
    """As by export."""
    with pytest.raises(InputError, match="--int8 and --fp32"):
        invoke("build", bundle.path, "--int8", "--fp32")


def test_run_takes_the_engine_of_the_cache(
    jetson: Machine, bundle: Bundle, invoke: Any, tmp_path: Path
) -> None:
    """Built with --cache, run with the same: masks come out."""
    cv2.imwrite(str(tmp_path / "frame.png"), np.full((40, 40), 255, np.uint8))
    invoke("build", bundle.path, "--cache", tmp_path / "mine")
    arguments = (
        "run",
        bundle.path,
        "--allow-unsigned",
        tmp_path / "frame.png",
        "--backend",
        "tensorrt",
    )
    result = invoke(*arguments, "--cache", tmp_path / "mine", "-o", tmp_path / "out", "--json")
    assert json.loads(result.stdout)["inputs"][0]["frames"][0]["present"]
    assert "tensorrt 10.3.0, int8" in result.stderr
    with pytest.raises(EnvironmentMismatchError, match="there is none"):
        invoke(*arguments, "-o", tmp_path / "again")
    assert not jetson.cache.exists()


@pytest.mark.parametrize("command", [["build"], ["build", "--dry-run"]])
def test_without_tensorrt_the_program_says_what_is_missing(
    command: list[str], bundle: Bundle, tmp_path: Path
) -> None:
    """Exit code 3, one sentence, nothing written."""
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent/tensorrt.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'tensorrt'\", name='tensorrt')"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge_bts.cli", *command, bundle.path],
        env=os.environ
        | {"PYTHONPATH": str(tmp_path / "absent"), "EDGE_BTS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("edge-bts: Expected TensorRT, but the Python package tensorrt is")
    assert "nvidia-jetpack" in done.stderr
    assert "Expected cuda-python" in done.stderr or "Expected a GPU" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise ImportError('libnvinfer.so.10: cannot open shared object file')", "libnvinfer"),
        ("import no_such_module", "no_such_module"),
        ("__version__ = '8.6.2'", "JetPack 5"),
        ("", "an unknown one"),
    ],
)
def test_what_is_wrong_with_tensorrt_is_named(
    module: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Package, library and version are told apart."""
    from edge_bts.tensorrt.library import import_tensorrt

    (tmp_path / "tensorrt.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EnvironmentMismatchError, match=said):
        import_tensorrt()
    sys.modules.pop("tensorrt", None)


def test_export_keeps_the_bundle_where_no_engine_can_be_built(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--engine without TensorRT: exit code 3, and the sentence says that the bundle is there."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EnvironmentMismatchError, match=r"tiny\.ebts is written, but has no engine"):
        _export._build_engine(bundle)
    bundle.verify()


def test_doctor_names_tensorrt_and_gpu(machine: Machine) -> None:
    """Where both work: versions, GPU and driver."""
    found = {check.name: check for check in _doctor_checks._tensorrt()}
    assert found["TensorRT"].state == found["CUDA"].state == "ok"
    assert machine.trt.__version__.startswith(found["TensorRT"].detail)
    assert "Orin (nvgpu), compute capability 8.7, 8 SMs, driver for CUDA 12.6" in (
        found["CUDA"].detail
    )


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes, not faults: nothing of it is needed to run on the CPU; JetPack on a Jetson only."""
    from edge_bts.tensorrt import jetpack

    for name in ("tensorrt", "cuda", "cuda.bindings", "pycuda"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(jetpack, "l4t", lambda: "77.0.0")
    monkeypatch.setattr(jetpack, "power_mode", lambda: None)
    found = {check.name: check for check in _doctor_checks._tensorrt()}
    assert {check.state for check in found.values()} == {"ok", "note"}
    assert found["JetPack"].detail == "unknown (L4T 77.0.0), power mode unknown"
    assert "not installed" in found["TensorRT"].detail
    assert "cuda-python" in found["CUDA"].detail
