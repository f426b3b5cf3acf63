"""What a benchmark leaves: figures, the machine they hold for, and whether they are valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from edge_bts.benchmarks.complexity import Complexity
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import InputError
from edge_bts.files import write_json

__all__ = [
    "BenchResult",
    "Latency",
    "Machine",
    "Part",
    "Ratio",
    "Row",
    "Skipped",
    "TrainingResult",
    "TrainingRow",
    "latency",
    "load_result",
    "ratio",
    "write_result",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Model):
    """Milliseconds a frame; nothing is clipped.

    A percentile is None where fewer than one frame would lie above it: p99 takes 100 frames.
    """

    frames: int
    mean: float
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float


class Ratio(_Model):
    """How many times slower than the reference row: of the medians of each round.

    ``median`` is over the rounds, ``low`` and ``high`` are the least and the greatest round.
    """

    median: float
    low: float
    high: float
    rounds: int


class Row(_Model):
    """One network in one backend and precision, in its own process.

    ``engine`` is the network alone, inside a frame's way; ``frame`` is the whole way from the
    uint8 frame to mask and measures. ``fps`` is frames in succession by mean ``frame`` time.
    ``peak_rss_bytes`` is the most memory that the process ever held, interpreter and libraries
    included; ``idle_rss_bytes`` is what it held before the network was loaded.
    """

    label: str
    role: Literal["teacher", "student"]
    network: str
    trained: bool
    backend: str
    backend_version: str
    precision: str
    threads: int
    imgsz: int
    complexity: Complexity | None
    flops: int | None
    file_bytes: int
    peak_rss_bytes: int
    idle_rss_bytes: int
    load_ms: float
    warmup_frames: int
    steady: bool
    engine: Latency
    frame: Latency
    stages_p50_ms: dict[str, float]
    fps: float
    rounds_engine_p50_ms: list[float]
    rounds_frame_p50_ms: list[float]
    engine_ratio: Ratio | None
    frame_ratio: Ratio | None
    details: dict[str, Any]
    reasons: list[str]


class Skipped(_Model):
    """A row that was not measured, and why."""

    label: str
    reason: str


class Machine(_Model):
    """What the figures hold for."""

    cpu: str
    logical_cores: int
    memory_bytes: int
    system: str
    python: str
    versions: dict[str, str]
    environment: dict[str, str]
    load_average_before: list[float]
    load_average_after: list[float]
    foreign_load: float


class BenchResult(_Model):
    """A whole run. ``verdict`` is VALID, INVALID with reasons, or QUICK, which proves nothing.

    ``bundle_doubt`` says why nobody vouches for the bundle; empty where a trusted key signed it.
    """

    schema_version: Literal[1] = 1
    kind: Literal["edge-bts.bench"] = "edge-bts.bench"
    edge_bts_version: str
    date: str
    bundle: str
    bundle_sha256: str
    bundle_doubt: str = ""
    frames: str
    settings: BenchSettings
    machine: Machine
    reference: str | None
    rows: list[Row]
    skipped: list[Skipped]
    verdict: Literal["VALID", "INVALID", "QUICK"]
    reasons: list[str]


class Part(_Model):
    """A part of a training step.

    ``share`` is of all measured time. ``model`` says whether it is model compute: networks, loss,
    gradients and optimizer are, and so are teachers that speak in every step; batches,
    augmentation, the warp of recorded teachers and the log are not.
    """

    name: str
    model: bool
    share: float
    p50_ms: float
    p90_ms: float | None


class TrainingRow(_Model):
    """One way to run a training, in its own process.

    ``images_per_second`` is by mean step time, without validation. ``not_model`` is the share of
    all measured time that is not model compute, ``not_model_p50`` and ``not_model_p90`` are over
    the steps. ``load_ms`` is the time to the end of the first step: teachers' recordings and
    compilation included. ``ratio`` is to the first row.
    """

    label: str
    network: str
    precision: Literal["fp32", "bf16"]
    compiled: bool
    channels_last: bool
    imgsz: int
    batch: int
    load_ms: float
    warmup_steps: int
    steady: bool
    step: Latency
    images_per_second: float
    parts: list[Part]
    not_model: float
    not_model_p50: float
    not_model_p90: float | None
    rounds_step_p50_ms: list[float]
    ratio: Ratio
    peak_rss_bytes: int
    peak_device_bytes: int | None
    reasons: list[str]


class TrainingResult(_Model):
    """A whole run of ``edge-bts bench --train``; ``verdict`` as in :class:`BenchResult`."""

    schema_version: Literal[1] = 1
    kind: Literal["edge-bts.bench-train"] = "edge-bts.bench-train"
    edge_bts_version: str
    date: str
    section: Literal["train", "distill"]
    config: dict[str, Any]
    data: str
    settings: BenchSettings
    machine: Machine
    device: str
    rows: list[TrainingRow]
    skipped: list[Skipped]
    verdict: Literal["VALID", "INVALID", "QUICK"]
    reasons: list[str]


def latency(samples_ms: Sequence[float]) -> Latency:
    """Summarise the times of at least one frame; percentiles by linear interpolation.

    Raises:
        InputError: No sample.
    """
    if not samples_ms:
        raise InputError("Expected at least one measured frame, but got none; measure longer.")
    values = np.asarray(samples_ms, np.float64)

    def percentile(share: float) -> float | None:
        enough = len(values) * (1 - share) >= 1 - 1e-9
        return float(np.quantile(values, share)) if enough else None

    return Latency(
        frames=len(values),
        mean=float(values.mean()),
        p50=float(np.median(values)),
        p90=percentile(0.90),
        p95=percentile(0.95),
        p99=percentile(0.99),
        p999=percentile(0.999),
        max=float(values.max()),
    )


def ratio(rounds: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Divide two series of round medians, round by round."""
    quotients = np.asarray(rounds, np.float64) / np.asarray(reference, np.float64)
    return Ratio(
        median=float(np.median(quotients)),
        low=float(quotients.min()),
        high=float(quotients.max()),
        rounds=len(quotients),
    )


def write_result(path: str | Path, result: BenchResult | TrainingResult) -> None:
    """Write the result as JSON, atomically."""
    write_json(path, result.model_dump(mode="json"))


def load_result(path: str | Path) -> BenchResult:
    """Read a result.

    Raises:
        InputError: No such file, or not a result of this schema.
    """
    path = Path(path)
    try:
        return BenchResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"Expected a benchmark result at {path}, but reading it failed: {error.strerror}."
        ) from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise InputError(
            f"Expected {path} to be a benchmark result of schema 1, but {where}: {fault['msg']}; "
            "make it again with `edge-bts bench`."
        ) from None
