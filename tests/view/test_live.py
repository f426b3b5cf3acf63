"""Frames through the network, newest first: what is shown, what is withheld, what is counted."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from view_page import Bright, pattern, shown, wait_until

from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError
from edge_bts.replay import phantom_sweep
from edge_bts.runtime import Health, Result
from edge_bts.runtime.segmenter import FramePath
from edge_bts.view import Live, Notice
from edge_bts.view.sources import Arrival, Say
from edge_bts.view.wire import MOST_COMPONENTS, Shown


class Given:
    """A source whose frames come when the test says."""

    name = "given"

    def __init__(self) -> None:
        self.frames: list[Arrival] = []
        self.ended = False
        self.taken = 0
        self.failure: EdgeBtsError | None = None

    def arrivals(self, stop: threading.Event, say: Say) -> Iterator[Arrival]:
        say("waiting", "Waiting for the test.")
        while not stop.wait(0.002) and not self.ended:
            while self.taken < len(self.frames):
                self.taken += 1
                yield self.frames[self.taken - 1]
            if self.failure is not None:
                raise self.failure

    def give(self, *numbers: int, **fields: Any) -> None:
        """Let frames come and wait until they have been taken."""
        import time

        for number in numbers:
            self.frames.append(Arrival(pattern(number), 0.1, time.monotonic(), **fields))
        wait_until(lambda: self.taken == len(self.frames))


class Stream:
    """A stream from a source to a list."""

    def __init__(self, finder: FramePath | None, deadline_ms: float | None = None) -> None:
        self.source = Given()
        self.said: list[Shown | Notice] = []
        self.watched = threading.Event()
        self.watched.set()
        self.live = Live(
            self.source, finder, deadline_ms=deadline_ms, publish=self.said.append,
            watched=self.watched,
        )  # fmt: skip

    @property
    def frames(self) -> list[Shown]:
        return [said for said in self.said if isinstance(said, Shown)]

    @property
    def notices(self) -> list[Notice]:
        return [said for said in self.said if isinstance(said, Notice)]

    def wait_for(self, count: int) -> Shown:
        wait_until(lambda: len(self.frames) >= count)
        return self.frames[count - 1]


def test_the_newest_frame_is_next_and_the_others_are_counted() -> None:
    """While one is segmented; each that is shown has the mask of its own pixels."""
    entered, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def hold(_: NDArray[np.uint8]) -> None:
        entered.release()
        assert go_on.acquire(timeout=30)

    stream = Stream(Bright(hold))
    with stream.live:
        stream.source.give(1)
        assert entered.acquire(timeout=30)
        stream.source.give(*range(2, 31))
        go_on.release()
        assert entered.acquire(timeout=30)
        stream.source.give(31, 32)
        go_on.release(2)
        stream.wait_for(3)
    assert [(s.number, s.order, s.dropped) for s in stream.frames] == [
        (1, 1, 0), (30, 2, 28), (32, 3, 29)
    ]  # fmt: skip
    for frame in stream.frames:
        assert (frame.image == pattern(frame.number)).all()
        assert (frame.mask == (pattern(frame.number) >= 200)).all()
        assert frame.components[0].area_px == 16 * 16
        assert frame.components[0].area_mm2 == pytest.approx(2.56)


def test_drops_on_the_way_are_counted_too() -> None:
    """Those that a node tells of."""
    stream = Stream(Bright())
    with stream.live:
        stream.source.give(1, dropped=4)
        assert stream.wait_for(1).dropped == 4


def test_a_late_result_is_shown_without_its_mask() -> None:
    """With the word; a deadline that is met changes nothing."""
    stream = Stream(Bright(), deadline_ms=1e-6)
    with stream.live:
        stream.source.give(1)
        late = stream.wait_for(1)
    assert (late.usable, late.mask.any(), len(late.components)) == (False, False, 0)
    assert late.health == ["late"]
    assert (late.image == pattern(1)).all()
    stream = Stream(Bright(), deadline_ms=1e9)
    with stream.live:
        stream.source.give(1)
        assert stream.wait_for(1).health == []


@pytest.mark.parametrize(
    ("health", "usable"),
    [(Health.NAN, False), (Health.OUT_OF_RANGE, False), (Health.STALE, False),
     (Health.LATE, False), (Health.SATURATED, True), (Health.OK, True)],
)  # fmt: skip
def test_the_health_word_decides_what_is_drawn(health: Health, usable: bool) -> None:
    """As edge_bts.h says it."""
    finder = Bright()
    finder.health = health
    stream = Stream(finder)
    with stream.live:
        stream.source.give(1)
        frame = stream.wait_for(1)
    assert frame.usable == usable == frame.mask.any() == bool(frame.components)
    assert frame.health == health.words


def test_a_frame_that_cannot_be_segmented_is_shown_with_the_reason() -> None:
    """And the next goes on."""

    def refuse(frame: NDArray[np.uint8]) -> None:
        if (frame == pattern(1)).all():
            raise InputError("Expected another frame.")

    stream = Stream(Bright(refuse))
    with stream.live:
        stream.source.give(1)
        failed = stream.wait_for(1)
        stream.source.give(2)
        good = stream.wait_for(2)
    assert (failed.error, failed.health, failed.usable) == (
        "Expected another frame.", ["failed"], False
    )  # fmt: skip
    assert failed.presence is None
    assert good.usable
    assert not good.error


def test_nothing_is_segmented_while_nobody_watches() -> None:
    """And what passed meanwhile was not dropped."""
    segmented: list[int] = []
    stream = Stream(Bright(lambda _: segmented.append(1)))
    stream.watched.clear()
    with stream.live:
        stream.source.give(*range(1, 11))
        wait_until(lambda: stream.live._newest._arrival is None)
        assert segmented == []
        stream.watched.set()
        stream.source.give(11)
        frame = stream.wait_for(1)
    assert (frame.number, frame.order, frame.dropped) == (11, 1, 0)


def test_a_source_that_cannot_go_on_says_why() -> None:
    """On the page, which keeps what it has."""
    stream = Stream(Bright())
    with stream.live:
        stream.source.give(1)
        stream.source.failure = InputError("Expected an image, but it is damaged.")
        wait_until(lambda: stream.notices[-1].state == "ended")
    assert stream.notices[-1].text == "Expected an image, but it is damaged."
    stream = Stream(Bright())
    with stream.live:
        stream.source.ended = True
        wait_until(lambda: stream.notices[-1].state == "ended")
    assert stream.notices[-1].text == "The source has ended."


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_of_ours_is_not_silent() -> None:
    """The page says that it stands still, and the traceback goes to standard error."""

    def fail(_: NDArray[np.uint8]) -> None:
        raise ZeroDivisionError("ours")

    stream = Stream(Bright(fail))
    with stream.live:
        stream.source.give(1)
        wait_until(lambda: stream.notices[-1].state == "ended")
    assert "ZeroDivisionError('ours')" in stream.notices[-1].text


def test_a_message_says_what_was_found() -> None:
    """Read here without our code: JSON, pixels, bits; sizes in mm only where a pixel's is known."""
    for spacing in (None, 0.25):
        message = shown(9, spacing_mm=spacing).message()
        assert message[:4] == b"EBV1"
        (size,) = struct.unpack_from("<I", message, 4)
        said = json.loads(message[8 : 8 + size])
        assert len(message) == 8 + size + 64 * 96 + 64 * 96 // 8
        (part,) = said["components"]
        assert (said["number"], said["width"], said["height"]) == (9, 96, 64)
        assert part["bbox"] == [76, 4, 16, 16]
        assert len(part["contour"]) == 2 * 60
        known = None if spacing is None else pytest.approx(16 * 16 * 0.0625)
        assert part["area_mm2"] == known


