"""Trainings that are stopped in every way, in real processes: what stands, and how they go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_bts.models import load_checkpoint
from edge_bts.trainers import loop, runs
from edge_bts.trainers.runs import CHECKPOINT_NAME, Inputs
from edge_bts.trainers.settings import TrainSettings
from edge_bts.trainers.state import STATE_NAME

pytestmark = pytest.mark.slow

# These trainings are too short for validation to rise by itself; here it counts the steps that the
# weights have seen, so every epoch is the best one so far and writes its checkpoint.
EVERY_EPOCH_IS_BETTER = """
from edge_bts.trainers import loop
def validate(network, *_):
    seen = dict(network.named_buffers())
    return {"dice": max(int(v) for k, v in seen.items() if k.endswith("tracked")) / 1000}
loop.validate = validate
"""
# Each of these runs before the command line in its process, and strikes at a given place.
STRIKE_IN_A_STEP = """
from edge_bts.trainers.log import RunLog
def step(self, step, steps, seen=[0]):
    seen[0] += 1
    if seen[0] == 2 * steps + 2:
        os.kill(os.getpid(), SIGNAL)
RunLog.step = step
"""
STRIKE_IN_A_WRITE = """
real = Path.write_bytes
def write_bytes(self, content, seen=[0]):
    if self.name.startswith(f".{NAME}."):
        seen[0] += 1
        if seen[0] == COUNT:
            real(self, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, content)
Path.write_bytes = write_bytes
"""
STRIKE_BEFORE_A_WRITE = STRIKE_IN_A_WRITE.replace("real(self, content[: len(content) // 2])", "")
FILL_THE_DISK = """
import resource
from edge_bts.trainers import loop
real = loop.save_state
def save_state(folder, state):
    real(folder, state)
    if state["epoch"] == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
loop.save_state = save_state
"""


@pytest.fixture(scope="module", autouse=True)
def every_epoch_is_better() -> Iterator[None]:
    """Do here what the processes do."""
    real = loop.validate
    exec(EVERY_EPOCH_IS_BETTER, {})
    yield
    loop.validate = real


@pytest.fixture(scope="module")
def whole(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    runs.train(inputs, "all", teacher_settings, folder)
    return folder


def rows(folder: Path) -> list[dict[str, float]]:
    """Return the log without the column that a clock fills."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found: list[dict[str, float]] = [json.loads(line) for line in lines]
    for row in found:
        del row["images_per_second"]
    return found


def stopped(
    what: str, data: Path, settings: TrainSettings, folder: Path, **values: object
) -> subprocess.CompletedProcess[str]:
    """Run the command ``train`` in a process of its own where ``what`` strikes."""
    model = settings.model
    options = ", ".join(f"{k} = {v}" for k, v in model.options.items())
    arguments: list[Any] = ["train", "--data", data, "-o", folder]
    arguments += ["--imgsz", settings.imgsz, "--device", "cpu", "--precision", "fp32"]
    arguments += ["--batch", settings.loop.batch, "--epochs", settings.loop.epochs]
    arguments += ["--lr", settings.loop.lr, "--set", "train.loop.warmup_epochs=0"]
    arguments += ["--set", f"train.model={{name = '{model.name}', options = {{{options}}}}}"]
    for key in settings.augment.model_fields_set:
        arguments += ["--set", f"train.augment.{key}={getattr(settings.augment, key)}"]
    named = "".join(f"{key} = {value!r}\n" for key, value in values.items())
    code = f"import os, signal\nfrom pathlib import Path\n{EVERY_EPOCH_IS_BETTER}{named}{what}"
    return subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom edge_bts.cli import main\nmain()"]
        + [str(a) for a in arguments],
        cwd=data,  # not the repository, whose folder edge_bts is no whole package
        # A sum over other threads ends in other bits; tests before this one may have set them.
        env={
            **os.environ,
            "EDGE_BTS_ALLOCATOR": "system",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def assert_ends_alike(folder: Path, whole: Path) -> None:
    """Compare weights, checkpoint and log bit for bit; nothing unfinished lies about."""
    states = [torch.load(path / STATE_NAME, weights_only=True) for path in (whole, folder)]
    for key, value in states[0]["task"].items():
        assert torch.equal(value, states[1]["task"][key]), key
    files = [(path / CHECKPOINT_NAME).read_bytes() for path in (whole, folder)]
    assert files[0] == files[1]
    assert rows(folder) == rows(whole)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_signal_in_the_middle_of_an_epoch(
    name: str,
    blobs: Path,
    inputs: Inputs,
    whole: Path,
    teacher_settings: TrainSettings,
    tmp_path: Path,
) -> None:
    """Stopped in epoch 3 and resumed, a run ends in the same bits; the two soft ones exit 130."""
    import signal

    number = signal.Signals[name]
    folder = tmp_path / "run"
    done = stopped(STRIKE_IN_A_STEP, blobs, teacher_settings, folder, SIGNAL=int(number))
    assert done.returncode == (-9 if name == "SIGKILL" else 130), done.stderr
    assert torch.load(folder / STATE_NAME, weights_only=True)["epoch"] == 2
    runs.train(inputs, "all", teacher_settings, folder, resume=True)
    assert_ends_alike(folder, whole)


@pytest.mark.parametrize(
    ("strike", "file"),
    [
        (STRIKE_IN_A_WRITE, STATE_NAME),
        (STRIKE_BEFORE_A_WRITE, STATE_NAME),
        (STRIKE_IN_A_WRITE, CHECKPOINT_NAME),
    ],
    ids=["in the state", "between checkpoint and state", "in the checkpoint"],
)
def test_a_kill_during_a_save(
    strike: str,
    file: str,
    blobs: Path,
    inputs: Inputs,
    whole: Path,
    teacher_settings: TrainSettings,
    tmp_path: Path,
) -> None:
    """Killed while an epoch is saved, a run loses that epoch alone and no file.

    It strikes in epoch 3, when half of a file is written, or between the two files. What was saved
    before can be read, and the resumed run writes the same.
    """
    folder = tmp_path / "run"
    done = stopped(strike, blobs, teacher_settings, folder, NAME=file, COUNT=3)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in folder.iterdir() if path.name.startswith(f".{file}.")]
    assert torch.load(folder / STATE_NAME, weights_only=True)["epoch"] == 2
    _, kept = load_checkpoint(folder / CHECKPOINT_NAME)
    assert kept.epoch == (2 if file == CHECKPOINT_NAME else 3)
    runs.train(inputs, "all", teacher_settings, folder, resume=True)
    assert_ends_alike(folder, whole)


def test_a_disk_that_fills_up(
    blobs: Path, inputs: Inputs, whole: Path, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """When no file of 100 kB fits any more, one sentence says so; with space again it goes on.

    The limit of the process stands for the disk: the system refuses the write itself.
    """
    folder = tmp_path / "run"
    done = stopped(FILL_THE_DISK, blobs, teacher_settings, folder)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Could not write" in done.stderr
    assert torch.load(folder / STATE_NAME, weights_only=True)["epoch"] == 2
    load_checkpoint(folder / CHECKPOINT_NAME)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    runs.train(inputs, "all", teacher_settings, folder, resume=True)
    assert_ends_alike(folder, whole)
