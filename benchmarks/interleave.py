"""Workers loaded at once, measured in turn: ratios hold where the machine does not keep still."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from edge_bts.benchmarks.device import Sampler
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import EdgeBtsError, MeasurementError

__all__ = [
    "FRAMES",
    "Measured",
    "Outcome",
    "Plan",
    "Program",
    "WorkerError",
    "measure",
    "overhead_us",
    "plan_rounds",
    "throughput",
]

_MAX_ROUNDS = 50
_ROOM = 1.25  # more time is planned for than is asked
_LEAST_MS = 1e-3  # what answers at once
_PATIENCE_S = 10.0  # for a worker to end by itself; none computes by then
_LOAD_PATIENCE_S = 900.0  # to load and warm up: a compilation takes minutes


@dataclass(frozen=True)
class Program:
    """What a worker runs, and the names of the times that it tells of one frame (or step)."""

    module: str
    stages: tuple[str, ...]


FRAMES = Program(
    "edge_bts.benchmarks.worker",
    ("preprocess", "inference", "postprocess", "frame", "age", "skipped"),
)


class WorkerError(EdgeBtsError):
    """One row could not be measured; the others can.

    ``exit_code`` is that of the error which the worker met, 6 where its process ended.
    """

    def __init__(self, message: str, exit_code: int = MeasurementError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Measured:
    """What a worker told: times in ms, one list a round, one entry a frame.

    ``loaded`` are the rounds beside processes that compute, ``joules`` and ``frames`` what the
    device spent on how many frames in the other ones, None where it does not count.
    """

    opened: dict[str, Any]
    warm: dict[str, Any]
    cold_start_ms: float = 0.0
    rounds: list[dict[str, list[float]]] = field(default_factory=list)
    loaded: list[dict[str, list[float]]] = field(default_factory=list)
    joules: float | None = None
    frames: int = 0
    closed: dict[str, Any] = field(default_factory=dict)

    def all(self, stage: str) -> list[float]:
        """Return every frame's time of ``stage``, in order."""
        return [value for block in self.rounds for value in block[stage]]


