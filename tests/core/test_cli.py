"""The command line: exit codes, one sentence an error, and doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from edge_bts import __version__, cli, errors
from edge_bts.cli import _doctor_checks
from edge_bts.cli._doctor_checks import Check


def ebts(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "edge_bts.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("Expected a, got b; do c."), 2),
        (errors.EnvironmentMismatchError("Expected a, got b; do c."), 3),
        (errors.IntegrityError("Expected a, got b; do c."), 7),
        (errors.EdgeBtsError("Could not write a."), 1),
    ],
)
def test_a_deliberate_error_is_its_message_and_its_code(
    error: errors.EdgeBtsError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message stands alone on standard error: no traceback, nothing on standard output."""
    monkeypatch.setattr(cli, "app", raising(error))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == code
    assert capsys.readouterr() == ("", f"edge-bts: {error}\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (RuntimeError("a defect of ours"), 1, "a defect of ours"),
    ],
)
def test_interrupts_and_defects_have_their_own_codes(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C is 130; a defect is 1 and shows the traceback that a report needs."""
    monkeypatch.setattr(cli, "app", raising(error))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == code
    assert said in capsys.readouterr().err


def raising(error: BaseException) -> Any:
    """An application that fails."""

    def app(**_: object) -> NoReturn:
        raise error

    return app


def test_sigterm_unwinds_like_an_interrupt() -> None:
    """A scheduler's SIGTERM lets temporary files be removed and ends with 130."""
    code = (
        "import os, signal\nfrom edge_bts import cli\n"
        "cli.app = lambda **_: os.kill(os.getpid(), signal.SIGTERM)\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-command"], "no-such-command"),
        (["version", "--no-such-option"], "--no-such-option"),
        (["run"], "Missing argument"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str) -> None:
    """A misspelt command or option is named, without a traceback."""
    done = ebts(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_the_package_s() -> None:
    """`edge-bts version` prints the version alone."""
    done = ebts("version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_doctor_finds_this_installation_complete() -> None:
    """Where the tests run everything needed is there, and the record is JSON."""
    done = ebts("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout)
    assert record["ok"] is True
    found = {(check["group"], check["name"]) for check in record["checks"]}
    assert {("base", "numpy"), ("geometry", "C++ core"), ("backend", "openvino")} <= found


def test_doctor_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something essential that is missing is exit code 3 with the command that mends it."""
    broken = [
        Check("base", "numpy", "ok", "2.0"),
        Check("base", "safetensors", "missing", "not installed", "run pip install safetensors"),
    ]
    monkeypatch.setattr(_doctor_checks, "run_checks", lambda: broken)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert isinstance(result.exception, errors.EnvironmentMismatchError)
    assert str(result.exception) == (
        "Expected a complete installation, but safetensors is missing; run pip install safetensors."
    )
    assert "missing safetensors not installed" in " ".join(result.output.split())  # in the table


def test_doctor_tells_what_each_command_can_do_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device without torch: run is ready, verify and bench do a part, training cannot run."""
    monkeypatch.setattr(
        _doctor_checks.importlib.util,
        "find_spec",
        lambda name: None if name in ("torch", "onnx", "onnxruntime") else name,
    )
    base = [Check("base", "numpy", "ok", "2.0"), Check("tensorrt", "CUDA", "note", "none")]
    found = {check.name: check for check in _doctor_checks._commands(base)}
    assert found["run, replay, eval, inspect, compare, key, sign"].state == "ok"
    assert found["train, distill, study"].detail == "cannot run: torch not installed"
    assert found["train, distill, study"].mend == "pip install 'edge-bts[train]'"
    assert "left out: onnxruntime, onnx not installed" in found["verify"].detail
    assert "cannot run: CUDA" in found["build"].detail
    broken = [Check("base", "numpy", "missing", "not installed", "run pip install numpy")]
    assert {c.state for c in _doctor_checks._commands(broken) if c.name != "build"} == {"note"}


@pytest.mark.parametrize(("text", "state"), [("performance\n", "ok"), ("powersave\n", "note")])
def test_doctor_warns_of_a_clock_that_follows_the_load(
    text: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A governor other than performance is named, with the command that sets it."""
    monkeypatch.setattr(_doctor_checks, "_read", lambda path: text if "governor" in path else "")
    check = next(c for c in _doctor_checks._system() if c.name == "frequency governor")
    assert check.state == state
    assert ("cpupower" in check.mend) == (state == "note")


def test_doctor_survives_a_package_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged binary package is reported with its reason, not raised."""
    monkeypatch.setitem(sys.modules, "safetensors", None)
    checks = {check.name: check for check in _doctor_checks.run_checks()}
    assert checks["safetensors"].state == "missing"
    assert "does not import" in checks["safetensors"].detail
    assert checks["numpy"].state == "ok"


def test_doctor_says_that_nothing_can_run_a_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two executors is enough; none is an incomplete installation."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    states = {c.name: c.state for c in _doctor_checks._backends()}
    assert states == {"openvino": "note", "onnxruntime": "ok"}
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    states = {c.name: c.state for c in _doctor_checks._backends()}
    assert states["any"] == "missing"
