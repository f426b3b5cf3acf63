"""Clinical gates: the deployed model against its own float reference, image by image.

A mean hides what a clinic would mind: one lesion lost, small ones worse, outlines that flicker.
So both models segment the same images, each with its own thresholds as deployed, in source
geometry, and every gate looks at the differences of the pairs. A gate with too few images is not
judged, and says so; it never counts as passed. The limits and their reasons: docs/export.md.

Imports neither torch nor NNCF: a device can gate what it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge_bts import geometry
from edge_bts.config import Settings, settings
from edge_bts.errors import AccuracyGateError, InputError
from edge_bts.evaluate import score_samples
from edge_bts.manifest import Gate
from edge_bts.metrics import ImageRow, dice, paired_difference

if TYPE_CHECKING:
    from rich.table import Table

    from edge_bts.bundle import Bundle
    from edge_bts.data import Sample
    from edge_bts.data.phantom import Motion, PhantomCategory
    from edge_bts.runtime import Segmenter

__all__ = [
    "GATE_HEADS",
    "GateSettings",
    "Verdict",
    "check_gates",
    "compare_rows",
    "excess_flicker",
    "gate_bundle",
    "gate_cells",
    "gates_table",
    "limits_of",
    "run_gates",
    "threshold_shift",
]

_WORST = 5  # images named for each gate
_CINE_SEED = 30_000  # far from phantom data sets and golden frames
_CINE_SIZE = {"height": 240, "width": 288}
_LOOPS: tuple[tuple[PhantomCategory, Motion], ...] = (
    ("benign", "breathing"),
    ("malignant", "sweep"),
)
_SEES = 0.3  # mean Dice on phantoms below which their masks are no lesions


class GateSettings(Settings):
    """Limits of the gates, section ``[export.gates]``; a gate is named as its limit is.

    Differences are "deployed - reference" where more is better, and errors of the deployed model
    less those of the reference where less is better.
    """

    on: Literal["val", "test"] = "val"  # part of the split that an export is judged on
    min_images: int = Field(20, ge=2)  # lesion images below which nothing is said of a mean
    min_part: int = Field(10, ge=2)  # small lesions, normals, pairs of frames
    dice_lower_bound: float = Field(-0.01, le=0)  # one-sided 95 % bound of the mean difference
    dice_mean_drop: float = Field(0.005, ge=0)
    dice_worst_decile: float = Field(-0.1, le=0)  # mean difference of the worst tenth
    dice_small_lesions: float = Field(-0.02, le=0)  # mean difference, small lesions
    missed_lesions: float = Field(0.02, ge=0)  # share of the lesions found by the reference
    false_masks: float = Field(0.1, ge=0)  # rise of the share of normals with a find
    hd95: float = Field(0.005, ge=0)  # mean rise, in diagonals of the image
    area: float = Field(0.05, ge=0)  # mean rise of |error| / true area
    area_mm2: float = Field(5.0, ge=0)
    longest_diameter: float = Field(0.02, ge=0)  # mean rise of |error| / true diameter
    longest_diameter_mm: float = Field(0.3, ge=0)
    flicker: float = Field(0.03, ge=0)  # mean rise of 1 - Dice of two frames in a row
    threshold_shift: float = Field(0.2, ge=0)  # four steps of the grid
    cine_loops: int = Field(4, ge=0)  # simulated: benign breathing, malignant sweep, ...
    cine_frames: int = Field(20, ge=2)


class Worst(BaseModel):
    """An image that speaks most against the deployed model: its contribution to the value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    value: float


class Verdict(BaseModel):
    """A gate, and the images that were worst in it, the worst first; none that was no worse."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: Gate
    worst: list[Worst] = []


Pair = tuple[ImageRow, ImageRow]
"""One image: the reference's row and the deployed model's."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Measure:
    """How a gate reads a pair and sums up.

    Attributes:
        name: Of the gate and of its limit.
        gain: What the deployed model has more of; None: the pair says nothing of it.
        better: Whether more of it is better; else the limit is an upper one.
        total: From the gains and the groups to the value.
        part: Whether the images are a part of all, for which ``min_part`` is enough.
        of: What is counted.
    """

    name: str
    gain: Callable[[ImageRow, ImageRow], float | None]
    better: bool = False
    total: Callable[[Floats, list[str], int], float] = lambda gains, *_: float(gains.mean())
    part: bool = False
    of: str = "images on which both predict a lesion"


