"""The server of the page: who may ask, what is answered, and how frames reach browsers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
from contextlib import ExitStack
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from view_page import TOKEN, Served, pattern, serving, shown, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.view.server import MOST_BROWSERS, listen
from edge_bts.view.wire import Notice

ASSETS = sorted(file.name for file in files("edge_bts.view").joinpath("assets").iterdir())


def ask(
    served: Served, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Ask over HTTP, with exactly these headers; ``Host`` as it should be unless given."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": f"127.0.0.1:{served.port}", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    said = {name.lower(): value for name, value in answer.getheaders()}
    content = answer.read()
    connection.close()
    return answer.status, said, content


def watch(served: Served, path: str = f"/{TOKEN}/live", **options: Any) -> ClientConnection:
    """Open the stream as the page does, unless told otherwise."""
    options = {"origin": served.origin, "compression": None, "proxy": None} | options
    return connect(f"ws://127.0.0.1:{served.port}{path}", max_size=None, **options)


def number_of(message: str | bytes) -> int:
    """The number of the frame in a message."""
    assert isinstance(message, bytes)
    (size,) = struct.unpack_from("<I", message, 4)
    return int(json.loads(message[8 : 8 + size])["number"])


def test_who_has_the_token_gets_the_page_and_every_asset(served: Served) -> None:
    """And a browser is told to run nothing else and to tell nobody."""
    for name in ["", *(name for name in ASSETS if name != "index.html")]:
        status, headers, content = ask(served, f"/{TOKEN}/{name}")
        file = files("edge_bts.view").joinpath("assets", name or "index.html")
        assert (status, content) == (200, file.read_bytes())
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert f"ws://127.0.0.1:{served.port};" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize(
    "start",
    ["", "/", "/wrong/", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", f"//{TOKEN}/", "/%00/", "/%C3%BC/"],
)
@pytest.mark.parametrize("name", ["", "view.js", "live", "nothing"])
def test_without_the_token_nothing_is_answered(served: Served, start: str, name: str) -> None:
    """Not even whether there is such a file; the token as a query or a cookie is none."""
    status, _, content = ask(served, start + name or "*", Cookie=f"token={TOKEN}")
    assert status in (400, 403)
    assert b"<" not in content
    assert ask(served, f"/{name}?token={TOKEN}")[0] == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:{port}", "evil@127.0.0.1",
     "127.0.0.1:{port}.evil.example", "0.0.0.0:{port}", "[::1]x", "127.0.0.2:{port}", ""],
)  # fmt: skip
def test_a_name_that_is_made_to_point_here_gets_nothing(served: Served, host: str) -> None:
    """DNS rebinding: the browser of a stranger's page sends the stranger's name, with our port."""
    name = host.format(port=served.port)
    assert ask(served, f"/{TOKEN}/", Host=name)[0] in (400, 403)
    for good in ("localhost", f"localhost:{served.port}", "[::1]:80"):
        assert ask(served, f"/{TOKEN}/", Host=good)[0] == 200


def test_two_host_headers_are_refused(served: Served) -> None:
    """Whichever of them a proxy would believe."""
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(
            f"GET /{TOKEN}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n".encode()
        )
        assert raw.recv(100).split()[1] in (b"400", b"403")


FOREIGN = ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1",
           "http://localhost:{port}", "http://127.0.0.1:{port}.evil", "file://"]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
def test_foreign_origins_are_refused(served: Served, origin: str) -> None:
    """Even with the token, for files and for the stream."""
    origin = origin.format(port=served.port)
    assert ask(served, f"/{TOKEN}/", Origin=origin)[0] == 403
    with pytest.raises(InvalidStatus) as refused:
        watch(served, origin=origin)
    assert refused.value.response.status_code == 403
    assert ask(served, f"/{TOKEN}/", Origin=served.origin)[0] == 200


@pytest.mark.parametrize("path", ["/live", "/wrong/live", f"/{TOKEN}x/live", f"/{TOKEN}/other"])
def test_the_stream_needs_the_token_and_an_origin(served: Served, path: str) -> None:
    """A page of another origin may open any stream, so one that names no origin is not believed."""
    with pytest.raises(InvalidStatus):
        watch(served, path)
    with pytest.raises(InvalidStatus):
        watch(served, origin=None)


@pytest.mark.parametrize(
    "path",
    ["../server.py", "..%2fserver.py", "%2e%2e/server.py", "../../../../etc/passwd", "/etc/passwd",
     "//etc/passwd", "assets/view.js", "view.js/", "view.js%00", "./view.js/../view.css",
     "index.html", "VIEW.JS", "view.js;x", "..\\server.py", ".", "live"],
)  # fmt: skip
def test_nothing_but_the_assets_is_served(served: Served, path: str) -> None:
    """Whatever a path says: the names are looked up in a table, and no file is opened for it."""
    status, headers, content = ask(served, f"/{TOKEN}/{path}")
    assert status in (403, 404)
    assert len(content) < 100
    assert headers["content-security-policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_the_page_can_be_read_alone(served: Served, method: str) -> None:
    """There is nothing to change."""
    assert ask(served, f"/{TOKEN}/", method)[0] == 405


def test_the_assets_ask_for_nothing_from_elsewhere() -> None:
    """No address, no script and no style in the page itself, which its policy would refuse."""
    for name in ASSETS:
        text = files("edge_bts.view").joinpath("assets", name).read_text()
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"(https?:|[\"'(])//\w", text)
        assert not re.search(r"@import|url\(", text)
    page = files("edge_bts.view").joinpath("assets", "index.html").read_text()
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]+src=)|javascript:", page)


def test_a_browser_gets_the_newest_frame_when_it_has_taken_the_one_before(served: Served) -> None:
    """The queue holds one: what it was too slow for is gone, and never comes later."""
    with watch(served) as browser:
        assert json.loads(browser.recv())["kind"] == "welcome"
        wait_until(served.hub.watched.is_set)
        served.hub.publish(shown(1))
        assert number_of(browser.recv(timeout=30)) == 1
        for number in range(2, 101):
            served.hub.publish(shown(number))
        with pytest.raises(TimeoutError):
            browser.recv(timeout=0.2)
        browser.send("1")
        assert number_of(browser.recv(timeout=30)) == 100
        with pytest.raises(TimeoutError):
            browser.recv(timeout=0.2)


def test_a_browser_that_sleeps_delays_nobody(served: Served) -> None:
    """Each goes at its own pace."""
    with watch(served) as sleeper, watch(served) as quick:
        sleeper.recv()
        quick.recv()
        for number in range(1, 51):
            served.hub.publish(shown(number))
            assert number_of(quick.recv(timeout=30)) == number
            quick.send(str(number))
        assert number_of(sleeper.recv(timeout=30)) == 1
        sleeper.send("1")
        assert number_of(sleeper.recv(timeout=30)) == 50


def test_frame_and_mask_come_as_one_message(served: Served) -> None:
    """Whole, and as they were published."""
    with watch(served) as browser:
        browser.recv()
        served.hub.publish(shown(23))
        message = browser.recv(timeout=30)
    assert message == shown(23).message()
    assert isinstance(message, bytes)
    (size,) = struct.unpack_from("<I", message, 4)
    pixels = np.frombuffer(message, np.uint8, pattern(23).size, 8 + size)
    bits = np.unpackbits(np.frombuffer(message, np.uint8, offset=8 + size + pixels.size))
    assert (pixels == pattern(23).ravel()).all()
    assert (bits[: pixels.size] == (pixels >= 200)).all()


def test_newcomers_are_told_how_the_stream_stands() -> None:
    """Such as that no image server is there, which was said before they came."""
    with serving() as served:
        served.hub.publish(Notice("waiting", "No image server."))
        with watch(served) as browser:
            browser.recv()
            assert json.loads(browser.recv(timeout=30))["text"] == "No image server."


@pytest.mark.parametrize(
    ("said", "code"),
    [("x", 1008), ("", 1008), ("-1", 1008), ("1.5", 1008), ("9" * 13, 1008), (b"1", 1008),
     ("1" * 65, 1009), ("１", 1008)],
)  # fmt: skip
def test_a_browser_that_says_anything_else_is_sent_away(
    served: Served, said: str | bytes, code: int
) -> None:
    """All that a page has to say is the number of a frame."""
    with watch(served) as browser:
        browser.recv()
        browser.send(said)
        with pytest.raises(ConnectionClosed):
            browser.recv(timeout=30)
        assert browser.close_code == code
    wait_until(lambda: not served.hub.watched.is_set())


def test_so_many_browsers_and_no_more(served: Served) -> None:
    """One that goes makes room."""
    with ExitStack() as stack:
        for _ in range(MOST_BROWSERS):
            stack.enter_context(watch(served)).recv()
        with watch(served) as late, pytest.raises(ConnectionClosed):
            late.recv(timeout=30)
        assert late.close_code == 1013
    wait_until(lambda: not served.hub.watched.is_set())
    with watch(served) as again:
        assert json.loads(again.recv(timeout=30))["kind"] == "welcome"


def test_it_is_watched_while_a_browser_is_there(served: Served) -> None:
    """Also if that one ends without a word."""
    assert not served.hub.watched.is_set()
    with watch(served) as browser:
        browser.recv()
        assert served.hub.watched.is_set()
        browser.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not served.hub.watched.is_set())


def test_a_server_ends_with_browsers_there() -> None:
    """And tells them; what is published afterwards is nobody's."""
    with ExitStack() as stack:
        with serving() as served:
            browser = stack.enter_context(watch(served))
            browser.recv()
        with pytest.raises(ConnectionClosed):
            browser.recv(timeout=30)
        served.hub.publish(shown(1))


def test_it_listens_on_loopback_alone() -> None:
    """A port that is taken is said, with the mend."""
    with listen(0) as taken:
        host, port = taken.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(EnvironmentMismatchError, match="choose another --port"):
            listen(port)
    with pytest.raises(EnvironmentMismatchError, match="choose another --port"):
        listen(70000)
