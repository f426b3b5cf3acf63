"""Where frames come from: files at their pace, OpenIGTLink servers, the results of a node."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from view_page import pattern, wait_until

from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.igtl import Body, crc64, image_body, pack
from edge_bts.replay import Server, Still, replay
from edge_bts.view import Source, image_server, node_results, played, sources
from edge_bts.view.sources import Arrival


class Listener:
    """Takes what a source brings, in a thread."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.arrivals: list[Arrival] = []
        self.said: list[tuple[str, str]] = []
        self.failure: EdgeBtsError | None = None
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for arrival in self.source.arrivals(self.stop, lambda *said: self.said.append(said)):
                self.arrivals.append(arrival)
        except EdgeBtsError as error:
            self.failure = error

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def wait_for(self, count: int) -> Arrival:
        wait_until(lambda: len(self.arrivals) >= count)
        return self.arrivals[count - 1]


Script = Callable[[socket.socket], None]


@contextmanager
def peer(*scripts: Script) -> Iterator[tuple[str, int]]:
    """A server whose k-th connection is served by the k-th script and then closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    served: list[socket.socket] = []

    def run() -> None:
        for script in scripts:
            with suppress(OSError):
                connection, _ = listener.accept()
                served.append(connection)
                script(connection)
                connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.close()
        for connection in served:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(listener.getsockname(), 0.1).close()
        thread.join(30)


def image(number: int, device: str = "Image_Image", version: int = 1, **options: Any) -> bytes:
    """A whole IMAGE of the pattern, with its number as its time in seconds."""
    body = image_body(pattern(number), version, **options)
    return pack(body, device, number) + body.content


def stay(connection: socket.socket) -> None:
    """Keep a connection open until the other side has gone."""
    with suppress(OSError):
        while connection.recv(4096):
            pass


class Clock:
    """Stands in for ``time`` and for the event that stops: what waits passes, nothing else does."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


def test_stored_frames_come_on_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame k at k periods; after one that took longer the schedule moves, without a burst."""
    clock = Clock()
    monkeypatch.setattr(sources, "time", clock)

    def decoded() -> Iterator[Still]:
        for number in range(6):
            clock.now += {2: 0.3, 4: 0.101}.get(number, 0.01)
            yield Still(pattern(number), 0.2)

    stream: Any = played("six", decoded(), fps=10)
    arrivals = list(stream.arrivals(clock, print))
    assert [a.arrived - arrivals[0].arrived for a in arrivals] == pytest.approx(
        [0, 0.09, 0.39, 0.49, 0.591, 0.69]
    )
    assert [(a.image == pattern(k)).all() for k, a in enumerate(arrivals)] == [True] * 6
    assert {a.spacing_mm for a in arrivals} == {0.2}


def test_a_loop_is_played_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another is asked for; 30 where it is unknown."""
    monkeypatch.setattr(sources, "time", clock := Clock())
    for fps, own, period in ((None, 20.0, 0.05), (None, None, 1 / 30), (5.0, 20.0, 0.2)):
        stream: Any = played("loop", (Still(pattern(k), None, own) for k in range(3)), fps)
        times = [a.arrived for a in stream.arrivals(clock, print)]
        assert np.diff(times) == pytest.approx([period, period])


def test_waiting_for_the_next_frame_ends_at_once() -> None:
    """However long the period."""
    with Listener(played("slow", itertools.repeat(Still(pattern(0), None)), fps=1e-3)) as heard:
        heard.wait_for(1)


@pytest.mark.parametrize("ask_v2", [False, True])
def test_images_of_our_replay_arrive_whole(ask_v2: bool) -> None:
    """In header version 1, and in 2 if it is asked for; with their spacing in both."""
    with Server("127.0.0.1", 0) as server:
        source = image_server("127.0.0.1", server.port, ask_v2=ask_v2)
        with Listener(source) as heard:
            stills = (Still(pattern(k), 0.08) for k in range(20))
            replay(server, stills, fps=100, device="Image_Image")
            heard.wait_for(20)
    for number, arrival in enumerate(heard.arrivals):
        assert (arrival.image == pattern(number)).all()
        assert arrival.spacing_mm == pytest.approx(0.08, rel=1e-6)


