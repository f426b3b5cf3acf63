"""What a study shows: figures of each variant and paired tests, from rows alone.

An image's score is its mean over the seeds first; intervals and tests then resample groups of
images (patients, duplicates). They hold what another sample of patients would change. What another
seed would change is beside them, as the standard deviation over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from edge_bts.errors import InputError
from edge_bts.metrics import (
    Score,
    auc,
    bootstrap_ci,
    holm,
    paired_difference,
    paired_permutation_p,
)
from edge_bts.trainers.settings import DistillSettings, TrainSettings
from edge_bts.trainers.study.rows import StudyRow
from edge_bts.trainers.study.settings import StudySettings

__all__ = ["ALPHA", "Comparison", "StudyReport", "TeacherResult", "VariantResult", "make_report"]

ALPHA = 0.05
"""Corrected p below which a difference is called one."""

_RESAMPLES = 10_000
_Cell = tuple[int | None, int]  # fold and seed
_Values = NDArray[np.float64]


class VariantResult(BaseModel):
    """What the students of one variant reach on the test images.

    Attributes:
        label: The variant.
        runs: Finished runs.
        dice: Mean over lesion images, of masks that no presence threshold has emptied: two models
            are not compared by the few normals that placed their thresholds.
        gated_dice: The same of what the presence threshold leaves: as the model is used.
        by_category: The same by category.
        iou: Mean over lesion images.
        hd95_px: Mean over the lesion images for which some seed predicts anything.
        empty: Share of lesion images and seeds without any predicted pixel: they have no distance.
        false_positive_rate: Share of images without lesion in which one is predicted that the
            presence threshold leaves; None without such images.
        presence_auc: Mean over runs; None without images of both kinds.
        dice_by_seed: Mean Dice of each seed that has all folds.
        seed_sd: Standard deviation (n - 1) of these; None with one.
        minutes: Mean of a training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    runs: int
    dice: Score
    gated_dice: Score
    by_category: dict[str, Score]
    iou: Score
    hd95_px: Score | None
    empty: float
    false_positive_rate: Score | None
    presence_auc: float | None
    dice_by_seed: dict[int, float]
    seed_sd: float | None
    minutes: float


class Comparison(BaseModel):
    """Mean Dice of ``first`` minus that of ``second``, on the same images, folds and seeds.

    ``p`` is two-sided, of sign flips by group; ``p_holm`` is corrected for all comparisons of the
    study. Both take the trained networks as given: whether other seeds would say the same, the
    difference of each seed tells (``by_seed``, of the seeds that have all folds).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str
    second: str
    difference: Score
    groups: int
    runs: int
    by_seed: dict[int, float]
    p: float
    p_holm: float

    @property
    def outcome(self) -> Literal["better", "worse", "open"]:
        """``first`` against ``second``, at :data:`ALPHA`; open: no difference was shown."""
        if self.p_holm >= ALPHA:
            return "open"
        return "better" if self.difference.value > 0 else "worse"


class TeacherResult(BaseModel):
    """Mean Dice of a teacher on the test images of each category, over the folds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    category: str
    runs: int
    dice: float
    by_category: dict[str, float]


