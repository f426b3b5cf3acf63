"""Frames from a source through the network, newest first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from edge_bts.errors import EdgeBtsError
from edge_bts.runtime.native import Health
from edge_bts.runtime.segmenter import FramePath
from edge_bts.view.sources import Arrival, Finding, Source
from edge_bts.view.wire import Notice, Shown

__all__ = ["Live"]

_PATIENCE_S = 0.2  # how long a thread that waits does not look whether it should stop


class _Newest:
    """The place for one frame: a newer one replaces it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrival: tuple[int, Arrival] | None = None
        self._number = 0

    def put(self, arrival: Arrival) -> None:
        with self._changed:
            self._number += 1
            self._arrival = (self._number, arrival)
            self._changed.notify()

    def take(self, timeout: float) -> tuple[int, Arrival] | None:
        """Return the newest and its number from 1; None: nothing came."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrival is not None, timeout)
            arrival, self._arrival = self._arrival, None
            return arrival


class Live:
    """A stream that runs in two threads of its own: one takes frames, one finds lesions.

    While a frame is segmented the next waits, and is replaced, and counted, if another comes: the
    page is never behind by more than one. While nobody watches nothing is segmented.

    Args:
        source: Where frames come from.
        finder: What finds the lesions; None where the source brings what was found.
        deadline_ms: A frame whose result is older when it is done is LATE, and its mask is
            withheld; None: none is.
        publish: Called with each message, in the thread that made it.
        watched: Set while somebody watches.
    """

    def __init__(
        self,
        source: Source,
        finder: FramePath | None,
        *,
        deadline_ms: float | None,
        publish: Callable[[Shown | Notice], None],
        watched: threading.Event,
    ) -> None:
        self._source = source
        self._finder = finder
        self._deadline_ms = deadline_ms
        self._publish = publish
        self._watched = watched
        self._newest = _Newest()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name="edge-bts-view", daemon=True)
            for work in (self._read, self._judge)
        ]

    def __enter__(self) -> Live:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except EdgeBtsError as error:  # such as a damaged image in the middle of a folder
            self._say("ended", str(error))
        except Exception as error:  # a page that stands still must say why
            self._say("ended", f"Internal error, please report it: {error!r}")
            raise

    def _say(self, state: str, text: str) -> None:
        self._publish(Notice(state, text))

    def _read(self) -> None:
        for arrival in self._source.arrivals(self._stop, self._say):
            self._newest.put(arrival)
        if not self._stop.is_set():
            self._say("ended", "The source has ended.")

    def _judge(self) -> None:
        last = order = dropped = 0
        while not self._stop.is_set():
            taken = self._newest.take(_PATIENCE_S)
            if taken is None:
                continue
            number, arrival = taken
            if not self._watched.is_set():
                last = number
                continue
            dropped += number - last - 1 + arrival.dropped
            last = number
            order += 1
            self._publish(self._shown(arrival, number, order, dropped))

    def _shown(self, arrival: Arrival, number: int, order: int, dropped: int) -> Shown:
        error = ""
        try:
            found = arrival.found or self._find(arrival)
        except EdgeBtsError as failure:
            found, error = Finding.nothing(arrival.image.shape, "failed"), str(failure)
        age_ms = (time.monotonic() - arrival.arrived) * 1e3
        words = list(found.health)
        usable = found.usable
        if self._deadline_ms is not None and age_ms > self._deadline_ms and usable:
            words, usable = ["late", *words], False
        return Shown(
            number=number,
            order=order,
            dropped=dropped,
            image=arrival.image,
            mask=found.mask if usable else np.zeros_like(found.mask),
            components=found.components if usable else (),
            spacing_mm=arrival.spacing_mm,
            presence=found.presence,
            health=words,
            usable=usable,
            error=error,
            times_ms=found.times_ms,
            age_ms=age_ms,
            time=time.time() - age_ms / 1e3,
        )

    def _find(self, arrival: Arrival) -> Finding:
        if self._finder is None:
            raise EdgeBtsError("Expected a source that brings results, but it brought none.")
        result = self._finder.segment(arrival.image, arrival.spacing_mm)
        health = Health.OK if result.health is None else result.health
        return Finding(
            mask=result.mask,
            components=result.components,
            presence=result.presence,
            health=health.words,
            usable=health.usable,
            times_ms=result.times_ms,
        )
