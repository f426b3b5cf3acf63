"""A whole benchmark of trainings: images a second, and where a step's time goes."""

from __future__ import annotations

import contextlib
import datetime
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_bts import __version__
from edge_bts.benchmarks.device import Sampler, describe_device
from edge_bts.benchmarks.interleave import Measured, measure
from edge_bts.benchmarks.machine import describe_machine, load_average
from edge_bts.benchmarks.protocol import (
    device_reasons,
    interrupted_reasons,
    row_reasons,
    run_reasons,
)
from edge_bts.benchmarks.result import (
    Part,
    Skipped,
    TrainingResult,
    TrainingRow,
    latency,
    ratio,
)
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.benchmarks.steps import PARTS, STEPS, Case
from edge_bts.errors import MeasurementError
from edge_bts.trainers.data import CATEGORIES, TensorData
from edge_bts.trainers.settings import DistillSettings, TrainSettings

__all__ = ["bench_training"]


def bench_training(
    train: TrainSettings,
    distill: DistillSettings | None,
    *,
    data: Path | None = None,
    split: Path | None = None,
    compare: bool = False,
    settings: BenchSettings | None = None,
    progress: Callable[[str, float], None] = lambda _text, _share: None,
) -> TrainingResult:
    """Measure the steps of a training, and of the other ways to run it beside it.

    Args:
        train: The supervised training; where ``distill`` is given, the teachers'.
        distill: The distillation to measure, with untrained teachers; None measures ``train``.
        data: Folder of a data set; None: noise, on which the speed is the same.
        split: Split file of ``data``.
        compare: Add the rows that differ in precision, in compilation and in memory layout.
        settings: How long, how many threads.
        progress: Called with what is being done and its share in [0, 1].

    Raises:
        InputError: Data that cannot be read.
        MeasurementError: Not one row could be measured.
    """
    settings = settings or BenchSettings()
    chosen = distill or train
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="edge-bts-bench-") as name:
        progress("read data", 0.0)
        images, described = _images(chosen, data, split, settings.seed)
        path = Path(name) / "images.npz"
        np.savez(path, **{k: value.numpy() for k, value in vars(images).items()})
        cases = _cases(Case(train=train, distill=distill, data=str(path)), compare)
        opens = {label: {"case": case.model_dump(mode="json")} for label, case in cases.items()}
        sampler = Sampler()
        with contextlib.closing(sampler):
            outcome = measure(STEPS, opens, settings, progress, sampler)
    measured, failed = outcome.measured, outcome.failed
    if outcome.interrupted and not measured:
        raise KeyboardInterrupt
    if not measured:
        raise MeasurementError(
            "Expected at least one row to be measured, but none could be: "
            + "; ".join(f"{label}: {reason}" for label, reason in failed.items())
        )
    first = next(iter(measured.values()))
    rows = [_row(label, cases[label], done, first, settings) for label, done in measured.items()]
    on_gpu = first.opened["device"] != "cpu"
    reasons = [
        *interrupted_reasons(outcome.interrupted),
        *run_reasons(rows, outcome.foreign, settings),
        *device_reasons(sampler.states, settings, measured if on_gpu else ()),
    ]
    return TrainingResult(
        edge_bts_version=__version__,
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        section="train" if distill is None else "distill",
        config={
            section: value.model_dump(mode="json")
            for section, value in (("train", train), ("distill", distill))
            if value is not None
        },
        data=described,
        settings=settings,
        machine=describe_machine(before, outcome.foreign, settings.threads, describe_device()),
        device=first.opened["device"],
        interrupted=outcome.interrupted is not None,
        rows=rows,
        skipped=[Skipped(label=label, reason=reason) for label, reason in failed.items()],
        verdict="QUICK" if settings.quick else "INVALID" if reasons else "VALID",
        reasons=reasons,
    )


