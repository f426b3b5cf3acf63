"""How rows are driven: arrivals, gaps, a load beside, and what is injected on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_bts.benchmarks import interleave, worker
from edge_bts.benchmarks.device import Sampler
from edge_bts.benchmarks.interleave import (
    FRAMES,
    Measured,
    Outcome,
    WorkerError,
    measure,
    overhead_us,
    plan_rounds,
    throughput,
)
from edge_bts.benchmarks.protocol import device_reasons, run_reasons
from edge_bts.benchmarks.result import deadline
from edge_bts.benchmarks.settings import BenchSettings

NULL = {"source": {"backend": "null", "precision": "none", "threads": 1}, "frames": None}


def run_null(
    root: Path,
    progress: Callable[[str, float], None] = lambda _text, _share: None,
    rows: tuple[str, ...] = ("row",),
    **settings: Any,
) -> tuple[Outcome, Sampler]:
    """Measure rows that answer at once; the device is what lies below ``root``."""
    sampler = Sampler(root)
    chosen = BenchSettings(warmup_seconds=0.0, **settings)
    return measure(FRAMES, dict.fromkeys(rows, NULL), chosen, progress, sampler), sampler


def workers() -> list[psutil.Process]:
    """The processes of rows that run now, oldest first."""
    found = psutil.Process().children()
    return [p for p in found if "edge_bts.benchmarks.worker" in p.cmdline()]


class Clock:
    """Time that passes when it is slept or spent, in place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        """Seconds."""
        return self.now

    process_time = perf_counter

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0
        self.now += seconds


@contextmanager
def worker_of(monkeypatch: pytest.MonkeyPatch, frames_ms: list[float]) -> Iterator[Any]:
    """A worker whose frames take that long."""
    clock, durations = Clock(), iter(frames_ms)

    def frame(_self: object) -> list[float]:
        spent = next(durations)
        clock.sleep(spent / 1e3)
        return [0.0, spent, 0.0]

    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr(worker._Worker, "_frame", frame)
    yield worker._Worker()


def columns(answer: dict[str, Any], *names: str) -> list[list[float]]:
    """Columns of a worker's samples."""
    table = np.array(answer["samples_ms"])
    return [table[:, FRAMES.stages.index(name)].round(6).tolist() for name in names]


def test_back_to_back_frames_arrive_when_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits, so that age and time are the same, and lead-in frames are not told."""
    with worker_of(monkeypatch, [9, 9, 5, 7, 6]) as found:
        answer = found.run(frames=3, lead=2)
    assert columns(answer, "frame", "age", "skipped") == [[5, 7, 6], [5, 7, 6], [0, 0, 0]]


def test_the_newest_frame_is_taken_and_the_others_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frame of 45 ms at 100 frames a second lets three pass, and the next has waited 5 ms."""
    with worker_of(monkeypatch, [5, 45, 3, 2]) as found:
        answer = found.run(frames=4, lead=0, period_ms=10)
    # arrivals 10, 20 (until 65), then 60 at 65 (30, 40, 50 have passed), then 70
    assert columns(answer, "frame", "age", "skipped") == [
        [5, 45, 3, 2],
        [5, 45, 8, 2],
        [0, 0, 3, 0],
    ]


