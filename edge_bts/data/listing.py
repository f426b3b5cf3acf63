"""What the layouts share: lists of files, tables, and the words for what is wrong with them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from edge_bts.data.images import IMAGE_SUFFIXES
from edge_bts.data.sample import Category, Dataset
from edge_bts.errors import InputError

__all__ = ["Defect", "Scan"]


@dataclass(frozen=True)
class Defect:
    """Something wrong with one file: its path below the root, and a sentence."""

    file: str
    problem: str


@dataclass
class Scan:
    """A data set without its defective samples, and the defects."""

    dataset: Dataset
    defects: list[Defect] = field(default_factory=list)


def list_images(folder: Path) -> list[Path]:
    """List the image files of ``folder`` in natural order, without hidden ones."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"Expected a folder of images at {folder}, but it cannot be read "
            f"({error.strerror or error}); check it."
        ) from error
    images = (path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(images, key=lambda path: natural(path.name))


def by_stem(paths: Iterable[Path], root: Path, defects: list[Defect]) -> dict[str, Path]:
    """Index ``paths`` by name without suffix; a second file of the same name is a defect."""
    index: dict[str, Path] = {}
    for path in paths:
        first = index.setdefault(path.stem, path)
        if first is not path:
            problem = f"Expected one file {path.stem}, but there are {first} and {path}; keep one."
            defects.append(Defect(relative(root, path), problem))
    return index


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``x (2)`` before ``x (10)``."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a table with a header; all values are stripped, absent ones are empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = [{key: (row[key] or "").strip() for key in header} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"Expected a comma-separated table in {path}, but it cannot be read ({error}); "
            "restore it."
        ) from error
    if missing := [name for name in columns if name not in header]:
        raise InputError(
            f"Expected the columns {', '.join(columns)} in {path}, but {', '.join(missing)} is "
            "not there; add it."
        )
    return rows


def parse_category(text: str, path: Path, allowed: Sequence[str]) -> Category:
    """Return ``text`` as a category; ``path`` is the table that it stands in."""
    if text.lower() not in allowed:
        raise InputError(
            f"Expected a category of {', '.join(allowed)} in {path}, but got {text!r}; correct it."
        )
    return cast("Category", text.lower())


def relative(root: Path, path: Path) -> str:
    """Return ``path`` below ``root`` with ``/``."""
    return path.relative_to(root).as_posix()


def missing_mask(root: Path, image: Path, expected: str) -> Defect:
    """An image without its mask; ``expected`` is the mask's name."""
    problem = (
        f"Expected a mask for {image}, but {expected} is missing; restore it or remove the image."
    )
    return Defect(relative(root, image), problem)


def missing_image(root: Path, image: Path, table: str) -> Defect:
    """An image that ``table`` lists and that is not there."""
    problem = f"Expected the image {image} that {table} lists, but it is missing; restore it."
    return Defect(relative(root, image), problem)


def orphan(root: Path, mask: Path) -> Defect:
    """A mask without its image."""
    problem = (
        f"Expected an image for the mask {mask}, but there is none; restore it or remove the mask."
    )
    return Defect(relative(root, mask), problem)