def compare_rows(
    reference: Sequence[ImageRow], deployed: Sequence[ImageRow], limits: GateSettings, seed: int = 0
) -> dict[str, Verdict]:
    """Judge the gates that are about single images.

    Args:
        reference: Rows of the float reference.
        deployed: Rows of the deployed model, the same images in the same order.
        limits: Of each gate.
        seed: Of the bootstrap.

    Returns:
        Verdicts by the name of the gate.

    Raises:
        ValueError: The rows are not of the same images.
    """
    if [row.id for row in reference] != [row.id for row in deployed]:
        raise ValueError("Expected rows of the same images in the same order.")
    pairs = list(zip(reference, deployed, strict=True))
    return {measure.name: _judge(measure, pairs, limits, seed) for measure in _MEASURES}


def _judge(measure: _Measure, pairs: Sequence[Pair], limits: GateSettings, seed: int) -> Verdict:
    gains = [(pair[0], gain) for pair in pairs if (gain := measure.gain(*pair)) is not None]
    needed = limits.min_part if measure.part else limits.min_images
    value = math.nan
    if gains:
        values = np.asarray([gain for _, gain in gains], np.float64)
        value = measure.total(values, [row.group for row, _ in gains], seed)
    reason = ""
    if len(gains) < needed:
        reason = f"{len(gains)} {measure.of}, at least {needed} are needed"
    elif not math.isfinite(value):
        reason = "all images are of one group, which says nothing of the spread"
    return _verdict(
        measure.name,
        limits,
        value,
        len(gains),
        reason=reason,
        better=measure.better,
        gains=[(row.id, gain) for row, gain in gains],
    )


def _verdict(
    name: str,
    limits: GateSettings,
    value: float,
    n: int | None,
    *,
    reason: str = "",
    better: bool = False,
    gains: Sequence[tuple[str, float]] = (),
) -> Verdict:
    limit = float(getattr(limits, name))
    gate = Gate(
        value=value if math.isfinite(value) else None,
        at_least=limit if better else None,
        at_most=None if better else limit,
        n=n,
        judged=not reason,
        reason=reason,
    )
    against = -1 if better else 1
    worse = [Worst(id=image, value=gain) for image, gain in gains if against * gain > 0]
    worse.sort(key=lambda worst: -against * worst.value)  # ties in the order of the images
    return Verdict(gate=gate, worst=worse[:_WORST])


def _dice_gain(reference: ImageRow, deployed: ImageRow) -> float | None:
    return deployed.dice - reference.dice if reference.target_px else None


def _small_gain(reference: ImageRow, deployed: ImageRow) -> float | None:
    return deployed.dice - reference.dice if reference.size == "small" else None


def _lost(reference: ImageRow, deployed: ImageRow) -> float | None:
    if not reference.target_px or not reference.true_positive:
        return None
    return float(deployed.true_positive == 0)


def _false_find(reference: ImageRow, deployed: ImageRow) -> float | None:
    if reference.target_px:
        return None
    return float(deployed.predicted) - float(reference.predicted)


def _hd95_rise(reference: ImageRow, deployed: ImageRow) -> float | None:
    before, after = reference.hd95_px, deployed.hd95_px
    if not reference.target_px or before is None or after is None:
        return None
    return (after - before) / math.hypot(reference.height, reference.width)


def _area_rise(reference: ImageRow, deployed: ImageRow) -> float | None:
    """Return by how many pixels the area is farther from the true one."""
    if not (reference.target_px and reference.predicted_px and deployed.predicted_px):
        return None
    before, after = (abs(row.predicted_px - row.target_px) for row in (reference, deployed))
    return float(after - before)


def _diameter_rise(reference: ImageRow, deployed: ImageRow) -> float | None:
    """Return by how many pixels the longest diameter is farther from the true one."""
    true, before, after = reference.true_longest_px, reference.longest_px, deployed.longest_px
    if true is None or before is None or after is None:
        return None
    return abs(after - true) - abs(before - true)


_Gain = Callable[[ImageRow, ImageRow], "float | None"]


def _scaled(rise: _Gain, factor: Callable[[ImageRow], float | None]) -> _Gain:
    def scaled(reference: ImageRow, deployed: ImageRow) -> float | None:
        pixels = rise(reference, deployed)
        if pixels is None or (by := factor(reference)) is None:
            return None
        return pixels * by

    return scaled


def _mm2(row: ImageRow) -> float | None:
    return None if row.spacing_mm is None else row.spacing_mm**2


def _lower_bound(gains: Floats, groups: list[str], seed: int) -> float:
    return paired_difference(gains, np.zeros_like(gains), groups, seed=seed).lower_bound


def _worst_tenth(gains: Floats, _groups: list[str], _seed: int) -> float:
    return float(np.sort(gains)[: math.ceil(gains.size / 10)].mean())


