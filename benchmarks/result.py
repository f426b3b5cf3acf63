"""What a benchmark leaves: figures, the machine they hold for, and whether they are valid."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from edge_bts.benchmarks.complexity import Complexity
from edge_bts.benchmarks.device import Device, State
from edge_bts.benchmarks.layers import LayerTime
from edge_bts.benchmarks.protocol import longest_burst, percentile_bound, rate_bound
from edge_bts.benchmarks.roofline import Floor, Peaks
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import InputError
from edge_bts.files import write_text

__all__ = [
    "BenchResult",
    "Deadline",
    "Dice",
    "Energy",
    "Latency",
    "Loaded",
    "Machine",
    "Part",
    "Ratio",
    "Row",
    "Skipped",
    "Subject",
    "Throughput",
    "TrainingResult",
    "TrainingRow",
    "deadline",
    "latency",
    "load_result",
    "ratio",
    "result_kind",
    "result_schema",
    "write_result",
]


_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Model):
    """Milliseconds a frame; nothing is clipped.

    A percentile is None where fewer than one frame would lie above it: p99 takes 100 frames.
    ``at_most`` is what a percentile of all frames to come is at most, at 99 % confidence, by its
    name (``p99``); it lacks those that the frames are too few for.
    """

    frames: int
    mean: float
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float
    at_most: dict[str, float] = {}


class Ratio(_Model):
    """How many times slower than the reference row: of the medians of each round.

    ``median`` is over the rounds, ``low`` and ``high`` are the least and the greatest round.
    """

    median: float
    low: float
    high: float
    rounds: int


class Deadline(_Model):
    """How the frames that arrived met their deadline, from arrival to mask.

    A frame that was skipped because a newer one had arrived is a miss. ``rate_at_most`` bounds the
    rate of misses of the frames to come at 95 % confidence; ``longest_burst`` is the longest run
    of misses one after another, ``late_ms`` the most by which a mask came late.
    """

    deadline_ms: float
    arrived: int
    misses: int
    skipped: int
    rate_at_most: float
    longest_burst: int
    late_ms: float
    age: Latency


class Loaded(_Model):
    """The same row beside processes that compute, in turns between the others.

    ``ratio`` is to the row itself, by the medians of ``frame`` in each round.
    """

    processes: int
    engine: Latency
    frame: Latency
    deadline: Deadline | None
    ratio: Ratio


class Throughput(_Model):
    """Frames a second of several processes of one row together."""

    streams: int
    fps: float


class Energy(_Model):
    """Joules a frame, idle power of what is metered included; ``of`` says what that is."""

    joules: float
    of: str


class Dice(_Model):
    """How good the masks of a row's network are: mean over lesion images, 95 % interval."""

    value: float
    low: float | None
    high: float | None
    images: int
    dataset: str
    part: str


class Row(_Model):
    """One network in one backend and precision, in its own process.

    ``engine`` is the network alone, inside a frame's way; ``frame`` is the whole way from the
    uint8 frame to mask and measures (of a peer: to its thresholded map). ``stages`` are the parts
    of ``frame`` beside the engine. ``fps`` is frames in succession by mean ``frame`` time.
    ``after_idle`` is ``frame`` of the first frame after each gap. ``peak_rss_bytes`` is the most
    memory that the process ever held, interpreter and libraries included; ``idle_rss_bytes`` is
    what it held before the network was loaded; ``peak_device_bytes`` what PyTorch held on a GPU.
    ``cold_start_ms`` is from the start of the process to its first mask, ``load_ms`` and
    ``first_ms`` the network's loading and first frame in it. ``times_us`` are the measured frames
    in order, whole microseconds: every figure of this row can be computed from them. ``network``
    is the key of its cost in :attr:`BenchResult.networks`. ``layers`` are OpenVINO's own counters,
    from a run of their own; empty elsewhere.
    """

    label: str
    who: str
    role: Literal["teacher", "student", "peer"]
    network: str
    trained: bool
    backend: str
    backend_version: str
    precision: str
    threads: int
    imgsz: int
    file_bytes: int
    peak_rss_bytes: int
    idle_rss_bytes: int
    peak_device_bytes: int | None
    cold_start_ms: float
    load_ms: float
    first_ms: float
    warmup_frames: int
    steady: bool
    engine: Latency
    frame: Latency
    stages: dict[str, Latency]
    fps: float
    deadline: Deadline | None
    after_idle: Latency | None
    loaded: Loaded | None
    throughput: Throughput | None
    floor: Floor | None
    energy: Energy | None
    dice: Dice | None
    rounds_engine_p50_ms: list[float]
    rounds_frame_p50_ms: list[float]
    engine_ratio: Ratio | None
    frame_ratio: Ratio | None
    times_us: dict[str, list[int]]
    details: dict[str, Any]
    layers: list[LayerTime] = []
    reasons: list[str]


