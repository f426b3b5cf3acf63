"""``edge-bts replay``: stored or simulated images as an OpenIGTLink image server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.data.phantom import PhantomCategory

__all__ = ["register"]

_CATEGORIES = ("benign", "malignant", "normal")


def register(app: typer.Typer) -> None:
    """Add ``edge-bts replay``."""
    app.command(name="replay")(replay)


def replay(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Images, videos, DICOM, folders of them; none: a simulated sweep."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second; default: of a video or DICOM its own, else 30."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; OpenIGTLink has no authentication.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 18944,
    device: Annotated[str, typer.Option(help="Name of the device.")] = "Image_Image",
    spacing: Annotated[
        float | None,
        typer.Option(help="Millimetres per pixel, to be sent along; default: of DICOM its own."),
    ] = None,
    header: Annotated[
        str, typer.Option(help="auto: version 1 until the peer has sent version 2; 2: always.")
    ] = "auto",
    frames: Annotated[int | None, typer.Option(help="Stop after so many.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the inputs.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated sweep.")] = 0,
    category: Annotated[
        str, typer.Option(help="Of the simulated sweep: benign, malignant, normal.")
    ] = "malignant",
    height: Annotated[int, typer.Option(help="Rows of the simulated sweep.")] = 320,
    width: Annotated[int, typer.Option(help="Columns of the simulated sweep.")] = 384,
) -> None:
    """Play images to OpenIGTLink clients, as a scanner would.

    The first frame waits for the first client; without --once or --frames it goes on until it is
    interrupted.
    """
    from edge_bts.errors import InputError
    from edge_bts.replay import Report, Server, phantom_sweep, stored_images
    from edge_bts.replay import replay as play

    opt.check_stream(fps, header, spacing)
    if category not in _CATEGORIES:
        raise InputError(f"Expected --category {', '.join(_CATEGORIES)}, but got {category!r}.")
    if not 1 <= len(device.encode()) <= 20:
        raise InputError(f"Expected --device of 1 to 20 bytes, but got {device!r}.")
    if inputs:
        stills = stored_images(inputs, spacing, repeat=not once)
    else:
        _say("simulating a sweep (not clinical data)")
        stills = phantom_sweep(
            seed,
            cast("PhantomCategory", category),
            height=height,
            width=width,
            spacing_mm=spacing,
            repeat=not once,
        )
    with Server(host, port, 2 if header == "2" else 1) as server:
        rate = "own rate" if fps is None else f"{fps:g} fps"
        _say(f"device {device} at {host}:{server.port}, {rate}; waiting for a client")
        report = Report()
        try:
            play(server, stills, fps=fps, device=device, limit=frames, report=report)
        finally:  # an interrupt is the usual end
            print(
                f"{report.frames} frames in {report.seconds:.3f} s, {report.late} late, "
                f"{report.dropped} dropped for slow clients"
            )


def _say(text: str) -> None:
    print(f"edge-bts: {text}", file=sys.stderr, flush=True)