_LESIONS = "lesion images"
_SPACED = "images of known spacing on which both predict a lesion"
_MEASURES = (
    _Measure("dice_lower_bound", _dice_gain, better=True, total=_lower_bound, of=_LESIONS),
    _Measure(
        "dice_mean_drop",
        lambda r, d: None if (gain := _dice_gain(r, d)) is None else -gain,
        of=_LESIONS,
    ),
    _Measure("dice_worst_decile", _dice_gain, better=True, total=_worst_tenth, of=_LESIONS),
    _Measure("dice_small_lesions", _small_gain, better=True, part=True, of="small lesions"),
    _Measure("missed_lesions", _lost, of="lesions that the reference finds"),
    _Measure("false_masks", _false_find, part=True, of="images without a lesion"),
    _Measure("hd95", _hd95_rise),
    _Measure("area", _scaled(_area_rise, lambda row: 1 / row.target_px)),
    _Measure("area_mm2", _scaled(_area_rise, _mm2), of=_SPACED),
    _Measure(
        "longest_diameter", _scaled(_diameter_rise, lambda row: 1 / (row.true_longest_px or 1))
    ),
    _Measure(
        "longest_diameter_mm", _scaled(_diameter_rise, lambda row: row.spacing_mm), of=_SPACED
    ),
)


def excess_flicker(reference: Segmenter, deployed: Segmenter, limits: GateSettings) -> Verdict:
    """Judge how much more the deployed masks change from frame to frame on simulated cine loops.

    The change of two frames in a row is 1 - Dice of their masks, and 0 where both are empty. Real
    motion is the same for both models and leaves the difference; pairs of frames on which neither
    finds anything do not count. Masks are those before the presence threshold: it was chosen on
    real images, and where simulated ones score near it, both models blink by chance.
    """
    from edge_bts.data.phantom import simulate_cine

    gains: list[tuple[str, float]] = []
    truth: list[float] = []
    for number in range(limits.cine_loops):
        category, motion = _LOOPS[number % len(_LOOPS)]
        before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        loop = simulate_cine(
            _CINE_SEED + number, category, limits.cine_frames, motion, **_CINE_SIZE
        )
        for index, frame in enumerate(loop):
            now = _ungated(reference, frame.image), _ungated(deployed, frame.image)
            if frame.mask.any():
                truth.append(dice(now[0], frame.mask))
            if before is not None and any(mask.any() for mask in (*before, *now)):
                change = [1 - dice(a, b) for a, b in zip(before, now, strict=True)]
                gains.append(
                    (f"{category} {motion} {number}, frame {index}", change[1] - change[0])
                )
            before = now
    reason = ""
    if len(gains) < limits.min_part:
        reason = f"{len(gains)} pairs of frames with a mask, at least {limits.min_part} are needed"
    elif np.mean(truth) < _SEES:
        reason = (
            f"the reference does not see the simulated lesions (Dice {np.mean(truth):.2f}, at "
            f"least {_SEES} is needed)"
        )
    value = float(np.mean([gain for _, gain in gains])) if gains else math.nan
    return _verdict("flicker", limits, value, len(gains), reason=reason, gains=gains)


