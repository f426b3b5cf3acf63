from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.models import load_checkpoint, save_checkpoint
from edge_bts.trainers import runs
from edge_bts.trainers.runs import Inputs, open_inputs
from edge_bts.trainers.settings import DistillSettings, TrainSettings


@pytest.fixture(scope="module")
def teachers(
    blobs: Path, teacher_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A benign and a malignant teacher of the blobs."""
    folder = tmp_path_factory.mktemp("teachers")
    benign, malignant = (
        runs.train(
            open_inputs(blobs, None, category),  # type: ignore[arg-type]
            category,  # type: ignore[arg-type]
            teacher_settings,
            folder / category,
        )
        for category in ("benign", "malignant")
    )
    return benign, malignant


def test_a_class_teacher_sees_its_class_alone(blobs: Path) -> None:
    """Inputs of category benign hold benign samples in every part."""
    chosen = open_inputs(blobs, None, "benign")
    assert {s.category for s in (*chosen.train, *chosen.val)} == {"benign"}


def test_two_teachers_make_one_student(
    inputs: Inputs, teachers: tuple[Path, Path], student_settings: DistillSettings, tmp_path: Path
) -> None:
    """Distillation ends in a student's checkpoint without adapters or teachers inside."""
    path = runs.distill(inputs, teachers, student_settings, tmp_path / "student")
    module, checkpoint = load_checkpoint(path)
    assert checkpoint.role == "student"
    assert checkpoint.category == "all"
    assert module(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 64, 64)
    assert not [key for key in module.state_dict() if "adapter" in key]


def test_swapped_teachers_are_refused(
    inputs: Inputs, teachers: tuple[Path, Path], student_settings: DistillSettings, tmp_path: Path
) -> None:
    """Teachers in the wrong order are named, and nothing is written."""
    with pytest.raises(InputError, match="swap them"):
        runs.distill(inputs, teachers[::-1], student_settings, tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_a_teacher_of_another_split_is_refused(
    inputs: Inputs,
    teachers: tuple[Path, Path],
    student_settings: DistillSettings,
    tmp_path: Path,
) -> None:
    """A teacher that may have seen the test images cannot teach."""
    module, checkpoint = load_checkpoint(teachers[0])
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, module, checkpoint.model_copy(update={"split_hash": "0" * 64}))
    with pytest.raises(InputError, match="may have seen test images"):
        runs.distill(inputs, (other, teachers[1]), student_settings, tmp_path / "student")


def test_a_category_without_samples_is_named(tmp_path: Path, blobs: Path) -> None:
    """Training on a class that the data lack is an error that names the class."""
    rows = (blobs / "samples.csv").read_text().replace("malignant", "benign")
    for folder in ("images", "masks"):
        (tmp_path / folder).symlink_to(blobs / folder)
    (tmp_path / "samples.csv").write_text(rows)
    with pytest.raises(InputError, match="malignant"):
        open_inputs(tmp_path, None, "malignant")


def test_a_full_disk_keeps_the_last_whole_epoch(
    inputs: Inputs,
    teacher_settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the disk fills up while saving, one sentence says so and no half file stays."""
    real, calls = Path.replace, 0

    def full(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EdgeBtsError, match="No space left on device"):
        runs.train(inputs, "all", teacher_settings, tmp_path / "run")
    monkeypatch.undo()
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]
    load_checkpoint(tmp_path / "run" / runs.CHECKPOINT_NAME)
    runs.train(inputs, "all", teacher_settings, tmp_path / "run", resume=True)


def test_a_bad_image_does_not_cost_the_run_that_force_replaces(
    blobs: Path, teacher_settings: TrainSettings, teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    """With --force, a damaged image ends the command before the older run is removed."""
    data, old = tmp_path / "data", tmp_path / "run"
    shutil.copytree(blobs, data)
    shutil.copytree(teachers[0].parent, old)
    broken = open_inputs(data, None)
    broken.train[0].image_path.write_bytes(b"no image")
    with pytest.raises(InputError):
        runs.train(broken, "all", teacher_settings, old, force=True)
    load_checkpoint(old / runs.CHECKPOINT_NAME)
