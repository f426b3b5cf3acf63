"""Images at a frame rate to OpenIGTLink clients: the scanner for the desk."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_bts.data.phantom import PhantomCategory, simulate_cine
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.igtl import HEADER_SIZE, Body, image_body, pack, parse_header
from edge_bts.runtime.inputs import list_inputs, read_frames

__all__ = ["Report", "Server", "Still", "phantom_sweep", "replay", "stored_images"]

_DEFAULT_FPS = 30.0
_KEPT = 256 << 20  # bytes of frames that are not decoded again, as opening a file takes its time
_SPIN_S = 0.003  # the last part of a wait, in which sockets are left alone: selectors count in ms
_MOST_CLIENTS = 16


@dataclass(frozen=True)
class Still:
    """One frame to send: uint8 H x W, its spacing and the rate of its loop; None: unknown."""

    image: NDArray[np.uint8]
    spacing_mm: float | None
    fps: float | None = None

    def period_s(self, fps: float | None) -> float:
        """Return the time to the next frame: of ``fps``, else of its loop, else 1/30 s."""
        return 1 / (fps or self.fps or _DEFAULT_FPS)


@dataclass
class Report:
    """What was sent.

    Attributes:
        frames: That had their turn.
        late: Of these: sent more than half a period after their time.
        dropped: Messages left out for clients that had not taken the one before.
        seconds: From the first frame to the last.
    """

    frames: int = 0
    late: int = 0
    dropped: int = 0
    seconds: float = 0.0


def stored_images(
    paths: Iterable[Path], spacing_mm: float | None, *, repeat: bool
) -> Iterator[Still]:
    """Yield the frames of images, folders, videos and DICOM, over and over if ``repeat``.

    Of DICOM it is the largest 2D tissue region alone, as scanners send it, with its spacing; a
    ``spacing_mm`` goes before it.

    Raises:
        InputError: As ``list_inputs`` (at the call) and ``read_frames``.
        EnvironmentMismatchError: As ``list_inputs``.
    """
    sources = list_inputs(paths)

    def once() -> Iterator[Still]:
        for source in sources:
            regions = source.cine.regions if source.cine else ()
            region = max(regions, key=lambda r: r.width * r.height, default=None)
            own_mm = region.spacing_mm if region else None
            known_mm = own_mm if spacing_mm is None else spacing_mm
            fps = source.fps if source.fps and 1 <= source.fps <= 1000 else None
            for frame in read_frames(source):
                image = frame.image[region.slices].copy() if region else frame.image
                yield Still(image, known_mm, fps)

    def frames() -> Iterator[Still]:
        kept: list[Still] = []
        left = _KEPT if repeat else 0
        for still in once():
            yield still
            left -= still.image.nbytes
            if left > 0:
                kept.append(still)
            else:
                kept.clear()
        while repeat:
            yield from kept if left > 0 else once()

    return frames()


def phantom_sweep(
    seed: int,
    category: PhantomCategory,
    *,
    height: int,
    width: int,
    spacing_mm: float | None,
    repeat: bool,
) -> Iterator[Still]:
    """Yield a simulated sweep of 30 frames over a lesion; ``repeat``: there and back, for ever."""
    sweep = simulate_cine(seed, category, height=height, width=width, spacing_mm=spacing_mm)
    there = [Still(frame.image, frame.spacing_mm) for frame in sweep]

    def frames() -> Iterator[Still]:
        yield from there
        while repeat:
            yield from there[-2:0:-1]
            yield from there

    return frames()


def replay(
    server: Server,
    stills: Iterator[Still],
    *,
    fps: float | None,
    device: str,
    limit: int | None = None,
    clock: Callable[[], float] = time.time,
    report: Report | None = None,
) -> Report:
    """Send each frame a period after the one before; the first waits for the first client.

    A frame that could not be made in time goes out at once and the schedule moves with it: there
    is no burst to catch up. While nobody is connected the stream stands still.

    Args:
        server: Where the clients are.
        stills: What to send.
        fps: Frames a second; None: each at the rate of its loop, 30 where that is unknown.
        device: Name of the device.
        limit: Frames at most.
        clock: Gives the timestamps, in seconds.
        report: Filled as it goes, for whoever interrupts it; default: a new one.
    """
    report = Report() if report is None else report
    start = due = 0.0
    for still in islice(stills, limit):
        message = _Message(still)
        for version in server.versions:
            message.body(version)  # made before its time
        if not server.versions or report.frames == 0:
            server.wait_for_client()
            due = time.monotonic()
        if report.frames == 0:
            start = due
        server.wait(due)
        behind = time.monotonic() - due
        period = still.period_s(fps)
        if behind > 0.5 * period:
            report.late += 1
            due += behind
        report.dropped += server.send(message.body, device, clock())
        report.frames += 1
        report.seconds = due - start
        due += period
    server.drain()
    return report


class _Message:
    """A frame in the header versions that clients want."""

    def __init__(self, still: Still) -> None:
        self._still = still
        self._bodies: dict[int, Body] = {}

    def body(self, version: int) -> Body:
        """Return the body for a header version; made once."""
        if version not in self._bodies:
            still = self._still
            self._bodies[version] = image_body(still.image, version, spacing_mm=still.spacing_mm)
        return self._bodies[version]


@dataclass
class _Client:
    socket: socket.socket
    version: int
    heard: bytearray = field(default_factory=bytearray)
    skip: int = 0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))


class Server:
    """Listens for OpenIGTLink clients and sends to all of them without waiting for any.

    Args:
        host: Address to listen at.
        port: Port; 0 takes a free one, which ``port`` then tells.
        version: Lowest header version that is sent; a client that has sent version 2 gets 2.

    Raises:
        EnvironmentMismatchError: The address cannot be listened at.
    """

    def __init__(self, host: str, port: int, version: int = 1) -> None:
        self._version = version
        self._clients: list[_Client] = []
        self._selector = selectors.DefaultSelector()
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise EnvironmentMismatchError(
                f"Expected to listen at {host}:{port}, but {error.strerror or error}; "
                "choose another --host or --port."
            ) from error
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in list(self._clients):
            self._part(client)
        self._selector.close()
        self._listener.close()

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._listener.getsockname()[1])

    @property
    def versions(self) -> set[int]:
        """The header versions that the clients of now get; empty: nobody is there."""
        return {client.version for client in self._clients}

    def wait_for_client(self) -> None:
        """Return when somebody is connected."""
        while not self._clients:
            self._serve(None)

    def wait(self, until: float) -> None:
        """Serve sockets until this time of ``time.monotonic``."""
        while (left := until - time.monotonic()) > _SPIN_S:
            self._serve(left - _SPIN_S)
        if left > 0:
            time.sleep(left)
        self._serve(0)

    def send(self, body: Callable[[int], Body], device: str, time_s: float) -> int:
        """Send to every client that has taken all before; return how many had not."""
        dropped = 0
        for client in list(self._clients):
            if client.unsent:
                dropped += 1
                continue
            made = body(client.version)
            client.unsent = memoryview(pack(made, device, time_s) + made.content)
            self._flush(client)
        return dropped

    def drain(self, seconds: float = 2.0) -> None:
        """Give clients that long to take what is under way."""
        until = time.monotonic() + seconds
        while any(c.unsent for c in self._clients) and (left := until - time.monotonic()) > 0:
            self._serve(left)

    def _serve(self, timeout: float | None) -> None:
        for key, events in self._selector.select(timeout):
            client = key.data
            if client is None:
                self._welcome()
                continue
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ and client in self._clients:
                self._listen(client)

    def _welcome(self) -> None:
        try:
            opened, _ = self._listener.accept()
        except OSError:  # gone again
            return
        if len(self._clients) == _MOST_CLIENTS:
            opened.close()
            return
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(opened, self._version)
        self._clients.append(client)
        self._selector.register(opened, selectors.EVENT_READ, client)

    def _part(self, client: _Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.socket)
        client.socket.close()

    def _flush(self, client: _Client) -> None:
        try:
            while client.unsent:
                client.unsent = client.unsent[client.socket.send(client.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._part(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        self._selector.modify(client.socket, wanted, client)

    def _listen(self, client: _Client) -> None:
        """Skip what a client says but for the version of its headers."""
        try:
            came = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if not came:
            self._part(client)
            return
        client.heard += came
        while client.heard:
            skipped = min(client.skip, len(client.heard))
            del client.heard[:skipped]
            client.skip -= skipped
            if client.skip or len(client.heard) < HEADER_SIZE:
                return
            try:
                header = parse_header(bytes(client.heard[:HEADER_SIZE]))
            except InputError:
                self._part(client)
                return
            del client.heard[:HEADER_SIZE]
            client.skip = header.body_size
            client.version = max(client.version, header.version)
