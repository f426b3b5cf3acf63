"""The fresh process that trains to be measured: ``python -m edge_bts.benchmarks.steps``.

It runs :func:`edge_bts.trainers.loop.fit` as it is, on an epoch that never ends, and reads the
clock at the seams of what a fit is made of: its batches, its augmentation, its task, its Fabric
and its log. Requests are those of :mod:`edge_bts.benchmarks.worker`, with a step where a frame
stands there; ``open`` takes a :class:`Case`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict

from edge_bts.benchmarks.interleave import Program
from edge_bts.benchmarks.worker import peak_rss, steady
from edge_bts.errors import EdgeBtsError
from edge_bts.models import Checkpoint, build_model
from edge_bts.trainers import loop
from edge_bts.trainers.augment import Augment
from edge_bts.trainers.data import Batch, TensorData
from edge_bts.trainers.log import RunLog
from edge_bts.trainers.settings import DistillSettings, TrainSettings
from edge_bts.trainers.tasks import DistillTask, SupervisedTask, Task
from edge_bts.trainers.teachers import Network, Teacher

__all__ = ["PARTS", "STEPS", "Case"]

PARTS = (
    *("batching", "augmentation", "teachers", "forward", "loss", "backward", "optimizer"),
    "other",
)
"""What a step is cut into, in the order in which it happens; ``teachers`` stands amid ``loss``."""

_TAUGHT: tuple[Literal["benign"], Literal["malignant"]] = ("benign", "malignant")

STEPS = Program("edge_bts.benchmarks.steps", (*PARTS, "step"))


class Case(BaseModel):
    """A training to measure.

    Attributes:
        train: The supervised training; where ``distill`` is given, the teachers' (untrained here:
            the speed does not depend on weights).
        distill: The student's, or None.
        channels_last: Lay activations out as the loop does; False: as torch does by default.
        data: A ``.npz`` file with the fields of :class:`TensorData`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: TrainSettings
    distill: DistillSettings | None = None
    channels_last: bool = True
    data: str

    @property
    def settings(self) -> TrainSettings:
        """Of the network that learns."""
        return self.distill or self.train


class _Clock:
    """Reads the time where one part of a step ends and the next begins.

    On CUDA a reading is an event on the stream: the shares are those of the device's time, and
    no reading waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []
        self._steps: list[list[tuple[str, Any]]] = []

    def begin(self) -> None:
        """Begin a step."""
        self._marks = [("", self._now())]

    def mark(self, part: str) -> None:
        """Say that what has run since the last reading belongs to ``part``."""
        self._marks.append((part, self._now()))

    def end(self, part: str) -> None:
        """End a step."""
        self.mark(part)
        self._steps.append(self._marks)

    def take(self) -> list[list[float]]:
        """Return the milliseconds of each step since the last call: each part, then the whole."""
        if self._cuda:
            torch.cuda.synchronize()
        steps, self._steps = self._steps, []
        return [self._cut(marks) for marks in steps]

    def _cut(self, marks: list[tuple[str, Any]]) -> list[float]:
        times = dict.fromkeys(PARTS, 0.0)
        for (_, start), (part, stop) in pairwise(marks):
            times[part] += self._ms(start, stop)
        return [*times.values(), sum(times.values())]

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _ms(self, start: Any, stop: Any) -> float:
        elapsed: float = start.elapsed_time(stop) if self._cuda else (stop - start) * 1e3
        return elapsed


class _Done(Exception):  # noqa: N818 - the way out of an epoch that never ends
    """Nothing more is asked."""


@dataclass(frozen=True)
class _Endless(TensorData):
    """Training data whose epoch begins again and again."""

    clock: _Clock

    def steps(self, batch: int, world: int = 1) -> int:
        return 1_000_000 * super().steps(batch, world)

    def shuffled(
        self, batch: int, generator: torch.Generator, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        whole = super().steps(batch, world)
        self.clock.begin()
        while True:
            yield from islice(super().shuffled(batch, generator, rank, world), whole)


class _Turns(RunLog):
    """The run's own log, which lets a step happen whenever the program asks for one."""

    def __init__(self, folder: Path, clock: _Clock, program: Iterator[None]) -> None:
        super().__init__(folder, epochs=1)
        self._clock = clock
        self._program = program

    def step(self, step: int, steps: int) -> None:
        super().step(step, steps)
        self._clock.end("other")
        try:
            next(self._program)
        except StopIteration:
            raise _Done from None
        self._clock.begin()


