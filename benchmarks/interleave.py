"""Workers loaded at once, measured in turn: ratios hold where the machine does not keep still."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import EdgeBtsError

__all__ = ["FRAMES", "Measured", "Plan", "Program", "WorkerError", "measure", "plan_rounds"]

_MAX_ROUNDS = 50
_PATIENCE_S = 10  # for a worker to end by itself; none computes by then


@dataclass(frozen=True)
class Program:
    """What a worker runs, and the names of the times that it tells of one frame (or step)."""

    module: str
    stages: tuple[str, ...]


FRAMES = Program("edge_bts.benchmarks.worker", ("preprocess", "inference", "postprocess", "frame"))


class WorkerError(EdgeBtsError):
    """One row could not be measured; the others can."""


@dataclass
class Measured:
    """What a worker told: times in ms, one list a round, one entry a frame."""

    opened: dict[str, Any]
    warm: dict[str, Any]
    rounds: list[dict[str, list[float]]] = field(default_factory=list)
    closed: dict[str, Any] = field(default_factory=dict)

    def all(self, stage: str) -> list[float]:
        """Return every frame's time of ``stage``, in order."""
        return [value for block in self.rounds for value in block[stage]]


@dataclass(frozen=True)
class Plan:
    """How many rounds, and for each row the frames of its turn and the untimed ones before."""

    rounds: int
    frames: dict[str, int]
    lead: dict[str, int]


def plan_rounds(medians_ms: Mapping[str, float], settings: BenchSettings) -> Plan:
    """Spread each row's frames over the same rounds.

    A row is due ``settings.frames`` frames, or what fits in ``settings.seconds``, but at least
    three. The slowest row sets the number of rounds, three frames a turn where that leaves at
    least three rounds; quicker rows take more frames a turn.
    """
    due = {
        label: max(3, min(settings.frames, math.ceil(settings.seconds * 1e3 / median)))
        for label, median in medians_ms.items()
    }
    fewest = min(due.values())
    rounds = min(_MAX_ROUNDS, max(3, fewest // 3))
    lead = {
        label: min(5, int(settings.lead_in_ms / median)) for label, median in medians_ms.items()
    }
    return Plan(rounds, {label: math.ceil(n / rounds) for label, n in due.items()}, lead)


def measure(
    program: Program,
    opens: Mapping[str, Mapping[str, Any]],
    settings: BenchSettings,
    progress: Callable[[str, float], None],
) -> tuple[dict[str, Measured], dict[str, str], float]:
    """Load a worker for each row, then hand out turns; only one computes at a time.

    Args:
        program: What the workers run.
        opens: What each row's worker is asked to open, by the row's label.
        settings: How long.
        progress: Called with what is being done and the share of it, in [0, 1].

    Returns:
        What was measured by label, why the missing rows are missing, and the share of the
        machine that other processes used meanwhile.
    """
    failed: dict[str, str] = {}
    measured: dict[str, Measured] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[str, _Worker] = {}
        for index, (label, request) in enumerate(opens.items()):
            progress(f"load {label}", index / len(opens))
            try:
                worker = stack.enter_context(_worker(label, settings.threads, program))
                opened = worker.ask("open", **request)
                warm = worker.ask("warm", seconds=settings.warmup_seconds)
            except WorkerError as error:
                failed[label] = str(error)
                continue
            workers[label], measured[label] = worker, Measured(opened, warm)
        foreign = _rounds(program, workers, measured, failed, settings, progress)
        for label in workers.keys() - failed.keys():
            try:
                measured[label].closed = workers[label].ask("close")
            except WorkerError as error:
                failed[label] = str(error)
    return {k: v for k, v in measured.items() if k not in failed}, failed, foreign


def _rounds(
    program: Program,
    workers: dict[str, _Worker],
    measured: dict[str, Measured],
    failed: dict[str, str],
    settings: BenchSettings,
    progress: Callable[[str, float], None],
) -> float:
    """Hand out the turns; return the share of the machine that others used."""
    if not workers:
        return 0.0
    plan = plan_rounds({k: m.warm["median_ms"] for k, m in measured.items()}, settings)
    load = _Load()
    for turn in range(plan.rounds):
        for index, (label, worker) in enumerate(workers.items()):
            if label in failed:
                continue
            progress(label, (turn + index / len(workers)) / plan.rounds)
            try:
                with load.watch() as own:
                    answer = worker.ask("run", frames=plan.frames[label], lead=plan.lead[label])
                    own.append(answer["cpu_s"])
            except WorkerError as error:
                failed[label] = str(error)
                continue
            columns = zip(*answer["samples_ms"], strict=True)
            measured[label].rounds.append(
                {stage: list(column) for stage, column in zip(program.stages, columns, strict=True)}
            )
    return load.foreign


class _Worker:
    """A child process; :meth:`ask` waits for the answer, so that one computes at a time."""

    computing: str | None = None  # of all workers: who computes now

    def __init__(self, label: str, threads: int, program: Program) -> None:
        self.label = label
        names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
        fixed = {f"{name}_NUM_THREADS": str(threads) for name in names}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._process = subprocess.Popen(
            [sys.executable, "-m", program.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | fixed,
        )

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        assert _Worker.computing is None, f"{_Worker.computing} computes while {self.label} is due"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _Worker.computing = self.label
        try:
            print(json.dumps({"op": operation} | arguments), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            _Worker.computing = None
        if not line:
            raise WorkerError(f"its process ended with {self._end_of_log()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        result: dict[str, Any] = answer["ok"]
        return result

    def _end_of_log(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"code {code}" + (f": {lines[-1]}" if lines else "")

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        # A worker that nothing is asked of ends by itself, and removes what it wrote.
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


@contextlib.contextmanager
def _worker(label: str, threads: int, program: Program) -> Iterator[_Worker]:
    worker = _Worker(label, threads, program)
    try:
        yield worker
    finally:
        worker.end()


class _Load:
    """The share of the machine's time that went to anyone but the worker that was timed."""

    def __init__(self) -> None:
        self._foreign = 0.0
        self._available = 0.0

    @contextlib.contextmanager
    def watch(self) -> Iterator[list[float]]:
        """Watch one turn; the caller appends the CPU seconds that its worker used."""
        own: list[float] = []
        started, busy = time.perf_counter(), _busy()
        yield own
        elapsed = time.perf_counter() - started
        self._foreign += max(0.0, _busy() - busy - sum(own))
        self._available += elapsed * (psutil.cpu_count() or 1)

    @property
    def foreign(self) -> float:
        return self._foreign / self._available if self._available else 0.0


def _busy() -> float:
    times = psutil.cpu_times()
    # Time stolen by a hypervisor is in neither sum of an undisturbed machine.
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - _guest(times))


def _guest(times: Any) -> float:
    # Linux counts guests twice: in user and by themselves.
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))
