from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = ["--imgsz", "32", "--batch", "4", "--device", "cpu", "--precision", "fp32"]
TINY += ["--set", "train.model={name = 'attention_unet', options = {width = 8}}"]


def command(*arguments: object) -> list[str]:
    """Return the command line of edge-bts in this interpreter."""
    return [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-m", "edge_bts.cli"] + [
        str(a) for a in arguments
    ]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run edge-bts and return what it printed."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def test_a_dry_run_prints_the_settings_and_writes_nothing(blobs: Path, tmp_path: Path) -> None:
    """--dry-run shows what would be trained on what, and leaves no folder."""
    done = run("train", "--data", blobs, "-o", tmp_path / "run", "--dry-run", *TINY)
    assert done.returncode == 0, done.stderr
    head, _, rest = done.stdout.partition("\n")
    assert "attention_unet(width=8) at 32 px" in head
    assert json.loads(rest)["loop"]["batch"] == 4
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "nowhere"], "nowhere"),
        (["train", "--data", "DATA", "--config", "nowhere"], "busi-cpu"),
        (["train", "--data", "DATA", "--set", "train.loop.epoch=1"], "train.loop.epoch"),
        (["train", "--data", "DATA", "--split", "nowhere.json"], "nowhere.json"),
        (["train", "--data", "DATA", "--imgsz", "100"], "multiple of 32"),
        (["train", "--data", "DATA", "--set", "train.loop.lr=fast"], "train.loop.lr"),
        (["train", "--data", "DATA", "--set", "train.model.name=own.nets:net"], "own"),
        (["distill", "--data", "DATA", "--teachers", "b.st", "m.st"], "b.st"),
        (
            ["distill", "--data", "DATA", "--teachers", "b", "m", "--set", "distill.feature.x=1"],
            "distill.feature",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, blobs: Path, tmp_path: Path
) -> None:
    """Bad input names what is wrong, without a traceback, and writes nothing."""
    arguments = [str(blobs) if a == "DATA" else a for a in arguments]
    done = run(*arguments, "-o", tmp_path / "run")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_ctrl_c_keeps_what_was_finished(blobs: Path, tmp_path: Path) -> None:
    """An interrupt in the middle ends with code 130 and how to continue; --resume does."""
    arguments = ("train", "--data", blobs, "-o", tmp_path / "run", *TINY)
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        command(*arguments, "--epochs", "500"), stdout=log, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "resume.pt").is_file():
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    said = (tmp_path / "log").read_text()
    assert "--resume" in said
    assert "Traceback" not in said
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]
    rows = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert rows >= 1