class Skipped(_Model):
    """A row that was not measured, and why."""

    label: str
    reason: str


class Machine(_Model):
    """What the figures hold for.

    ``installed_bytes`` is what the device install takes on disk, by package, without edge-bts
    itself where that is installed for editing; {} in results of older versions.
    """

    cpu: str
    logical_cores: int
    memory_bytes: int
    system: str
    python: str
    versions: dict[str, str]
    installed_bytes: dict[str, int] = {}
    environment: dict[str, str]
    load_average_before: list[float]
    load_average_after: list[float]
    foreign_load: float
    device: Device = Device()


class Subject(_Model):
    """A bundle or an ONNX file that was measured.

    ``sha256`` is of the bundle's manifest, or of the file; ``doubt`` says why nobody vouches for
    the bundle, empty where a trusted key signed it.
    """

    name: str
    sha256: str
    doubt: str = ""


class BenchResult(_Model):
    """A whole run. ``verdict`` is VALID, INVALID with reasons, or QUICK, which proves nothing.

    ``states`` are the device's over the run, ``peaks`` what the machine can do at most,
    ``overhead_us`` what the harness adds to a frame (None: not measured), ``networks`` the costs
    by network, ``interrupted`` whether the user ended it before its time.
    """

    schema_version: Literal[2] = 2
    kind: Literal["edge-bts.bench"] = "edge-bts.bench"
    edge_bts_version: str
    date: str
    command: list[str] = []
    subjects: list[Subject]
    frames: str
    settings: BenchSettings
    machine: Machine
    states: list[State] = []
    peaks: Peaks = Peaks()
    overhead_us: float | None = None
    networks: dict[str, Complexity] = {}
    interrupted: bool = False
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
    interrupted: bool = False
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

    ordered = np.sort(values).tolist()
    bounds = {name: percentile_bound(ordered, share) for name, share in _PERCENTILES.items()}
    return Latency(
        frames=len(values),
        mean=float(values.mean()),
        p50=float(np.median(values)),
        p90=percentile(0.90),
        p95=percentile(0.95),
        p99=percentile(0.99),
        p999=percentile(0.999),
        max=float(values.max()),
        at_most={name: bound for name, bound in bounds.items() if bound is not None},
    )


def deadline(age_ms: Sequence[float], skipped: Sequence[int], limit_ms: float) -> Deadline:
    """Judge frames by a deadline.

    Args:
        age_ms: From arrival to mask, of each frame that was taken.
        skipped: How many frames had been skipped before each.
        limit_ms: The deadline.
    """
    missed: list[bool] = []
    for age, before in zip(age_ms, skipped, strict=True):
        missed += [True] * int(before) + [age > limit_ms]
    return Deadline(
        deadline_ms=limit_ms,
        arrived=len(missed),
        misses=sum(missed),
        skipped=int(sum(skipped)),
        rate_at_most=rate_bound(sum(missed), len(missed)),
        longest_burst=longest_burst(missed),
        late_ms=max(0.0, max(age_ms) - limit_ms),
        age=latency(age_ms),
    )


def ratio(rounds: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Divide two series of round medians, round by round.

    Of a run that was interrupted one may have a round more, which is left out.
    """
    both = min(len(rounds), len(reference))
    quotients = np.asarray(rounds[:both], np.float64) / np.asarray(reference[:both], np.float64)
    return Ratio(
        median=float(np.median(quotients)),
        low=float(quotients.min()),
        high=float(quotients.max()),
        rounds=len(quotients),
    )


def write_result(path: str | Path, result: BenchResult | TrainingResult) -> None:
    """Write the result as JSON, atomically; lists of whole numbers stand in one line each."""
    content = json.dumps(result.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False)
    short = re.sub(r"\[\s+(\d+(?:,\s+\d+)*)\s+\]", _one_line, content)
    write_text(path, short + "\n")


def _one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[1].split())}]"


def result_schema() -> dict[str, Any]:
    """Return the JSON schema of a result, as published in ``benchmarks/result.schema.json``."""
    schema = BenchResult.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def result_kind(path: str | Path) -> str | None:
    """Return the ``kind`` that a JSON file states; None: it is no such file."""
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    kind = content.get("kind") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


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
            f"Expected {path} to be a benchmark result of schema 2, but {where}: {fault['msg']}; "
            "make it again with `edge-bts bench`."
        ) from None