@dataclass
class Outcome:
    """What :func:`measure` found.

    Attributes:
        measured: By label; rows without a whole round are not among them.
        failed: Why the missing rows are missing, by label.
        codes: The exit codes of those errors.
        rounds: How many were planned.
        foreign: Share of the machine that other processes used meanwhile.
        interrupted: After how many rounds of how many the user stopped it; None: nobody did.
    """

    measured: dict[str, Measured]
    failed: dict[str, str]
    codes: set[int] = field(default_factory=set)
    rounds: int = 0
    foreign: float = 0.0
    interrupted: tuple[int, int] | None = None

    def fail(self, label: str, error: WorkerError) -> None:
        """Note why a row is missing."""
        self.failed[label] = str(error)
        self.codes.add(error.exit_code)


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
    least three rounds; quicker rows take more frames a turn. Where frames are paced or gaps are
    made, these take their time and a turn is of a burst at least, with gaps of whole bursts.
    Else seconds are planned with room: the machine may have been slower while it warmed up.
    """
    period = 1e3 / settings.fps if settings.fps else 0.0
    gap = settings.idle_ms / settings.burst
    frame_ms = {label: max(ms, period, _LEAST_MS) + gap for label, ms in medians_ms.items()}
    seconds = settings.seconds if settings.fps or settings.idle_ms else _ROOM * settings.seconds
    due = {
        label: max(3, min(settings.frames, math.ceil(seconds * 1e3 / ms)))
        for label, ms in frame_ms.items()
    }
    turn = settings.burst if settings.idle_ms or settings.fps else 3
    rounds = min(_MAX_ROUNDS, max(3, min(due.values()) // turn))
    frames = {label: math.ceil(n / rounds) for label, n in due.items()}
    if settings.idle_ms:
        return Plan(
            rounds,
            {k: settings.burst * math.ceil(n / settings.burst) for k, n in frames.items()},
            dict.fromkeys(medians_ms, 0),
        )
    lead = {label: min(5, int(settings.lead_in_ms / ms)) for label, ms in frame_ms.items()}
    return Plan(rounds, frames, lead)


def measure(
    program: Program,
    opens: Mapping[str, Mapping[str, Any]],
    settings: BenchSettings,
    progress: Callable[[str, float], None],
    sampler: Sampler,
) -> Outcome:
    """Load a worker for each row, then hand out turns; only one computes at a time.

    An interrupt (Ctrl-C) ends the rounds, not the measurement: what the rows have by then is
    returned.

    Args:
        program: What the workers run.
        opens: What each row's worker is asked to open, by the row's label.
        settings: How long, in which rhythm.
        progress: Called with what is being done and the share of it, in [0, 1].
        sampler: Reads the device's state after every turn and while one takes long.
    """
    outcome = Outcome({}, {})
    measured, failed = outcome.measured, outcome.failed
    with contextlib.ExitStack() as stack:
        workers: dict[str, _Worker] = {}
        for index, (label, request) in enumerate(opens.items()):
            progress(f"load {label}", index / len(opens))
            try:
                started = time.perf_counter()
                worker = stack.enter_context(_worker(label, settings.threads, program))
                opened = worker.ask("open", **request)
                cold = (time.perf_counter() - started) * 1e3
                warm = worker.ask("warm", seconds=settings.warmup_seconds)
            except WorkerError as error:
                outcome.fail(label, error)
                continue
            workers[label], measured[label] = worker, Measured(opened, warm, cold)
        if workers:
            with _CoLoad(settings.co_load) as beside:
                _rounds(program, workers, outcome, settings, progress, sampler, beside)
        for label in workers.keys() - failed.keys():
            try:
                measured[label].closed = workers[label].ask("close")
            except WorkerError as error:
                outcome.fail(label, error)
    for label in failed:
        measured.pop(label, None)
    return outcome


def _rounds(
    program: Program,
    workers: dict[str, _Worker],
    outcome: Outcome,
    settings: BenchSettings,
    progress: Callable[[str, float], None],
    sampler: Sampler,
    beside: _CoLoad,
) -> None:
    """Hand out the turns."""
    measured, failed = outcome.measured, outcome.failed
    plan = plan_rounds({k: m.warm["median_ms"] for k, m in measured.items()}, settings)
    outcome.rounds = plan.rounds
    load = _Load()
    label, turn = "", 0

    def take(label: str, worker: _Worker) -> dict[str, list[float]]:
        pace_s = max(measured[label].warm["median_ms"] / 1e3, 1 / (settings.fps or math.inf))
        pace_s += settings.idle_ms / 1e3 / settings.burst
        frames, lead = plan.frames[label], plan.lead[label]
        answer = worker.ask(
            "run",
            patience_s=60 + 30 * (frames + lead) * pace_s,
            meanwhile=(sampler.pause_s, lambda: sampler.sample(label)),
            frames=frames,
            lead=lead,
            **_rhythm(settings),
        )
        sampler.sample(label)
        load.own(answer["cpu_s"])
        measured[label].closed = answer  # its peaks so far, should it not live to tell the last
        columns = zip(*answer["samples_ms"], strict=True)
        return {stage: list(column) for stage, column in zip(program.stages, columns, strict=True)}

    sampler.sample("")
    try:
        for turn in range(plan.rounds):
            for index, (label, worker) in enumerate(workers.items()):
                if label in failed:
                    continue
                progress(label, (turn + index / len(workers)) / plan.rounds)
                data = measured[label]
                try:
                    before, states = sampler.joules(), len(sampler.states)
                    started = time.perf_counter()
                    with load.watch():
                        data.rounds.append(take(label, worker))
                    spent = sampler.spent(before, states, time.perf_counter() - started)
                    if spent is not None:
                        data.joules = (data.joules or 0.0) + spent
                        data.frames += plan.frames[label] + plan.lead[label]
                    if settings.co_load:
                        with beside.running():
                            data.loaded.append(take(label, worker))
                except WorkerError as error:
                    outcome.fail(label, error)
    except KeyboardInterrupt:
        outcome.interrupted = (turn, plan.rounds)
        for name, data in measured.items():
            if not data.rounds:
                failed.setdefault(name, "interrupted before its first turn")
        if workers[label].answers_due and label not in failed:
            workers[label].kill()
            data = measured[label]  # what it told with its last answer stays
            del workers[label]
    outcome.foreign = load.foreign


def _rhythm(settings: BenchSettings) -> dict[str, Any]:
    """Return what a worker is told of pace and gaps; trainings, which know neither, nothing."""
    rhythm: dict[str, Any] = {}
    if settings.fps:
        rhythm["period_ms"] = 1e3 / settings.fps
    if settings.idle_ms:
        rhythm |= {"idle_ms": settings.idle_ms, "burst": settings.burst}
    return rhythm


def overhead_us() -> float:
    """Return what the harness adds to a frame, in microseconds: the median with a null backend.

    Raises:
        WorkerError: The process could not be started.
    """
    with _worker("harness", 1, FRAMES) as worker:
        source = {"backend": "null", "precision": "none", "threads": 1}
        worker.ask("open", source=source, frames=None)
        samples = worker.ask("run", frames=2000, lead=100)["samples_ms"]
    return 1e3 * float(np.median([row[FRAMES.stages.index("frame")] for row in samples]))


def throughput(
    program: Program, request: Mapping[str, Any], settings: BenchSettings, median_ms: float
) -> float:
    """Return the frames a second that ``settings.streams`` processes of one row give together.

    Raises:
        WorkerError: One of them could not.
    """
    frames = max(3, math.ceil(min(settings.seconds, 5.0) * 1e3 / max(median_ms, _LEAST_MS)))
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(_worker(f"stream {n}", settings.threads, program))
            for n in range(settings.streams)
        ]
        for worker in workers:
            worker.ask("open", **request)
            worker.ask("warm", seconds=min(settings.warmup_seconds, 1.0))
        started = time.perf_counter()
        for worker in workers:
            worker.send("run", frames=frames, lead=0)
        for worker in workers:
            worker.receive(60 + 30 * settings.streams * frames * median_ms / 1e3)
        elapsed = time.perf_counter() - started
    return settings.streams * frames / elapsed


class _Worker:
    """A child process; :meth:`ask` waits for the answer, so that one computes at a time."""

    computing: str | None = None  # of all workers: who computes now

    def __init__(self, label: str, threads: int, program: Program) -> None:
        self.label = label
        self.answers_due = 0
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

    def ask(
        self,
        operation: str,
        *,
        patience_s: float = _LOAD_PATIENCE_S,
        meanwhile: tuple[float, Callable[[], None]] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            operation: What to do.
            patience_s: After this time the process is ended.
            meanwhile: A pause in seconds, and what to do after every such pause of waiting.
            arguments: Of the operation.
        """
        assert _Worker.computing is None, f"{_Worker.computing} computes while {self.label} is due"
        _Worker.computing = self.label
        try:
            self.send(operation, **arguments)
            return self.receive(patience_s, meanwhile)
        finally:
            _Worker.computing = None

    def send(self, operation: str, **arguments: Any) -> None:
        """Send a request; a process that has ended says so when the answer is received."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"op": operation} | arguments), file=self._process.stdin, flush=True)
        self.answers_due += 1

    def receive(
        self, patience_s: float, meanwhile: tuple[float, Callable[[], None]] | None = None
    ) -> dict[str, Any]:
        """Wait for an answer; see :meth:`ask`."""
        assert self._process.stdout is not None
        pause_s, do = meanwhile or (patience_s, lambda: None)
        end = time.perf_counter() + patience_s
        while not select.select([self._process.stdout], [], [], pause_s)[0]:
            if time.perf_counter() >= end:
                self.kill()
                raise WorkerError(f"its process did not answer within {patience_s:.0f} s")
            do()
        line = self._process.stdout.readline()
        self.answers_due -= 1
        if not line:
            raise WorkerError(f"its process ended with {self._end_of_log()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"], answer.get("exit_code", MeasurementError.exit_code))
        result: dict[str, Any] = answer["ok"]
        return result

    def _end_of_log(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return _cause(code) + (f": {lines[-1]}" if lines else "")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Let it end by itself, which removes what it wrote; one that computes is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self.answers_due:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()
        self._log.close()


def _cause(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    name = signal.Signals(-code).name
    return f"{name}, as for want of memory" if name == "SIGKILL" else name


@contextlib.contextmanager
def _worker(label: str, threads: int, program: Program) -> Iterator[_Worker]:
    worker = _Worker(label, threads, program)
    try:
        yield worker
    finally:
        worker.end()


class _CoLoad:
    """Processes that compute and move memory, stopped except while :meth:`running`."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-m", "edge_bts.benchmarks.burn"]
        self._processes = [subprocess.Popen(command) for _ in range(count)]

    def __enter__(self) -> _CoLoad:
        self._stop()
        return self

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let them compute."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._stop()

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)
        for process in self._processes:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped


class _Load:
    """The share of the machine's time that went to anyone but the worker that was timed."""

    def __init__(self) -> None:
        self._foreign = 0.0
        self._available = 0.0
        self._own = 0.0

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watch one turn; :meth:`own` says what its worker used."""
        self._own = 0.0
        started, busy, ours = time.perf_counter(), _busy(), time.process_time()
        yield
        elapsed = time.perf_counter() - started
        own = self._own + time.process_time() - ours
        self._foreign += max(0.0, _busy() - busy - own)
        self._available += elapsed * (psutil.cpu_count() or 1)

    def own(self, cpu_s: float) -> None:
        """Note the CPU seconds of the worker under watch."""
        self._own += cpu_s

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
