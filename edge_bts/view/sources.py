"""Where the frames of a live page come from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from edge_bts.errors import InputError
from edge_bts.igtl import (
    HEADER_SIZE,
    Body,
    Header,
    Image,
    crc64,
    pack,
    parse_header,
    parse_image,
    parse_string,
)
from edge_bts.measure import Component, components
from edge_bts.replay import Still
from edge_bts.runtime.segmenter import to_gray

__all__ = ["Arrival", "Finding", "Say", "Source", "image_server", "node_results", "played"]

Say = Callable[[str, str], None]
"""Tells why no frame comes: a state (waiting, ended) and a sentence."""

_MOST_BODY = 32 << 20  # 2048 x 2048 RGBA with as much again; refused before a byte is reserved
_QUIET_S = 1.0  # without an image for so long a stream waits
_STALL_S = 5.0  # of a connection attempt, or in the middle of a message
_TICK_S = 0.2  # how often a wait looks whether it should end
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
_PENDING = 16  # images that may wait for their results
_NODE = "EdgeBTS"  # device of the node's reports
_STAGES = ("preprocess", "inference", "postprocess")


@dataclass(frozen=True)
class Finding:
    """What was found on a frame; as :class:`~edge_bts.view.wire.Shown` has it."""

    mask: NDArray[np.uint8]
    components: Sequence[Component]
    presence: float | None
    health: Sequence[str]
    usable: bool
    times_ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def nothing(cls, shape: tuple[int, ...], word: str) -> Finding:
        """Return that there is no result, and the word for why."""
        return cls(np.zeros(shape, np.uint8), (), None, (word,), usable=False)


@dataclass(frozen=True)
class Arrival:
    """A frame that came.

    Attributes:
        image: uint8 H x W.
        spacing_mm: Of a pixel; None: unknown.
        arrived: When, of ``time.monotonic``.
        found: What somebody else found on it; None: nobody looked.
        dropped: Frames before it that got lost on their way to whoever looked.
    """

    image: NDArray[np.uint8]
    spacing_mm: float | None
    arrived: float
    found: Finding | None = None
    dropped: int = 0


class Source(Protocol):
    """A stream of frames; ``name`` is shown on the page."""

    name: str

    def arrivals(self, stop: threading.Event, say: Say) -> Iterator[Arrival]:
        """Yield frames as they come until ``stop`` is set.

        Raises:
            EdgeBtsError: The source cannot go on.
        """


@dataclass
class _Played:
    name: str
    stills: Iterator[Still]
    fps: float | None

    def arrivals(self, stop: threading.Event, say: Say) -> Iterator[Arrival]:
        del say  # there is always a frame
        due = time.monotonic()
        for still in self.stills:
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            now = time.monotonic()
            yield Arrival(still.image, still.spacing_mm, now)
            period = still.period_s(self.fps)
            if now - due > 0.5 * period:  # no burst to catch up: the schedule moves
                due = now
            due += period


def played(name: str, stills: Iterator[Still], fps: float | None) -> Source:
    """Return frames at a frame rate.

    Args:
        name: For the page.
        stills: As ``stored_images`` and ``phantom_sweep`` of :mod:`edge_bts.replay` give them.
        fps: Frames a second; None: each at the rate of its loop, 30 where that is unknown.
    """
    return _Played(name, stills, fps)


def image_server(
    host: str,
    port: int,
    *,
    device: str | None = None,
    spacing_mm: float | None = None,
    ask_v2: bool = False,
) -> _ImageServer:
    """Return the images of an OpenIGTLink server, to which one client connects again and again.

    Args:
        host: Of the server.
        port: Of the server.
        device: Whose images; None: of every device.
        spacing_mm: Of images that say none themselves.
        ask_v2: Ask for header version 2, in which PlusServer tells the spacing of a Clarius;
            servers that know version 1 alone are put out of step by it.
    """
    return _ImageServer(_Peer("image server", host, port, ask_v2), device, spacing_mm)


def node_results(
    node: tuple[str, int],
    images: tuple[str, int],
    *,
    device: str | None = None,
) -> Source:
    """Return the images of a server together with what an ``edge-bts-igtl`` node found on them.

    An image is shown with the mask of its own time, or not at all.

    Args:
        node: Host and port of the node.
        images: Host and port of the image server that the node listens to.
        device: Whose images; None: of every device.
    """
    return _NodeResults(
        _Peer("node", *node), image_server(*images, device=device), f"{images[0]}:{images[1]}"
    )


@dataclass(frozen=True)
class _Message:
    header: Header
    body: bytes


class _Peer:
    """A server of OpenIGTLink messages."""

    def __init__(self, what: str, host: str, port: int, ask_v2: bool = False) -> None:
        self.name = f"{what} {host}:{port}"
        self._place = (host, port)
        self._ask_v2 = ask_v2

    def messages(self, types: Sequence[str], stop: threading.Event, say: Say) -> Iterator[_Message]:
        """Yield the messages of some types, whose CRC is right, until ``stop`` is set.

        A connection that is lost, or whose bytes cannot be told apart any more, is made again.
        """
        wait = _FIRST_WAIT_S
        while not stop.is_set():
            try:
                with socket.create_connection(self._place, _STALL_S) as connection:
                    connection.settimeout(_TICK_S)
                    say("waiting", f"Connected to the {self.name}; waiting for an image.")
                    if self._ask_v2:
                        hello = Body("STATUS", 2, b"", 0)
                        connection.sendall(pack(hello, "EdgeBTS", 0))
                    for message in self._received(connection, types, stop):
                        wait = _FIRST_WAIT_S
                        yield message
            except (OSError, InputError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                say("waiting", f"No connection to the {self.name} ({reason}); trying again.")
            stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _received(
        self, connection: socket.socket, types: Sequence[str], stop: threading.Event
    ) -> Iterator[_Message]:
        while True:
            start = self._take(connection, HEADER_SIZE, stop, begun=False)
            if start is None:
                return
            header = parse_header(start)
            if header.body_size > _MOST_BODY:
                raise InputError(
                    f"Expected a message of at most {_MOST_BODY >> 20} MiB, but got "
                    f"{header.body_size} bytes."
                )
            body = self._take(connection, header.body_size, stop, begun=True)
            if body is None:
                return
            if header.type in types and crc64(body) == header.crc:
                yield _Message(header, body)

    def _take(
        self, connection: socket.socket, size: int, stop: threading.Event, *, begun: bool
    ) -> bytes | None:
        """Return so many bytes; None: it is to stop.

        Raises:
            ConnectionError: The peer ended the stream, or stopped in the middle of a message.
        """
        data, had = bytearray(size), 0
        progress = time.monotonic()
        while had < size:
            if stop.is_set():
                return None
            try:
                count = connection.recv_into(memoryview(data)[had:])
            except TimeoutError:
                if (begun or had) and time.monotonic() - progress > _STALL_S:
                    raise ConnectionError("it stopped in the middle of a message") from None
                continue
            if count == 0:
                raise ConnectionError("it ended the connection")
            had += count
            progress = time.monotonic()
        return bytes(data)


class _ImageServer:
    def __init__(self, peer: _Peer, device: str | None, spacing_mm: float | None) -> None:
        self.name = peer.name
        self._peer = peer
        self._device = device
        self._spacing_mm = spacing_mm

    def arrivals(self, stop: threading.Event, say: Say) -> Iterator[Arrival]:
        for _, arrival in self.stamped(stop, say):
            yield arrival

    def stamped(self, stop: threading.Event, say: Say) -> Iterator[tuple[int, Arrival]]:
        """Yield images with their timestamps."""
        told = ""
        for message in self._peer.messages(("IMAGE",), stop, say):
            arrived = time.monotonic()
            if self._device not in (None, message.header.device):
                continue
            try:
                image = parse_image(message.header, message.body)
            except InputError as error:
                if str(error) != told:
                    told = str(error)
                    say("waiting", told)
                continue
            told = ""
            spacing = image.spacing_mm or self._spacing_mm
            yield message.header.timestamp, Arrival(_gray(image), spacing, arrived)


def _gray(image: Image) -> NDArray[np.uint8]:
    pixels = image.pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return pixels.astype(np.uint8)
    return to_gray(np.ascontiguousarray(pixels[:, :, 2::-1]))  # RGB to OpenCV's BGR, alpha away


class _NodeResults:
    def __init__(self, node: _Peer, images: _ImageServer, place: str) -> None:
        self.name = f"image server {place}"
        self._node = node
        self._images = images

    def arrivals(self, stop: threading.Event, say: Say) -> Iterator[Arrival]:
        waiting = _Waiting()

        def collect() -> None:
            for stamp, arrival in self._images.stamped(stop, say):
                waiting.put(stamp, arrival)

        collector = threading.Thread(target=collect, name="view-images", daemon=True)
        collector.start()
        mask: tuple[int, NDArray[np.uint8]] | None = None
        told: int | None = None  # what the node has lost so far
        lost = 0  # since the frame before
        for message in self._node.messages(("IMAGE", "STRING"), stop, say):
            stamp = message.header.timestamp
            if message.header.type == "IMAGE":
                mask = stamp, _mask(message)
                continue
            if message.header.device != _NODE or mask is None or mask[0] != stamp:
                continue
            report = _Report.of(parse_string(message.header, message.body))
            total = report.frames["dropped"] + report.frames["superseded"]
            lost += 0 if told is None else max(0, total - told)
            told = total
            image = waiting.take(stamp)
            if image is None or image.image.shape != mask[1].shape:
                lost += 1
                continue
            found = report.finding(mask[1])
            spacing = report.mm_per_pixel
            yield replace(image, spacing_mm=spacing, found=found, dropped=lost)
            lost = 0
        collector.join()


class _Waiting:
    """Images that wait for their results, by timestamp."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._images: dict[int, Arrival] = {}

    def put(self, stamp: int, arrival: Arrival) -> None:
        with self._changed:
            self._images[stamp] = arrival
            while len(self._images) > _PENDING:
                del self._images[next(iter(self._images))]
            self._changed.notify()

    def take(self, stamp: int) -> Arrival | None:
        """Return the image of a time, which a result may be ahead of; older ones are forgotten."""
        with self._changed:
            if not self._changed.wait_for(lambda: stamp in self._images, _TICK_S):
                return None
            while (oldest := next(iter(self._images))) != stamp:
                del self._images[oldest]
            return self._images.pop(stamp)


