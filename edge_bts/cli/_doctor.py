"""``edge-bts doctor``: what is here, what is missing, and the mend."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.errors import EnvironmentMismatchError

if TYPE_CHECKING:
    from edge_bts.cli._doctor_checks import Check

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check this installation: versions, processor, geometry core, backends, extras.

    Exit code 3 if something that `run` and `bench` need is missing; the mend is printed.
    """
    from edge_bts.cli._doctor_checks import run_checks

    checks = run_checks()
    missing = [check for check in checks if check.state == "missing"]
    if as_json:
        print(json.dumps({"ok": not missing, "checks": [asdict(c) for c in checks]}, indent=2))
    else:
        try:
            _print_table(checks)
        except ImportError:  # rich itself may be what is missing
            for check in checks:
                print(f"{check.state:8} {check.group:10} {check.name:20} {check.detail}")
    if missing:
        mends = list(dict.fromkeys(check.mend for check in missing))
        raise EnvironmentMismatchError(
            f"Expected a complete installation, but {', '.join(c.name for c in missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; {'; '.join(mends)}."
        )


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "state", "", "found"):
        table.add_column(heading, overflow="fold")
    group = ""
    for check in checks:
        detail = escape(check.detail + (f" ({check.mend})" if check.mend else ""))
        shown = check.group if check.group != group else ""
        table.add_row(f"[bold]{shown}[/]", _MARKS[check.state], check.name, detail)
        group = check.group
    Console(file=sys.stdout).print(table)
