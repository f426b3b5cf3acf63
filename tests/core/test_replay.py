"""`edge-bts replay`: frames on schedule, each client at its own pace, in its own version."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_bts import replay as module
from edge_bts.cli import app
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.igtl import HEADER_SIZE, Body, Header, image_body, pack, parse_header
from edge_bts.replay import Server, Still, phantom_sweep, replay, stored_images


def stills(count: int, size: int = 8) -> Iterator[Still]:
    """Frames whose pixels are their number modulo 256."""
    return (Still(np.full((size, size), k % 256, np.uint8), 0.1) for k in range(count))


class Clock:
    """Stands in for the module ``time``: what sleeps passes, and nothing else does."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Audience:
    """Stands in for a server with one client; sending takes as long as ``costs`` say."""

    versions = frozenset({1})

    def __init__(self, clock: Clock, costs: dict[int, float]) -> None:
        self.clock, self.costs = clock, costs
        self.sent: list[float] = []

    def wait_for_client(self) -> None:
        pass

    def wait(self, until: float) -> None:
        self.clock.now = max(self.clock.now, until)

    def send(self, body: Callable[[int], Body], device: str, time_s: float) -> int:
        assert (device, time_s) == ("x", self.clock.now)
        assert body(1).content[-1] == len(self.sent) % 256
        self.sent.append(self.clock.now)
        self.clock.now += self.costs.get(len(self.sent) - 1, 0.001)
        return 0

    def drain(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of the test's own."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def play(clock: Clock, count: int, fps: float, costs: dict[int, float]) -> tuple[Any, list[float]]:
    """Replay to an audience; the report and the times of sending from the first on."""
    audience: Any = Audience(clock, costs)
    report = replay(audience, stills(count), fps=fps, device="x", clock=clock.time)
    return report, [at - audience.sent[0] for at in audience.sent]


def test_loops_play_at_their_own_rate_where_none_is_asked_for(clock: Clock) -> None:
    """Each frame stands as long as its loop says, 1/30 s where nothing is known."""
    audience: Any = Audience(clock, {})
    own = [10.0, 10.0, None, 50.0, None]
    frames = (Still(np.full((8, 8), k, np.uint8), None, fps) for k, fps in enumerate(own))
    replay(audience, frames, fps=None, device="x", clock=clock.time)
    steps = np.diff(audience.sent)
    assert steps == pytest.approx([0.1, 0.1, 1 / 30, 0.02])


def test_frames_keep_their_schedule_without_drift(clock: Clock) -> None:
    """Frame k leaves at k / fps, whatever each took; three minutes later it still does."""
    costs = {k: 0.001 * (k % 30) for k in range(5400)}
    report, times = play(clock, 5400, 30.0, costs)
    assert times == pytest.approx([k / 30 for k in range(5400)], abs=1e-6)
    assert (report.frames, report.late) == (5400, 0)
    assert report.seconds == pytest.approx(5399 / 30)


def test_a_frame_that_is_late_moves_the_schedule(clock: Clock) -> None:
    """There is no burst to catch up: the gaps after it are a period again."""
    report, times = play(clock, 6, 10.0, {2: 0.35})
    assert times == pytest.approx([0, 0.1, 0.2, 0.55, 0.65, 0.75])
    assert report.late == 1


class Reader(threading.Thread):
    """A client that reads all there is."""

    def __init__(self, port: int, hello: bytes = b"") -> None:
        super().__init__(daemon=True)
        self.headers: list[Header] = []
        self.bodies: list[bytes] = []
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.sendall(hello)
        self.start()

    def run(self) -> None:
        while start := self._take(HEADER_SIZE):
            self.headers.append(parse_header(start))
            self.bodies.append(self._take(self.headers[-1].body_size))

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            came = self._socket.recv(count - len(data))
            if not came:
                return b""
            data += came
        return data


def test_every_client_gets_every_frame_it_has_time_for() -> None:
    """In order, with its own bytes, in its own version; one that never reads loses what is new."""
    with Server("127.0.0.1", 0) as server:
        idle = socket.create_connection(("127.0.0.1", server.port))
        old = Reader(server.port)
        modern = Reader(server.port, pack(Body("STATUS", 2, b"", 0), "viewer", 0))
        while server.versions != {1, 2}:
            server._serve(60)
        big = [Still(np.full((1000, 1000), k, np.uint8), None) for k in range(40)]
        report = replay(server, iter(big), fps=200, device="x", clock=iter(range(99)).__next__)
        assert report.frames == 40
        assert report.dropped > 20
        idle.close()
    for reader, version in ((old, 1), (modern, 2)):
        reader.join(60)
        bodies = [image_body(still.image, version).content for still in big]
        numbers = [header.timestamp >> 32 for header in reader.headers]
        assert {header.version for header in reader.headers} == {version}
        assert numbers == sorted(set(numbers))
        assert reader.bodies == [bodies[number] for number in numbers]
        assert numbers[0] == 0


def test_the_stream_waits_for_its_first_client() -> None:
    """Who comes first sees frame 0."""
    with Server("127.0.0.1", 0) as server:
        playing = threading.Thread(
            target=replay, args=(server, stills(3)), kwargs={"fps": 100, "device": "x"}
        )
        playing.start()
        reader = Reader(server.port)
        playing.join(60)
    reader.join(60)
    assert [body[-1] for body in reader.bodies] == [0, 1, 2]


def test_a_client_out_of_step_is_sent_away() -> None:
    """And what is skipped may come in any pieces."""
    with Server("127.0.0.1", 0) as server:
        sane, odd = (socket.create_connection(("127.0.0.1", server.port)) for _ in range(2))
        while len(server._clients) < 2:
            server._serve(60)
        word = pack(Body("STRING", 1, bytes(1000), 0), "x", 0) + bytes(1000)
        word += pack(Body("STATUS", 2, b"", 0), "x", 0)
        for at in range(0, len(word), 37):
            sane.sendall(word[at : at + 37])
            server._serve(60)
        odd.sendall(b"GET / HTTP/1.1\r\nHost: somewhere.example\r\nAccept: everything\r\n\r\n")
        while len(server._clients) > 1 or server.versions != {2}:
            server._serve(60)
        odd.settimeout(60)
        assert odd.recv(1) == b""


@pytest.mark.parametrize("kept", [0, 30, 1000])
def test_images_and_videos_are_played_in_order_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """By name, as gray; once, or for ever, whether memory holds none, one or all of them."""
    monkeypatch.setattr(module, "_KEPT", kept)
    for name, shade in (("b.png", 20), ("a.png", 10)):
        assert cv2.imwrite(str(tmp_path / name), np.full((4, 6), shade, np.uint8))
    once = [still.image[0, 0] for still in stored_images([tmp_path], 0.2, repeat=False)]
    again = itertools.islice(stored_images([tmp_path], 0.2, repeat=True), 5)
    assert once == [10, 20]
    assert [(still.image[0, 0], still.spacing_mm) for still in again] == [
        (shade, 0.2) for shade in (10, 20, 10, 20, 10)
    ]
    with pytest.raises(InputError, match="nothing is there"):
        stored_images([tmp_path / "none"], None, repeat=True)


def test_what_memory_holds_is_decoded_once(tmp_path: Path) -> None:
    """So that no loop stands still at its end: the file may be gone by then."""
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6), 7, np.uint8))
    stills = stored_images([tmp_path], None, repeat=True)
    assert next(stills).image[0, 0] == 7
    (tmp_path / "a.png").unlink()
    assert next(stills).image[0, 0] == 7


