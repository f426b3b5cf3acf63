"""The study file: which variants are compared, on which folds, with which seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from edge_bts.config import Settings, load_recipe, settings
from edge_bts.errors import InputError

__all__ = ["StudySettings", "TeacherSpec", "VariantSpec", "load_study"]

S = TypeVar("S", bound=Settings)
_NAME = re.compile(r"[A-Za-z0-9_]+")  # parts of file names, which are joined with "-"


class TeacherSpec(Settings):
    """A teacher: trained once a fold before the first student that needs it, or given.

    ``start`` names the teacher whose weights it starts from: one joint teacher, specialised to a
    class. ``checkpoint`` names a trained one instead; ``{fold}`` in it stands for the fold, and it
    is relative to the study file, as ``config`` is.
    """

    category: Literal["benign", "malignant", "all"] = "all"
    seed: int = 0
    start: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)  # over the recipe's [train]
    checkpoint: str | None = None


class VariantSpec(Settings):
    """What is compared: a student, the two teachers it hears, and what is set differently.

    Without teachers it learns from the masks alone, with the model, loop and augmentation of the
    others. ``start`` is a checkpoint whose weights it begins with; ``{fold}`` in it stands for the
    fold, and it is relative to the study file.
    """

    teachers: tuple[str, str] | None = None  # on benign, on malignant images
    start: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)  # over the recipe's [distill]


class StudySettings(Settings):
    """A study; see ``trainers/studies/`` for the shipped ones."""

    name: str
    config: str  # recipe that every run starts from
    data: str  # name of the data set, as `edge-bts data inspect` prints it
    folds: list[int] = Field(default_factory=list)  # official folds; none: one split
    split_seed: int = 0
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)  # of the students
    baseline: str  # the variant that all others are compared with
    compare: list[tuple[str, str]] = Field(default_factory=list)  # further pairs
    teachers: dict[str, TeacherSpec] = Field(default_factory=dict)
    variants: dict[str, VariantSpec] = Field(min_length=1)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The comparisons: each variant with the baseline, then the further ones, none twice."""
        all_pairs = [(name, self.baseline) for name in self.variants if name != self.baseline]
        return list(dict.fromkeys([*all_pairs, *self.compare]))


def load_study(study: str, overrides: list[str]) -> tuple[StudySettings, dict[str, Any]]:
    """Read a study and the recipe that it starts from.

    Args:
        study: A TOML file, or the name of a study of the package.
        overrides: ``train.KEY=value`` or ``distill.KEY=value``, over the recipe.

    Returns:
        The study, its paths made absolute, and the recipe's content.

    Raises:
        InputError: Not a study: an unknown key, a name that nothing has, teachers that start from
            each other.
    """
    content = load_recipe(study, kind="study")
    chosen = settings(StudySettings, {"study": content}, "study")
    _check_names(chosen)
    for name, teacher in chosen.teachers.items():
        _check_teacher(chosen, name, teacher)
    for name, variant in chosen.variants.items():
        _check_variant(chosen, name, variant)
    # A recipe beside the study, unless it is the name of a shipped one.
    here = Path(study).parent
    config: str | Path = chosen.config
    if Path(chosen.config).suffix == ".toml":
        config = here / chosen.config
    found = {
        "teachers": {name: _beside(here, t, "checkpoint") for name, t in chosen.teachers.items()},
        "variants": {name: _beside(here, v, "start") for name, v in chosen.variants.items()},
    }
    return chosen.model_copy(update=found), load_recipe(config, overrides)


def _beside(here: Path, spec: S, field: str) -> S:
    path = getattr(spec, field)
    return spec if path is None else spec.model_copy(update={field: str(here / path)})


def _check_names(study: StudySettings) -> None:
    for name in (*study.teachers, *study.variants):
        if not _NAME.fullmatch(name):
            raise InputError(
                f"Expected teachers and variants named by letters, digits and _, but got {name!r}; "
                "files are named after them."
            )
    for values, what in ((study.folds, "folds"), (study.seeds, "seeds")):
        if len(set(values)) < len(values):
            raise InputError(f"Expected {what} that differ, but got {values}.")
    for name in (study.baseline, *(name for pair in study.compare for name in pair)):
        if name not in study.variants:
            raise InputError(
                f"Expected baseline and compare to name variants, which are "
                f"{', '.join(study.variants)}, but got {name!r}."
            )
    for first, second in study.compare:
        if first == second:
            raise InputError(f"Expected compare to name pairs, but got {first!r} twice.")


def _check_teacher(study: StudySettings, name: str, teacher: TeacherSpec) -> None:
    if teacher.checkpoint is not None:
        if extra := teacher.model_fields_set - {"checkpoint"}:
            raise InputError(
                f"Expected teacher {name!r} to be given by its checkpoint alone or trained here, "
                f"but it has checkpoint and {', '.join(sorted(extra))}; drop one."
            )
        return
    seen = [name]
    while (start := study.teachers[seen[-1]].start) is not None:
        if start not in study.teachers:
            raise InputError(
                f"Expected teacher {seen[-1]!r} to start from one of "
                f"{', '.join(study.teachers)}, but got {start!r}."
            )
        seen.append(start)
        if start in seen[:-1]:
            raise InputError(
                f"Expected a first teacher, but they start from each other: {' <- '.join(seen)}; "
                "drop one start."
            )


def _check_variant(study: StudySettings, name: str, variant: VariantSpec) -> None:
    for place, chosen in zip(("benign", "malignant"), variant.teachers or (), strict=False):
        if chosen not in study.teachers:
            raise InputError(
                f"Expected variant {name!r} to name teachers among "
                f"{', '.join(study.teachers) or 'none (there is no [teachers])'}, "
                f"but got {chosen!r}."
            )
        teacher = study.teachers[chosen]
        if teacher.checkpoint is None and teacher.category not in (place, "all"):
            raise InputError(
                f"Expected variant {name!r} to name teachers of benign, then of malignant images, "
                f"but {chosen!r} learns {teacher.category} ones where the {place} teacher stands."
            )
