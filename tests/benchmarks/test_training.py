from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kornia")
pytest.importorskip("lightning_fabric")
torch = pytest.importorskip("torch")

from edge_bts.benchmarks import steps  # noqa: E402 - after what it needs
from edge_bts.benchmarks.report import print_training  # noqa: E402
from edge_bts.benchmarks.result import TrainingResult, write_result  # noqa: E402
from edge_bts.benchmarks.settings import BenchSettings  # noqa: E402
from edge_bts.benchmarks.steps import PARTS, Case  # noqa: E402
from edge_bts.benchmarks.training import _cases, _images, _is_model, bench_training  # noqa: E402
from edge_bts.errors import MeasurementError  # noqa: E402
from edge_bts.models import ModelSpec  # noqa: E402
from edge_bts.trainers import loop  # noqa: E402
from edge_bts.trainers.data import TensorData  # noqa: E402
from edge_bts.trainers.settings import (  # noqa: E402
    DistillSettings,
    LoopSettings,
    TrainSettings,
)

LOOP = LoopSettings(batch=4, precision="fp32", device="cpu")
TRAIN = TrainSettings(
    model=ModelSpec(name="attention_unet", options={"width": 8}), imgsz=32, loop=LOOP
)
DISTILL = DistillSettings(
    model=ModelSpec(name="simplified_unet", options={"base": 16}), imgsz=64, loop=LOOP
)
SHORT = BenchSettings(seconds=0.05, frames=6, warmup_seconds=0.0, lead_in_ms=0.0)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where temporary files of the measurement go."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def result(scratch: Path) -> Iterator[TrainingResult]:
    """A few steps of a tiny distillation on noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        patch.setattr("tempfile.tempdir", None)
        yield bench_training(TRAIN, DISTILL, settings=SHORT)


def test_nothing_stays_behind(result: TrainingResult, scratch: Path) -> None:
    """The process that trained removes its temporary files before it is gone."""
    assert result.rows
    assert not list(scratch.glob("edge-bts-*"))


def test_parts_make_up_the_step(result: TrainingResult) -> None:
    """Every part of a real step is timed, and together they are the whole of it."""
    (row,) = result.rows
    assert [part.name for part in row.parts] == list(PARTS)
    assert all(part.p50_ms > 0 for part in row.parts)
    assert sum(part.share for part in row.parts) == pytest.approx(1)
    assert row.step.frames >= 3
    assert row.images_per_second == pytest.approx(4e3 / row.step.mean)
    assert row.load_ms > row.step.p50
    assert 0 < row.peak_rss_bytes < 4e9
    assert row.ratio.median == 1


def test_what_is_not_model_compute(result: TrainingResult) -> None:
    """Batches, augmentation, recorded teachers and the log are outside the model, no more."""
    (row,) = result.rows
    outside = {part.name: part.share for part in row.parts if not part.model}
    assert set(outside) == {"batching", "augmentation", "teachers", "other"}
    assert row.not_model == pytest.approx(sum(outside.values()))
    assert 0 < row.not_model_p50 < 1


def test_teachers_that_speak_in_every_step_are_model_compute() -> None:
    """A teacher's forward pass is model compute; the warp of its recording is not."""
    for view, model in (("same", True), ("clean", False)):
        distill = DISTILL.model_copy(update={"view": view})
        assert _is_model("teachers", Case(train=TRAIN, distill=distill, data="")) == model


def test_short_runs_are_invalid(result: TrainingResult) -> None:
    """The verdict says how much is missing for a figure to publish."""
    assert result.verdict == "INVALID"
    assert any("where 1000 steps or 60 s are asked" in reason for reason in result.reasons)


def test_result_is_written_whole_and_printed(result: TrainingResult, tmp_path: Path) -> None:
    """What is written is what is read; the table has each part, the sum and the verdict."""
    from rich.console import Console

    write_result(tmp_path / "result.json", result)
    read = TrainingResult.model_validate_json((tmp_path / "result.json").read_bytes())
    assert read == result
    console = Console(width=100, record=True, file=(tmp_path / "log").open("w"))
    print_training(result, console)
    text = console.export_text()
    for words in (*PARTS, "images/s", "* not model compute", "[distill]", "noise", "INVALID"):
        assert words in text


def test_parts_are_cut_where_the_clock_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time before a reading belongs to the part that the reading names; repeated parts add up."""
    seconds = iter([10.0, 10.001, 10.005, 10.006, 10.016, 10.018, 10.020])
    monkeypatch.setattr(steps.time, "perf_counter", lambda: next(seconds))
    clock = steps._Clock(torch.device("cpu"))
    clock.mark("forward")  # before the first step: of no step
    clock.begin()
    for part in ("batching", "loss", "teachers", "loss"):
        clock.mark(part)
    clock.end("other")
    (times,) = clock.take()
    found = dict(zip((*PARTS, "step"), times, strict=True))
    expected = {"batching": 4, "loss": 3, "teachers": 10, "other": 2, "step": 19}
    for name, value in found.items():
        assert value == pytest.approx(expected.get(name, 0), abs=1e-6)
    assert clock.take() == []


def test_the_epoch_that_never_ends_has_the_batches_of_epochs() -> None:
    """Batches are whole, in the order of the loop's generator, pass after pass."""
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 1, 4, 4)
    fields = (images, torch.zeros_like(images), torch.zeros(10, dtype=torch.int64))
    endless = steps._Endless(*fields, clock=steps._Clock(torch.device("cpu")))
    generator = torch.Generator().manual_seed(3)
    found = list(islice(endless.shuffled(4, generator), 6))
    generator = torch.Generator().manual_seed(3)
    data = TensorData(*fields)
    expected = [one for _ in range(3) for one in data.shuffled(4, generator)]
    assert len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.place, other.place)
        assert torch.equal(one.image, other.image)


