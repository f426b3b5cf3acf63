"""The fresh process of one row: ``python -m edge_bts.benchmarks.worker``.

It reads one JSON request a line and answers each with one line, on a private copy of standard
output; whatever libraries print goes to standard error. Requests, in order of use:

* ``{"op": "open", "source": {...}, "frames": PATH.npy}``: load; see :class:`Source`.
* ``{"op": "warm", "seconds": s}``: run until steady.
* ``{"op": "run", "frames": n, "lead": k}``: k untimed frames, then n timed ones; with
  ``"period_ms"`` they arrive on a clock, with ``"idle_ms"`` after a gap every ``"burst"`` frames.
* ``{"op": "close"}``: say the peak of memory and end.

An answer is ``{"ok": {...}}``, or ``{"error": sentence}`` for what the user can mend.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from edge_bts.errors import EdgeBtsError
from edge_bts.signing import Trust

__all__ = ["Source", "peak_rss", "steady"]


class _Timed(Protocol):
    @property
    def times_ms(self) -> dict[str, float]: ...


class _Path(Protocol):
    """What is measured: a segmenter, the C++ library's session, a foreign network."""

    def segment(self, frame: Any, /) -> _Timed: ...

    def describe(self) -> dict[str, Any]: ...


class Source(BaseModel):
    """What a worker opens: a bundle, a checkpoint, a file with its geometry, or a foreign file.

    Just one is set; the backend ``null`` opens nothing and answers at once, for what the harness
    itself costs. ``trust`` says whose bundles; the worker checks the bundle again by itself.
    ``compiled`` and ``device`` are of PyTorch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    precision: str
    threads: int
    bundle: str | None = None
    trust: Trust = Trust()
    checkpoint: str | None = None
    file: str | None = None
    foreign: str | None = None
    compiled: bool = False
    device: str = "cpu"
    imgsz: int = 256
    mean: float = 0.0
    std: float = 1.0
    threshold: float = 0.5
    presence_threshold: float = 0.0

    def open(self) -> _Path:
        """Load the network."""
        if self.backend == "null":
            return _Null()
        if self.foreign is not None:
            from edge_bts.benchmarks.foreign import Foreign, read_foreign

            path = Path(self.foreign)
            content = read_foreign(path)
            return Foreign(content, path.name, self.backend, self.threads, self.imgsz)
        from edge_bts import runtime

        kind: Any = self.backend
        if kind == "native":
            return runtime.open_session(str(self.bundle), self.trust, threads=self.threads)
        if self.bundle is not None:
            return runtime.open_bundle(
                self.bundle,
                trust=self.trust,
                backend=kind,
                precision=self.precision,
                threads=None if kind == "tensorrt" else self.threads,
                self_test=False,  # its time is no part of loading
            )
        if self.checkpoint is not None:
            return self._open_checkpoint(self.checkpoint)
        backend = runtime.open_backend(
            kind, Path(str(self.file)), precision=self.precision, threads=self.threads
        )
        return runtime.Segmenter(
            backend,
            imgsz=self.imgsz,
            mean=self.mean,
            std=self.std,
            threshold=self.threshold,
            presence_threshold=self.presence_threshold,
            name=Path(str(self.file)).name,
        )

    def _open_checkpoint(self, path: str) -> _Path:
        from edge_bts import runtime

        if not self.compiled:
            return runtime.open_checkpoint(path, device=self.device, threads=self.threads)
        import torch

        from edge_bts.models import load_checkpoint
        from edge_bts.runtime._torch import TorchBackend

        module, checkpoint = load_checkpoint(path)
        compiled: Any = torch.compile(module)
        return runtime.Segmenter(
            TorchBackend(compiled, threads=self.threads, device=self.device),
            imgsz=checkpoint.imgsz,
            mean=checkpoint.mean,
            std=checkpoint.std,
            threshold=checkpoint.threshold,
            presence_threshold=checkpoint.presence_threshold,
        )


class _Null:
    """A network of no time, and its own answer."""

    times_ms = dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0)

    def segment(self, _frame: object) -> _Null:
        return self

    def describe(self) -> dict[str, Any]:
        return {"backend_version": "none", "imgsz": 0, "details": {}}


class _Worker:
    def __init__(self) -> None:
        self.segmenter: _Path
        self.frames: Any
        self.next = 0

    def open(self, source: dict[str, Any], frames: str | None) -> dict[str, Any]:
        import cv2
        import numpy as np

        import edge_bts.runtime  # noqa: F401 - part of the idle memory, not of the network's

        wanted = Source.model_validate(source)
        cv2.setNumThreads(wanted.threads)
        if wanted.backend == "torch":
            import torch

            torch.set_flush_denormal(True)  # as the other two backends are told to
        idle = peak_rss()
        self.frames = [None] if frames is None else np.load(frames)
        started = time.perf_counter()
        self.segmenter = wanted.open()
        loaded = time.perf_counter() - started
        first = sum(self._frame())
        facts = self.segmenter.describe()
        return {
            "load_ms": loaded * 1e3,
            "first_ms": first,
            "idle_rss_bytes": idle,
            "version": facts["backend_version"],
            "details": facts["details"],
            "imgsz": facts["imgsz"],
        }

    def warm(self, seconds: float) -> dict[str, Any]:
        samples: list[float] = []
        started = time.perf_counter()
        elapsed = 0.0
        # At least three frames; at most four times the wish, for what never settles.
        while len(samples) < 3 or elapsed < 4 * seconds:
            samples.append(sum(self._frame()))
            elapsed = time.perf_counter() - started
            if len(samples) >= 3 and elapsed >= seconds and steady(samples):
                break
        tail = sorted(samples[-max(3, len(samples) // 3) :])
        return {
            "frames": len(samples),
            "median_ms": tail[len(tail) // 2],
            "steady": steady(samples),
        }

    def run(
        self,
        frames: int,
        lead: int,
        period_ms: float = 0.0,
        idle_ms: float = 0.0,
        burst: int = 0,
    ) -> dict[str, Any]:
        """Run frames back to back, or as they arrive.

        A probe does not wait: who is late when a frame arrives takes the newest one that is there
        by the time he is free, and those before it are skipped. ``age`` is from a frame's arrival
        to its mask, waiting included; back to back a frame arrives when it is taken.
        """
        cpu = time.process_time()
        period = period_ms / 1e3
        samples = []
        arrival = time.perf_counter()
        for index in range(lead + frames):
            skipped = 0
            if idle_ms and index % burst == 0:
                time.sleep(idle_ms / 1e3)
                arrival = time.perf_counter()
            elif period:
                now = time.perf_counter()
                skipped = max(0, math.floor((now - arrival) / period) - 1)
                arrival += (skipped + 1) * period
                if now < arrival:
                    time.sleep(arrival - now)
            started = time.perf_counter()
            if not period:
                arrival = started
            stages = self._frame()
            ended = time.perf_counter()
            if index >= lead:
                spent, age = (ended - started) * 1e3, (ended - arrival) * 1e3
                samples.append([*stages, spent, age, skipped])
        return {
            "samples_ms": samples,
            "cpu_s": time.process_time() - cpu,
            **_peaks(),
        }

    def close(self) -> dict[str, Any]:
        return _peaks()

    def _frame(self) -> list[float]:
        frame = self.frames[self.next % len(self.frames)]
        self.next += 1
        times = self.segmenter.segment(frame).times_ms
        return [times["preprocess"], times["inference"], times["postprocess"]]


def steady(samples: list[float], tolerance: float = 0.05) -> bool:
    """Whether the medians of the last two thirds of ``samples`` differ by less than 5 %."""
    third = len(samples) // 3
    if third < 1:
        return False
    middle, last = (sorted(part) for part in (samples[third : 2 * third], samples[-third:]))
    before, after = middle[len(middle) // 2], last[len(last) // 2]
    return abs(after - before) <= tolerance * before


def peak_rss() -> int:
    """Return the most bytes of memory that this process ever held.

    ``ru_maxrss`` would not do on Linux: it survives exec and so starts at the parent's size.
    """
    try:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peaks() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    on_device = torch is not None and torch.cuda.is_initialized()
    device = torch.cuda.max_memory_allocated() if torch is not None and on_device else None
    return {"peak_rss_bytes": peak_rss(), "peak_device_bytes": device}


def main() -> None:
    """Answer requests until the input ends or ``close`` comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends us in order
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = _Worker()
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "open": worker.open,
        "warm": worker.warm,
        "run": worker.run,
        "close": worker.close,
    }
    for line in sys.stdin:
        request = json.loads(line)
        operation = request.pop("op")
        try:
            answer: dict[str, Any] = {"ok": operations[operation](**request)}
        except EdgeBtsError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        print(json.dumps(answer), file=answers, flush=True)
        if operation == "close":
            break


if __name__ == "__main__":
    main()
