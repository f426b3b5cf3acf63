"""Whole trainings, from a data folder to a checkpoint: what ``train`` and ``distill`` do."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from edge_bts import __version__
from edge_bts.data import Sample, load_split, make_split, open_dataset, select, write_split
from edge_bts.errors import InputError
from edge_bts.files import canonical_json, is_leftover, sha256_bytes, sha256_file, write_json
from edge_bts.models import (
    Checkpoint,
    build_model,
    checkpoint_info,
    load_checkpoint,
    save_checkpoint,
)
from edge_bts.provenance import Origin, seen
from edge_bts.trainers.data import TensorData
from edge_bts.trainers.distributed import first_alone, leave
from edge_bts.trainers.loop import FitResult, fit, make_fabric
from edge_bts.trainers.settings import DistillSettings, TrainSettings
from edge_bts.trainers.state import STATE_NAME
from edge_bts.trainers.tasks import DistillTask, SupervisedTask, Task
from edge_bts.trainers.teachers import Network, Teacher

__all__ = [
    "CHECKPOINT_NAME",
    "Inputs",
    "distill",
    "open_inputs",
    "open_teachers",
    "refuse_leak",
    "train",
]

CHECKPOINT_NAME = "checkpoint.safetensors"
Category = Literal["benign", "malignant", "all"]


@dataclass(frozen=True)
class Inputs:
    """The samples of one training, and the split that they come from.

    Attributes:
        dataset: Name of the data set.
        split_hash: Hash of the split's content.
        train: Samples to learn from.
        val: Samples that choose epoch and threshold.
        merged: Hash of the split of each data set that was merged into this one.
    """

    dataset: str
    split_hash: str
    train: Sequence[Sample]
    val: Sequence[Sample]
    merged: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return one line for the log."""
        return (
            f"{self.dataset}: {len(self.train)} images to train on, {len(self.val)} to validate "
            f"on, split {self.split_hash[:12]}"
        )


def open_inputs(
    data: Path, split: Path | None, category: Category = "all", keep_split: Path | None = None
) -> Inputs:
    """Open a data set, its split (default: the one that seed 0 makes) and the samples asked for.

    Args:
        data: Folder of a data set in any known layout.
        split: Split file, or None.
        category: Class of the images; "all" includes normals.
        keep_split: Where to write a split that was made here.

    Raises:
        InputError: No data, or no image of the category.
        IntegrityError: The split's hashes do not match the data.
    """
    dataset = open_dataset(data)
    if split is None:
        chosen = make_split(dataset, seed=0)
        if keep_split is not None:
            write_split(keep_split, chosen)
    else:
        chosen = load_split(split)
    categories = None if category == "all" else {category}
    return Inputs(
        dataset.name,
        chosen.hash,
        select(dataset, chosen, "train", categories),
        select(dataset, chosen, "val", categories),
        chosen.merged,
    )