def test_comparison_changes_one_thing_at_a_time() -> None:
    """The first row is the training as configured; each other row differs in one respect."""
    base = Case(train=TRAIN, distill=DISTILL, data="")
    first, *others = _cases(base, compare=True).values()
    assert first == base
    ways = [(c.settings.loop.precision, c.settings.loop.compile, c.channels_last) for c in others]
    assert ways == [("bf16", False, True), ("fp32", True, True), ("fp32", False, False)]
    assert all(case.train == TRAIN for case in others)
    assert list(_cases(base, compare=False).values()) == [base]


@pytest.mark.parametrize("channels_last", [True, False])
def test_layout_is_that_of_the_row(channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are laid out as the row says when the loop hands the task to Fabric."""
    monkeypatch.setattr(loop, "Augment", loop.Augment)  # restored after the test
    case = Case(train=TRAIN, channels_last=channels_last, data="")
    fabric = loop.make_fabric(LOOP)
    task = steps._make_task(case, fabric.device)
    task.to(memory_format=torch.channels_last)
    steps._observe(steps._Clock(fabric.device), task, fabric, case)
    fabric.setup_module(task)
    weight = next(p for p in task.parameters() if p.shape[2:] == (3, 3) and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert weight.is_contiguous() != channels_last


def test_noise_has_the_classes_of_busi() -> None:
    """Noise comes with benign, malignant and normal images; just normals have no lesion."""
    images, described = _images(TRAIN, None, None, 0)
    assert (len(images), described) == (64, "64 images of noise")
    assert images.images.shape == images.masks.shape == (64, 1, 32, 32)
    assert images.images.dtype == images.masks.dtype == torch.uint8
    shares = np.bincount(images.categories.numpy(), minlength=3) / 64
    np.testing.assert_allclose(shares, np.array([437, 210, 133]) / 780, atol=0.15)
    has_lesion = images.masks.flatten(1).any(1)
    assert torch.equal(has_lesion, images.categories != 2)


def test_data_of_a_folder_are_those_to_train_on(tmp_path: Path) -> None:
    """With a data set the measured images are its training part."""
    cv2 = pytest.importorskip("cv2")
    rows = ["id,category,group,spacing_mm"]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(30):
        image = np.random.default_rng(index).integers(0, 255, (40, 48), dtype=np.uint8)
        mask = np.zeros((40, 48), np.uint8)
        mask[10:20, 10:20] = 255
        cv2.imwrite(str(tmp_path / "images" / f"{index:02d}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{index:02d}.png"), mask)
        rows.append(f"{index:02d},{('benign', 'malignant')[index % 2]},{index:02d},")
    (tmp_path / "samples.csv").write_text("\n".join(rows) + "\n")
    images, described = _images(TRAIN, tmp_path, None, 0)
    assert 15 <= len(images) < 30
    assert described == f"{len(images)} images of {tmp_path.name}"
    assert images.masks.flatten(1).any(1).all()


def test_a_training_that_cannot_begin_says_why() -> None:
    """Bad settings of a row come back as their sentence, not as a dead process."""
    wrong = DISTILL.model_copy(update={"feature_pairs": {"decoder1": "attic"}})
    with pytest.raises(MeasurementError, match="feature_pairs to name taps of the teacher"):
        bench_training(TRAIN, wrong, settings=SHORT)


def test_command_measures_the_section_of_a_recipe(tmp_path: Path) -> None:
    """--train --section train measures the recipe's teacher, with batch and precision of flags."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[train]\nmodel = { name = "attention_unet", options = { width = 8 } }\nimgsz = 32\n'
    )
    output = tmp_path / "result.json"
    command: list[Any] = [sys.executable, "-m", "edge_bts.cli", "bench", "--train"]
    command += ["--section", "train", "--config", recipe, "--batch", 3, "--precision", "fp32"]
    command += ["--device", "cpu", "--threads", 1, "--json", "-o", output]
    command += ["--seconds", 0.1, "--set", "bench.warmup_seconds=0"]
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"EDGE_BTS_ALLOCATOR": "system"},
    )
    assert done.returncode == 6, done.stderr  # too short to publish
    assert json.loads(done.stdout) == json.loads(output.read_text())
    found = TrainingResult.model_validate_json(done.stdout)
    (row,) = found.rows
    assert (found.verdict, found.section, found.settings.threads) == ("INVALID", "train", 1)
    assert (row.batch, row.label) == (3, "fp32, eager, channels last")
    assert {part.name for part in row.parts if not part.share} == {"teachers"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Expected a bundle or an ONNX"),
        (["nano.ebts", "--train"], "no SUBJECT with --train"),
        (["--train", "--teacher", "attention_unet:width=8"], "no --teacher with --train"),
        (["--train", "--plot", "plot.png"], "no --plot with --train"),
        (["--train", "--fps", "30"], "no --fps with --train"),
        (["nano.ebts", "--batch", "8"], "no --batch without --train"),
        (["nano.ebts", "--compare"], "no --compare without --train"),
        (["--train", "--precision", "int8"], "loop.precision"),
        (["--train", "--set", "distill.loop.speed=9"], "speed"),
        (["--train", "--data", "absent"], "absent"),
    ],
)
def test_bad_options_are_named(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Exit code 2 and one sentence, before anything is measured."""
    from edge_bts.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_BTS_ALLOCATOR", "system")
    monkeypatch.setattr(sys, "argv", ["edge-bts", "bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert (stopped.value.code, "Traceback" in said) == (2, False)
    assert sentence in said
    assert not any(tmp_path.iterdir())
