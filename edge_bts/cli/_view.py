"""``edge-bts view``: a live page in the browser."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.runtime.native import Session
    from edge_bts.view import Source

__all__ = ["register"]

_PLACE = re.compile(r"igtl://([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})/?", re.ASCII)


def register(app: typer.Typer) -> None:
    """Add ``edge-bts view``."""
    app.command(name="view")(view)


def view(
    bundle: Annotated[
        str,
        typer.Argument(
            help="Bundle (NAME.ebts), or igtl://HOST:PORT of an edge-bts-igtl node whose results "
            "are shown."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Argument(
            help="igtl://HOST:PORT of an image server; an image, a folder of them, a video, DICOM; "
            "none: a simulated sweep."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second of files; default: a loop's own rate, else 30."),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(help="Millimetres per pixel of what does not say it; else sizes are in px."),
    ] = None,
    deadline_ms: Annotated[
        float,
        typer.Option(help="A mask that is later than this is withheld; 0: none is."),
    ] = 100.0,
    threads: Annotated[int | None, typer.Option(help="Threads inside one inference.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Name of the device whose images are taken; default: all.")
    ] = None,
    header: Annotated[
        str, typer.Option(help="auto, or 2: ask the image server for header version 2.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the simulated sweep.")] = 0,
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
) -> None:
    """Show live images with the lesions found on them, in a browser on this machine.

    The page is served on loopback to who has the address that is printed, until it is interrupted.
    A folder, a video or the sweep is played over and over.
    """
    from edge_bts.extras import need_extra

    need_extra("view", "starlette", "uvicorn", "websockets")
    import secrets

    from edge_bts.errors import InputError
    from edge_bts.view import Live, node_results
    from edge_bts.view.server import Hub, application, listen, server

    opt.check_stream(fps, header, spacing)
    if not 0 <= deadline_ms < 4e6:
        raise InputError(f"Expected --deadline-ms of 0 or more, but got {deadline_ms:g}.")
    images = None if source is None else _place(source)
    if node := _place(bundle):
        if images is None:
            raise InputError(
                "Expected igtl://HOST:PORT of the image server that the node listens to as the "
                f"second argument, but got {source or 'none'}."
            )
        opened, stream = None, node_results(node, images, device=device)
    else:
        stream = _stream(source, images, fps, spacing, device, header, seed)
        opened = _session(bundle, threads, trust, allow_unsigned)
    hub, token, listener = Hub(), secrets.token_urlsafe(16), listen(port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/"
    welcome: dict[str, Any] = {
        "source": stream.name,
        "model": {"backend": f"node {node[0]}:{node[1]}"} if node else None,
        "fps": None if images else fps or 1,  # or more: when the page may call it quiet
        "deadline_ms": deadline_ms or None,
    }
    with contextlib.ExitStack() as stack:
        if opened is not None:
            session = stack.enter_context(opened)
            welcome["model"] = session.describe()
            for note in session.notes:
                _say(f"note: {note}")
        live = Live(
            stream,
            opened,
            deadline_ms=deadline_ms or None,
            publish=hub.publish,
            watched=hub.watched,
        )
        stack.enter_context(live)
        _say(f"{stream.name}; Ctrl-C ends. Research software, not a medical device.")
        print(address, flush=True)
        if open_browser:
            stack.enter_context(_browser(address))
        server(application(hub, token, welcome)).run(sockets=[listener])


def _place(text: str) -> tuple[str, int] | None:
    """Return host and port of ``igtl://HOST:PORT``; None: a path."""
    from edge_bts.errors import InputError

    if not text.startswith("igtl:"):
        return None
    found = _PLACE.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise InputError(
            f"Expected igtl://HOST:PORT, such as igtl://127.0.0.1:18944, but got {text}."
        )
    return found[1].strip("[]"), int(found[2])


def _stream(
    source: str | None,
    images: tuple[str, int] | None,
    fps: float | None,
    spacing: float | None,
    device: str | None,
    header: str,
    seed: int,
) -> Source:
    from edge_bts.replay import phantom_sweep, stored_images
    from edge_bts.view import image_server, played

    if images:
        return image_server(*images, device=device, spacing_mm=spacing, ask_v2=header == "2")
    if source is not None:
        path = Path(source)
        return played(path.name or source, stored_images([path], spacing, repeat=True), fps)
    _say("simulating a sweep (not clinical data)")
    sweep = phantom_sweep(seed, "malignant", height=320, width=384, spacing_mm=spacing, repeat=True)
    return played(f"simulated sweep, seed {seed}", sweep, fps)


def _session(
    bundle: str, threads: int | None, trust: list[Path] | None, allow_unsigned: bool
) -> Session:
    from edge_bts import runtime

    return runtime.open(bundle, trust=trust or (), allow_unsigned=allow_unsigned, threads=threads)


@contextlib.contextmanager
def _browser(address: str) -> Iterator[None]:
    """Open the browser at a file of this user's that leads to the address.

    Every user of a machine can read the command lines of all, and so the token in them.
    """
    import tempfile
    import webbrowser

    with tempfile.NamedTemporaryFile("w", prefix="edge-bts-view-", suffix=".html") as door:
        door.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={address}">')
        door.flush()
        webbrowser.open(Path(door.name).as_uri())
        yield


def _say(text: str) -> None:
    print(f"edge-bts: {text}", file=sys.stderr, flush=True)
