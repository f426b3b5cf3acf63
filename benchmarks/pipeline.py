"""How much later a mask comes out of ``edge-bts-igtl`` than its frame went in, and what is lost.

    python -m edge_bts.benchmarks.pipeline build/lib/runtime/apps/igtl/edge-bts-igtl \
        student.ebts --trust maker.pub --fps 30 --seconds 60

Plays frames to the node and reads its results, in one process with one clock. The latency is from
before the first byte of a frame is sent to after the last byte of its mask is read, so it contains
two passes through loopback and the making of the message.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from edge_bts.igtl import HEADER_SIZE, Header, parse_header
from edge_bts.replay import Server, Still, phantom_sweep, replay

__all__ = ["main", "measure"]

_WARM_UP = 60
_MB = 1 << 20


class _Viewer(threading.Thread):
    """Reads results: when each came, and the counts of the last."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.came: dict[int, float] = {}
        self.frames: dict[str, int] = {}
        self._socket = socket.create_connection(("127.0.0.1", port))

    def run(self) -> None:
        """Read until one side ends the connection."""
        while start := self._take(HEADER_SIZE):
            header: Header = parse_header(start)
            body = self._take(header.body_size)
            if header.type == "IMAGE":
                self.came[header.timestamp >> 32] = time.monotonic()
            elif header.type == "STRING":
                self.frames = json.loads(body[4:])["frames"]

    def leave(self) -> None:
        """End the connection and the thread."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.join()

    def _take(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            came = self._socket.recv_into(view)
            if not came:
                return b""
            view = view[came:]
        return bytes(data)


def measure(
    node: Path,
    bundle: Path,
    trust: Path,
    *,
    fps: float,
    seconds: float,
    height: int = 480,
    width: int = 640,
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Play frames for so many seconds and return what came of them.

    Returns:
        ``latency_ms`` (p50, p90, p99, max, without the first 60 frames), ``sent``, ``seen``,
        ``late`` and ``held`` of the replay itself, ``unread`` results that the reader was too slow
        for, ``frames`` as the node counts, ``memory_mb`` of the node after the first 60 frames and
        at the end.
    """
    sweep = phantom_sweep(0, "malignant", height=height, width=width, spacing_mm=None, repeat=True)
    sent: dict[int, float] = {}

    def now() -> float:
        number = len(sent)
        sent[number] = time.monotonic()
        return float(number)

    with Server("127.0.0.1", 0) as server:
        ports = ("--connect", f"127.0.0.1:{server.port}", "--serve", "127.0.0.1:0")
        command: list[str | Path] = [node, bundle, "--trust", trust, *ports, *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                said = iter(process.stderr.readline, "")
                port = next(m for line in said if (m := re.search(r"results at .*:(\d+)$", line)))
                viewer = _Viewer(int(port[1]))
                viewer.start()
                memory = psutil.Process(process.pid)
                before: list[int] = []

                def frames() -> Iterator[Still]:
                    for number, still in enumerate(sweep):
                        if number == _WARM_UP:
                            before.append(memory.memory_info().rss)
                        yield still

                count = _WARM_UP + int(fps * seconds)
                report = replay(server, itertools.islice(frames(), count), fps=fps,
                                device="Image_Image", clock=now)  # fmt: skip
                time.sleep(1)  # the last results
                after = memory.memory_info().rss
                viewer.leave()
                left = next(m for line in said if (m := re.search(r"results, (\d+) dropped", line)))
            finally:
                process.terminate()
    delays = [1000 * (at - sent[k]) for k, at in viewer.came.items() if k >= _WARM_UP]
    quantiles = np.percentile(delays, [50, 90, 99, 100])
    return {
        "latency_ms": dict(zip(("p50", "p90", "p99", "max"), map(float, quantiles), strict=True)),
        "sent": report.frames,
        "seen": len(viewer.came),
        "unread": int(left[1]),
        "late": report.late,
        "held": report.dropped,
        "frames": viewer.frames,
        "memory_mb": [before[0] / _MB, after / _MB],
        "fps": fps,
        "seconds": report.seconds,
        "size": [width, height],
        "options": list(options),
    }


def main() -> None:
    """Measure as the command line says and print the result as JSON."""
    parser = argparse.ArgumentParser(description="Latency of edge-bts-igtl.")
    parser.add_argument("node", type=Path, help="The program edge-bts-igtl.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    arguments, options = parser.parse_known_args()
    result = measure(
        arguments.node,
        arguments.bundle,
        arguments.trust,
        fps=arguments.fps,
        seconds=arguments.seconds,
        height=arguments.height,
        width=arguments.width,
        options=tuple(options),
    )
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
