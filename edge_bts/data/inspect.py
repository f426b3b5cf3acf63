"""Everything worth knowing about a data set before it is trusted, all defects at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from edge_bts.data.duplicates import METHOD, groups_of, label_conflicts, thumbnail
from edge_bts.data.listing import Defect, Scan
from edge_bts.data.sample import CATEGORIES, Dataset, Sample
from edge_bts.errors import InputError
from edge_bts.files import sha256_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_bts.data.sample import U8

__all__ = ["Inspection", "Range", "inspect"]


class Range(BaseModel):
    """Smallest, median and largest of some values."""

    min: float
    median: float
    max: float


class CategoryCount(BaseModel):
    """What there is of one category; ``lesion_percent`` is the share of mask pixels, in percent."""

    images: int
    masks: int
    several_masks: int
    lesion_percent: Range | None


class Duplicates(BaseModel):
    """Groups of near-identical images.

    Attributes:
        method: How they were found.
        groups: Ids of each group.
        images: How many images are in a group.
        identical: Groups whose image files are equal byte for byte.
        across_patients: Groups that span several patients; None where patients are not named.
        conflicts: Groups whose members disagree on the category.
    """

    method: str
    groups: list[list[str]]
    images: int
    identical: list[list[str]]
    across_patients: int | None
    conflicts: list[list[str]]


class Inspection(BaseModel):
    """The result of :func:`inspect`; sizes are pixels."""

    dataset: str
    layout: str
    images: int
    masks: int
    patients: int | None
    folds: dict[int, int]
    categories: dict[str, CategoryCount]
    width: Range | None
    height: Range | None
    spacing_mm: Range | None
    duplicates: Duplicates
    defects: list[dict[str, str]] = Field(default_factory=list)


def inspect(
    found: Scan,
    *,
    visit: Callable[[Sample, U8, U8], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Dataset, Inspection]:
    """Read every image and mask of a data set and say what is there and what is wrong.

    Args:
        found: What :func:`edge_bts.data.readers.scan` has listed.
        visit: Called with each sample, its image and its mask (both uint8 H x W).
        progress: Called after each sample with how many are done and how many there are.

    Returns:
        The data set without its defective samples, and the inspection.
    """
    defects = list(found.defects)
    good: list[Sample] = []
    shapes: list[tuple[int, int]] = []
    thumbnails: list[npt.NDArray[np.float32]] = []
    shares: dict[str, float] = {}
    samples = found.dataset.samples
    for number, sample in enumerate(samples, 1):
        try:
            image, mask = sample.read()
        except InputError as error:
            defects.append(_defect(found.dataset, sample, str(error)))
        else:
            shares[sample.id] = 100 * float(mask.mean())
            if problem := _contradiction(sample, shares[sample.id]):
                defects.append(_defect(found.dataset, sample, problem))
            good.append(sample)
            shapes.append((image.shape[0], image.shape[1]))
            thumbnails.append(thumbnail(image))
            if visit:
                visit(sample, image, mask)
        if progress:
            progress(number, len(samples))
    dataset = replace(found.dataset, samples=tuple(good))
    groups = groups_of([sample.id for sample in good], thumbnails)
    return dataset, Inspection(
        dataset=dataset.name,
        layout=dataset.layout,
        images=len(samples),
        masks=sum(len(sample.mask_paths) for sample in samples),
        patients=len({sample.group for sample in samples}) if dataset.has_patients else None,
        folds=dict(sorted(Counter(s.fold for s in samples if s.fold is not None).items())),
        categories=_categories(samples, shares),
        width=_range([width for _, width in shapes]),
        height=_range([height for height, _ in shapes]),
        spacing_mm=_range([s.spacing_mm for s in good if s.spacing_mm is not None]),
        duplicates=_duplicates(dataset, groups),
        defects=[{"file": defect.file, "problem": defect.problem} for defect in defects],
    )


def _categories(samples: Sequence[Sample], shares: dict[str, float]) -> dict[str, CategoryCount]:
    result: dict[str, CategoryCount] = {}
    for category in CATEGORIES:
        members = [sample for sample in samples if sample.category == category]
        if members:
            result[category] = CategoryCount(
                images=len(members),
                masks=sum(len(sample.mask_paths) for sample in members),
                several_masks=sum(len(sample.mask_paths) > 1 for sample in members),
                lesion_percent=_range([shares[s.id] for s in members if s.id in shares]),
            )
    return result


def _duplicates(dataset: Dataset, groups: list[list[str]]) -> Duplicates:
    patient = {sample.id: sample.group for sample in dataset.samples}
    conflicts = label_conflicts(dataset, groups)
    across = sum(len({patient[name] for name in group}) > 1 for group in groups)
    by_hash: dict[str, list[str]] = defaultdict(list)
    for sample in dataset.samples:
        by_hash[sha256_file(sample.image_path)].append(sample.id)
    return Duplicates(
        method=METHOD,
        groups=groups,
        images=sum(map(len, groups)),
        identical=[ids for ids in by_hash.values() if len(ids) > 1],
        across_patients=across if dataset.has_patients else None,
        conflicts=[group for group in groups if group[0] in conflicts],
    )


def _contradiction(sample: Sample, share: float) -> str | None:
    if sample.category == "normal" and share > 0:
        return (
            f"Expected no lesion in the normal image {sample.image_path}, but its mask covers "
            f"{share:.2g} % of it; empty the mask or correct the category."
        )
    if sample.category != "normal" and share == 0:
        return (
            f"Expected a lesion in {sample.image_path} ({sample.category}), but its mask is "
            "empty; draw the lesion or correct the category."
        )
    return None


def _defect(dataset: Dataset, sample: Sample, problem: str) -> Defect:
    return Defect(sample.image_path.relative_to(dataset.root).as_posix(), problem)


def _range(values: Sequence[Any]) -> Range | None:
    import numpy as np

    if not values:
        return None
    return Range(min=min(values), median=float(np.median(values)), max=max(values))