def _mask(message: _Message) -> NDArray[np.uint8]:
    pixels = parse_image(message.header, message.body).pixels
    if message.header.device != "Mask" or pixels.ndim != 2:
        raise InputError(
            f"Expected the device Mask, but the node sends {message.header.device}; start it "
            "without --send probability."
        )
    return np.not_equal(pixels, 0).astype(np.uint8)


class _Report(BaseModel):
    """What the page needs of the node's JSON (docs/pipeline.md)."""

    health: str
    usable: bool
    mm_per_pixel: float | None
    frames: dict[str, int]
    presence: float | None = None
    ms: dict[str, float] = {}
    error: str = ""

    @classmethod
    def of(cls, text: str) -> _Report:
        try:
            report = cls.model_validate_json(text)
            report.frames["dropped"], report.frames["superseded"]
        except (ValueError, KeyError) as error:
            raise InputError(
                "Expected the JSON of edge-bts-igtl from the node, but got something else; "
                f"use a node of this version ({str(error).splitlines()[0]})."
            ) from error
        return report

    def finding(self, mask: NDArray[np.uint8]) -> Finding:
        words = [word.lower() for word in self.health.split() if word != "OK"]
        return Finding(
            mask=mask,
            components=components(mask, self.mm_per_pixel),
            presence=self.presence,
            health=words,
            usable=self.usable,
            times_ms={name: ms for name, ms in self.ms.items() if name in _STAGES},
        )
