"""The parity ladder: one network, step by step on its way to the device, compared on images.

torch float -> torch with fake quantizers -> ONNX Runtime without and with graph optimisations ->
OpenVINO -> the C++ runtime. Each rung is compared with the torch model that it was made from, and
with the truth.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts import geometry
from edge_bts.errors import AccuracyGateError, InputError
from edge_bts.metrics import dice

__all__ = [
    "Case",
    "Infer",
    "Ladder",
    "Observe",
    "ParityReport",
    "ParityRow",
    "Rung",
    "check_parity",
    "climb",
    "onnx_infer",
]

Case = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""A gray frame and its true mask, uint8 H x W each, in source geometry."""

Observe = Callable[[int, Case, dict[str, NDArray[np.float32]]], None]
"""Told of each case: its number from 0, frame and mask, and what each rung gave, (S, S) each."""


Infer = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From normalised float32 (1, 1, S, S), or a frame, to probability of the same shape."""


@dataclass(frozen=True)
class Rung:
    """One form of the network.

    Attributes:
        name: What is shown.
        infer: What runs it.
        against: Name of the rung that it is compared with; its own name for the first.
        gated: Whether it must agree with the other; too little agreement ends an export.
        frames: It has a geometry of its own and takes frames, uint8 H x W. Its probability in model
            geometry is that of the letterboxed frame, its mask comes of its own way back.
    """

    name: str
    infer: Infer
    against: str
    gated: bool = False
    frames: bool = False


@dataclass(frozen=True)
class Ladder:
    """The rungs, and the geometry that all share."""

    rungs: Sequence[Rung]
    imgsz: int
    mean: float
    std: float
    threshold: float


class ParityRow(BaseModel):
    """One rung.

    Attributes:
        name: Of the rung.
        against: The rung that the next three compare with.
        gated: It must agree with that one.
        max_abs: Largest difference of probability, model geometry.
        mean_abs: Mean difference of probability, model geometry.
        dice: Mean Dice of the masks of the two, source geometry, over the images with a lesion.
        worst_dice: The least of these.
        dice_truth: Mean Dice against the true masks, over the same images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    against: str
    gated: bool
    max_abs: float
    mean_abs: float
    dice: float
    worst_dice: float
    dice_truth: float


class ParityReport(BaseModel):
    """All rungs.

    Attributes:
        images: How many were compared.
        lesions: How many of them have a lesion; Dice is over these.
        threshold: Of the masks.
        rows: One a rung.
        pairs: Mean Dice of the masks of each two rungs, by ``"name | name"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    lesions: int
    threshold: float
    rows: list[ParityRow]
    pairs: dict[str, float]


@dataclass
class _Sums:
    """What is collected for one rung."""

    max_abs: float = 0.0
    mean_abs: list[float] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)


def climb(
    ladder: Ladder, cases: Iterable[Case], observe: Observe = lambda _index, _case, _outputs: None
) -> ParityReport:
    """Run every rung on every case and compare.

    Raises:
        InputError: No case has a lesion: masks cannot be compared.
    """
    sums = {rung.name: _Sums() for rung in ladder.rungs}
    pairs: dict[str, list[float]] = {}
    images = 0
    for frame, truth in cases:
        images += 1
        outputs, masks = _run(ladder, frame)
        observe(images - 1, (frame, truth), outputs)
        lesion = bool(truth.any())
        for rung in ladder.rungs:
            own = sums[rung.name]
            difference = np.abs(outputs[rung.name] - outputs[rung.against])
            own.max_abs = max(own.max_abs, float(difference.max()))
            own.mean_abs.append(float(difference.mean(dtype=np.float64)))
            if lesion:
                own.dice.append(dice(masks[rung.name], masks[rung.against]))
                own.truth.append(dice(masks[rung.name], truth))
        if lesion:
            for a, b in itertools.combinations(masks, 2):
                pairs.setdefault(f"{a} | {b}", []).append(dice(masks[a], masks[b]))
    if not sums[ladder.rungs[0].name].dice:
        raise InputError(
            f"Expected an image with a lesion to compare masks on, but none of {images} has one; "
            "give images with masks."
        )
    rows = [_row(rung, sums[rung.name]) for rung in ladder.rungs]
    return ParityReport(
        images=images,
        lesions=len(sums[ladder.rungs[0].name].dice),
        threshold=ladder.threshold,
        rows=rows,
        pairs={name: _mean(values) for name, values in pairs.items()},
    )


def onnx_infer(content: bytes, *, plain: bool = False, threads: int | None = None) -> Infer:
    """Return what runs an ONNX file in ONNX Runtime.

    Args:
        content: The file.
        plain: Run the operators one by one, as the standard defines them, without optimisations.
        threads: Threads inside one inference.

    Raises:
        EnvironmentMismatchError: ONNX Runtime is not installed.
    """
    from edge_bts.runtime._onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(content, threads=threads, optimize=not plain).infer


def check_parity(report: ParityReport, ladder: Ladder, least: float) -> dict[str, float]:
    """Return the agreement of each gated rung.

    Raises:
        AccuracyGateError: One is below ``least``.
    """
    gated = {rung.name for rung in ladder.rungs if rung.gated}
    agreement = {row.name: row.dice for row in report.rows if row.name in gated}
    for row in report.rows:
        if row.name in gated and not row.dice >= least:  # NaN fails too
            raise AccuracyGateError(
                f"Expected the masks of {row.name} to agree with those of {row.against} to a mean "
                f"Dice of at least {least}, but it is {row.dice:.4f}; nothing was written. Check "
                "the versions with `edge-bts doctor`, or allow it with --set export.agreement."
            )
    return agreement


def _run(
    ladder: Ladder, frame: NDArray[np.uint8]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.uint8]]]:
    square = geometry.letterbox(frame, ladder.imgsz)
    image = geometry.normalise(square, ladder.mean, ladder.std)[np.newaxis, np.newaxis]
    box = geometry.plan(frame.shape[0], frame.shape[1], ladder.imgsz)
    outputs = {
        rung.name: rung.infer(square) if rung.frames else rung.infer(image)[0, 0]
        for rung in ladder.rungs
    }
    masks = {}
    for rung in ladder.rungs:
        probability = (
            rung.infer(frame) if rung.frames else geometry.to_source(outputs[rung.name], box)
        )
        masks[rung.name] = geometry.threshold(probability, ladder.threshold)
    return outputs, masks


def _row(rung: Rung, own: _Sums) -> ParityRow:
    return ParityRow(
        name=rung.name,
        against=rung.against,
        gated=rung.gated,
        max_abs=own.max_abs,
        mean_abs=_mean(own.mean_abs),
        dice=_mean(own.dice),
        worst_dice=min(own.dice),
        dice_truth=_mean(own.truth),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