@pytest.mark.parametrize("kind", ["gray", "rgb"])
def test_images_of_pyigtl_arrive(kind: str) -> None:
    """Gray as it is, RGB as its luma (ITU-R BT.601, as OpenCV has it)."""
    pyigtl = pytest.importorskip("pyigtl", reason="pyigtl is not installed (edge-bts[dev])")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1, 40, 60, 3) if kind == "rgb" else (1, 40, 60), np.uint8)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    server = pyigtl.OpenIGTLinkServer(port=port, local_server=True)
    matrix = np.diag([0.3, 0.3, 1.0, 1.0])
    try:
        with Listener(image_server("127.0.0.1", port)) as heard:
            wait_until(server.is_connected)
            server.send_message(
                pyigtl.ImageMessage(pixels, device_name="US", ijk_to_world_matrix=matrix)
            )
            arrival = heard.wait_for(1)
    finally:
        server.stop()
        for number, handler in handlers.items():  # which pyigtl has replaced
            signal.signal(number, handler)
    want = pixels[0] if kind == "gray" else pixels[0] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(arrival.image - want).max() <= (0 if kind == "gray" else 1)
    assert arrival.spacing_mm == pytest.approx(0.3)


def test_the_spacing_of_the_command_line_is_for_images_without_one() -> None:
    """What an image says itself goes first."""

    def script(connection: socket.socket) -> None:
        connection.sendall(image(1) + image(2, version=2, spacing_mm=0.2))
        stay(connection)

    with peer(script) as place, Listener(image_server(*place, spacing_mm=0.5)) as heard:
        heard.wait_for(2)
    assert [a.spacing_mm for a in heard.arrivals] == [0.5, pytest.approx(0.2)]


def test_other_devices_types_and_damaged_messages_are_passed_over() -> None:
    """The next good image arrives."""
    good = image(1)
    wrong = image(2)[:50] + bytes(8) + image(2)[58:]
    text = Body("STRING", 1, b"\0\3\0\1x", crc64(b"\0\3\0\1x"))
    short = Body("IMAGE", 1, b"\0\1", crc64(b"\0\1"))

    def script(connection: socket.socket) -> None:
        for part in (wrong, pack(text, "x", 0), text.content, image(3, "other"),
                     pack(short, "Image_Image", 0), short.content, good):  # fmt: skip
            connection.sendall(part)
        stay(connection)

    with peer(script) as place, Listener(image_server(*place, device="Image_Image")) as heard:
        arrival = heard.wait_for(1)
        assert len(heard.arrivals) == 1
    assert (arrival.image == pattern(1)).all()
    assert any("Expected an IMAGE" in text for _, text in heard.said)


def drop(*parts: bytes) -> Script:
    """Send and hang up."""
    return lambda connection: connection.sendall(b"".join(parts))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (drop(), "it ended the connection"),
        (drop(image(7)[:30]), "it ended the connection"),
        (drop(image(7)[:3000]), "it ended the connection"),
        (drop(b"GET / HTTP/1.1\r\n" + bytes(60)), "header of version 1 or 2"),
        (drop(struct.pack(">H12s20sQQQ", 1, b"IMAGE", b"x", 0, 1 << 40, 0)), "at most 32 MiB"),
    ],
)
def test_a_connection_that_is_lost_is_made_again(script: Script, reason: str) -> None:
    """With the reason said; the next image arrives."""

    def good(connection: socket.socket) -> None:
        connection.sendall(image(5))
        stay(connection)

    with peer(script, good) as place, Listener(image_server(*place)) as heard:
        arrival = heard.wait_for(1)
    assert (arrival.image == pattern(5)).all()
    assert any(reason in text for _, text in heard.said)


