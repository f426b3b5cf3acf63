"""The runs that a study asks for, each with its complete settings, in the order of the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_bts.config import overlay, settings
from edge_bts.errors import InputError
from edge_bts.files import canonical_json, sha256_bytes, sha256_file
from edge_bts.trainers.settings import DistillSettings, TrainSettings
from edge_bts.trainers.study.settings import StudySettings

__all__ = ["Run", "make_plan", "narrow"]

Category = Literal["benign", "malignant", "all"]
_SECTIONS: dict[str, type[TrainSettings]] = {"train": TrainSettings, "distill": DistillSettings}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: Of its folder and its row: ``routed-fold1-seed0``, ``teacher-benign-fold1``; without
            ``fold`` where the study has one split.
        label: The variant, or the teacher's name.
        category: Class of the images that it is trained on.
        fold: Official fold that is its test part, or None.
        settings: Complete.
        teachers: None for a teacher, () for a student alone, else the teacher of benign and of
            malignant images: a run, or a checkpoint that was given.
        start: Where the weights come from: a run, a checkpoint, or None.
    """

    name: str
    label: str
    category: Category
    fold: int | None
    settings: TrainSettings
    teachers: tuple[Run | Path, ...] | None = None
    start: Run | Path | None = None

    @property
    def kind(self) -> Literal["teacher", "student"]:
        """Whether it is compared or only teaches."""
        return "teacher" if self.teachers is None else "student"

    @property
    def origins(self) -> tuple[Run | Path, ...]:
        """Whose checkpoints must stand before it can be trained."""
        return (*(self.teachers or ()), *(() if self.start is None else (self.start,)))

    def before(self) -> Iterator[Run]:
        """Yield the runs that must be done before it, the first one first."""
        for origin in self.origins:
            if isinstance(origin, Run):
                yield from origin.before()
                yield origin

    def given(self) -> Iterator[tuple[Path, Category]]:
        """Yield the checkpoints that it takes as they are, with the class each must know."""
        places: tuple[Category, ...] = ("benign", "malignant") if self.teachers else ()
        for origin, place in zip(self.origins, (*places, "all"), strict=False):
            if isinstance(origin, Path):
                yield origin, place

    def fingerprint(self, split_hash: str) -> str:
        """Return the hash of all that decides its result: settings, split, and its origins'."""
        origins = [
            origin.fingerprint(split_hash) if isinstance(origin, Run) else sha256_file(origin)
            for origin in self.origins
        ]
        content = [self.kind, self.category, self.settings.model_dump(mode="json")]
        return sha256_bytes(canonical_json([*content, split_hash, origins]))


def make_plan(study: StudySettings, recipe: Mapping[str, Any]) -> list[Run]:
    """Return the students of a study, fold by fold, seed by seed, variant by variant.

    So the first seed of all variants is there before the second of any.

    Raises:
        InputError: Settings that the trainings do not take.
    """
    for section, cls in _SECTIONS.items():
        settings(cls, recipe, section)
    runs = []
    for fold in study.folds or (None,):
        for seed in study.seeds:
            for label, variant in study.variants.items():
                chosen = _with_seed(
                    _settings(recipe, "distill", f"variants.{label}", variant.set), seed
                )
                teachers = tuple(_origin(study, recipe, t, fold) for t in variant.teachers or ())
                start = None if variant.start is None else _given(variant.start, fold)
                name = f"{label}{_suffix(fold)}-seed{seed}"
                runs.append(Run(name, label, "all", fold, chosen, teachers, start))
    return runs


def narrow(
    study: StudySettings,
    only: Sequence[str] = (),
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> StudySettings:
    """Return the study with the chosen variants, folds and seeds alone; () leaves all.

    Raises:
        InputError: One that the study does not have.
    """
    for asked, there, what in (
        (only, list(study.variants), "variants"),
        (folds, study.folds, "folds"),
        (seeds, study.seeds, "seeds"),
    ):
        for value in asked:
            if value not in there:
                named = ", ".join(map(str, there)) or "none"
                raise InputError(
                    f"Expected {what} of the study {study.name} ({named}), but got {value!r}."
                )
    return study.model_copy(
        update={
            "variants": {k: v for k, v in study.variants.items() if not only or k in only},
            "folds": [fold for fold in study.folds if not folds or fold in folds],
            "seeds": [seed for seed in study.seeds if not seeds or seed in seeds],
        }
    )


def _origin(
    study: StudySettings, recipe: Mapping[str, Any], name: str, fold: int | None
) -> Run | Path:
    teacher = study.teachers[name]
    if teacher.checkpoint is not None:
        return _given(teacher.checkpoint, fold)
    chosen = _settings(recipe, "train", f"teachers.{name}", teacher.set)
    start = None if teacher.start is None else _origin(study, recipe, teacher.start, fold)
    return Run(
        f"teacher-{name}{_suffix(fold)}",
        name,
        teacher.category,
        fold,
        _with_seed(chosen, teacher.seed),
        start=start,
    )


def _given(path: str, fold: int | None) -> Path:
    return Path(path.replace("{fold}", str(fold)))


def _settings(
    recipe: Mapping[str, Any], section: str, who: str, own: Mapping[str, Any]
) -> TrainSettings:
    cls = _SECTIONS[section]
    return settings(cls, {who: overlay(cls, recipe.get(section, {}), own)}, who)


def _with_seed(chosen: TrainSettings, seed: int) -> TrainSettings:
    return chosen.model_copy(update={"loop": chosen.loop.model_copy(update={"seed": seed})})


def _suffix(fold: int | None) -> str:
    return "" if fold is None else f"-fold{fold}"
