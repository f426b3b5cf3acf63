"""What ``edge-bts data`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_bts.data.inspect import Duplicates, Inspection, Range
from edge_bts.data.split import PARTS, Split

_SHOWN = 12  # groups and defects that are spelled out; --json has all


def inspection(result: Inspection, sheet: Path, *, kept: bool = False) -> None:
    """Print the tables of ``data inspect``; ``kept`` says that the sheet was there before."""
    console = Console(highlight=False)
    console.print(_category_table(result))
    sizes = f"width {_spread(result.width)}, height {_spread(result.height)}"
    console.print(f"pixels      {sizes} (min / median / max)", soft_wrap=True)
    if result.spacing_mm:
        console.print(f"spacing     {_spread(result.spacing_mm)} mm per pixel")
    if result.patients is not None:
        console.print(f"patients    {result.patients}")
    if result.folds:
        folds = ", ".join(f"{fold}: {count}" for fold, count in result.folds.items())
        console.print(f"folds       {folds}")
    _print_duplicates(console, result.duplicates)
    console.print(f"defects     {len(result.defects) or 'none'}")
    _print_list(console, [defect["problem"] for defect in result.defects], "red")
    note = " (was there and was kept; --force draws it anew)" if kept else ""
    console.print(f"sheet       {sheet}{note}", soft_wrap=True)


def summary(made: Split) -> dict[str, object]:
    """Return the counts of a split as JSON-able values."""
    return {
        "dataset": made.dataset,
        "method": made.method,
        "seed": made.seed,
        "fold": made.fold,
        "leaks": made.leaks,
        "groups": len(set(made.groups.values())),
        "conflicts": len(made.conflicts),
        "parts": {
            part: {
                "images": len(made.part(part)),
                "groups": _group_count(made, made.part(part)),
                **Counter(made.categories[name] for name in made.part(part)),
            }
            for part in PARTS
        },
    }


def split(made: Split, output: Path) -> None:
    """Print the table of ``data split``."""
    categories = sorted(set(made.categories.values()))
    table = Table(title=f"{made.dataset}, seed {made.seed}", title_justify="left")
    table.add_column("part")
    for name in ("images", *categories, "groups"):
        table.add_column(name, justify="right")
    for name, ids in [*((part, made.part(part)) for part in PARTS), ("all", [*made.sha256])]:
        counts = Counter(made.categories[sample] for sample in ids)
        cells = [len(ids), *(counts[category] for category in categories), _group_count(made, ids)]
        table.add_row(name, *map(str, cells), end_section=name == "test")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"method  {made.method}", soft_wrap=True)
    if made.conflicts:
        console.print(
            f"labels  {len(made.conflicts)} images have a duplicate of another category: "
            "class teachers do not get them",
            soft_wrap=True,
        )
    if made.leaks:
        console.print(f"leaks   {made.leaks}", style="yellow", soft_wrap=True)
    console.print(f"hash    {made.hash}\nfile    {output}", soft_wrap=True)


def _category_table(result: Inspection) -> Table:
    table = Table(title=f"{result.dataset} (layout {result.layout})", title_justify="left")
    table.add_column("category")
    for name in ("images", "masks", "several masks", "lesion, % of pixels\n(min / median / max)"):
        table.add_column(name, justify="right")
    for name, count in result.categories.items():
        cells = (count.images, count.masks, count.several_masks, _spread(count.lesion_percent))
        table.add_row(name, *map(str, cells))
    table.add_section()
    several = sum(count.several_masks for count in result.categories.values())
    table.add_row("all", str(result.images), str(result.masks), str(several), "")
    return table


def _print_duplicates(console: Console, found: Duplicates) -> None:
    across = "" if found.across_patients is None else f", {found.across_patients} across patients"
    console.print(
        f"duplicates  {len(found.groups)} groups of {found.images} images{across}; "
        f"{len(found.identical)} byte-identical\n            {found.method}",
        soft_wrap=True,
    )
    _print_list(console, [f"byte-identical: {', '.join(ids)}" for ids in found.identical])
    if found.conflicts:
        images = sum(map(len, found.conflicts))
        console.print(f"labels      {len(found.conflicts)} groups ({images} images) in conflict")
        _print_list(console, [", ".join(group) for group in found.conflicts], "yellow")


def _print_list(console: Console, lines: Sequence[str], style: str = "dim") -> None:
    for line in lines[:_SHOWN]:
        console.print(f"            {line}", style=style, soft_wrap=True, markup=False)
    if len(lines) > _SHOWN:
        console.print(f"            ... and {len(lines) - _SHOWN} more; --json lists all")


def _spread(values: Range | None) -> str:
    if values is None:
        return "-"
    return f"{values.min:.4g} / {values.median:.4g} / {values.max:.4g}"


def _group_count(made: Split, ids: Iterable[str]) -> int:
    return len({made.groups[name] for name in ids})