def test_a_server_that_is_not_there_is_waited_for() -> None:
    """It may be started after the page."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Listener(image_server("127.0.0.1", port)) as heard:
        wait_until(lambda: any("trying again" in text for _, text in heard.said))
        with Server("127.0.0.1", port) as server:
            replay(server, iter([Still(pattern(1), None)]), fps=100, device="x")
            heard.wait_for(1)


def report(number: int, *, dropped: int = 0, **changes: Any) -> bytes:
    """A report of the node, as docs/pipeline.md has it."""
    said = {
        "device": "Image_Image", "timestamp": number, "health": "OK", "usable": True,
        "mm_per_pixel": None, "frames": {"received": 1, "segmented": 1, "dropped": dropped,
        "superseded": 0, "bad": 0}, "presence": 0.75, "components": [],
        "ms": {"queue": 0.1, "preprocess": 0.2, "inference": 3.0, "postprocess": 0.1, "age": 4.0},
    } | changes  # fmt: skip
    text = json.dumps(said).encode()
    content = struct.pack(">HH", 3, len(text)) + text
    body = Body("STRING", 1, content, crc64(content))
    return pack(body, "EdgeBTS", number) + content


def mask(number: int, device: str = "Mask") -> bytes:
    """The mask of the pattern as the node sends it."""
    body = image_body((pattern(number) >= 200).astype(np.uint8), 1)
    return pack(body, device, number) + body.content


def test_results_of_a_node_are_shown_on_their_own_images() -> None:
    """By time: results may be ahead of their images, images may have none, and none is mixed up."""
    go_on = threading.Event()

    def node(connection: socket.socket) -> None:
        connection.sendall(mask(1) + report(1) + mask(3))
        connection.sendall(report(3, dropped=1, mm_per_pixel=0.5, health="SATURATED"))
        go_on.wait(30)
        connection.sendall(mask(9) + report(9, dropped=1) + mask(5))
        connection.sendall(report(4) + report(5, dropped=2))
        stay(connection)

    def images(connection: socket.socket) -> None:
        time.sleep(0.05)
        connection.sendall(image(1) + image(2) + image(3))
        go_on.wait(30)
        connection.sendall(image(4) + image(5))
        stay(connection)

    with (
        peer(node) as results,
        peer(images) as server,
        Listener(node_results(results, server)) as heard,
    ):
        heard.wait_for(2)
        go_on.set()
        heard.wait_for(3)
    for number, arrival in zip((1, 3, 5), heard.arrivals, strict=True):
        assert (arrival.image == pattern(number)).all()
        assert arrival.found is not None
        assert (arrival.found.mask == (pattern(number) >= 200)).all()
        assert arrival.found.presence == 0.75
        assert arrival.found.times_ms == {"preprocess": 0.2, "inference": 3.0, "postprocess": 0.1}
    assert [a.found.health for a in heard.arrivals if a.found] == [[], ["saturated"], []]
    assert [a.spacing_mm for a in heard.arrivals] == [None, 0.5, None]
    assert [a.dropped for a in heard.arrivals] == [0, 1, 2]  # that of 9 had no image
    assert heard.arrivals[1].found is not None
    assert heard.arrivals[1].found.components[0].area_mm2 == pytest.approx(16 * 16 * 0.25)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (mask(1, "Prediction") + report(1), "without --send probability"),
        (mask(1) + report(1, frames={}), "the JSON of edge-bts-igtl"),
        (mask(1) + report(1, health=3), "the JSON of edge-bts-igtl"),
    ],
)
def test_a_node_that_says_something_else_is_told(said: bytes, sentence: str) -> None:
    """The stream ends with what to do."""

    def node(connection: socket.socket) -> None:
        connection.sendall(said)
        stay(connection)

    with peer(node) as results, peer(stay) as server:
        with Listener(node_results(results, server)) as heard:
            wait_until(lambda: heard.failure is not None)
        assert isinstance(heard.failure, InputError)
        assert sentence in str(heard.failure)
