"""``edge-bts data``: look at a data set, split it, make a phantom one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.errors import InputError

if TYPE_CHECKING:
    from edge_bts.data.contact_sheet import ContactSheet
    from edge_bts.data.inspect import Inspection
    from edge_bts.data.listing import Scan
    from edge_bts.data.sample import Dataset

_Layout = Annotated[str, typer.Option(help="auto, busi, busbra, datasetb or plain.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

data_app = typer.Typer(
    name="data", help="Look at data sets, split them, make phantoms.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add ``data`` to the command line."""
    from edge_bts.cli import _data_augment, _data_phantom

    _data_phantom.register(data_app)
    _data_augment.register(data_app)
    app.add_typer(data_app)


@data_app.command("inspect")
def inspect_command(
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Contact sheet, PNG; default: ./FOLDER-inspect.png."),
    ] = None,
    layout: _Layout = "auto",
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Show what a data set holds and what is wrong with it; draw a contact sheet.

    Reads every image and mask. Defects (a missing mask, a damaged file, sizes that differ, a mask
    that contradicts its category) are listed all at once, and the exit code is then 2.
    """
    from edge_bts.cli import _data_print
    from edge_bts.data.contact_sheet import ContactSheet, write_png
    from edge_bts.data.readers import scan
    from edge_bts.files import refuse_existing

    if output is not None:
        refuse_existing(output, force)
    target = output or Path(f"{path.resolve().name}-inspect.png")
    found = scan(path, layout)
    sheet = ContactSheet(found.dataset.samples)
    dataset, result = _read_all(found, sheet)
    # A second look must not fail for the picture of the first: the unasked-for name is kept.
    kept = target.exists() and not force
    if not kept:
        write_png(target, sheet.draw(dataset))
    if as_json:
        print(json.dumps({**result.model_dump(), "contact_sheet": str(target)}, indent=2))
    else:
        _data_print.inspection(result, target, kept=kept)
    if result.defects:
        count = len(result.defects)
        raise InputError(
            f"Expected no defects in {path}, but found {count} (listed above); "
            "mend or remove these files."
        )


@data_app.command()
def split(
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Split file to write (JSON).")],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    fractions: Annotated[
        str | None,
        typer.Option(help="Shares of train, val and test.", show_default="0.7,0.1,0.2"),
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="Take this official fold as test (BUS-BRA: 1 to 5).")
    ] = None,
    lists: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Published lists of names for train and test; validation is drawn from train.",
            metavar="TRAIN TEST",
        ),
    ] = None,
    select_on_test: Annotated[
        bool,
        typer.Option(
            "--select-on-test",
            help="With --lists: choose the epoch on the second list, as published tables do.",
        ),
    ] = False,
    layout: _Layout = "auto",
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Split a data set: groups stay whole, categories are balanced, the files are hashed.

    Groups are patients where the data set names them, else near-identical images that the tool
    finds itself. The split file holds the SHA-256 of every image and its masks; training and
    evaluation refuse data that differ. Published lists may tear groups apart; the split then says
    so, and so does every report made with it.
    """
    from edge_bts.cli import _data_print
    from edge_bts.data import make_split, open_dataset, split_from_lists, write_split
    from edge_bts.files import refuse_existing

    refuse_existing(output, force)
    if lists is not None and (fractions is not None or fold is not None):
        raise InputError(
            "Expected --lists alone, but got --fractions or --fold too; the lists say which "
            "images are for training and test."
        )
    if select_on_test and lists is None:
        raise InputError(
            "Expected --lists with --select-on-test, but got none; without published lists there "
            "is nothing to compare with, and the choice would flatter."
        )
    shares = _fractions(fractions or "0.7,0.1,0.2")
    dataset = open_dataset(path, layout)
    if lists is None:
        made = make_split(dataset, seed=seed, fractions=shares, fold=fold)
    else:
        made = split_from_lists(dataset, *lists, seed=seed, select_on_test=select_on_test)
    write_split(output, made)
    if as_json:
        summary = _data_print.summary(made)
        print(json.dumps({**summary, "hash": made.hash, "file": str(output)}, indent=2))
    else:
        _data_print.split(made, output)


@data_app.command("merge")
def merge_command(
    paths: Annotated[list[Path], typer.Argument(help="Folders of data sets, two or more.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    splits: Annotated[
        list[Path] | None,
        typer.Option("--split", help="Split file of each, in the order of the folders."),
    ] = None,
    split_output: Annotated[
        Path | None,
        typer.Option(help="Split file to write with --split; default: OUTPUT.split.json."),
    ] = None,
    force: _Force = False,
) -> None:
    """Copy data sets into one folder of the plain layout, to train on all of them.

    Groups stay whole. With a split of each, what trains, validates or tests there does so here;
    a network that is trained on it names them all. The licence of each set holds for the copy.
    """
    from edge_bts.cli import _data_print
    from edge_bts.data import load_split, open_dataset, write_split
    from edge_bts.data.merge import merge
    from edge_bts.data.split import verify
    from edge_bts.files import refuse_existing

    target = split_output or output.with_name(f"{output.name}.split.json")
    if splits:
        refuse_existing(target, force)
    datasets = [open_dataset(path) for path in paths]
    given = [load_split(path) for path in splits or ()]
    for dataset, split in zip(datasets, given, strict=False):  # merge() counts them
        verify(dataset, split)
    made = merge(datasets, output, given, force=force)
    count, names = sum(map(len, datasets)), ", ".join(dataset.name for dataset in datasets)
    print(f"{output}: {count} images of {names}")
    if made is not None:
        write_split(target, made)
        _data_print.split(made, target)


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"Expected --fractions as three numbers like 0.7,0.1,0.2, but got {text!r}."
        ) from error


def _read_all(found: Scan, sheet: ContactSheet) -> tuple[Dataset, Inspection]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from edge_bts.data.inspect import inspect

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=len(found.dataset.samples))
        return inspect(
            found, visit=sheet.add, progress=lambda done, _: bar.update(task, completed=done)
        )