def _images(
    settings: TrainSettings, data: Path | None, split: Path | None, seed: int
) -> tuple[TensorData, str]:
    """Return what to train on and what to call it."""
    import torch

    if data is not None:
        from edge_bts.trainers.runs import open_inputs

        inputs = open_inputs(data, split)
        read = TensorData.read(inputs.train, settings.imgsz, torch.device("cpu"))
        return read, f"{len(read)} images of {inputs.dataset}"
    count, side = max(64, 4 * settings.loop.batch), settings.imgsz
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, side, side)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    # Classes in the proportions of BUSI: 437 benign, 210 malignant, 133 normal.
    draw = torch.rand(count, generator=generator)
    categories = (draw > 437 / 780).long() + (draw > 647 / 780).long()
    masks = torch.zeros(shape, dtype=torch.uint8)
    masks[categories != CATEGORIES.index("normal"), :, side // 4 : side // 2, side // 4 :] = 1
    return TensorData(images, masks, categories), f"{count} images of noise"


def _cases(base: Case, compare: bool) -> dict[str, Case]:
    """Return what to measure by label: as configured first, then with one thing changed."""
    cases = [base]
    if compare:
        loop = base.settings.loop
        other = "fp32" if loop.precision == "bf16" else "bf16"
        cases += [
            _with_loop(base, "precision", other),
            _with_loop(base, "compile", not loop.compile),
            base.model_copy(update={"channels_last": False}),
        ]
    return {_label(case): case for case in cases}


def _with_loop(case: Case, name: str, value: object) -> Case:
    settings = case.settings
    loop = settings.loop.model_copy(update={name: value})
    section = "train" if case.distill is None else "distill"
    return case.model_copy(update={section: settings.model_copy(update={"loop": loop})})


def _label(case: Case) -> str:
    loop = case.settings.loop
    layout = "channels last" if case.channels_last else "channels first"
    return f"{loop.precision}, {'compiled' if loop.compile else 'eager'}, {layout}"


def _row(
    label: str, case: Case, data: Measured, first: Measured, settings: BenchSettings
) -> TrainingRow:
    chosen = case.settings
    step = latency(data.all("step"))
    steps = np.asarray(data.all("step"))
    outside = np.zeros(len(steps))
    parts = []
    for name in PARTS:
        times = np.asarray(data.all(name))
        model = _is_model(name, case)
        if not model:
            outside += times
        summary = latency(times.tolist())
        parts.append(
            Part(
                name=name,
                model=model,
                share=float(times.sum() / steps.sum()),
                p50_ms=summary.p50,
                p90_ms=summary.p90,
            )
        )
    shares = latency((outside / steps).tolist())
    batch = min(chosen.loop.batch, data.opened["images"])
    return TrainingRow(
        label=label,
        network=str(chosen.model),
        precision=chosen.loop.precision,
        compiled=chosen.loop.compile,
        channels_last=case.channels_last,
        imgsz=chosen.imgsz,
        batch=batch,
        load_ms=data.opened["load_ms"],
        warmup_steps=data.warm["frames"],
        steady=data.warm["steady"],
        step=step,
        images_per_second=batch * 1e3 / step.mean,
        parts=parts,
        not_model=float(outside.sum() / steps.sum()),
        not_model_p50=shares.p50,
        not_model_p90=shares.p90,
        rounds_step_p50_ms=_medians(data),
        ratio=ratio(_medians(data), _medians(first)),
        peak_rss_bytes=data.closed["peak_rss_bytes"],
        peak_device_bytes=data.closed["peak_device_bytes"],
        reasons=row_reasons(data.all("step"), data.warm["steady"], settings, "steps"),
    )


def _is_model(part: str, case: Case) -> bool:
    if part == "teachers":
        # What was recorded is only looked up and warped.
        return case.distill is not None and case.distill.view == "same"
    return part in ("forward", "loss", "backward", "optimizer")


def _medians(data: Measured) -> list[float]:
    return [float(np.median(block["step"])) for block in data.rounds]
