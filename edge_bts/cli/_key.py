"""``edge-bts key``: key pairs that sign bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_bts.cli import _options as opt

_app = typer.Typer(no_args_is_help=True, help="Make and name the keys that sign bundles.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="key")


@_app.command()
def new(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="NAME: writes NAME.key and NAME.pub.")
    ],
    force: opt.Force = False,
) -> None:
    """Make a key pair: NAME.key stays with you, NAME.pub goes to whoever opens your bundles."""
    from edge_bts.signing import key_id, load_public_key, new_key

    private, public = new_key(output, force=force)
    print(f"{key_id(load_public_key(public))}  {private} (secret), {public}")


@_app.command()
def show(
    file: Annotated[Path, typer.Argument(help="NAME.pub or NAME.key.")],
) -> None:
    """Print the id of a key: 16 hexadecimal digits of the SHA-256 of the raw public key."""
    from edge_bts.signing import key_id, load_either_key

    print(key_id(load_either_key(file)))
