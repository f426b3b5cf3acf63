"""edge-bts-igtl as a process, and peers of it that know nothing but struct and sockets."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from edge_bts.igtl import HEADER_SIZE, Body, Header, image_body, pack, parse_header

PATIENCE_S = 60.0
"""After that a test has failed, however slow the machine."""


class Node:
    """The running program. ``port`` is where it serves, ``lines`` what it said."""

    def __init__(self, program: Path, bundle: Path, key: Path, source_port: int, *options: str):
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [program, bundle, "--trust", key, "--connect", f"127.0.0.1:{source_port}",
             "--serve", "127.0.0.1:0", "--deadline-ms", "0", *options],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        said = self.wait_for(r"results at 127\.0\.0\.1:(\d+)")
        self.port = int(said.group(1))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.removeprefix("edge-bts-igtl: ").rstrip("\n"))

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until so many lines match; returns the match of the last."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = [m for line in list(self.lines) if (m := re.search(pattern, line))]
            if len(found) >= count:
                return found[-1]
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"not said: {pattern}\n" + "\n".join(self.lines))

    def said(self, pattern: str) -> int:
        """The number of lines that match."""
        return sum(re.search(pattern, line) is not None for line in self.lines)

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


@dataclass
class Message:
    """A message that was read."""

    header: Header
    content: bytes
    metadata: dict[str, str]

    @property
    def pixels(self) -> np.ndarray:
        """Of an IMAGE of one component: H x W."""
        width, height = struct.unpack(">HH", self.content[6:10])
        return np.frombuffer(self.content, np.uint8, offset=72).reshape(height, width)

    @property
    def report(self) -> dict[str, Any]:
        """Of the STRING of a result."""
        return dict(json.loads(self.content[4:]))


class Viewer:
    """A client of results."""

    def __init__(self, port: int, hello: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.sendall(hello)

    def read(self) -> Message:
        """The next message; its CRC is looked at by the tests of the real peers."""
        header = parse_header(self._take(HEADER_SIZE))
        body = self._take(header.body_size)
        if header.version == 1:
            return Message(header, body, {})
        extended, heads, texts, _ = struct.unpack(">HHII", body[:12])
        end = len(body) - heads - texts
        (count,) = struct.unpack(">H", body[end : end + 2])
        at, metadata = end + heads, {}
        for index in range(count):
            key, _, value = struct.unpack_from(">HHI", body, end + 2 + 8 * index)
            metadata[body[at : at + key].decode()] = body[at + key : at + key + value].decode()
            at += key + value
        return Message(header, body[extended:end], metadata)

    def result(self) -> tuple[Message, Message]:
        """The next image and its report; words between the results are passed over."""
        image = self.read()
        while image.header.type != "IMAGE":
            image = self.read()
        report = self.read()
        assert report.header.type == "STRING"
        return image, report

    def _take(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            came = self.socket.recv(count - len(parts))
            assert came, "the node has closed the connection"
            parts += came
        return bytes(parts)

    def close(self) -> None:
        """Leave."""
        self.socket.close()


class Scanner:
    """An image server with one client, the node."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.socket: socket.socket | None = None

    def meet(self) -> None:
        """Take the next connection of the node; the one before is left as it is."""
        self._listener.settimeout(PATIENCE_S)
        self.socket, _ = self._listener.accept()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        assert self.socket is not None
        self.socket.sendall(data)

    def close(self) -> None:
        """End the connection, not the server."""
        if self.socket is not None:
            self.socket.close()

    def end(self) -> None:
        """End both."""
        self.close()
        self._listener.close()


@contextmanager
def running(
    program: Path, bundle: Path, key: Path, *options: str
) -> Iterator[tuple[Node, Scanner]]:
    """A node that is connected to a scanner; it must have ended well in the end."""
    scanner = Scanner()
    node = Node(program, bundle, key, scanner.port, *options)
    try:
        scanner.meet()
        node.wait_for("connected")
        yield node, scanner
        assert node.stop() == 0, node.lines
    finally:
        node.process.kill()
        node.process.wait()
        scanner.end()


def message(body: Body, time_s: float = 0.0, device: str = "Image_Image") -> bytes:
    """A whole message."""
    return pack(body, device, time_s) + body.content


def image_message(
    image: np.ndarray, time_s: float = 0.0, version: int = 1, spacing_mm: float | None = None
) -> bytes:
    """An IMAGE."""
    return message(image_body(image, version, spacing_mm=spacing_mm), time_s)
