"""Doing a study: what is missing is trained, evaluated on the test part and written as a row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_bts import provenance
from edge_bts.data import Split, load_split, make_split, open_dataset, select, write_split
from edge_bts.errors import InputError
from edge_bts.evaluate import evaluate
from edge_bts.files import sha256_file, write_json
from edge_bts.models import checkpoint_info
from edge_bts.runtime import open_checkpoint
from edge_bts.trainers import runs
from edge_bts.trainers.settings import DistillSettings
from edge_bts.trainers.study.plan import Run
from edge_bts.trainers.study.rows import Images, StudyRow, read_rows, write_row
from edge_bts.trainers.study.settings import StudySettings

__all__ = ["Job", "Study", "do", "estimate", "run_here"]

_STARTED = "started.json"


@dataclass(frozen=True)
class Job:
    """A run with what it needs to be done anywhere that sees the same folders.

    Attributes:
        run: What to train.
        study: Name of the study.
        data: Folder of the data set.
        split: Split file of its fold.
        folder: Of the study: ``runs/`` and ``rows/`` go there.
    """

    run: Run
    study: str
    data: Path
    split: Path
    folder: Path


class Study:
    """A study in its folder: the splits, what is done and what is missing.

    ``folder`` holds ``splits/`` (one file a fold), ``runs/`` (one folder a training), ``rows/``
    (one file a finished run) and ``started.json`` (the fingerprint of every run that was started).
    """

    def __init__(
        self,
        settings: StudySettings,
        students: Sequence[Run],
        data: Path,
        folder: Path,
        split: Path | None = None,
        chosen: Collection[str] | None = None,
    ) -> None:
        """Open data, splits and rows; writes nothing.

        Args:
            settings: The study.
            students: All its runs.
            data: Folder of the data set.
            folder: Of the study.
            split: Split file; None: that of ``folder``, else one is made.
            chosen: Names of the students that shall be done now; None: all.

        Raises:
            InputError: Another data set or split than the study's or than ``folder`` was started
                with, a row that is none, a checkpoint of another split.
        """
        self.settings = settings
        self.students = [run for run in students if chosen is None or run.name in chosen]
        self.teachers = _teachers(self.students)
        self.data = data
        self.folder = folder
        self.rows = read_rows(folder / "rows")
        self._all = [*_teachers(students), *students]
        self._given_split = split
        self._splits: dict[int | None, Split] = {}
        for run in (*self.teachers, *self.students):
            split_of_run = self._split(run.fold)
            for path, place in run.given():
                _check_given(path, place, split_of_run)

    def fingerprint(self, run: Run) -> str:
        """Return the hash of all that decides the result of ``run``."""
        return run.fingerprint(self._split(run.fold).hash)

    def done(self, run: Run) -> bool:
        """Whether the row of ``run`` stands."""
        return run.name in self.rows

    def missing(self) -> list[Run]:
        """Return what is to be done, in order: each teacher before the first who needs it."""
        todo: dict[str, Run] = {}
        for student in self.students:
            if not self.done(student):
                for run in (*student.before(), student):
                    if not self._stands(run):
                        todo[run.name] = run
        return list(todo.values())

    def claim(self, *, force: bool = False) -> None:
        """Make the folder ours: refuse, or with ``force`` remove, what other settings made.

        All runs of the study are looked at, not only the chosen: a table holds them all.

        Raises:
            InputError: A run was started or finished with other settings, split or teachers.
        """
        path = self.folder / _STARTED
        started: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        wanted = {run.name: self.fingerprint(run) for run in (*self.teachers, *self.students)}
        changed = [
            run
            for run in self._all
            if (made := self._made_with(run.name, started)) and made != self.fingerprint(run)
        ]
        if changed and not force:
            raise InputError(
                f"Expected the study that {self.folder} was started with, but {len(changed)} of "
                f"its runs had other settings, split or teachers (first: {changed[0].name}"
                f"{self._first_difference(changed[0])}); use another folder, or --force "
                "to do them again."
            )
        for run in changed:
            (self.folder / "rows" / f"{run.name}.json").unlink(missing_ok=True)
            shutil.rmtree(self.folder / "runs" / run.name, ignore_errors=True)
            self.rows.pop(run.name, None)
        for fold, split in self._splits.items():
            if not self._split_path(fold).is_file():
                write_split(self._split_path(fold), split)
        write_json(path, started | wanted)

    def job(self, run: Run) -> Job:
        """Return ``run`` with what :func:`do` needs."""
        return Job(
            run,
            self.settings.name,
            self.data.resolve(),
            self._split_path(run.fold).resolve(),
            self.folder.resolve(),
        )

    def _stands(self, run: Run) -> bool:
        """Whether a row and, for who needs it, the checkpoint that the row tells of are there."""
        if not self.done(run):
            return False
        path = _checkpoint(self.folder, run)
        expected = self.rows[run.name].checkpoint_sha256
        return path.is_file() and sha256_file(path) == expected

    def _made_with(self, name: str, started: Mapping[str, str]) -> str | None:
        if name in self.rows:
            return self.rows[name].fingerprint
        return started.get(name) if (self.folder / "runs" / name).exists() else None

    def _first_difference(self, run: Run) -> str:
        if run.name in self.rows:
            old = self.rows[run.name].settings
        elif (path := self.folder / "runs" / run.name / "config.json").is_file():
            old = json.loads(path.read_text())
        else:
            return ""
        new = run.settings.model_dump(mode="json")
        for key, value in _flat(old).items():
            if (now := _flat(new).get(key)) != value:
                return f": {key} was {value} and is {now}"
        return ""

    def _split_path(self, fold: int | None) -> Path:
        return self.folder / "splits" / ("split.json" if fold is None else f"fold{fold}.json")

    def _split(self, fold: int | None) -> Split:
        if fold not in self._splits:
            self._splits[fold] = self._open_split(fold)
        return self._splits[fold]

    def _open_split(self, fold: int | None) -> Split:
        path, given = self._split_path(fold), self._given_split
        kept = load_split(path) if path.is_file() else None
        if given is not None:
            if fold is not None:
                raise InputError(
                    f"Expected no --split, because {self.settings.name} names folds "
                    f"{self.settings.folds}; leave one of the two out."
                )
            split = load_split(given)
            same = kept is None or kept.hash == split.hash
        else:
            dataset = open_dataset(self.data)
            _check_name(self.settings, dataset.name)
            seed = self.settings.split_seed
            split = kept or make_split(dataset, seed=seed, fold=fold)
            same = (split.seed, split.fold) == (seed, fold)
        _check_name(self.settings, split.dataset)
        if not same:
            raise InputError(
                f"Expected the split that {self.folder} was started with ({path.name}), but "
                f"another was asked for; pass --split {path}, or use another folder."
            )
        return split


def do(job: Job) -> StudyRow:
    """Train one run (on from where it was interrupted), evaluate it and write its row.

    Raises:
        InputError: As :func:`edge_bts.trainers.runs.train` and ``distill``.
    """
    run, settings = job.run, job.run.settings
    folder = job.folder / "runs" / run.name
    inputs = runs.open_inputs(job.data, job.split, run.category)
    paths = [
        origin if isinstance(origin, Path) else _checkpoint(job.folder, origin)
        for origin in run.origins
    ]
    start = None if run.start is None else paths[-1]
    if run.teachers:
        assert isinstance(settings, DistillSettings)
        teachers = (paths[0], paths[1])
        path = runs.distill(inputs, teachers, settings, folder, start=start, resume=True)
    else:
        path = runs.train(inputs, run.category, settings, folder, start=start, resume=True)
    dataset, split = open_dataset(job.data), load_split(job.split)
    device = _device(settings.loop.device)
    report = evaluate(
        open_checkpoint(path, device=device), select(dataset, split, "test"), presence_threshold=0.0
    )
    checkpoint = checkpoint_info(path)
    row = StudyRow(
        study=job.study,
        name=run.name,
        kind=run.kind,
        label=run.label,
        fold=run.fold,
        seed=settings.loop.seed,
        category=run.category,
        dataset=dataset.name,
        split_hash=split.hash,
        leaks=split.leaks,
        fingerprint=run.fingerprint(split.hash),
        settings=settings.model_dump(mode="json"),
        origins=[sha256_file(origin) for origin in paths],
        checkpoint_sha256=sha256_file(path),
        epoch=checkpoint.epoch,
        epochs_run=len(_history(folder)),
        validation=checkpoint.metrics,
        threshold=checkpoint.threshold,
        presence_threshold=checkpoint.presence_threshold,
        minutes=round(_minutes(_history(folder), len(inputs.train)), 2),
        device=_device_name(device),
        versions=provenance.package_versions(),
        commit=provenance.git_commit(),
        images=Images.of(report.rows),
    )
    write_row(job.folder / "rows", row)
    return row


def run_here(study: Study) -> Iterator[StudyRow]:
    """Do what is missing, one run after the other, and yield each row."""
    todo = study.missing()
    for number, run in enumerate(todo, start=1):
        print(f"[{number} of {len(todo)}] {run.name}: {run.settings.model}", flush=True)
        row = study.rows[run.name] = do(study.job(run))
        yield row


def estimate(run: Run, rows: Iterable[StudyRow]) -> float | None:
    """Return about how many minutes ``run`` takes: the mean of its like; None without any.

    Its like are the finished runs of its label, else of its kind.
    """
    rows = list(rows)
    for like in (
        [row.minutes for row in rows if (row.kind, row.label) == (run.kind, run.label)],
        [row.minutes for row in rows if row.kind == run.kind],
    ):
        if like:
            return sum(like) / len(like)
    return None


def _teachers(students: Sequence[Run]) -> list[Run]:
    return list({run.name: run for student in students for run in student.before()}.values())


def _checkpoint(folder: Path, run: Run) -> Path:
    return folder / "runs" / run.name / runs.CHECKPOINT_NAME


def _check_given(path: Path, place: str, split: Split) -> None:
    """Refuse now what would end the study hours later."""
    info = checkpoint_info(path)
    runs.refuse_leak(str(path), info, runs.Inputs(split.dataset, split.hash, (), (), split.merged))
    if place != "all" and info.category not in (place, "all"):
        raise InputError(
            f"Expected a teacher of {place} images in {path}, but it was trained on "
            f"{info.category} ones; exchange the teachers of the variant."
        )


def _check_name(settings: StudySettings, name: str) -> None:
    if name != settings.data:
        raise InputError(
            f"Expected the data set {settings.data} for the study {settings.name}, but got "
            f"{name}; pass its folder with --data."
        )


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _history(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _minutes(history: Sequence[Mapping[str, float]], images: int) -> float:
    # From the log of all sessions: a clock of ours would lose those that were killed.
    return sum(images / row["images_per_second"] for row in history) / 60


def _device(wanted: str) -> str:
    import torch

    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "cpu"
