"""Several processes give what one gives: real ones, connected by gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_bts.models import load_checkpoint
from edge_bts.trainers.runs import CHECKPOINT_NAME
from edge_bts.trainers.state import STATE_NAME

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parent / "train_once.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def python(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run this interpreter, one thread a process."""
    return subprocess.run(
        [sys.executable, *(str(a) for a in arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same trainings by one process with a batch of 8, and by two with a batch of 4 each."""
    folder = tmp_path_factory.mktemp("processes")
    for done in (
        python(WORKER, "one", 8, cwd=folder),
        python(*TORCHRUN, WORKER, "two", 4, cwd=folder),
    ):
        assert done.returncode == 0, done.stderr
    return folder / "one", folder / "two"


def test_batch_norm_sees_the_images_of_all_processes(folders: tuple[Path, Path]) -> None:
    """Outputs, input gradients and running statistics are torch's over the whole batch."""
    whole = torch.load(folders[0] / "norm0.pt")
    shares = [torch.load(folders[1] / f"norm{rank}.pt") for rank in (0, 1)]
    for rank, share in enumerate(shares):
        assert share.keys() == whole.keys()
        for name in ("y", "gradient"):
            torch.testing.assert_close(share[name], whole[name][rank::2], rtol=1e-4, atol=1e-4)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(share[name], whole[name], rtol=1e-5, atol=1e-6)
    # The half batches alone would not pass.
    assert not torch.allclose(whole["y"][::2].mean((0, 2, 3)), torch.zeros(5), atol=1e-2)


@pytest.mark.parametrize("name", ["supervised", "distilled"])
def test_two_processes_train_as_one_with_the_doubled_batch(
    name: str, folders: tuple[Path, Path]
) -> None:
    """Losses of every epoch agree to 5e-3, validation to 5e-3, weights to 3e-3 of their norm.

    Only the order of additions differs, but Adam divides a gradient by its own size, so rounding
    in small ones becomes whole steps: one process that takes the images of each batch in reverse
    order, the same in theory, ends 7e-4 away in the weights and 4e-3 in the losses, two processes
    5e-4 and 2e-3.
    """
    one, two = (torch.load(f / name / STATE_NAME, weights_only=True) for f in folders)
    rows: list[tuple[dict[str, Any], dict[str, Any]]] = list(
        zip(one["result"]["history"], two["result"]["history"], strict=True)
    )
    assert len(rows) == 3
    for mine, theirs in rows:
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"images_per_second", "train/gradient_norm"}:
            assert theirs[key] == pytest.approx(mine[key], rel=5e-3, abs=1e-9), key
    keys = [key for key in one["task"] if not key.endswith("num_batches_tracked")]
    before, after = (torch.cat([s["task"][k].flatten() for k in keys]) for s in (one, two))
    assert (after - before).norm() < 3e-3 * before.norm()


def test_the_command_runs_under_torchrun(blobs: Path, tmp_path: Path) -> None:
    """Two processes make one run: one folder, each line printed once, one checkpoint.

    A second start in the same folder is refused by both; none waits for the other.
    """
    settings = ["--imgsz", 32, "--batch", 2, "--epochs", 2, "--device", "cpu", "--precision"]
    settings += ["fp32", "--set", "train.model={name = 'attention_unet', options = {width = 8}}"]
    command = (*TORCHRUN, "-m", "edge_bts.cli", "train", "--data", blobs, "-o", "run", *settings)
    done = python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("at 32 px on all images") == 1
    assert done.stdout.count("epoch 1/2") == 1
    assert done.stdout.count("Kept epoch") == 1
    load_checkpoint(tmp_path / "run" / CHECKPOINT_NAME)
    again = python(*command, cwd=tmp_path)
    assert again.returncode != 0
    assert "--resume to continue it or --force" in again.stderr
    assert "Traceback" not in again.stderr.partition("ChildFailedError")[0].partition("E1")[0]
