"""A whole benchmark: plan the rows, measure them, judge the measurement."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_bts import __version__
from edge_bts.benchmarks.interleave import FRAMES, Measured, measure
from edge_bts.benchmarks.machine import describe_machine, load_average
from edge_bts.benchmarks.protocol import row_reasons, run_reasons
from edge_bts.benchmarks.result import BenchResult, Row, Skipped, latency, ratio
from edge_bts.benchmarks.rows import PlannedRow, plan_rows
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.bundle import open_bundle_folder
from edge_bts.errors import MeasurementError
from edge_bts.signing import Trust, find_trust

__all__ = ["bench"]

_FRAMES = 4


def bench(
    bundle: str | Path,
    *,
    trust: Trust | None = None,
    teachers: Sequence[str] = (),
    student: Path | None = None,
    settings: BenchSettings | None = None,
    progress: Callable[[str, float], None] = lambda _text, _share: None,
) -> BenchResult:
    """Measure a bundle, and teachers beside it, in one interleaved run.

    Args:
        bundle: The student's folder ``NAME.ebts``.
        trust: Whose bundles are opened; None is :func:`edge_bts.signing.find_trust`.
        teachers: Each a checkpoint, a bundle, or ``name:key=value,...`` for untrained weights.
        student: The checkpoint of the student, for its row in torch.
        settings: How long, how many threads.
        progress: Called with what is being done and its share in [0, 1].

    Returns:
        Figures and verdict. An INVALID measurement is returned, not raised: its figures may
        still tell why.

    Raises:
        InputError: A bundle, checkpoint or teacher that cannot be read.
        IntegrityError: A bundle that ``trust`` does not cover, or a damaged one.
        MeasurementError: Not one row could be measured.
    """
    settings = settings or BenchSettings()
    trust = find_trust() if trust is None else trust
    opened = open_bundle_folder(bundle, trust)
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="edge-bts-bench-") as name:
        folder = Path(name)
        progress("make frames and files", 0.0)
        frames = str(_frames(folder, settings))
        rows = plan_rows(opened, teachers, student, folder, settings, trust)
        opens = {
            row.label: {"source": row.source.model_dump(), "frames": frames} for row in rows.planned
        }
        measured, failed, foreign = measure(FRAMES, opens, settings, progress)
    skipped = rows.skipped + [Skipped(label=k, reason=v) for k, v in failed.items()]
    planned = [row for row in rows.planned if row.label in measured]
    if not planned:
        raise MeasurementError(
            "Expected at least one row to be measured, but none could be: "
            + "; ".join(f"{s.label}: {s.reason}" for s in skipped)
        )
    reference = _reference(planned)
    done = [_row(row, measured, reference, settings) for row in planned]
    reasons = rows.notes + run_reasons(done, foreign, settings)
    return BenchResult(
        edge_bts_version=__version__,
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        bundle=opened.path.name,
        bundle_sha256=opened.manifest_sha256,
        bundle_doubt=opened.maker.doubt,
        frames=f"{_FRAMES} phantom frames of {settings.width} x {settings.height}, in turn",
        settings=settings,
        machine=describe_machine(before, foreign, settings.threads),
        reference=reference,
        rows=done,
        skipped=skipped,
        verdict="QUICK" if settings.quick else "INVALID" if reasons else "VALID",
        reasons=reasons,
    )


def _frames(folder: Path, settings: BenchSettings) -> Path:
    from edge_bts.data.phantom import simulate

    frames = [
        simulate(settings.seed + n, "benign", height=settings.height, width=settings.width).image
        for n in range(_FRAMES)
    ]
    path = folder / "frames.npy"
    np.save(path, np.stack(frames))
    return path


def _reference(planned: Sequence[PlannedRow]) -> str | None:
    """The row that ratios refer to: the student as it is deployed."""
    students = [row for row in planned if row.role == "student"]
    order = {"openvino": 0, "native": 1, "onnxruntime": 2, "torch": 3}
    students.sort(key=lambda r: (r.source.precision == "fp32", order[r.source.backend]))
    return students[0].label if students else None


def _row(
    row: PlannedRow,
    measured: dict[str, Measured],
    reference: str | None,
    settings: BenchSettings,
) -> Row:
    data = measured[row.label]
    engine, frame = latency(data.all("inference")), latency(data.all("frame"))
    medians = {stage: _medians(data, stage) for stage in ("inference", "frame")}
    ratios = {
        stage: ratio(values, _medians(measured[reference], stage)) if reference else None
        for stage, values in medians.items()
    }
    return Row(
        label=row.label,
        role=row.role,
        network=row.network,
        trained=row.trained,
        backend=row.source.backend,
        backend_version=data.opened["version"],
        precision=row.source.precision,
        threads=settings.threads,
        imgsz=data.opened["imgsz"],
        complexity=row.complexity,
        flops=row.complexity.flops if row.complexity else None,
        file_bytes=row.file_bytes,
        peak_rss_bytes=data.closed["peak_rss_bytes"],
        idle_rss_bytes=data.opened["idle_rss_bytes"],
        load_ms=data.opened["load_ms"],
        warmup_frames=data.warm["frames"],
        steady=data.warm["steady"],
        engine=engine,
        frame=frame,
        stages_p50_ms={
            stage: float(np.median(data.all(stage))) for stage in ("preprocess", "postprocess")
        },
        fps=1e3 / frame.mean,
        rounds_engine_p50_ms=medians["inference"],
        rounds_frame_p50_ms=medians["frame"],
        engine_ratio=ratios["inference"],
        frame_ratio=ratios["frame"],
        details=data.opened["details"],
        reasons=row_reasons(data.all("frame"), data.warm["steady"], settings),
    )


def _medians(data: Measured, stage: str) -> list[float]:
    return [float(np.median(block[stage])) for block in data.rounds]
