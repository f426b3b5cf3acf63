"""``edge-bts data phantom``: a folder of simulated images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(data_app: typer.Typer) -> None:
    """Add the command to ``edge-bts data``."""
    data_app.command("phantom")(phantom)


def phantom(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    count: Annotated[int, typer.Option(help="Number of images.")] = 240,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    height: Annotated[int, typer.Option(help="Rows of an image.")] = 320,
    width: Annotated[int, typer.Option(help="Columns of an image.")] = 384,
    cine: Annotated[int, typer.Option(help="Cine loops to add, 30 frames each.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write simulated breast ultrasound with lesion masks (never clinical data).

    The folder has the plain layout (images/, masks/, samples.csv), which every command reads.
    """
    from edge_bts.data.phantom import write_phantoms

    write_phantoms(output, count, seed, height=height, width=width, cine=cine, force=force)
    loops = f" and {cine} cine loops" if cine else ""
    print(f"{output}: {count} simulated images{loops}, not clinical data")
