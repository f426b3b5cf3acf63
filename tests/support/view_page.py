"""Frames that tell their number, a network that marks what is bright, and a server for the page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.measure import components
from edge_bts.runtime import Health, Result
from edge_bts.view.server import Hub, application, listen, server
from edge_bts.view.wire import Shown

HEIGHT, WIDTH = 64, 96
SIDE = 16
TOKEN = "t0ken-of-the-test"


def corner(number: int) -> tuple[int, int]:
    """Left and top of the bright square of a frame."""
    return 4 + 8 * (number % 10), 4 + 6 * (number // 10 % 7)


def pattern(number: int) -> NDArray[np.uint8]:
    """A dim frame with a bright square, whose place tells the number modulo 70."""
    image = np.full((HEIGHT, WIDTH), 40, np.uint8)
    left, top = corner(number)
    image[top : top + SIDE, left : left + SIDE] = 220
    return image


class Bright:
    """Finds the pixels of 200 and more; ``before`` is called with each frame."""

    def __init__(self, before: Callable[[NDArray[np.uint8]], None] | None = None) -> None:
        self.notes: list[str] = []
        self.health = Health.OK
        self._before = before

    def describe(self) -> dict[str, Any]:
        """Say what runs."""
        return {"name": "bright", "backend": "test", "precision": "fp32"}

    def segment(self, frame: NDArray[np.uint8], spacing_mm: float | None = None) -> Result:
        """Mark what is bright."""
        if self._before is not None:
            self._before(frame)
        mask = (frame >= 200).astype(np.uint8)
        found = tuple(components(mask, spacing_mm))
        times = {"preprocess": 0.1, "inference": 2.0, "postprocess": 0.1}
        health = self.health | (Health.OK if found else Health.EMPTY)
        return Result(mask, mask.astype(np.float32), 0.9, found, spacing_mm, times, health)


def shown(number: int, order: int | None = None, **changes: Any) -> Shown:
    """A frame of the pattern with its square found, as the page gets it."""
    result = Bright().segment(pattern(number), changes.get("spacing_mm"))
    fields: dict[str, Any] = {
        "number": number, "order": order or number, "dropped": 0, "image": pattern(number),
        "mask": result.mask, "components": result.components, "spacing_mm": None,
        "presence": 0.9, "health": (), "usable": True, "error": "", "times_ms": result.times_ms,
        "age_ms": 5.0 + number % 7, "time": 1.7e9 + number,
    }  # fmt: skip
    return Shown(**(fields | changes))


@dataclass
class Served:
    """A running server of the page."""

    hub: Hub
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


WELCOME = {
    "source": "test pattern",
    "model": Bright().describe(),
    "fps": 0.05,  # so that a frame counts as live for long, however slow the machine
    "deadline_ms": 100.0,
}


@contextmanager
def serving(listener: socket.socket | None = None, **welcome: Any) -> Iterator[Served]:
    """Serve the page in a thread; ``welcome`` is told to browsers besides ``WELCOME``."""
    listener = listener or listen(0)
    hub = Hub()
    running = server(application(hub, TOKEN, WELCOME | welcome))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not running.started:
            time.sleep(0.005)
        yield Served(hub, listener.getsockname()[1])
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


def wait_until(true: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something; a test fails only if it never comes."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
