from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge_bts import metrics
from edge_bts.errors import InputError
from edge_bts.models import load_checkpoint
from edge_bts.trainers import loop as loop_module
from edge_bts.trainers import runs
from edge_bts.trainers.data import Batch, TensorData
from edge_bts.trainers.loop import make_fabric, validate
from edge_bts.trainers.runs import Inputs
from edge_bts.trainers.settings import DistillSettings, LoopSettings, TrainSettings
from edge_bts.trainers.state import STATE_NAME, load_state, save_state
from edge_bts.trainers.tasks import SupervisedTask
from edge_bts.trainers.teachers import Network


@pytest.fixture(scope="module")
def whole_run(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    runs.train(inputs, "all", teacher_settings, folder)
    return folder


def stopping_after(epochs: int) -> type[loop_module.RunLog]:
    """Return a log that interrupts the training at the end of an epoch, before its state."""

    class Stopping(loop_module.RunLog):
        def epoch(self, history: Sequence[dict[str, float]], best: int) -> None:
            super().epoch(history, best)
            if len(history) == epochs:
                raise KeyboardInterrupt

    return Stopping


def test_a_run_leaves_its_record(whole_run: Path, teacher_settings: TrainSettings) -> None:
    """The folder holds checkpoint, settings, log, curves, TensorBoard events and a summary."""
    rows = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert json.loads((whole_run / "config.json").read_text())["imgsz"] == 32
    assert (whole_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((whole_run / "tensorboard").glob("events*"))
    summary = json.loads((whole_run / "summary.json").read_text())
    _, checkpoint = load_checkpoint(whole_run / runs.CHECKPOINT_NAME)
    assert summary["epoch"] == checkpoint.epoch
    assert checkpoint.config == teacher_settings.model_dump(mode="json")
    assert 0 < checkpoint.threshold < 1


def test_training_learns(whole_run: Path) -> None:
    """Four epochs on dark discs lower the loss by a tenth at least."""
    rows = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train/total"] < 0.9 * rows[0]["train/total"]


def test_the_kept_epoch_has_the_best_validation_dice(whole_run: Path) -> None:
    """The checkpoint's metrics are those of the epoch whose validation Dice was highest."""
    rows = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    _, checkpoint = load_checkpoint(whole_run / runs.CHECKPOINT_NAME)
    assert checkpoint.metrics["dice"] == max(row["val/dice"] for row in rows)


def test_a_resumed_run_gives_the_same_weights(
    whole_run: Path,
    inputs: Inputs,
    teacher_settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted in the middle of epoch 3 and resumed, a run ends in the very same bits."""
    folder = tmp_path / "run"
    seen = 0

    class Interrupting(loop_module.RunLog):
        def step(self, step: int, steps: int) -> None:
            nonlocal seen
            seen += 1
            if seen == 2 * steps + step == 2 * steps + 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "RunLog", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            runs.train(inputs, "all", teacher_settings, folder)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    runs.train(inputs, "all", teacher_settings, folder, resume=True)

    states = [
        torch.load(path / STATE_NAME, weights_only=True)["task"] for path in (whole_run, folder)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    checkpoints = [path / runs.CHECKPOINT_NAME for path in (whole_run, folder)]
    assert checkpoints[0].read_bytes() == checkpoints[1].read_bytes()


def test_states_further_apart_cost_epochs_but_no_bits(
    whole_run: Path,
    inputs: Inputs,
    teacher_settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an hour between states the first and the last epoch have one; a resume ends as ever."""
    loop = teacher_settings.loop.model_copy(update={"state_seconds": 3600})
    rare = teacher_settings.model_copy(update={"loop": loop})
    folder = tmp_path / "run"

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "RunLog", stopping_after(3))
        with pytest.raises(KeyboardInterrupt):
            runs.train(inputs, "all", rare, folder)
    assert torch.load(folder / STATE_NAME, weights_only=True)["epoch"] == 1
    runs.train(inputs, "all", rare, folder, resume=True)
    states = [torch.load(path / STATE_NAME, weights_only=True) for path in (whole_run, folder)]
    assert states[1]["epoch"] == rare.loop.epochs
    assert all(torch.equal(states[0]["task"][k], states[1]["task"][k]) for k in states[0]["task"])


def test_a_resume_with_other_threads_says_so(
    whole_run: Path,
    inputs: Inputs,
    teacher_settings: TrainSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that began with 3 threads and goes on with 1 names both; the same number is silent."""
    folder, before = tmp_path / "run", torch.get_num_threads()
    shutil.copytree(whole_run, folder)
    try:
        torch.set_num_threads(3)
        state = torch.load(folder / STATE_NAME, weights_only=True)
        save_state(folder, {**state, "threads": 3})
        runs.train(inputs, "all", teacher_settings, folder, resume=True)
        assert "threads" not in capsys.readouterr().out
        torch.set_num_threads(1)
        runs.train(inputs, "all", teacher_settings, folder, resume=True)
    finally:
        torch.set_num_threads(before)
    assert "Resuming with 1 threads what began with 3" in capsys.readouterr().out


def test_a_state_of_other_settings_is_refused(
    whole_run: Path, inputs: Inputs, teacher_settings: TrainSettings
) -> None:
    """Resuming with another learning rate says that the settings have changed."""
    changed = teacher_settings.model_copy(
        update={"loop": teacher_settings.loop.model_copy(update={"lr": 1e-4})}
    )
    with pytest.raises(InputError, match="they have changed"):
        runs.train(inputs, "all", changed, whole_run, resume=True)


def test_a_truncated_state_is_refused(
    whole_run: Path, inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """A state file that lost its end is named; the run is not continued from rubbish."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / STATE_NAME).write_bytes((whole_run / STATE_NAME).read_bytes()[:5000])
    with pytest.raises(InputError, match="whole state file"):
        runs.train(inputs, "all", teacher_settings, tmp_path, resume=True)


def test_a_run_is_not_overwritten_silently(
    whole_run: Path, inputs: Inputs, teacher_settings: TrainSettings
) -> None:
    """A folder with a run needs --resume or --force."""
    with pytest.raises(InputError, match="--resume to continue it or --force"):
        runs.train(inputs, "all", teacher_settings, whole_run)


def test_early_stop(inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path) -> None:
    """A run that does not improve for `patience` epochs ends there."""
    still = teacher_settings.model_copy(
        update={"loop": LoopSettings(**dict(teacher_settings.loop, lr=1e-12, patience=1))}
    )
    runs.train(inputs, "all", still, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stopped_early"]
    assert summary["epochs_run"] == summary["epoch"] + 1


def test_images_grow_to_full_size(
    inputs: Inputs,
    student_settings: DistillSettings,
    teacher_settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of the epochs at 32 px, the rest at 64: only these are kept; a resume gives the bits."""
    teacher = runs.train(inputs, "all", teacher_settings, tmp_path / "teacher")
    growing = student_settings.model_copy(update={"progressive": {32: 0.5}})
    assert growing.epoch_sizes() == [32, 32, 64, 64]
    whole = runs.distill(inputs, (teacher, teacher), growing, tmp_path / "whole")
    rows = [json.loads(r) for r in (whole.parent / "metrics.jsonl").read_text().splitlines()]
    assert [row["imgsz"] for row in rows] == [32, 32, 64, 64]
    assert load_checkpoint(whole)[1].epoch > 2

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "RunLog", stopping_after(2))
        with pytest.raises(KeyboardInterrupt):
            runs.distill(inputs, (teacher, teacher), growing, tmp_path / "run")
    assert not (tmp_path / "run" / runs.CHECKPOINT_NAME).exists()
    path = runs.distill(inputs, (teacher, teacher), growing, tmp_path / "run", resume=True)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("progressive", "fault"),
    [({48: 0.5}, "multiples of 32"), ({64: 0.5}, "below imgsz=64"), ({32: 0.9}, "last epoch")],
)
def test_sizes_that_cannot_be_trained_are_refused(
    progressive: dict[int, float], fault: str
) -> None:
    """A side that the network cannot take, or that leaves no epoch at full size, is named."""
    with pytest.raises(ValueError, match=fault):
        TrainSettings(imgsz=64, progressive=progressive, loop=LoopSettings(epochs=4))


def test_smaller_images_are_averages() -> None:
    """Halved images agree with OpenCV's area filter; a mask pixel is set where half of it was."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 1, 64, 64), dtype=np.uint8)
    masks = rng.integers(0, 2, (3, 1, 64, 64), dtype=np.uint8)
    data = TensorData(torch.from_numpy(images), torch.from_numpy(masks), torch.tensor([0, 1, 0]))
    small = data.resized(32)
    assert small.imgsz == 32
    assert data.resized(64) is data
    for image, mask, given, labels in zip(small.images, small.masks, images, masks, strict=True):
        expected = cv2.resize(given[0], (32, 32), interpolation=cv2.INTER_AREA)
        assert np.abs(image[0].numpy().astype(int) - expected.astype(int)).max() <= 1
        share = labels[0].reshape(32, 2, 32, 2).sum((1, 3))
        assert np.array_equal(mask[0].numpy(), share >= 2)


def test_validation_dice_is_that_of_the_metrics() -> None:
    """The batched Dice of the loop is the mean of edge_bts.metrics.dice over lesion images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 1, 16, 16), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, 2, (5, 1, 16, 16), generator=generator, dtype=torch.uint8)
    masks[4] = 0
    data = TensorData(images, masks, torch.tensor([0, 1, 0, 1, 2]))
    network = Network(torch.nn.Identity(), mean=0.5, std=1.0)
    result = validate(network, data, make_fabric(LoopSettings(device="cpu", precision="fp32")), 2)
    predicted = images.numpy()[:, 0] > 127
    expected = [metrics.dice(p, m) for p, m in zip(predicted, masks.numpy()[:, 0], strict=True)]
    assert result["dice"] == pytest.approx(np.mean(expected[:4]))
    assert result["dice_benign"] == pytest.approx(np.mean([expected[0], expected[2]]))
    assert result["false_positive_rate"] == 1.0


def test_a_learning_rate_that_explodes_is_named(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """A loss that is not finite ends the run with what to change."""
    wild = teacher_settings.model_copy(
        update={"loop": LoopSettings(**dict(teacher_settings.loop, lr=1e30, warmup_epochs=0))}
    )
    with pytest.raises(InputError, match=r"lower loop\.lr"):
        runs.train(inputs, "all", wild, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_at_its_step(
    inputs: Inputs,
    teacher_settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The term, the step and the epoch are named, and the epoch before stays the newest saved."""
    forward, seen = SupervisedTask.forward, 0

    def poisoned(self: SupervisedTask, batch: Batch) -> dict[str, torch.Tensor]:
        nonlocal seen
        seen += 1
        total = forward(self, batch)["total"]
        part = total.detach() * (float("nan") if seen == steps + 2 else 1.0)
        return {"total": total + 0 * part, "prediction": part}

    steps = len(inputs.train) // teacher_settings.loop.batch
    assert steps > 2
    monkeypatch.setattr(SupervisedTask, "forward", poisoned)
    with pytest.raises(InputError, match="prediction is nan at step 2 of epoch 2"):
        runs.train(inputs, "all", teacher_settings, tmp_path / "run")
    assert seen == steps + 2
    assert torch.load(tmp_path / "run" / STATE_NAME, weights_only=True)["epoch"] == 1
    _, checkpoint = load_checkpoint(tmp_path / "run" / runs.CHECKPOINT_NAME)
    assert checkpoint.epoch == 1


def test_another_number_of_processes_is_refused(whole_run: Path) -> None:
    """A run of one process is not continued by two, whose steps would be twice as large."""
    state = torch.load(whole_run / STATE_NAME, weights_only=True)
    with pytest.raises(InputError, match=r"Expected 1 processes.*there are 2"):
        load_state(whole_run, state["fingerprint"], 2)


def test_a_compiled_student_has_no_feature_loss() -> None:
    """Compiling loses the hooks that read features, so settings with both are refused."""
    compiled = LoopSettings(compile=True)
    with pytest.raises(ValueError, match=r"loop\.compile goes with no feature loss"):
        DistillSettings(loop=compiled)
    assert DistillSettings(loop=compiled, feature={}).loop.compile


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_runs_on_a_gpu(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """The same settings train on a CUDA device in bf16."""
    loop = LoopSettings(**dict(teacher_settings.loop, device="cuda", precision="bf16"))
    path = runs.train(
        inputs, "all", teacher_settings.model_copy(update={"loop": loop}), tmp_path / "run"
    )
    assert path.is_file()
