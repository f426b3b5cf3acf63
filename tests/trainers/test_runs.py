from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.files import sha256_file
from edge_bts.models import ModelSpec, checkpoint_info, load_checkpoint, save_checkpoint
from edge_bts.provenance import seen
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


def test_one_joint_teacher_is_loaded_once(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """The same checkpoint of all classes in both places is one teacher, not two."""
    path = runs.train(inputs, "all", teacher_settings, tmp_path / "joint")
    benign, malignant = runs.open_teachers((path, path), inputs)
    assert benign is malignant


def test_a_class_teacher_cannot_stand_in_for_the_other(
    inputs: Inputs, teachers: tuple[Path, Path]
) -> None:
    """A benign teacher given twice is refused: malignant images would hear a stranger."""
    with pytest.raises(InputError, match="trained on benign images where the malignant"):
        runs.open_teachers((teachers[0], teachers[0]), inputs)


def test_a_specialised_teacher_begins_with_the_joint_weights(
    blobs: Path, inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """With --start and steps of almost no length the weights stay those of the start."""
    joint = runs.train(inputs, "all", teacher_settings, tmp_path / "joint")
    still = teacher_settings.loop.model_copy(
        update={"lr": 1e-12, "min_lr": 0.0, "weight_decay": 0.0, "epochs": 1}
    )
    settings = teacher_settings.model_copy(update={"loop": still})
    benign = open_inputs(blobs, None, "benign")
    path = runs.train(benign, "benign", settings, tmp_path / "benign", start=joint)
    first, second = (load_checkpoint(p)[0] for p in (joint, path))
    for own, start in zip(second.parameters(), first.parameters(), strict=True):
        torch.testing.assert_close(own, start, atol=1e-9, rtol=0)


def test_a_student_goes_on_from_another(
    inputs: Inputs, teachers: tuple[Path, Path], student_settings: DistillSettings, tmp_path: Path
) -> None:
    """Distillation with a start keeps its weights where steps have almost no length."""
    still = student_settings.loop.model_copy(
        update={"lr": 1e-12, "min_lr": 0.0, "weight_decay": 0.0, "epochs": 1}
    )
    settings = student_settings.model_copy(update={"loop": still})
    first = runs.distill(inputs, teachers, settings, tmp_path / "first")
    other = settings.model_copy(update={"loop": still.model_copy(update={"seed": 5})})
    second = runs.distill(inputs, teachers, other, tmp_path / "second", start=first)
    fresh = runs.distill(inputs, teachers, other, tmp_path / "fresh")
    a, b, c = (list(load_checkpoint(path)[0].parameters()) for path in (first, second, fresh))
    assert all(torch.allclose(x, y, atol=1e-9) for x, y in zip(a, b, strict=True))
    assert not all(torch.allclose(x, y, atol=1e-3) for x, y in zip(b, c, strict=True))


def test_a_start_of_another_model_or_split_is_refused(
    inputs: Inputs, teachers: tuple[Path, Path], teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """A start must be the same network, and must not have seen the test images."""
    wider = teacher_settings.model_copy(
        update={"model": ModelSpec(name="attention_unet", options={"width": 16})}
    )
    with pytest.raises(InputError, match="start from a checkpoint of the same model"):
        runs.train(inputs, "all", wider, tmp_path / "run", start=teachers[0])
    module, checkpoint = load_checkpoint(teachers[0])
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, module, checkpoint.model_copy(update={"split_hash": "0" * 64}))
    with pytest.raises(InputError, match="may have seen test images"):
        runs.train(inputs, "all", teacher_settings, tmp_path / "run", start=other)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_data_set_may_be_the_first_and_are_told(
    inputs: Inputs,
    teachers: tuple[Path, Path],
    teacher_settings: TrainSettings,
    student_settings: DistillSettings,
    tmp_path: Path,
) -> None:
    """A start from other data is taken and told by all that learns from it; no leak is hidden."""
    module, checkpoint = load_checkpoint(teachers[0])
    other = tmp_path / "other.safetensors"
    told = {"dataset": "elsewhere", "split_hash": "0" * 64}
    save_checkpoint(other, module, checkpoint.model_copy(update={**told, "category": "all"}))
    teacher = runs.train(inputs, "all", teacher_settings, tmp_path / "teacher", start=other)
    student = runs.distill(inputs, (teacher, teacher), student_settings, tmp_path / "student")
    made = checkpoint_info(student)
    own = (inputs.dataset, inputs.split_hash)
    assert seen(made) == [own, ("elsewhere", "0" * 64)]
    (origin,) = made.origins
    assert (origin.role, origin.checkpoint_sha256) == ("teacher", sha256_file(teacher))
    assert [start.role for start in origin.origins] == ["start"]
    merged = Inputs(inputs.dataset, inputs.split_hash, (), (), {"elsewhere": "2" * 64})
    with pytest.raises(InputError, match="split 222222222222 of elsewhere"):
        runs.refuse_leak("it", checkpoint_info(other), merged)
    leaking = origin.model_copy(update={"dataset": inputs.dataset, "split_hash": "1" * 64})
    save_checkpoint(other, module, checkpoint.model_copy(update={**told, "origins": (leaking,)}))
    with pytest.raises(InputError, match="may have seen test images"):
        runs.train(inputs, "all", teacher_settings, tmp_path / "second", start=other)


def test_a_run_resumes_with_its_own_teachers_alone(
    inputs: Inputs, teachers: tuple[Path, Path], student_settings: DistillSettings, tmp_path: Path
) -> None:
    """A distillation does not go on when a teacher's file has become another one."""
    mine = [
        Path(shutil.copy(path, tmp_path / f"{k}.safetensors")) for k, path in enumerate(teachers)
    ]
    runs.distill(inputs, (mine[0], mine[1]), student_settings, tmp_path / "student")
    module, checkpoint = load_checkpoint(mine[0])
    with torch.no_grad():
        next(module.parameters()).add_(1)
    save_checkpoint(mine[0], module, checkpoint)
    with pytest.raises(InputError, match="have changed"):
        runs.distill(
            inputs, (mine[0], mine[1]), student_settings, tmp_path / "student", resume=True
        )


def test_a_refused_resume_leaves_the_run_as_it_was(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """Resuming with other settings is refused, and config.json still tells the old ones."""
    runs.train(inputs, "all", teacher_settings, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}
    other = teacher_settings.model_copy(update={"hard_normals": 0.5})
    with pytest.raises(InputError, match="have changed"):
        runs.train(inputs, "all", other, tmp_path / "run", resume=True)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}


def test_a_run_killed_at_its_first_file_can_start_again(
    inputs: Inputs, teacher_settings: TrainSettings, tmp_path: Path
) -> None:
    """A folder with nothing but an unfinished temporary file counts as empty."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.k3_9x2ab.json").write_text("{")
    runs.train(inputs, "all", teacher_settings, tmp_path / "run")
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


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
