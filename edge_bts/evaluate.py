"""Evaluation of a segmenter on samples, in source geometry: a report that others can check.

Every image is scored at the size in which it was stored, after the way back from the network's
square; what is averaged, and how, is said in :mod:`edge_bts.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts import __version__, geometry
from edge_bts.errors import InputError
from edge_bts.measure import components
from edge_bts.metrics import (
    LESION_SIZES,
    FalsePositives,
    ImageRow,
    Summary,
    false_positives,
    score_image,
    summarise,
)
from edge_bts.metrics.table import render_table

if TYPE_CHECKING:
    from edge_bts.data import Sample

__all__ = [
    "THRESHOLD_GRID",
    "Report",
    "SegmenterLike",
    "evaluate",
    "pick_threshold",
    "render_table",
]

THRESHOLD_GRID: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""0.05 to 0.95 in steps of 0.05."""


class SegmenterLike(Protocol):
    """What is evaluated; :class:`edge_bts.runtime.Segmenter` is one."""

    @property
    def threshold(self) -> float:
        """At or above this probability a pixel is lesion."""

    def probability(self, frame: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return the lesion probability (H, W) in 0..1 of a gray frame (H, W)."""


class Report(BaseModel):
    """What a segmenter reached on a set of samples; JSON by ``model_dump(mode="json")``.

    Attributes:
        model: What was evaluated, as it describes itself.
        dataset: Name of the data set.
        part: Part of the split, or "all".
        split_hash: Hash of the split; empty without one.
        threshold: Applied to the probabilities.
        min_area_px: On images without lesion, a predicted component counts as a false positive
            if it has more pixels than this. Overlap and distances are of the whole mask.
        resamples: Bootstrap samples of each interval, drawn by group.
        seed: Seed of the bootstrap.
        lesions: All images with a lesion; None if there are none.
        by_category: The same by category.
        by_size: The same by lesion size (``LESION_SIZES``).
        normals: Images whose true mask is empty; None if there are none.
        rows: One an image, in the order of the samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["edge-bts report 1"] = "edge-bts report 1"
    edge_bts_version: str = __version__
    model: dict[str, Any] = {}
    dataset: str = ""
    part: str = ""
    split_hash: str = ""
    threshold: float
    min_area_px: int
    resamples: int
    seed: int
    lesions: Summary | None
    by_category: dict[str, Summary]
    by_size: dict[str, Summary]
    normals: FalsePositives | None
    rows: list[ImageRow]


def evaluate(
    segmenter: SegmenterLike,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    min_area_px: int = 0,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool = False,
    dataset: str = "",
    part: str = "",
    split_hash: str = "",
) -> Report:
    """Segment every sample and score it against its mask, in source geometry.

    Args:
        segmenter: What to evaluate.
        samples: At least one.
        threshold: Instead of the segmenter's own.
        min_area_px: See :class:`Report`.
        resamples: Bootstrap samples of each interval.
        seed: Seed of the bootstrap.
        progress: Show a bar on a terminal, a line every tenth elsewhere, on standard error.
        dataset: Name of the data set, for the report.
        part: Part of the split, for the report.
        split_hash: Hash of the split, for the report.

    Raises:
        InputError: There are no samples, or one cannot be read.
    """
    _refuse_nothing(samples)
    cut = segmenter.threshold if threshold is None else threshold
    rows = [
        _row(segmenter, sample, cut, min_area_px)
        for sample in _tracked(samples, "evaluating", progress)
    ]
    parts: dict[str, list[ImageRow]] = {}
    for row in rows:
        parts.setdefault(row.category, []).append(row)
    sizes = {str(size): [row for row in rows if row.size == size] for size in LESION_SIZES}
    return Report(
        model=_describe(segmenter),
        dataset=dataset,
        part=part,
        split_hash=split_hash,
        threshold=cut,
        min_area_px=min_area_px,
        resamples=resamples,
        seed=seed,
        lesions=summarise(rows, resamples=resamples, seed=seed),
        by_category=_summaries(parts, resamples, seed),
        by_size=_summaries(sizes, resamples, seed),
        normals=false_positives(rows, resamples=resamples, seed=seed),
        rows=rows,
    )


def pick_threshold(
    segmenter: SegmenterLike,
    samples: Sequence[Sample],
    grid: Sequence[float] = THRESHOLD_GRID,
    *,
    progress: bool = False,
) -> tuple[float, float]:
    """Choose the threshold with the highest mean per-image Dice over the lesion images.

    For validation samples only: figures of the samples that chose a threshold flatter it. Normals
    have no say; they do not enter the mean Dice that is reported either. Of equal thresholds the
    one nearest 0.5 is taken, then the lower.

    Args:
        segmenter: Gives the probabilities; its own threshold plays no part.
        samples: Of the validation part; those without a lesion are passed over.
        grid: Thresholds to try, in (0, 1).
        progress: As in :func:`evaluate`.

    Returns:
        The threshold and its mean Dice on ``samples``.

    Raises:
        InputError: No sample has a lesion, or one cannot be read.
    """
    candidates = sorted(grid)
    dice = [
        _dice_at(segmenter.probability(image), mask.astype(bool), candidates)
        for image, mask in (s.read() for s in _tracked(samples, "choosing threshold", progress))
        if mask.any()
    ]
    if not dice:
        raise InputError(
            "Expected samples with a lesion to choose a threshold on, but none has one; "
            "pass the validation part of a data set with masks."
        )
    mean = np.mean(dice, axis=0)
    best = min(np.flatnonzero(mean == mean.max()), key=lambda i: abs(candidates[i] - 0.5))
    return candidates[best], float(mean[best])


def _refuse_nothing(samples: Sequence[Sample]) -> None:
    if not samples:
        raise InputError("Expected at least one sample to evaluate, but got none; pass others.")


def _describe(segmenter: SegmenterLike) -> dict[str, Any]:
    describe = getattr(segmenter, "describe", None)
    return dict(describe()) if callable(describe) else {"name": type(segmenter).__name__}


def _row(segmenter: SegmenterLike, sample: Sample, threshold: float, min_area_px: int) -> ImageRow:
    image, target = sample.read()
    mask = geometry.threshold(segmenter.probability(image), threshold)
    found = components(mask)
    return score_image(
        mask,
        target,
        id=sample.id,
        group=sample.group,
        category=sample.category,
        spacing_mm=sample.spacing_mm,
        predicted=bool(found) and found[0].area_px > min_area_px,
    )


def _summaries(parts: dict[str, list[ImageRow]], resamples: int, seed: int) -> dict[str, Summary]:
    found = {name: summarise(rows, resamples=resamples, seed=seed) for name, rows in parts.items()}
    return {name: summary for name, summary in found.items() if summary is not None}


def _dice_at(
    probability: NDArray[np.float32], target: NDArray[np.bool_], thresholds: Sequence[float]
) -> NDArray[np.float64]:
    """Dice at each of the rising thresholds, from one pass over the pixels."""
    # How many thresholds a pixel reaches; compared in float32 as geometry.threshold does.
    reached = np.searchsorted(np.asarray(thresholds, np.float32), probability.ravel(), "right")
    reached[np.isnan(probability.ravel())] = 0
    length = len(thresholds) + 1
    predicted = np.bincount(reached, minlength=length)[::-1].cumsum()[::-1][1:]
    both = np.bincount(reached[target.ravel()], minlength=length)[::-1].cumsum()[::-1][1:]
    return np.asarray(2 * both / (predicted + np.count_nonzero(target)), np.float64)


def _tracked(samples: Sequence[Sample], what: str, progress: bool) -> Iterator[Sample]:
    if not progress:
        yield from samples
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        yield from track(samples, what, console=console, transient=True)
        return
    for done, sample in enumerate(samples, start=1):
        yield sample
        if done * 10 // len(samples) > (done - 1) * 10 // len(samples):
            console.print(f"{what}: {done} of {len(samples)} images")