class StudyReport(BaseModel):
    """Everything that is told of a study.

    ``missing`` names the runs of the study that are not among the rows: while there are any, the
    figures are of a part of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["edge-bts study report 1"] = "edge-bts study report 1"
    study: str
    dataset: str
    splits: dict[str, str]
    leaks: list[str] = []  # why figures flatter, in words
    folds: list[int]
    seeds: list[int]
    expected: int
    missing: list[str]
    images: int
    groups: int
    variants: list[VariantResult]
    comparisons: list[Comparison]
    teachers: list[TeacherResult]
    versions: dict[str, list[str]]
    commits: list[str]
    devices: list[str]  # where the students were trained


def make_report(
    study: StudySettings, expected: Sequence[str], rows: Iterable[StudyRow]
) -> StudyReport:
    """Compare the variants of ``study``.

    Args:
        study: Which variants, and which pairs of them.
        expected: Names of all student runs of the study.
        rows: What is finished; rows of variants, folds and seeds that the study does not name
            are left out.

    Raises:
        InputError: No row of the study, or rows that do not belong together: of another study or
            split, or of a variant with two settings.
    """
    rows = list(rows)
    students = [row for row in rows if row.kind == "student" and row.name in set(expected)]
    teachers = [row for row in rows if row.kind == "teacher" and row.label in study.teachers]
    if not students:
        raise InputError(
            f"Expected finished runs of the study {study.name}, but there is none; do some first, "
            "or name the folder of their rows."
        )
    _check(study, students, teachers)
    cells = {label: _Cells(study, label, students) for label in study.variants}
    cells = {label: found for label, found in cells.items() if found.rows}
    groups = {g for row in students for g in row.images.group}
    images = {(row.fold, name) for row in students for name in row.images.id}
    return StudyReport(
        study=study.name,
        dataset=students[0].dataset,
        splits={_fold_name(row.fold): row.split_hash for row in students},
        leaks=sorted({row.leaks for row in students if row.leaks}),
        folds=study.folds,
        seeds=study.seeds,
        expected=len(expected),
        missing=[name for name in expected if name not in {row.name for row in students}],
        images=len(images),
        groups=len(groups),
        variants=[_variant(label, found) for label, found in cells.items()],
        comparisons=list(_comparisons(study, cells)),
        teachers=_teachers(study, teachers),
        versions=_versions(students),
        commits=sorted({row.commit or "unknown" for row in students}),
        devices=sorted({row.device for row in students}),
    )


class _Cells:
    """The rows of one variant by fold and seed, and its images' scores."""

    def __init__(self, study: StudySettings, label: str, rows: Sequence[StudyRow]) -> None:
        self.rows: dict[_Cell, StudyRow] = {
            (row.fold, row.seed): row for row in rows if row.label == label
        }
        self.folds: Sequence[int | None] = study.folds or [None]

    def scores(
        self, column: str, keep: Iterable[_Cell] | None = None, *, lesions: bool = True
    ) -> tuple[_Values, list[str], list[str]]:
        """Return the mean over seeds of each image, nan where it has none, fold after fold.

        Beside it stand the group and the category of each image. ``column`` is one of a row's,
        or ``gated_dice`` or ``finds``: Dice and predictions that the presence threshold leaves.
        """
        wanted = self.rows.keys() if keep is None else set(keep)
        values, groups, categories = [], [], []
        for fold in self.folds:
            rows = [self.rows[cell] for cell in sorted(wanted, key=str) if cell[0] == fold]
            if not rows:
                continue
            images = rows[0].images
            chosen = [i for i, share in enumerate(images.share) if (share > 0) == lesions]
            table = np.array([_column(row, column) for row in rows], np.float64)[:, chosen]
            there = np.isfinite(table)
            count = there.sum(0)
            total = np.where(there, table, 0.0).sum(0)
            values.append(
                np.divide(total, count, out=np.full(len(chosen), np.nan), where=count > 0)
            )
            groups += [images.group[i] for i in chosen]
            categories += [images.category[i] for i in chosen]
        return np.concatenate(values), groups, categories


def _column(row: StudyRow, column: str) -> list[float]:
    gated = {"gated_dice": "dice", "finds": "predicted"}
    values: list[float] = getattr(row.images, gated.get(column, column))
    if column not in gated:
        return values
    return [
        value * (presence >= row.presence_threshold)
        for value, presence in zip(values, row.images.presence, strict=True)
    ]


def _variant(label: str, cells: _Cells) -> VariantResult:
    dice, groups, categories = cells.scores("dice")
    distance = cells.scores("hd95_px")[0]
    normals, normal_groups, _ = cells.scores("finds", lesions=False)
    by_category = {
        name: _score(dice[own], [g for g, yes in zip(groups, own, strict=True) if yes])
        for name in sorted(set(categories))
        if (own := np.array(categories) == name).any()
    }
    reached = np.isfinite(distance)
    by_seed = _by_seed(cells)
    areas = [area for row in cells.rows.values() if (area := _auc(row)) is not None]
    distances = [
        value
        for row in cells.rows.values()
        for value, share in zip(row.images.hd95_px, row.images.share, strict=True)
        if share > 0
    ]
    return VariantResult(
        label=label,
        runs=len(cells.rows),
        dice=_score(dice, groups),
        gated_dice=_score(cells.scores("gated_dice")[0], groups),
        by_category=by_category,
        iou=_score(cells.scores("iou")[0], groups),
        hd95_px=_score(distance[reached], [g for g, y in zip(groups, reached, strict=True) if y])
        if reached.any()
        else None,
        empty=sum(value is None for value in distances) / len(distances),
        false_positive_rate=_score(normals, normal_groups) if normals.size else None,
        presence_auc=float(np.mean(areas)) if areas else None,
        dice_by_seed=by_seed,
        seed_sd=float(np.std(list(by_seed.values()), ddof=1)) if len(by_seed) > 1 else None,
        minutes=float(np.mean([row.minutes for row in cells.rows.values()])),
    )


