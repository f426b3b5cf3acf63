"""edge-bts-igtl among peers that lie, stall and die: it lives, keeps its memory, says it once."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from igtl_node import Node, Scanner, Viewer, image_message, message, running
from libedge_bts import blobs

from edge_bts.igtl import Body, crc64, image_body, pack

pytestmark = pytest.mark.slow
Start = Callable[..., AbstractContextManager[tuple[Node, Scanner]]]
FRAME = blobs(120, 160, 3)
MB = 1 << 20


@pytest.fixture(scope="module")
def start(native_build: Path, blob_bundle: Path, maker: Path) -> Start:
    """Run a node that is connected to a scanner."""
    program = native_build / "runtime" / "apps" / "igtl" / "edge-bts-igtl"
    return lambda *options: running(
        program, blob_bundle, maker.with_suffix(".pub"), "--max-size", "640x480", *options
    )


@pytest.fixture
def both(start: Start) -> Iterator[tuple[Node, Scanner]]:
    """A node and its scanner."""
    with start() as (node, scanner):
        yield node, scanner


def check_alive(node: Node, scanner: Scanner, bad: int) -> None:
    """A good frame comes back, and so many bad ones were counted."""
    viewer = Viewer(node.port)
    address = viewer.socket.getsockname()
    node.wait_for(f"client {address[0]}:{address[1]}: joined")
    scanner.send(image_message(FRAME, 9.0))
    image, report = viewer.result()
    assert image.header.timestamp == 9 * 2**32
    assert report.report["frames"]["bad"] == bad
    viewer.close()


def raw(kind: str, content: bytes, crc: int | None = None, version: int = 1) -> bytes:
    """A message of whatever content."""
    return message(Body(kind, version, content, crc64(content) if crc is None else crc))


GOOD = image_body(FRAME, 1).content
BAD = {
    "wrong CRC": (raw("IMAGE", GOOD, crc=5), "CRC"),
    "no content": (raw("IMAGE", b""), "an IMAGE of at least"),
    "header cut": (raw("IMAGE", GOOD[:40]), "an IMAGE of at least"),
    "no pixels": (raw("IMAGE", GOOD[:6] + bytes(6) + GOOD[12:66] + bytes(6)), "pixels in 0 bytes"),
    "pixels missing": (raw("IMAGE", GOOD[:-1]), "are there"),
    "pixels too many": (raw("IMAGE", GOOD + b"x"), "are there"),
    "part of an image": (raw("IMAGE", GOOD[:60] + b"\0\1" + GOOD[62:]), "whole image"),
    "float pixels": (
        raw("IMAGE", GOOD[:3] + b"\x0a" + GOOD[4:72] + np.zeros(120 * 160, "f4").tobytes()),
        "scalar type 10",
    ),
    "wider than allowed": (image_message(np.zeros((9, 641), np.uint8)), "--max-size"),
    "a volume": (
        raw("IMAGE", GOOD[:10] + b"\0\2" + GOOD[12:70] + b"\0\2" + GOOD[72:] + GOOD[72:]),
        "one slice",
    ),
    "one column": (image_message(np.zeros((9, 1), np.uint8)), "more than one column"),
    "extended header missing": (raw("IMAGE", GOOD[:5], version=2), "extended header"),
    "metadata beyond the body": (
        raw("IMAGE", struct.pack(">HHII", 12, 65535, 2**32 - 1, 0) + GOOD, version=2),
        "holds its metadata",
    ),
    "more metadata than heads": (
        raw("IMAGE", struct.pack(">HHII", 12, 2, 0, 0) + GOOD + b"\xff\xff", version=2),
        "pairs of metadata",
    ),
    "a pose that is cut": (raw("TRANSFORM", bytes(47)), "a TRANSFORM of at least 48"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_counted_and_told_once(both: tuple[Node, Scanner], name: str) -> None:
    """Three of it: one line, three counted, and the frame after them is segmented."""
    node, scanner = both
    sent, said = BAD[name]
    scanner.send(3 * sent)
    check_alive(node, scanner, bad=3)
    assert node.said("expected") == 1
    assert node.said(f"image server .*: expected .*{said}") == 1
    assert node.said("lost") == 0


def test_messages_that_nobody_needs_are_skipped(both: tuple[Node, Scanner]) -> None:
    """STATUS, STRING and types that do not exist are neither told nor bad, whatever is in them."""
    node, scanner = both
    for kind in ("STATUS", "STRING", "POLYDATA", "NOTHING\x1b[2J", ""):
        scanner.send(raw(kind, b"anything", crc=0) + raw(kind, b"", version=2, crc=1))
    check_alive(node, scanner, bad=0)
    assert node.said("expected") == 0


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (pack(Body("IMAGE", 1, b"", 0), "x", 0)[:42] + b"\xff" * 16, "are announced"),
        (image_message(np.zeros((1000, 2000), np.uint8)), "are announced"),
        (b"\0\7" + bytes(56), "version 1 or 2, but got 7"),
        (b"GET / HTTP/1.1\r\nHost: somewhere.example\r\nAccept: everything\r\n\r\n", "version"),
    ],
    ids=["a lie", "too large", "version 7", "another protocol"],
)
def test_a_stream_out_of_step_is_left_and_found_again(
    both: tuple[Node, Scanner], sent: bytes, said: str
) -> None:
    """What cannot be skipped ends the connection, before memory is taken for it."""
    node, scanner = both
    before = node.memory()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not take it all
        scanner.send(sent)
    node.wait_for(f"lost, expected .*{said}.*; connecting again")
    scanner.meet()
    check_alive(node, scanner, bad=0)
    assert node.said("lost") == 1
    assert node.memory() < before + 4 * MB  # the frame that is segmented takes some


def test_a_server_killed_in_mid_message_is_found_again(both: tuple[Node, Scanner]) -> None:
    """At any point of header and body: one line each, and no half frame is ever segmented."""
    node, scanner = both
    whole = image_message(FRAME, 1.0)
    points = [1, 57, 58, 59, 58 + 71, 58 + 72, len(whole) // 2, len(whole) - 1]
    for count, point in enumerate(points, start=1):
        scanner.send(whole[:point])
        scanner.close()
        scanner.meet()
        node.wait_for("connected", count + 1)
    check_alive(node, scanner, bad=0)
    assert node.said("lost, in the middle of a message") == len(points)
    assert node.said("lost") == len(points)


def test_a_server_that_is_not_there_is_told_once(
    native_build: Path, blob_bundle: Path, maker: Path
) -> None:
    """The node tries on without a word, and connects when the server comes."""
    program = native_build / "runtime" / "apps" / "igtl" / "edge-bts-igtl"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    node = Node(program, blob_bundle, maker.with_suffix(".pub"), port)
    try:
        node.wait_for("not there yet")
        viewer = Viewer(node.port)
        while b"no image server" not in viewer.read().content:
            pass
        viewer.read()  # a second later
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()
            node.wait_for("connected")
            assert node.said("not there yet") == 1
        node.wait_for("not there yet", 2)  # it left
    finally:
        assert node.stop() == 0


def test_a_thousand_clients_come_and_go(both: tuple[Node, Scanner]) -> None:
    """Some after a word, some in the middle of one: a line each way, and the memory stays."""
    node, scanner = both
    check_alive(node, scanner, bad=0)
    hello = [b"", raw("STATUS", bytes(31), version=2), raw("STATUS", bytes(31))]

    def visits(first: int, last: int) -> None:
        for number in range(first, last):
            client = socket.create_connection(("127.0.0.1", node.port))
            client.sendall(hello[number % 3][: 1 + number % 90])
            client.close()
            if number % 8 == 0 or number == last - 1:  # as many as have a place at a time
                node.wait_for("left", 1 + number)

    visits(1, 101)
    before = node.memory()
    visits(101, 1101)
    assert node.memory() <= before + MB
    check_alive(node, scanner, bad=0)
    assert node.said("joined") == 1102
    assert node.said("refused") == 0


def test_a_slow_reader_delays_nobody(both: tuple[Node, Scanner]) -> None:
    """One that never reads, one that dies in mid-message: another gets every result."""
    node, scanner = both
    frame = np.repeat(np.repeat(FRAME, 4, 0), 4, 1)
    body = image_body(frame, 1)
    slow, dying, quick = Viewer(node.port), Viewer(node.port), Viewer(node.port)
    node.wait_for("joined", 3)

    def play(first: int, last: int) -> None:
        for number in range(first, last):
            scanner.send(message(body, number))
            assert quick.result()[0].header.timestamp == number * 2**32

    play(1, 60)
    dying.socket.recv(100000)
    dying.close()
    before = node.memory()
    play(60, 300)
    assert node.memory() <= before + MB
    slow.close()
    left = node.wait_for(r"left after (\d+) results, (\d+) dropped", 2)
    assert int(left.group(2)) > 100


def test_clients_beyond_the_most_are_refused(start: Start) -> None:
    """With a line each; who is there stays."""
    with start("--max-clients", "2") as (node, scanner):
        first, second = Viewer(node.port), Viewer(node.port)
        node.wait_for("joined", 2)
        for _ in range(5):
            third = socket.create_connection(("127.0.0.1", node.port), 60)
            assert third.recv(1) == b""
            third.close()
        node.wait_for("refused, as 2 are here", 5)
        scanner.send(image_message(FRAME, 1.0))
        assert first.result()[0].pixels.shape == second.result()[0].pixels.shape == FRAME.shape


def test_a_client_that_talks_nonsense_is_sent_away(both: tuple[Node, Scanner]) -> None:
    """One line says what it sent; the scanner is not concerned."""
    node, scanner = both
    client = socket.create_connection(("127.0.0.1", node.port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: somewhere.example\r\nAccept: everything\r\n\r\n")
    node.wait_for("left after 0 results, 0 dropped .*version 1 or 2")
    client.close()
    check_alive(node, scanner, bad=0)
