"""The fresh process of one row: ``python -m edge_bts.benchmarks.worker``.

It reads one JSON request a line and answers each with one line, on a private copy of standard
output; whatever libraries print goes to standard error. Requests, in order of use:

* ``{"op": "open", "source": {...}, "frames": PATH.npy}``: load; see :class:`Source`.
* ``{"op": "warm", "seconds": s}``: run until steady.
* ``{"op": "run", "frames": n, "lead": k}``: k untimed frames, then n timed ones.
* ``{"op": "close"}``: say the peak of memory and end.

An answer is ``{"ok": {...}}``, or ``{"error": sentence}`` for what the user can mend.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from edge_bts.errors import EdgeBtsError
from edge_bts.signing import Trust

if TYPE_CHECKING:
    from edge_bts.runtime.segmenter import FramePath

__all__ = ["Source", "peak_rss", "steady"]


class Source(BaseModel):
    """What a worker opens: a bundle, a checkpoint, or a file with its geometry (just one).

    ``trust`` says whose bundles; the worker checks the bundle again by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    precision: str
    threads: int
    bundle: str | None = None
    trust: Trust = Trust()
    checkpoint: str | None = None
    file: str | None = None
    imgsz: int = 256
    mean: float = 0.0
    std: float = 1.0
    threshold: float = 0.5
    presence_threshold: float = 0.0

    def open(self) -> FramePath:
        """Load the network; one of the three is set."""
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
                threads=self.threads,
                self_test=False,  # its time is no part of loading
            )
        if self.checkpoint is not None:
            return runtime.open_checkpoint(self.checkpoint, threads=self.threads)
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


class _Worker:
    def __init__(self) -> None:
        self.segmenter: FramePath
        self.frames: Any
        self.next = 0

    def open(self, source: dict[str, Any], frames: str) -> dict[str, Any]:
        import cv2
        import numpy as np

        import edge_bts.runtime  # noqa: F401 - part of the idle memory, not of the network's

        wanted = Source.model_validate(source)
        cv2.setNumThreads(wanted.threads)
        if wanted.backend == "torch":
            import torch

            torch.set_flush_denormal(True)  # as the other two backends are told to
        idle = peak_rss()
        self.frames = np.load(frames)
        started = time.perf_counter()
        self.segmenter = wanted.open()
        loaded = time.perf_counter() - started
        self._frame()
        facts = self.segmenter.describe()
        return {
            "load_ms": loaded * 1e3,
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

    def run(self, frames: int, lead: int) -> dict[str, Any]:
        cpu = time.process_time()
        for _ in range(lead):
            self._frame()
        samples = []
        for _ in range(frames):
            started = time.perf_counter()
            stages = self._frame()
            samples.append([*stages, (time.perf_counter() - started) * 1e3])
        return {"samples_ms": samples, "cpu_s": time.process_time() - cpu}

    def close(self) -> dict[str, Any]:
        return {"peak_rss_bytes": peak_rss()}

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


def main() -> None:
    """Answer requests until the input ends or ``close`` comes."""
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
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)
        if operation == "close":
            break


if __name__ == "__main__":
    main()