def _by_seed(cells: _Cells) -> dict[int, float]:
    grid = {
        seed: [(fold, seed) for fold in cells.folds]
        for seed in sorted({seed for _, seed in cells.rows})
    }
    return {
        seed: float(cells.scores("dice", own)[0].mean())
        for seed, own in grid.items()
        if cells.rows.keys() >= set(own)
    }


def _auc(row: StudyRow) -> float | None:
    lesion = [share > 0 for share in row.images.share]
    return auc(row.images.presence, lesion) if any(lesion) and not all(lesion) else None


def _comparisons(study: StudySettings, cells: Mapping[str, _Cells]) -> Iterator[Comparison]:
    found = []
    for first, second in study.pairs:
        if first not in cells or second not in cells:
            continue
        a, b = cells[first], cells[second]
        if common := a.rows.keys() & b.rows.keys():
            x, groups, _ = a.scores("dice", common)
            found.append((first, second, len(common), x, b.scores("dice", common)[0], groups))
    p_values = [paired_permutation_p(x, y, groups) for *_, x, y, groups in found]
    corrected = holm(p_values)
    for (first, second, runs, x, y, groups), p, p_holm in zip(
        found, p_values, corrected, strict=True
    ):
        bounds = paired_difference(x, y, groups, resamples=_RESAMPLES)
        mine, other = _by_seed(cells[first]), _by_seed(cells[second])
        yield Comparison(
            first=first,
            second=second,
            difference=Score(
                value=bounds.mean, low=_or_none(bounds.low), high=_or_none(bounds.high), n=bounds.n
            ),
            groups=len(set(groups)),
            runs=runs,
            by_seed={seed: mine[seed] - other[seed] for seed in mine if seed in other},
            p=p,
            p_holm=p_holm,
        )


def _teachers(study: StudySettings, rows: Sequence[StudyRow]) -> list[TeacherResult]:
    results = []
    for label in study.teachers:
        own = [row for row in rows if row.label == label]
        if not own:
            continue
        dice: dict[str, list[float]] = {}
        for row in own:
            images = row.images
            for score, share, category in zip(
                images.dice, images.share, images.category, strict=True
            ):
                if share > 0:
                    dice.setdefault(category, []).append(score)
        results.append(
            TeacherResult(
                label=label,
                category=own[0].category,
                runs=len(own),
                dice=float(np.mean([score for scores in dice.values() for score in scores])),
                by_category={name: float(np.mean(scores)) for name, scores in sorted(dice.items())},
            )
        )
    return results


def _check(
    study: StudySettings, students: Sequence[StudyRow], teachers: Sequence[StudyRow]
) -> None:
    """Refuse rows that would be mixed: a table tells nothing of who was what."""
    hashes: dict[int | None, str] = {}
    settings: dict[tuple[str, str], object] = {}
    for row in (*students, *teachers):
        own = [_settings(row), row.category]
        for what, same in (
            ("study", row.study == study.name),
            ("split", hashes.setdefault(row.fold, row.split_hash) == row.split_hash),
            ("settings", settings.setdefault((row.kind, row.label), own) == own),
        ):
            if not same:
                raise InputError(
                    f"Expected rows of one {what}, but {row.name} is of another; keep the rows of "
                    "different studies in different folders."
                )


def _settings(row: StudyRow) -> Mapping[str, object]:
    """Return a row's settings; those that came after it have their defaults.

    Without the seed, and without where it was trained and how often it saved its state: a CPU may
    finish what a GPU began. The row and the report tell the devices.
    """
    loop = {**row.settings["loop"], "seed": 0, "device": "auto", "state_seconds": 0.0}
    settings = {**row.settings, "loop": loop}
    kind = DistillSettings if row.kind == "student" else TrainSettings
    try:
        return kind.model_validate(settings).model_dump(mode="json")
    except ValidationError:  # a setting of then that is none today: only its like has it
        return settings


def _score(values: _Values, groups: Sequence[str]) -> Score:
    low, high = bootstrap_ci(values, groups, resamples=_RESAMPLES)
    return Score(
        value=float(values.mean()), low=_or_none(low), high=_or_none(high), n=int(values.size)
    )


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _fold_name(fold: int | None) -> str:
    return "split" if fold is None else f"fold {fold}"


def _versions(rows: Sequence[StudyRow]) -> dict[str, list[str]]:
    names = sorted({name for row in rows for name in row.versions})
    return {name: sorted({row.versions.get(name, "-") for row in rows}) for name in names}