def train(
    inputs: Inputs,
    category: Category,
    settings: TrainSettings,
    folder: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Train one network on masks alone and return the path of its checkpoint.

    Args:
        inputs: Samples to train and validate on.
        category: Their class.
        settings: Of the training.
        folder: Where the run goes.
        start: Checkpoint whose weights are the first ones: a joint teacher that is specialised to
            one class, a student that goes on, or one that learnt on another data set. None: random
            weights.
        resume: Continue the run in ``folder``.
        force: Replace the run in ``folder``.

    Raises:
        InputError: ``folder`` holds a run and neither ``resume`` nor ``force`` is given; ``start``
            is another model's or was trained on another split; or bad input met on the way.
    """

    def make_task(network: Network) -> Task:
        return SupervisedTask(network, settings.hard_normals)

    task = _fresh_task(settings, make_task, start, inputs)
    role: Literal["teacher", "student"] = (
        "student" if settings.model.name == "simplified_unet" else "teacher"
    )
    checkpoint = _describe(settings, inputs, role, category, start=start)
    return _run(task, inputs, settings, checkpoint, folder, resume=resume, force=force)


def distill(
    inputs: Inputs,
    teachers: tuple[Path, Path],
    settings: DistillSettings,
    folder: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Distil a benign and a malignant teacher into one student; return its checkpoint's path.

    The same checkpoint in both places is one joint teacher. Other arguments are those of
    :func:`train`.

    Raises:
        InputError: A teacher of the wrong class or of another split of these data (it would have
            seen the test images), or what :func:`train` raises.
    """
    taps = settings.read_pairs.values()
    benign, malignant = open_teachers(teachers, inputs, taps)

    def make_task(network: Network) -> Task:
        return DistillTask(network, benign, malignant, settings)

    task = _fresh_task(settings, make_task, start, inputs)
    checkpoint = _describe(settings, inputs, "student", "all", teachers, start)
    return _run(
        task,
        inputs,
        settings,
        checkpoint,
        folder,
        resume=resume,
        force=force,
        teachers=(benign, malignant),
    )


def _fresh_task(
    settings: TrainSettings,
    make_task: Callable[[Network], Task],
    start: Path | None,
    inputs: Inputs,
) -> Task:
    import torch

    torch.manual_seed(settings.loop.seed)  # the weights at the start
    network = Network(build_model(settings.model), settings.mean, settings.std)
    if start is not None:
        _begin_with(network.module, start, settings, inputs)
    return make_task(network)


def open_teachers(
    paths: tuple[Path, Path], inputs: Inputs, taps: Iterable[str] = ()
) -> tuple[Teacher, Teacher]:
    """Load the benign and the malignant teacher of a student.

    Args:
        paths: Their checkpoints, in this order.
        inputs: What the student is trained on.
        taps: Features that the feature path reads.

    Raises:
        InputError: One is of the other class, or was trained on another split of these data: it
            may have seen the test images.

    Returns:
        Both; the same object twice where both paths are one joint teacher.
    """
    taps = tuple(taps)
    benign = _open_teacher(paths[0], "benign", inputs, taps)
    if paths[0].resolve() == paths[1].resolve() and benign.category == "all":
        return benign, benign
    return benign, _open_teacher(paths[1], "malignant", inputs, taps)


def _open_teacher(path: Path, category: str, inputs: Inputs, taps: Iterable[str]) -> Teacher:
    module, checkpoint = load_checkpoint(path)
    if checkpoint.category not in (category, "all"):
        raise InputError(
            f"Expected --teachers BENIGN MALIGNANT, but {path} was trained on "
            f"{checkpoint.category} images where the {category} teacher stands; swap them?"
        )
    refuse_leak(f"teacher {path}", checkpoint, inputs)
    return Teacher(module, checkpoint, taps)


def _begin_with(module: nn.Module, start: Path, settings: TrainSettings, inputs: Inputs) -> None:
    weights, checkpoint = load_checkpoint(start)
    if checkpoint.model != settings.model:
        raise InputError(
            f"Expected the start {start} to hold weights of {settings.model}, but it holds "
            f"{checkpoint.model}; start from a checkpoint of the same model."
        )
    refuse_leak(f"start {start}", checkpoint, inputs)
    module.load_state_dict(weights.state_dict())


def refuse_leak(what: str, checkpoint: Checkpoint, inputs: Inputs) -> None:
    """Refuse what may have seen test images: itself, or through its origins.

    What was trained on data of another name is taken; that these are other images, and none of the
    test part's, only the user can know.

    Args:
        what: Names it in the sentence.
        checkpoint: What it says of itself.
        inputs: What shall be trained on.

    Raises:
        InputError: It, or what it learnt from, was trained on another split of these data or of
            one that was merged into them, or it does not say on what.
    """
    allowed = {inputs.dataset: inputs.split_hash, **inputs.merged}
    for name, split in seen(checkpoint):
        expected = allowed.get(name or inputs.dataset)
        if expected not in (None, split):
            raise InputError(
                f"Expected {what} to be trained on split {expected[:12]} of "
                f"{name or inputs.dataset}, or on another data set, but it was on "
                f"{split[:12] or 'none'}: it may have seen test images. Train it again with this "
                "--split."
            )


def _describe(
    settings: TrainSettings,
    inputs: Inputs,
    role: Literal["teacher", "student"],
    category: Category,
    teachers: tuple[Path, ...] = (),
    start: Path | None = None,
) -> Checkpoint:
    origins = [
        Origin(role="part", dataset=name, split_hash=split) for name, split in inputs.merged.items()
    ]
    origins += [_origin("teacher", path) for path in dict.fromkeys(teachers)]
    if start is not None:
        origins.append(_origin("start", start))
    return Checkpoint(
        model=settings.model,
        role=role,
        category=category,
        imgsz=settings.imgsz,
        mean=settings.mean,
        std=settings.std,
        seed=settings.loop.seed,
        dataset=inputs.dataset,
        split_hash=inputs.split_hash,
        edge_bts_version=__version__,
        config=settings.model_dump(mode="json"),
        origins=tuple(origins),
    )


def _origin(role: Literal["start", "teacher"], path: Path) -> Origin:
    info = checkpoint_info(path)
    return Origin(
        role=role,
        dataset=info.dataset,
        split_hash=info.split_hash,
        checkpoint_sha256=sha256_file(path),
        origins=info.origins,
    )


def _run(
    task: Task,
    inputs: Inputs,
    settings: TrainSettings,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    resume: bool,
    force: bool,
    teachers: Sequence[Teacher] = (),
) -> Path:
    path = folder / CHECKPOINT_NAME
    fingerprint = sha256_bytes(
        canonical_json(
            [
                checkpoint.model_dump(mode="json"),
                [sample.id for sample in inputs.train],
                [sample.id for sample in inputs.val],
            ]
        )
    )
    fabric = make_fabric(settings.loop)
    train_data = TensorData.read(inputs.train, settings.imgsz, fabric.device)
    val_data = TensorData.read(inputs.val, settings.imgsz, fabric.device)
    # After all input was read: a bad image must not cost the run that --force replaces.
    claim = partial(_claim, folder, checkpoint.config, resume=resume, force=force)
    has_state = first_alone(fabric, claim)
    task.to(fabric.device)
    for teacher in teachers:
        teacher.to(fabric.device)

    def save(module: nn.Module, epoch: int, metrics: dict[str, float]) -> None:
        kept = checkpoint.model_copy(update={"epoch": epoch, "metrics": metrics})
        save_checkpoint(path, module, kept)

    try:
        result = fit(
            task,
            train_data,
            val_data,
            settings.loop,
            settings.augment,
            folder=folder,
            save=save,
            fabric=fabric,
            fingerprint=fingerprint,
            sizes=settings.epoch_sizes(),
            resume=has_state,
        )
    except KeyboardInterrupt:
        if fabric.is_global_zero:
            print(f"Interrupted; add --resume to the same command to continue in {folder}.")
        raise
    first_alone(fabric, _finish, path, inputs.val, result, folder, str(fabric.device))
    leave()
    return path


def _claim(folder: Path, config: dict[str, Any], *, resume: bool, force: bool) -> bool:
    """Make ``folder`` ours: new, to be continued, or emptied of an older run by request.

    Returns:
        There is a state to continue from.
    """
    if resume and force:
        raise InputError("Expected --resume or --force, but got both; they contradict each other.")
    if folder.exists() and not all(is_leftover(path) for path in folder.iterdir()):
        ours = (folder / "config.json").is_file()
        if force and ours:
            shutil.rmtree(folder)
        elif not (resume and ours):
            what = (
                "a run; add --resume to continue it or --force to start again"
                if ours
                else "other files; choose another folder"
            )
            raise InputError(f"Expected {folder} to be new or empty, but it holds {what}.")
    goes_on = (folder / STATE_NAME).is_file()
    if not goes_on:  # else it says what made the state, whatever is asked for now
        write_json(folder / "config.json", config)
    return goes_on


def _finish(
    path: Path, val: Sequence[Sample], result: FitResult, folder: Path, device: str
) -> None:
    """Choose the thresholds on validation, in source geometry, and store them with the weights."""
    from edge_bts.operating_point import pick_operating_point
    from edge_bts.runtime import open_checkpoint

    point = pick_operating_point(open_checkpoint(path, device=device), val)
    cuts = {"threshold": point.threshold, "presence_threshold": point.presence_threshold}
    module, checkpoint = load_checkpoint(path)
    save_checkpoint(path, module, checkpoint.model_copy(update=cuts))
    summary = {
        "epoch": result.epoch,
        "epochs_run": len(result.history),
        "metrics": result.metrics,
        "stopped_early": result.stopped_early,
        **dataclasses.asdict(point),
        "checkpoint_sha256": sha256_bytes(path.read_bytes()),
    }
    write_json(folder / "summary.json", summary)
    print(
        f"Kept epoch {result.epoch} of {len(result.history)}"
        f"{' (stopped early)' if result.stopped_early else ''}: "
        f"{json.dumps({k: round(v, 4) for k, v in result.metrics.items()})}, "
        f"threshold {point.threshold:.2f}, presence {point.presence_threshold:.3f} -> {path}"
    )
