"""``edge-bts sign``: a signature for a bundle that stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sign")(sign)


def sign(
    bundle: Annotated[Path, typer.Argument(help="Bundle NAME.ebts.")],
    key: Annotated[Path, typer.Option("--key", help="NAME.key of `edge-bts key new`.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a signature.")] = False,
) -> None:
    """Check every file of a bundle against its hash, then sign its manifest."""
    from edge_bts.bundle import sign_bundle
    from edge_bts.signing import load_signing_key

    signed = sign_bundle(bundle, load_signing_key(key), force=force)
    print(f"{signed.path}: manifest {signed.manifest_sha256[:12]} signed by {signed.maker.signer}")