class _Worker:
    """Answers requests; every ``yield`` of its program lets one step of the training happen."""

    def __init__(self, answer: Callable[[dict[str, Any]], None]) -> None:
        self._answer = answer

    def train(self, case: Case) -> None:
        """Train until nothing more is asked."""
        started = time.perf_counter()
        fabric = loop.make_fabric(case.settings.loop)
        clock = _Clock(fabric.device)
        arrays = np.load(case.data)
        fields = {k: torch.from_numpy(arrays[k]).to(fabric.device) for k in arrays.files}
        train = _Endless(**fields, clock=clock)
        val = TensorData(**{k: field[:1] for k, field in fields.items()})
        torch.manual_seed(case.settings.loop.seed)
        task = _make_task(case, fabric.device)
        _observe(clock, task, fabric, case)
        with tempfile.TemporaryDirectory(prefix="edge-bts-bench-") as folder:
            program = self._program(clock, started, len(train), fabric)
            with contextlib.suppress(_Done):
                loop.fit(
                    task,
                    train,
                    val,
                    case.settings.loop,
                    case.settings.augment,
                    folder=Path(folder),
                    save=lambda _module, _epoch, _metrics: None,
                    fabric=fabric,
                    fingerprint="",
                    log=_Turns(Path(folder), clock, program),
                )

    def _program(
        self, clock: _Clock, started: float, images: int, fabric: Fabric
    ) -> Iterator[None]:
        clock.take()
        cuda = fabric.device.type == "cuda"
        self._answer(
            {
                "load_ms": (time.perf_counter() - started) * 1e3,
                "images": images,
                "device": torch.cuda.get_device_name() if cuda else "cpu",
            }
        )
        for line in sys.stdin:
            request = json.loads(line)
            operation = request.pop("op")
            if operation == "warm":
                yield from self._warm(clock, **request)
            elif operation == "run":
                yield from self._run(clock, **request)
            else:
                peak = torch.cuda.max_memory_allocated() if cuda else None
                self._answer({"peak_rss_bytes": peak_rss(), "peak_device_bytes": peak})
                return

    def _warm(self, clock: _Clock, seconds: float) -> Iterator[None]:
        samples: list[float] = []
        started = time.perf_counter()
        elapsed = 0.0
        # At least three steps; at most four times the wish, for what never settles.
        while len(samples) < 3 or elapsed < 4 * seconds:
            yield
            samples += [step[-1] for step in clock.take()]
            elapsed = time.perf_counter() - started
            if len(samples) >= 3 and elapsed >= seconds and steady(samples):
                break
        tail = samples[-max(3, len(samples) // 3) :]
        self._answer(
            {
                "frames": len(samples),
                "median_ms": float(np.median(tail)),
                "steady": steady(samples),
            }
        )

    def _run(self, clock: _Clock, frames: int, lead: int) -> Iterator[None]:
        cpu = time.process_time()
        for _ in range(lead):
            yield
        clock.take()
        for _ in range(frames):
            yield
        samples = clock.take()
        self._answer({"samples_ms": samples, "cpu_s": time.process_time() - cpu})


def _make_task(case: Case, device: torch.device) -> Task:
    settings = case.settings
    network = Network(build_model(settings.model), settings.mean, settings.std)
    task: Task
    if case.distill is None:
        task = SupervisedTask(network, settings.hard_normals)
    else:
        benign, malignant = (
            Teacher(
                build_model(case.train.model),
                Checkpoint(
                    model=case.train.model,
                    role="teacher",
                    category=category,
                    imgsz=case.train.imgsz,
                    mean=case.train.mean,
                    std=case.train.std,
                ),
                case.distill.read_pairs.values(),
            ).to(device)
            for category in _TAUGHT
        )
        task = DistillTask(network, benign, malignant, case.distill)
    return task.to(device)


def _observe(clock: _Clock, task: Task, fabric: Fabric, case: Case) -> None:
    """Read the clock at the seams of the loop."""

    def augment(settings: Any) -> Augment:
        module = Augment(settings)
        _between(clock, module, "forward", "batching", "augmentation")
        return module

    def set_up(inner: Callable[..., Any]) -> Callable[..., Any]:
        def set_up_module(module: torch.nn.Module, **options: Any) -> Any:
            if not case.channels_last:
                module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            return inner(module, **options)

        return set_up_module

    def set_up_optimizers(inner: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*optimizers: torch.optim.Optimizer, **options: Any) -> Any:
            for optimizer in optimizers:
                optimizer.register_step_post_hook(lambda *_: clock.mark("optimizer"))
            return inner(*optimizers, **options)

        return timed

    _replace(loop, "Augment", lambda _inner: augment)
    _replace(fabric, "setup_module", set_up)
    _replace(fabric, "setup_optimizers", set_up_optimizers)
    _between(clock, fabric, "backward", "loss", "backward")
    _between(clock, task.network, "forward", "forward", "forward")
    if isinstance(task, DistillTask):
        _between(clock, task, "_hear", "loss", "teachers")


def _between(clock: _Clock, owner: object, name: str, before: str, during: str) -> None:
    """Count what runs until ``owner.name`` is called as ``before``, and the call as ``during``."""

    def around(inner: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            clock.mark(before)
            result = inner(*arguments, **options)
            clock.mark(during)
            return result

        return timed

    _replace(owner, name, around)


def _replace(
    owner: object, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    setattr(owner, name, wrap(getattr(owner, name)))


def main() -> None:
    """Take a case and train it as the requests after it ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends us in order
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(result: dict[str, Any]) -> None:
        print(json.dumps({"ok": result}), file=answers, flush=True)

    request = json.loads(sys.stdin.readline())
    try:
        _Worker(answer).train(Case.model_validate(request["case"]))
    except EdgeBtsError as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