def test_a_message_describes_the_largest_components_and_shows_all() -> None:
    """So that a noisy mask does not make it grow."""
    mask = np.zeros((64, 96), np.uint8)
    mask[::4, ::4] = 1
    from edge_bts.measure import components

    message = shown(1, mask=mask, components=components(mask)).message()
    (size,) = struct.unpack_from("<I", message, 4)
    said = json.loads(message[8 : 8 + size])
    assert (said["found"], len(said["components"])) == (mask.sum(), MOST_COMPONENTS)
    bits = np.unpackbits(np.frombuffer(message, np.uint8, offset=8 + size + mask.size))
    assert (bits == mask.ravel()).all()


def test_the_mask_is_that_of_the_library() -> None:
    """The released student on a simulated sweep, pixel for pixel."""
    from edge_bts import runtime

    models = Path(__file__).parents[2] / "models"
    try:
        opened = runtime.open(models / "busbra-nano.ebts", trust=models / "release.pub", threads=1)
    except EnvironmentMismatchError as error:
        pytest.skip(str(error))
    sweep = list(phantom_sweep(0, "malignant", height=96, width=128, spacing_mm=None, repeat=False))
    want: list[Result] = []
    with opened as session:
        stream = Stream(session)
        with stream.live:
            for count, still in enumerate(sweep[10:20], 1):
                stream.source.frames.append(Arrival(still.image, still.spacing_mm, 0.0))
                stream.wait_for(count)
        want = [session.segment(still.image, still.spacing_mm) for still in sweep[10:20]]
    assert [frame.number for frame in stream.frames] == list(range(1, 11))
    for frame, result in zip(stream.frames, want, strict=True):
        assert (frame.mask == result.mask).all()
        assert frame.presence == result.presence
        assert [p.longest_mm for p in frame.components] == [p.longest_mm for p in result.components]
    assert any(frame.mask.any() for frame in stream.frames)
