"""``edge-bts view``: from the command line to an address that answers."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner
from view_page import pattern

from edge_bts.cli import app
from edge_bts.cli._view import _browser
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError
from edge_bts.runtime.native import import_runtime

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image to play."""
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), pattern(1))
    return path


def test_the_address_that_is_printed_opens_the_page_until_an_interrupt(image: Path) -> None:
    """It is all of standard output; the token is new each time; Ctrl-C ends with code 130."""
    try:
        import_runtime()
    except EnvironmentMismatchError as error:
        pytest.skip(str(error))
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_bts.cli", "view", MODELS / "busbra-nano.ebts", image,
         "--trust", MODELS / "release.pub", "--threads", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(address, timeout=60) as page:
            assert b"<title>edge-bts view</title>" in page.read()
        token = address.split("/")[3]
        assert len(token) >= 22  # 128 bits
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.replace(token, "x" * len(token)), timeout=60)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert token not in said
    assert "Research software, not a medical device." in said


def test_the_browser_is_opened_without_the_token_on_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which every user of the machine can read; the file that leads to it is this user's alone."""
    opened: list[tuple[str, str, int]] = []

    def browse(address: str) -> bool:
        file = Path(urllib.parse.urlsplit(address).path)
        opened.append((address, file.read_text(), file.stat().st_mode & 0o777))
        return True

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", browse)
    with _browser("http://127.0.0.1:1/secret/"):
        ((address, content, mode),) = opened
        assert address.startswith("file:///")
        assert "secret" not in address
        assert "url=http://127.0.0.1:1/secret/" in content
        assert mode == 0o600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["BUNDLE", "--fps", "0"], "--fps"),
        (["BUNDLE", "--deadline-ms", "-1"], "--deadline-ms"),
        (["BUNDLE", "--header", "1"], "--header"),
        (["BUNDLE", "--spacing", "0"], "--spacing"),
        (["BUNDLE", "nowhere"], "nothing is there"),
        (["BUNDLE", "igtl://127.0.0.1"], "igtl://HOST:PORT"),
        (["BUNDLE", "igtl://127.0.0.1:0"], "igtl://HOST:PORT"),
        (["BUNDLE", "igtl://127.0.0.1:70000"], "igtl://HOST:PORT"),
        (["BUNDLE", "igtl://a b:18944"], "igtl://HOST:PORT"),
        (["igtl://127.0.0.1:18945"], "image server that the node listens to"),
        (["igtl://127.0.0.1:18945", "IMAGE"], "image server that the node listens to"),
        (["nothing.ebts", "IMAGE"], "nothing.ebts"),
    ],
)
def test_what_cannot_be_shown_is_said(image: Path, arguments: list[str], said: str) -> None:
    """As bad input, before anything is listened at."""
    known = {"BUNDLE": str(MODELS / "busbra-nano.ebts"), "IMAGE": str(image)}
    result = CliRunner().invoke(app, ["view", *(known.get(word, word) for word in arguments)])
    assert isinstance(result.exception, EdgeBtsError)
    assert result.exception.exit_code in (2, 3)
    assert said in str(result.exception)


def test_a_bundle_of_an_unknown_maker_is_not_opened(image: Path) -> None:
    """As everywhere."""
    bundle = str(MODELS / "busbra-nano.ebts")
    result = CliRunner().invoke(app, ["view", bundle, str(image)])
    assert isinstance(result.exception, EdgeBtsError)
    assert not isinstance(result.exception, InputError)
    assert result.exception.exit_code in (3, 7)


def test_the_packages_of_the_page_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device install has none of them: the sentence holds the command that mends it."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name)
    )
    result = CliRunner().invoke(app, ["view", "b.ebts"])
    assert isinstance(result.exception, EnvironmentMismatchError)
    assert "pip install 'edge-bts[view]'" in str(result.exception)
