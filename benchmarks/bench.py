"""A whole benchmark: plan the rows, measure them, judge the measurement."""

from __future__ import annotations

import contextlib
import datetime
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_bts import __version__
from edge_bts.benchmarks.accuracy import read_dice
from edge_bts.benchmarks.device import Device, Sampler, describe_device
from edge_bts.benchmarks.foreign import FOREIGN_SUFFIXES, foreign_bytes, read_foreign
from edge_bts.benchmarks.interleave import (
    FRAMES,
    Measured,
    Outcome,
    WorkerError,
    measure,
    overhead_us,
    throughput,
)
from edge_bts.benchmarks.layers import LayerTime, measure_layers
from edge_bts.benchmarks.machine import describe_machine, load_average
from edge_bts.benchmarks.protocol import (
    device_reasons,
    interrupted_reasons,
    percentile_reasons,
    row_reasons,
    run_reasons,
)
from edge_bts.benchmarks.result import (
    BenchResult,
    Dice,
    Energy,
    Latency,
    Loaded,
    Row,
    Skipped,
    Subject,
    Throughput,
    deadline,
    latency,
    ratio,
)
from edge_bts.benchmarks.roofline import Peaks, floor, measure_peaks
from edge_bts.benchmarks.rows import PlannedRow, Rows, plan_rows
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.bundle import Bundle, open_bundle_folder
from edge_bts.errors import (
    EdgeBtsError,
    EnvironmentMismatchError,
    InputError,
    MeasurementError,
)
from edge_bts.files import sha256_bytes
from edge_bts.signing import Trust, find_trust

__all__ = ["bench"]

_FRAMES = 4
_STAGES = {"engine": "inference", "frame": "frame"}


def bench(
    subjects: Sequence[str | Path],
    *,
    trust: Trust | None = None,
    teachers: Sequence[str] = (),
    student: Path | None = None,
    evaluations: Sequence[str] = (),
    settings: BenchSettings | None = None,
    command: Sequence[str] = (),
    progress: Callable[[str, float], None] = lambda _text, _share: None,
) -> BenchResult:
    """Measure students, teachers and peers in one interleaved run.

    Args:
        subjects: Each a student's folder ``NAME.ebts``, or somebody else's ``.onnx`` or ``.xml``
            (OpenVINO IR).
        trust: Whose bundles are opened; None is :func:`edge_bts.signing.find_trust`.
        teachers: Each a checkpoint, a bundle, or ``name:key=value,...`` for untrained weights.
        student: The checkpoint of the first bundle, for its row in torch.
        evaluations: Reports of ``edge-bts eval``, for the Dice beside the speed: ``FILE``, or
            ``WHO=FILE`` with the first word of the rows that it is of.
        settings: How long, how many threads, in which rhythm.
        command: What the user typed, for the record.
        progress: Called with what is being done and its share in [0, 1].

    Returns:
        Figures and verdict. An INVALID measurement is returned, not raised: its figures may
        still tell why. So is one that the user interrupted, with what it has.

    Raises:
        InputError: A subject, checkpoint, teacher or report that cannot be read.
        IntegrityError: A bundle that ``trust`` does not cover, or a damaged one.
        EnvironmentMismatchError: Nothing that runs a row is installed.
        MeasurementError: Not one row could be measured.
        KeyboardInterrupt: The user interrupted before one row was measured.
    """
    settings = settings or BenchSettings()
    trust = find_trust() if trust is None else trust
    bundles, peers, named = _open(subjects, trust)
    dice = read_dice(evaluations)
    before, device = load_average(), describe_device()
    with _folder() as folder:
        progress("make frames and files", 0.0)
        frames = str(_frames(folder, settings))
        rows = plan_rows(bundles, peers, teachers, student, folder, settings, trust)
        opens = {
            row.label: {"source": row.source.model_dump(), "frames": frames} for row in rows.planned
        }
        peaks = Peaks()
        if settings.roofline:
            progress("measure the machine's peaks", 0.0)
            peaks = measure_peaks(settings.threads, 1.0 if settings.quick else 3.0)
        sampler = Sampler()
        with contextlib.closing(sampler):
            outcome = measure(FRAMES, opens, settings, progress, sampler)
        planned = [row for row in rows.planned if row.label in outcome.measured]
        if not planned:
            raise _nothing(outcome, rows)
        overhead, streams, layers = _extras(planned, outcome, opens, settings, progress)
    reference = _reference(planned)
    make = _Maker(outcome.measured, reference, settings, peaks, device, dice, streams, layers)
    done = [make.row(row) for row in planned]
    reasons = [
        *interrupted_reasons(outcome.interrupted),
        *rows.notes,
        *run_reasons(done, outcome.foreign, settings),
        *device_reasons(sampler.states, settings, _on_gpu(planned)),
        *_moved(device, describe_device()),
    ]
    return BenchResult(
        edge_bts_version=__version__,
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=list(command),
        subjects=named,
        frames=f"{_FRAMES} phantom frames of {settings.width} x {settings.height}, in turn",
        settings=settings,
        machine=describe_machine(before, outcome.foreign, settings.threads, device),
        states=sampler.states,
        peaks=peaks,
        overhead_us=overhead,
        networks={row.network: row.complexity for row in planned if row.complexity is not None},
        interrupted=outcome.interrupted is not None,
        reference=reference,
        rows=done,
        skipped=rows.skipped + [Skipped(label=k, reason=v) for k, v in outcome.failed.items()],
        verdict="QUICK" if settings.quick else "INVALID" if reasons else "VALID",
        reasons=reasons,
    )