def test_a_gap_precedes_each_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is unfrozen with a fresh frame: the gap ages nothing and skips nothing."""
    with worker_of(monkeypatch, [8, 2, 2, 8, 2, 2]) as found:
        clock = worker.time
        started = clock.perf_counter()
        answer = found.run(frames=6, lead=0, period_ms=10, idle_ms=500, burst=3)
        assert clock.perf_counter() - started > 1.0
    assert columns(answer, "age", "skipped") == [[8, 2, 2, 8, 2, 2], [0] * 6]


def test_turns_with_gaps_are_of_whole_bursts() -> None:
    """So that the first frame after each gap is known by its place; nothing leads in."""
    plan = plan_rounds({"a": 5.0, "b": 300.0}, BenchSettings(idle_ms=1000, burst=30))
    assert all(n % 30 == 0 for n in plan.frames.values())
    assert set(plan.lead.values()) == {0}


def test_pace_and_gaps_shorten_what_fits_in_the_time() -> None:
    """At 30 frames a second, 60 s are 1800 frames, however quick the network is."""
    settings = BenchSettings(fps=30, frames=10_000)
    plan = plan_rounds({"a": 1.0}, settings)
    assert 1800 <= plan.rounds * plan.frames["a"] < 1850


def test_a_stall_is_missed_frames(tmp_path: Path) -> None:
    """A process that stands still for 400 ms (SIGSTOP) misses a burst of deadlines, unclipped."""
    stalled: list[int] = []

    def stall(_text: str, share: float) -> None:
        if share > 0 and not stalled and (found := workers()):
            stalled.append(found[0].pid)
            timer = threading.Timer(0.2, os.kill, (found[0].pid, signal.SIGSTOP))
            timer.start()
            threading.Timer(0.6, os.kill, (found[0].pid, signal.SIGCONT)).start()

    outcome, _ = run_null(tmp_path, stall, fps=100, frames=120, deadline_ms=50, lead_in_ms=0)
    (data,) = outcome.measured.values()
    skipped = [int(n) for n in data.all("skipped")]
    found = deadline(data.all("age"), skipped, 50.0)
    assert stalled
    assert found.longest_burst >= 30  # of 40 frames that arrived meanwhile
    assert found.misses >= found.longest_burst
    assert found.arrived == len(data.all("age")) + sum(skipped)


def test_another_load_is_told(tmp_path: Path) -> None:
    """A process that computes beside the rows makes the run INVALID."""
    allowed = 0.3 / (psutil.cpu_count() or 1)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        outcome, _ = run_null(tmp_path, fps=50, frames=60)
    finally:
        busy.kill()
        busy.wait()
    assert outcome.foreign > allowed
    (reason,) = run_reasons([], outcome.foreign, BenchSettings(foreign_load=allowed))
    assert "other processes used" in reason


def test_a_clock_that_falls_is_told(tmp_path: Path) -> None:
    """The state is read in every turn: a clock that falls in the last third is a reason."""
    clock = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    clock.parent.mkdir(parents=True)
    clock.write_text("3000000\n")

    def slow_down(_text: str, share: float) -> None:
        if share > 0.7:
            clock.write_text("1500000\n")

    outcome, sampler = run_null(tmp_path, slow_down, frames=30)
    assert outcome.measured
    (reason,) = device_reasons(sampler.states, BenchSettings())
    assert reason.startswith("the CPU clock moved: 1500 MHz where its median is 3000")


def test_a_load_beside_computes_only_in_its_turns(tmp_path: Path) -> None:
    """Each row has as many rounds beside the load as without, and no process stays."""
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    outcome, _ = run_null(tmp_path, frames=9, co_load=1)
    (data,) = outcome.measured.values()
    assert len(data.loaded) == len(data.rounds) >= 3
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


def test_the_load_stands_still_outside_its_turns() -> None:
    """It is stopped at once and runs between; what it computes is in nobody's other turns."""
    with interleave._CoLoad(1) as beside:
        (process,) = [
            p for p in psutil.Process().children() if "edge_bts.benchmarks.burn" in p.cmdline()
        ]
        assert process.status() == psutil.STATUS_STOPPED
        with beside.running():
            assert process.status() != psutil.STATUS_STOPPED
        assert process.status() == psutil.STATUS_STOPPED


def test_a_child_that_dies_costs_its_row_alone(tmp_path: Path) -> None:
    """The reason names the signal; the other row keeps all its rounds."""
    killed: list[int] = []

    def kill(text: str, share: float) -> None:
        if text == "victim" and share > 0.4 and not killed:
            killed.append(workers()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    outcome, _ = run_null(tmp_path, kill, rows=("victim", "other"), frames=30)
    assert list(outcome.measured) == ["other"]
    assert outcome.failed == {"victim": "its process ended with SIGKILL, as for want of memory"}
    assert len(outcome.measured["other"].all("frame")) >= 30


def test_a_child_that_hangs_is_ended() -> None:
    """What does not answer in its time is killed and said, not waited for."""
    with interleave._worker("row", 1, FRAMES) as found:
        found.ask("open", **NULL)
        (process,) = workers()
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(WorkerError, match="did not answer within 0 s"):
            found.ask("run", patience_s=0.3, frames=3, lead=0)
        assert not process.is_running()


def test_an_interrupt_keeps_the_rounds_so_far(tmp_path: Path) -> None:
    """Ctrl-C ends the rounds; rows that had one stay, with a note of how far it came."""
    turns = 0

    def interrupt(text: str, share: float) -> None:
        nonlocal turns
        turns += text == "second" and share > 0
        if turns == 3:
            raise KeyboardInterrupt

    outcome, _ = run_null(tmp_path, interrupt, rows=("first", "second"), frames=30)
    assert outcome.interrupted == (2, 10)
    assert {k: len(v.rounds) for k, v in outcome.measured.items()} == {"first": 3, "second": 2}


def test_workers_leave_ctrl_c_to_their_parent() -> None:
    """A terminal sends it to all of them: a row must not die of it before it has answered."""
    with interleave._worker("row", 1, FRAMES) as found:
        found.ask("open", **NULL)
        (process,) = workers()
        process.send_signal(signal.SIGINT)
        assert found.ask("run", frames=3, lead=0)["samples_ms"]


def test_overhead_and_throughput_are_figures() -> None:
    """What the harness adds is measured with a network of no time, as are streams of it."""
    assert 0 < overhead_us() < 1e6
    assert throughput(FRAMES, NULL, BenchSettings(streams=2, seconds=0.01), 1.0) > 0


def test_samples_survive_the_pipe(tmp_path: Path) -> None:
    """Every frame of every round is told, each with all its stages."""
    outcome, _ = run_null(tmp_path, frames=50)
    (data,) = outcome.measured.values()
    assert isinstance(data, Measured)
    assert {len(data.all(stage)) for stage in FRAMES.stages} == {len(data.all("frame"))}
    assert len(data.all("frame")) >= 50
    assert json.dumps(data.rounds)  # plain numbers