def _ungated(segmenter: Segmenter, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return geometry.threshold(segmenter.predict(frame).probability, segmenter.threshold)


def threshold_shift(chosen: tuple[float, float] | None, limits: GateSettings) -> Verdict:
    """Judge how far apart the thresholds lie that were chosen on the same validation images.

    Args:
        chosen: That of the float model and that of the deployed one; None: the thresholds were not
            chosen again.
        limits: Of each gate.
    """
    if chosen is None:
        reason = "the thresholds were not chosen again for both models"
        return _verdict("threshold_shift", limits, math.nan, None, reason=reason)
    return _verdict("threshold_shift", limits, abs(chosen[1] - chosen[0]), None)


def run_gates(
    reference: Segmenter,
    deployed: Segmenter,
    samples: Sequence[Sample],
    limits: GateSettings,
    *,
    rows: Sequence[ImageRow] | None = None,
    chosen: tuple[float, float] | None = None,
    min_area_px: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Verdict]:
    """Judge all gates of one pair of models.

    Args:
        reference: The float model, with its own thresholds.
        deployed: The other, with its own.
        samples: Images with masks; none leaves the gates that need them without judgement.
        limits: Of each gate.
        rows: Those of ``deployed`` on ``samples`` where they are known; None: they are made.
        chosen: As for :func:`threshold_shift`.
        min_area_px: Pixels up to which a find on an image without lesion is forgiven.
        seed: Of the bootstrap.
        progress: As in :func:`edge_bts.evaluate.evaluate`.

    Raises:
        InputError: A sample cannot be read.
    """

    def score(segmenter: Segmenter) -> list[ImageRow]:
        return score_samples(segmenter, samples, min_area_px=min_area_px, progress=progress)

    before = score(reference)
    after = score(deployed) if rows is None else rows
    return {
        **compare_rows(before, after, limits, seed),
        "flicker": excess_flicker(reference, deployed, limits),
        "threshold_shift": threshold_shift(chosen, limits),
    }


def limits_of(bundle: Bundle, recipe: Mapping[str, Any]) -> GateSettings:
    """Return the limits that a bundle was exported with, overridden by ``[export.gates]``.

    Raises:
        InputError: A limit that there is not.
    """
    exported = bundle.manifest.provenance.settings.get("export", {}).get("gates", {})
    own = recipe.get("export", {}).get("gates", {})
    return settings(GateSettings, {"gates": {**exported, **own}}, "gates")


def gate_bundle(
    bundle: Bundle,
    deployed: Segmenter,
    rows: Sequence[ImageRow],
    samples: Sequence[Sample],
    limits: GateSettings,
    *,
    min_area_px: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Verdict]:
    """Judge a bundle against the float reference that it holds, in the same backend.

    Args:
        bundle: The bundle.
        deployed: Its own model, opened.
        rows: Of ``deployed`` on ``samples``.
        samples: Images with masks.
        limits: Of each gate.
        min_area_px: That of ``rows``.
        seed: Of the bootstrap.
        progress: As in :func:`edge_bts.evaluate.evaluate`.

    Raises:
        InputError: The bundle is the float model itself, or does not tell the float thresholds.
    """
    import json

    from edge_bts.runtime import open_network

    if bundle.manifest.precision == "fp32" or deployed.precision != bundle.manifest.precision:
        raise InputError(
            f"Expected the int8 or fp16 model of a bundle to compare with its float reference, but "
            f"got {deployed.precision} of {bundle.path}, which holds {bundle.manifest.precision}."
        )
    try:
        report = json.loads(bundle.read("report.json"))
        points = report.get("operating_points")
        names = ("threshold", "presence_threshold")
        own = points["float"] if points else {name: report[name]["checkpoint"] for name in names}
        chosen = (points["float"]["threshold"], points["tuned"]["threshold"]) if points else None
        cuts = [float(own[name]) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"Expected report.json of {bundle.path} to tell the thresholds of the float model, but "
            "it does not; export the bundle again."
        ) from None
    backend, threads = deployed.backend.name, deployed.backend.threads
    reference = open_network(bundle, backend=backend, precision="fp32", threads=threads)
    reference.threshold, reference.presence_threshold = cuts
    return run_gates(
        reference,
        deployed,
        samples,
        limits,
        rows=rows,
        chosen=chosen,
        min_area_px=min_area_px,
        seed=seed,
        progress=progress,
    )


def check_gates(verdicts: Mapping[str, Verdict], where: str, remedy: str) -> None:
    """Refuse a model that fails a gate.

    Args:
        verdicts: By the name of the gate.
        where: The images that it was judged on, in words.
        remedy: What to do, in words.

    Raises:
        AccuracyGateError: Names every gate that failed, its value, limit and worst images.
    """
    failed = []
    for name, verdict in verdicts.items():
        if verdict.gate.failed:
            ids = ", ".join(worst.id for worst in verdict.worst)
            named = f", worst: {ids}" if ids else ""
            failed.append(f"{name} is {verdict.gate.value:.4f} ({verdict.gate.limit}{named})")
    if failed:
        raise AccuracyGateError(
            f"Expected all accuracy gates to pass on {where}, but {'; '.join(failed)}; {remedy}"
        )


def gates_table(verdicts: Mapping[str, Verdict], where: str) -> Table:
    """Return the gates as a table for the terminal."""
    from rich.table import Table

    table = Table(title="Accuracy gates", caption=f"deployed - reference, {where}")
    for index, head in enumerate(GATE_HEADS):
        table.add_column(head, justify="right" if index in (1, 3) else "left", overflow="fold")
    for cells in gate_cells(verdicts):
        table.add_row(*cells)
    return table


GATE_HEADS = ("gate", "value", "limit", "n", "verdict")


def gate_cells(verdicts: Mapping[str, Verdict]) -> list[tuple[str, ...]]:
    """Return the cells of each gate's row, of the table and of the model card."""
    rows: list[tuple[str, ...]] = []
    for name, verdict in verdicts.items():
        gate = verdict.gate
        said = "failed" if gate.failed else "passed"
        rows.append(
            (
                name,
                "" if gate.value is None else f"{gate.value:+.4f}",
                gate.limit,
                "" if gate.n is None else str(gate.n),
                said if gate.judged else f"not judged: {gate.reason}",
            )
        )
    return rows
