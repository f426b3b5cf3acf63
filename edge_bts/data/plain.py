"""The plain layout, for one's own images: ``images/`` + ``masks/`` and an optional table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_bts.data import listing
from edge_bts.data.listing import Defect, Scan
from edge_bts.data.sample import CATEGORIES, Dataset, Sample
from edge_bts.errors import InputError

__all__ = ["is_plain", "scan_plain", "write_table"]


def is_plain(root: Path) -> bool:
    """Whether ``images/`` and ``masks/`` are there."""
    return (root / "images").is_dir() and (root / "masks").is_dir()


def scan_plain(root: Path) -> Scan:
    """List a folder ``images/`` + ``masks/``, with an optional ``samples.csv``.

    A mask has the image's name or ``NAME_mask``. ``samples.csv`` has the columns id (the image's
    name without suffix), category, group (the patient), spacing_mm and device, of which only id is
    obligatory, and must then list every image; without it every image is of the category lesion.
    A normal image needs no mask.
    """
    table = _table(root / "samples.csv")
    defects: list[Defect] = []
    images = listing.by_stem(listing.list_images(root / "images"), root, defects)
    masks = listing.by_stem(listing.list_images(root / "masks"), root, defects)
    if table is not None:
        defects += _unmatched(root, table, images)
        images = {stem: path for stem, path in images.items() if stem in table}
    samples: list[Sample] = []
    used: set[str] = set()
    for stem, path in images.items():
        name = next((key for key in (stem, f"{stem}_mask") if key in masks), None)
        used |= {name} if name else set()
        row = (table or {}).get(stem, {})
        sample = _sample(root, stem, path, masks[name] if name else None, row)
        if sample.mask_paths or sample.category == "normal":
            samples.append(sample)
        else:
            defects.append(listing.missing_mask(root, path, f"masks/{path.name}"))
    if table is None:  # with a table an unused mask belongs to an image already reported
        defects += [listing.orphan(root, path) for stem, path in masks.items() if stem not in used]
    patients = any(row.get("group") for row in (table or {}).values())
    return Scan(Dataset(root.resolve().name, "plain", root, tuple(samples), patients), defects)


def write_table(root: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write ``samples.csv``: the names of the columns, then a row for each image."""
    with (root / "samples.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def _sample(root: Path, stem: str, image: Path, mask: Path | None, row: dict[str, str]) -> Sample:
    table = root / "samples.csv"
    return Sample(
        id=stem,
        group=row.get("group") or stem,
        category=listing.parse_category(row.get("category") or "lesion", table, CATEGORIES),
        image_path=image,
        mask_paths=() if mask is None else (mask,),
        spacing_mm=_spacing(row.get("spacing_mm"), stem, table),
        device=row.get("device", ""),
    )


def _table(path: Path) -> dict[str, dict[str, str]] | None:
    if not path.is_file():
        return None
    rows = listing.read_csv(path, ("id",))
    table = {row["id"]: row for row in rows}
    if len(table) != len(rows):
        raise InputError(f"Expected every id once in {path}, but some are repeated; remove them.")
    return table


def _unmatched(
    root: Path, table: dict[str, dict[str, str]], images: dict[str, Path]
) -> list[Defect]:
    unlisted = [
        Defect(
            listing.relative(root, path),
            f"Expected {path} to be listed in samples.csv, but it is not; add or remove it.",
        )
        for stem, path in images.items()
        if stem not in table
    ]
    absent = [
        listing.missing_image(root, root / "images" / name, "samples.csv")
        for name in table
        if name not in images
    ]
    return unlisted + absent


def _spacing(text: str | None, name: str, path: Path) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 10:
        raise InputError(
            f"Expected spacing_mm of {name} in {path} to be millimetres per pixel between 0 and "
            f"10, but got {text!r}; correct it or leave it empty."
        )
    return value
