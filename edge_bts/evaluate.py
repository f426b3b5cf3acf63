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
from edge_bts.manifest import Gate
from edge_bts.measure import components
from edge_bts.metrics import (
    LESION_SIZES,
    AreaAgreement,
    FalsePositives,
    ImageRow,
    Presence,
    Summary,
    area_agreement,
    dice,
    false_positives,
    presence_scores,
    score_image,
    summarise,
)

if TYPE_CHECKING:
    from edge_bts.data import Sample
    from edge_bts.runtime import Prediction

__all__ = [
    "Report",
    "Reports",
    "SegmenterLike",
    "evaluate",
    "score_samples",
    "tracked",
]


class SegmenterLike(Protocol):
    """What is evaluated; :class:`edge_bts.runtime.Segmenter` is one."""

    @property
    def threshold(self) -> float:
        """At or above this probability a pixel is lesion."""

    @property
    def presence_threshold(self) -> float:
        """Below this presence score a mask is emptied."""

    def predict(self, frame: NDArray[np.uint8], /) -> Prediction:
        """Return the lesion probability (H, W) and the presence score of a gray frame (H, W)."""


class Report(BaseModel):
    """What a segmenter reached on a set of samples; JSON by ``model_dump(mode="json")``.

    Attributes:
        model: What was evaluated, as it describes itself.
        dataset: Name of the data set.
        part: Part of the split, or "all".
        split_hash: Hash of the split; empty without one.
        leaks: Why these figures flatter, in words; empty where they do not.
        threshold: Applied to the probabilities.
        presence_threshold: Applied to the presence scores; 0 empties no mask.
        min_area_px: On images without lesion, a predicted component counts as a false positive
            if it has more pixels than this. Overlap and distances are of the whole mask.
        resamples: Bootstrap samples of each interval, drawn by group.
        seed: Seed of the bootstrap.
        lesions: All images with a lesion; None if there are none.
        by_category: The same by category.
        by_size: The same by lesion size (``LESION_SIZES``).
        normals: Images whose true mask is empty; None if there are none.
        presence: How well lesions and normals are told apart, and what that costs.
        area: Agreement of predicted and true areas; None where nothing is predicted on a lesion.
        rows: One an image, in the order of the samples.
        gates: How a bundle stands against its own float reference on these images, by the name of
            the gate; empty unless that was asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["edge-bts report 1"] = "edge-bts report 1"
    edge_bts_version: str = __version__
    model: dict[str, Any] = {}
    dataset: str = ""
    part: str = ""
    split_hash: str = ""
    leaks: str = ""
    threshold: float
    presence_threshold: float
    min_area_px: int
    resamples: int
    seed: int
    lesions: Summary | None
    by_category: dict[str, Summary]
    by_size: dict[str, Summary]
    normals: FalsePositives | None
    presence: Presence
    area: AreaAgreement | None
    rows: list[ImageRow]
    gates: dict[str, Gate] = {}


class Reports(BaseModel):
    """The same model on several sets of samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["edge-bts reports 1"] = "edge-bts reports 1"
    reports: list[Report]


def evaluate(
    segmenter: SegmenterLike,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    presence_threshold: float | None = None,
    min_area_px: int = 0,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool = False,
    dataset: str = "",
    part: str = "",
    split_hash: str = "",
    leaks: str = "",
) -> Report:
    """Segment every sample and score it against its mask, in source geometry.

    Args:
        segmenter: What to evaluate.
        samples: At least one.
        threshold: Instead of the segmenter's own.
        presence_threshold: Instead of the segmenter's own.
        min_area_px: See :class:`Report`.
        resamples: Bootstrap samples of each interval.
        seed: Seed of the bootstrap.
        progress: Show a bar on a terminal, a line every tenth elsewhere, on standard error.
        dataset: Name of the data set, for the report.
        part: Part of the split, for the report.
        split_hash: Hash of the split, for the report.
        leaks: Why the figures will flatter, for the report.

    Raises:
        InputError: There are no samples, or one cannot be read.
    """
    _refuse_nothing(samples)
    cut, gate = _cuts(segmenter, threshold, presence_threshold)
    rows = score_samples(
        segmenter,
        samples,
        threshold=cut,
        presence_threshold=gate,
        min_area_px=min_area_px,
        progress=progress,
    )
    parts: dict[str, list[ImageRow]] = {}
    for row in rows:
        parts.setdefault(row.category, []).append(row)
    sizes = {str(size): [row for row in rows if row.size == size] for size in LESION_SIZES}
    return Report(
        model=_describe(segmenter),
        dataset=dataset,
        part=part,
        split_hash=split_hash,
        leaks=leaks,
        threshold=cut,
        presence_threshold=gate,
        min_area_px=min_area_px,
        resamples=resamples,
        seed=seed,
        lesions=summarise(rows, resamples=resamples, seed=seed),
        by_category=_summaries(parts, resamples, seed),
        by_size=_summaries(sizes, resamples, seed),
        normals=false_positives(rows, resamples=resamples, seed=seed),
        presence=presence_scores(rows, resamples=resamples, seed=seed),
        area=area_agreement(rows),
        rows=rows,
    )


def score_samples(
    segmenter: SegmenterLike,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    presence_threshold: float | None = None,
    min_area_px: int = 0,
    progress: bool = False,
) -> list[ImageRow]:
    """Segment and score every sample, as :func:`evaluate`, without the summaries."""
    cut, gate = _cuts(segmenter, threshold, presence_threshold)
    return [
        _row(segmenter, sample, cut, gate, min_area_px)
        for sample in tracked(samples, "evaluating", progress)
    ]


def _cuts(
    segmenter: SegmenterLike, threshold: float | None, presence: float | None
) -> tuple[float, float]:
    return (
        segmenter.threshold if threshold is None else threshold,
        segmenter.presence_threshold if presence is None else presence,
    )


def _refuse_nothing(samples: Sequence[Sample]) -> None:
    if not samples:
        raise InputError("Expected at least one sample to evaluate, but got none; pass others.")


def _describe(segmenter: SegmenterLike) -> dict[str, Any]:
    describe = getattr(segmenter, "describe", None)
    return dict(describe()) if callable(describe) else {"name": type(segmenter).__name__}


def _row(
    segmenter: SegmenterLike, sample: Sample, threshold: float, gate: float, min_area_px: int
) -> ImageRow:
    image, target = sample.read()
    found = segmenter.predict(image)
    mask = geometry.threshold(found.probability, threshold)
    ungated = dice(mask, target)
    if found.presence < gate:
        mask[:] = 0
    parts, truth = components(mask), components(target)
    return score_image(
        mask,
        target,
        id=sample.id,
        group=sample.group,
        category=sample.category,
        spacing_mm=sample.spacing_mm,
        predicted=bool(parts) and parts[0].area_px > min_area_px,
        presence=found.presence,
        dice_ungated=ungated,
        longest_px=parts[0].longest_px if parts else None,
        true_longest_px=truth[0].longest_px if truth else None,
    )


def _summaries(parts: dict[str, list[ImageRow]], resamples: int, seed: int) -> dict[str, Summary]:
    found = {name: summarise(rows, resamples=resamples, seed=seed) for name, rows in parts.items()}
    return {name: summary for name, summary in found.items() if summary is not None}


def tracked(samples: Sequence[Sample], what: str, progress: bool) -> Iterator[Sample]:
    """Yield the samples; with ``progress`` show how far it is, see :func:`evaluate`."""
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