def test_a_sweep_goes_there_and_back() -> None:
    """Without a jump: frame 29 is followed by 28, and 0 by 1; its spacing is known."""
    sweep = phantom_sweep(0, "benign", height=64, width=64, spacing_mm=0.4, repeat=True)
    frames = list(itertools.islice(sweep, 62))
    assert {still.spacing_mm for still in frames} == {0.4}
    for number in range(1, 30):
        assert frames[29 + number].image is frames[29 - number].image
        assert frames[58 + min(number, 3)].image is frames[min(number, 3)].image


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fps", "0"], "--fps"),
        (["--header", "3"], "--header"),
        (["--category", "strange"], "--category"),
        (["--device", "a name of more than twenty bytes"], "--device"),
        (["--spacing", "-1"], "--spacing"),
        (["nowhere"], "nothing is there"),
    ],
)
def test_what_cannot_be_played_is_said(arguments: list[str], said: str) -> None:
    """As bad input, before anything is listened at."""
    result = CliRunner().invoke(app, ["replay", "--port", "0", *arguments])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)


def test_an_interrupt_is_an_end_with_a_report(tmp_path: Path) -> None:
    """Ctrl-C stops an endless replay with exit code 130, after it has told what it sent."""
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 6), np.uint8))
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_bts.cli", "replay", tmp_path, "--port", "0", "--fps", "100"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        port = int(process.stderr.readline().split("127.0.0.1:")[1].split(",")[0])
        reader = Reader(port)
        while len(reader.bodies) < 5:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert int(out.split(" frames in ")[0]) >= 5
    assert "Interrupted" in said


def test_a_port_that_is_taken_is_said() -> None:
    """With the mend."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(EnvironmentMismatchError, match="choose another"),
    ):
        Server("127.0.0.1", taken.getsockname()[1])