def _open(
    subjects: Sequence[str | Path], trust: Trust
) -> tuple[list[Bundle], list[Path], list[Subject]]:
    """Return bundles, foreign files, and what to call all of them."""
    bundles, peers, named = [], [], []
    for subject in map(Path, subjects):
        if subject.suffix in FOREIGN_SUFFIXES and not subject.is_dir():
            content = foreign_bytes(read_foreign(subject))
            peers.append(subject)
            named.append(Subject(name=subject.name, sha256=sha256_bytes(content)))
        else:
            bundle = open_bundle_folder(subject, trust)
            bundles.append(bundle)
            named.append(
                Subject(
                    name=bundle.path.name,
                    sha256=bundle.manifest_sha256,
                    doubt=bundle.maker.doubt,
                )
            )
    return bundles, peers, named


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Yield a temporary folder; a disk that is full is one sentence."""
    try:
        with tempfile.TemporaryDirectory(prefix="edge-bts-bench-") as name:
            yield Path(name)
    except OSError as error:
        raise EdgeBtsError(
            f"Could not write the files to measure in {tempfile.gettempdir()}: "
            f"{error.strerror or error}. Free some space or set TMPDIR to another folder."
        ) from None


def _frames(folder: Path, settings: BenchSettings) -> Path:
    from edge_bts.data.phantom import simulate

    frames = [
        simulate(settings.seed + n, "benign", height=settings.height, width=settings.width).image
        for n in range(_FRAMES)
    ]
    path = folder / "frames.npy"
    np.save(path, np.stack(frames))
    return path


def _nothing(outcome: Outcome, rows: Rows) -> BaseException:
    """Return the error of a run without a row: that of its rows, if they agree."""
    if outcome.interrupted:
        return KeyboardInterrupt()
    reasons = [f"{s.label}: {s.reason}" for s in rows.skipped]
    reasons += [f"{label}: {reason}" for label, reason in outcome.failed.items()]
    codes = outcome.codes if rows.planned else {EnvironmentMismatchError.exit_code}
    kinds = {2: InputError, 3: EnvironmentMismatchError}
    kind = kinds.get(min(codes)) if len(codes) == 1 else None
    return (kind or MeasurementError)(
        f"Expected at least one row to be measured, but none could be: {'; '.join(reasons)}"
    )


def _extras(
    planned: Sequence[PlannedRow],
    outcome: Outcome,
    opens: Mapping[str, Mapping[str, Any]],
    settings: BenchSettings,
    progress: Callable[[str, float], None],
) -> tuple[float | None, dict[str, float], dict[str, list[LayerTime]]]:
    """Return what the harness costs, and by label the throughput of streams and the layers."""
    streams: dict[str, float] = {}
    layers: dict[str, list[LayerTime]] = {}
    if outcome.interrupted:
        return None, streams, layers
    try:
        for index, row in enumerate(planned):
            label, share = row.label, index / len(planned)
            if settings.streams > 1:
                progress(f"{settings.streams} streams of {label}", share)
                median = outcome.measured[label].warm["median_ms"]
                with contextlib.suppress(WorkerError):  # too many for the memory: it has none
                    streams[label] = throughput(FRAMES, opens[label], settings, median)
            if settings.layers and row.source.backend == "openvino":
                progress(f"layers of {label}", share)
                layers[label] = measure_layers(row.source)
        return overhead_us(), streams, layers
    except KeyboardInterrupt:
        outcome.interrupted = (outcome.rounds, outcome.rounds)
    except WorkerError:
        pass
    return None, streams, layers


def _on_gpu(planned: Sequence[PlannedRow]) -> set[str]:
    sources = {row.label: row.source for row in planned}
    return {k for k, s in sources.items() if s.backend == "tensorrt" or s.device != "cpu"}


def _moved(before: Device, after: Device) -> list[str]:
    if before.power_mode == after.power_mode and before.clocks_locked == after.clocks_locked:
        return []
    return ["power mode or clock lock changed during the run"]


def _reference(planned: Sequence[PlannedRow]) -> str:
    """The row that ratios refer to: the first student as it is deployed, else the first row."""
    students = [row for row in planned if row.role == "student"]
    first = [row for row in students if row.who == students[0].who] or planned[:1]
    order = ("tensorrt", "openvino", "native", "onnxruntime", "torch")

    def rank(row: PlannedRow) -> tuple[bool, int]:
        kind = row.source.backend
        return row.source.precision == "fp32", order.index(kind) if kind in order else len(order)

    return min(first, key=rank).label


class _Maker:
    """Makes rows of what was measured."""

    def __init__(
        self,
        measured: dict[str, Measured],
        reference: str,
        settings: BenchSettings,
        peaks: Peaks,
        device: Device,
        dice: Callable[[PlannedRow], Dice | None],
        streams: dict[str, float],
        layers: dict[str, list[LayerTime]],
    ) -> None:
        self._measured = measured
        self._reference = reference
        self._settings = settings
        self._peaks = peaks
        self._device = device
        self._dice = dice
        self._streams = streams
        self._layers = layers

    def row(self, row: PlannedRow) -> Row:
        """Summarise one row."""
        data, settings = self._measured[row.label], self._settings
        times = {name: _micro(data.all(stage)) for name, stage in _STAGES.items()}
        times |= {name: _micro(data.all(name)) for name in ("preprocess", "postprocess")}
        if settings.limit_ms is not None:
            times["age"] = _micro(data.all("age"))
        summaries = {name: latency(_milli(values)) for name, values in times.items()}
        engine, frame = summaries["engine"], summaries["frame"]
        medians = {name: _medians(data.rounds, stage) for name, stage in _STAGES.items()}
        reference = self._measured[self._reference]
        ratios = {
            name: ratio(values, _medians(reference.rounds, _STAGES[name]))
            for name, values in medians.items()
        }
        cost, label = row.complexity, row.label
        return Row(
            label=label,
            who=row.who,
            role=row.role,
            network=row.network,
            trained=row.trained,
            backend=row.source.backend,
            backend_version=data.opened["version"],
            precision=row.source.precision,
            threads=settings.threads,
            imgsz=data.opened["imgsz"],
            file_bytes=row.file_bytes,
            peak_rss_bytes=data.closed["peak_rss_bytes"],
            idle_rss_bytes=data.opened["idle_rss_bytes"],
            peak_device_bytes=data.closed["peak_device_bytes"],
            cold_start_ms=data.cold_start_ms,
            load_ms=data.opened["load_ms"],
            first_ms=data.opened["first_ms"],
            warmup_frames=data.warm["frames"],
            steady=data.warm["steady"],
            engine=engine,
            frame=frame,
            stages={name: summaries[name] for name in ("preprocess", "postprocess")},
            fps=1e3 / frame.mean,
            deadline=_deadline(data.rounds, settings),
            after_idle=_after_idle(data, settings),
            loaded=_loaded(data, settings),
            throughput=(
                Throughput(streams=settings.streams, fps=self._streams[label])
                if label in self._streams
                else None
            ),
            floor=(
                floor(self._peaks, row.source.precision, cost.macs, row.file_bytes, engine.p50)
                if cost is not None and row.source.device == "cpu"
                else None
            ),
            energy=(
                Energy(joules=data.joules / data.frames, of=self._device.power)
                if data.joules is not None and self._device.power is not None
                else None
            ),
            dice=self._dice(row),
            rounds_engine_p50_ms=medians["engine"],
            rounds_frame_p50_ms=medians["frame"],
            engine_ratio=ratios["engine"],
            frame_ratio=ratios["frame"],
            times_us=times,
            details=data.opened["details"],
            layers=self._layers.get(label, []),
            reasons=[
                *row_reasons(_milli(times["frame"]), data.warm["steady"], settings),
                *percentile_reasons(frame.frames, settings),
            ],
        )


def _deadline(rounds: Sequence[dict[str, list[float]]], settings: BenchSettings) -> Any:
    if settings.limit_ms is None:
        return None
    age = [value for block in rounds for value in block["age"]]
    skipped = [int(value) for block in rounds for value in block["skipped"]]
    return deadline(age, skipped, settings.limit_ms)


def _after_idle(data: Measured, settings: BenchSettings) -> Latency | None:
    """Summarise the first frame after each gap: a turn with gaps is of whole bursts."""
    if not settings.idle_ms:
        return None
    return latency([t for block in data.rounds for t in block["frame"][:: settings.burst]])


def _loaded(data: Measured, settings: BenchSettings) -> Loaded | None:
    if not data.loaded:
        return None
    engine, frame = (
        latency([value for block in data.loaded for value in block[stage]])
        for stage in _STAGES.values()
    )
    quiet = data.rounds[: len(data.loaded)]
    return Loaded(
        processes=settings.co_load,
        engine=engine,
        frame=frame,
        deadline=_deadline(data.loaded, settings),
        ratio=ratio(_medians(data.loaded, "frame"), _medians(quiet, "frame")),
    )


def _medians(rounds: Sequence[dict[str, list[float]]], stage: str) -> list[float]:
    return [float(np.median(block[stage])) for block in rounds]


def _micro(times_ms: Sequence[float]) -> list[int]:
    return [round(value * 1e3) for value in times_ms]


def _milli(times_us: Sequence[int]) -> list[float]:
    return [value / 1e3 for value in times_us]
