"""``edge-bts data``: look at a data set, split it, make a phantom one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.errors import InputError

if TYPE_CHECKING:
    from edge_bts.data.split import Split

_Layout = Annotated[str, typer.Option(help="auto, busi, busbra, datasetb or plain.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

data_app = typer.Typer(
    name="data", help="Look at data sets, split them, make phantoms.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add ``data`` to the command line."""
    from edge_bts.cli import _data_phantom

    _data_phantom.register(data_app)
    app.add_typer(data_app)


@data_app.command()
def split(
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Split file to write (JSON).")],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    fractions: Annotated[str, typer.Option(help="Shares of train, val and test.")] = "0.7,0.1,0.2",
    fold: Annotated[
        int | None, typer.Option(help="Take this official fold as test (BUS-BRA: 1 to 5).")
    ] = None,
    layout: _Layout = "auto",
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Split a data set: groups stay whole, categories are balanced, the files are hashed.

    Groups are patients where the data set names them, else near-identical images that the tool
    finds itself. The split file holds the SHA-256 of every image and its masks; training and
    evaluation refuse data that differ.
    """
    from edge_bts.data import make_split, open_dataset, write_split

    refuse_existing(output, force)
    made = make_split(
        open_dataset(path, layout), seed=seed, fractions=_fractions(fractions), fold=fold
    )
    write_split(output, made)
    if as_json:
        print(json.dumps({"output": str(output), "hash": made.hash, **_summary(made)}, indent=2))
    else:
        _print_split(made, output)


def refuse_existing(path: Path, force: bool) -> None:
    """Raise InputError where ``path`` exists and ``force`` is off."""
    if path.exists() and not force:
        raise InputError(f"Expected {path} not to exist, but it does; choose another or --force.")


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"Expected --fractions as three numbers like 0.7,0.1,0.2, but got {text!r}."
        ) from error


def _summary(split: Split) -> dict[str, object]:
    from edge_bts.data.split import PARTS

    return {
        "dataset": split.dataset,
        "method": split.method,
        "seed": split.seed,
        "groups": len(set(split.groups.values())),
        "conflicts": len(split.conflicts),
        "parts": {
            part: {
                "images": len(split.part(part)),
                "groups": len({split.groups[name] for name in split.part(part)}),
                **Counter(split.categories[name] for name in split.part(part)),
            }
            for part in PARTS
        },
    }


def _print_split(split: Split, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from edge_bts.data.split import PARTS

    categories = sorted(set(split.categories.values()))
    table = Table(title=f"{split.dataset}, seed {split.seed}")
    table.add_column("part")
    for name in ("images", *categories, "groups"):
        table.add_column(name, justify="right")
    for name, ids in [*((part, split.part(part)) for part in PARTS), ("all", [*split.sha256])]:
        counts = Counter(split.categories[sample] for sample in ids)
        groups = len({split.groups[sample] for sample in ids})
        cells = [len(ids), *(counts[category] for category in categories), groups]
        table.add_row(name, *map(str, cells), end_section=name == "test")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"method  {split.method}", soft_wrap=True)
    if split.conflicts:
        console.print(
            f"labels  {len(split.conflicts)} images have a duplicate of another category; "
            "class teachers do not get them"
        )
    console.print(f"hash    {split.hash}\nfile    {output}", soft_wrap=True)
