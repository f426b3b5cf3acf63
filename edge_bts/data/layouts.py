"""The layouts in which the public data sets are published, and how their samples are listed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from edge_bts.data import listing
from edge_bts.data.listing import Defect, Scan
from edge_bts.data.sample import Category, Dataset, Sample
from edge_bts.errors import EnvironmentMismatchError, InputError

__all__ = [
    "is_busbra",
    "is_busi",
    "is_datasetb",
    "scan_busbra",
    "scan_busi",
    "scan_datasetb",
]

_CLASSES: tuple[Category, ...] = ("benign", "malignant", "normal")


def is_busi(root: Path) -> bool:
    """Whether there are folders named by class."""
    return any((root / name).is_dir() for name in _CLASSES)


def scan_busi(root: Path) -> Scan:
    """List BUSI as its authors publish it (Al-Dhabyani et al. 2020, 10.1016/j.dib.2019.104863).

    An image is ``<class>/<class> (N).png``; its masks are ``..._mask.png``, ``..._mask_1.png``, ...
    """
    samples: list[Sample] = []
    defects: list[Defect] = []
    for category in _CLASSES:
        if (root / category).is_dir():
            samples += _busi_class(root, category, defects)
    return Scan(Dataset("BUSI", "busi", root, tuple(samples)), defects)


def _busi_class(root: Path, category: Category, defects: list[Defect]) -> list[Sample]:
    masks: dict[str, list[Path]] = {}
    pictures: list[Path] = []
    for path in listing.list_images(root / category):
        if match := re.fullmatch(r"(.+)_mask(_\d+)?", path.stem):
            masks.setdefault(match[1], []).append(path)
        else:
            pictures.append(path)
    if not pictures:
        raise InputError(
            f"Expected images of the category {category} in {root / category}, but there is none; "
            "add them or remove the folder."
        )
    samples: list[Sample] = []
    for stem, path in listing.by_stem(pictures, root, defects).items():
        name = f"{category}/{stem}"
        if found := masks.pop(stem, None):
            samples.append(Sample(name, name, category, path, tuple(found)))
        else:
            defects.append(listing.missing_mask(root, path, f"{stem}_mask.png"))
    defects += [listing.orphan(root, path) for paths in masks.values() for path in paths]
    return samples


def is_busbra(root: Path) -> bool:
    """Whether the authors' table of cases is there."""
    return (root / "bus_data.csv").is_file()


def scan_busbra(root: Path) -> Scan:
    """List BUS-BRA as its authors publish it (Gomez-Flores et al. 2024, 10.1002/mp.16812).

    ``Case`` is the patient and the group; ``5-fold-cv.csv`` gives the official folds. ``Width``,
    ``Height`` and ``BBOX`` of the table speak of the authors' pixels and are not used: the files
    may have been resized.
    """
    table = root / "bus_data.csv"
    folds = _busbra_folds(root / "5-fold-cv.csv")
    samples: list[Sample] = []
    defects: list[Defect] = []
    for row in listing.read_csv(table, ("ID", "Case", "Pathology")):
        name = row["ID"]
        image = root / "Images" / f"{name}.png"
        mask = root / "Masks" / f"mask_{name.removeprefix('bus_')}.png"
        category = listing.parse_category(row["Pathology"], table, ("benign", "malignant"))
        if not image.is_file():
            defects.append(listing.missing_image(root, image, table.name))
        elif not mask.is_file():
            defects.append(listing.missing_mask(root, image, f"Masks/{mask.name}"))
        else:
            group = f"case {row['Case']}"
            samples.append(
                Sample(
                    name,
                    group,
                    category,
                    image,
                    (mask,),
                    fold=folds.get(name),
                    device=row.get("Device", ""),
                )
            )
    dataset = Dataset("BUS-BRA", "busbra", root, tuple(samples), has_patients=True)
    return Scan(dataset, defects)


def _busbra_folds(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    folds = {row["ID"]: row["kFold"] for row in listing.read_csv(path, ("ID", "kFold"))}
    if bad := next((value for value in folds.values() if not value.isdecimal()), None):
        raise InputError(f"Expected whole numbers as kFold in {path}, but got {bad!r}; restore it.")
    return {name: int(value) for name, value in folds.items()}


def is_datasetb(root: Path) -> bool:
    """Whether the two folders of Dataset B are there."""
    return (root / "original").is_dir() and (root / "GT").is_dir()


def scan_datasetb(root: Path) -> Scan:
    """List Dataset B (UDIAT; Yap et al. 2018, 10.1109/JBHI.2017.2731873).

    ``original/000001.png``, ``GT/000001.png`` and a class list ``DatasetB.xlsx`` (columns Image,
    Type and a diagnosis) or ``DatasetB.csv``: every row that has a number and the word benign or
    malignant counts, whatever else it holds.
    """
    categories = _datasetb_classes(root)
    samples: list[Sample] = []
    defects: list[Defect] = []
    masks = listing.by_stem(listing.list_images(root / "GT"), root, defects)
    pictures = listing.by_stem(listing.list_images(root / "original"), root, defects)
    for stem, path in pictures.items():
        mask = masks.pop(stem, None)
        category = categories.get(stem.lstrip("0"))
        if mask is None:
            defects.append(listing.missing_mask(root, path, f"GT/{path.name}"))
        elif category is None:
            problem = f"Expected the class of {path} in the class list, but it has none; add it."
            defects.append(Defect(listing.relative(root, path), problem))
        else:
            samples.append(Sample(stem, stem, category, path, (mask,)))
    defects += [listing.orphan(root, mask) for mask in masks.values()]
    return Scan(Dataset("Dataset B", "datasetb", root, tuple(samples)), defects)


def _datasetb_classes(root: Path) -> dict[str, Category]:
    table, comma = root / "DatasetB.xlsx", root / "DatasetB.csv"
    if comma.is_file():
        with comma.open(newline="", encoding="utf-8-sig") as stream:
            return _classes_from(csv.reader(stream))
    if not table.is_file():
        raise InputError(
            f"Expected the class list DatasetB.xlsx or DatasetB.csv in {root}, but there is none; "
            "add it (a row for each image: number, benign or malignant)."
        )
    try:
        import openpyxl
    except ImportError as error:
        raise EnvironmentMismatchError(
            f"Expected openpyxl to read {table}, but it is not installed; "
            "`pip install openpyxl`, or save the list as DatasetB.csv."
        ) from error
    try:
        book = openpyxl.load_workbook(table, read_only=True, data_only=True)
        return _classes_from(row for sheet in book for row in sheet.iter_rows(values_only=True))
    except Exception as error:  # openpyxl lets zip, XML and key errors through
        raise InputError(
            f"Expected an Excel workbook in {table}, but it cannot be read ({error}); restore it."
        ) from error


def _classes_from(rows: Iterable[Sequence[Any]]) -> dict[str, Category]:
    classes: dict[str, Category] = {}
    for row in rows:
        cells = [str(cell).strip().lower() for cell in row if cell is not None]
        numbers = [cell for cell in cells if re.fullmatch(r"\d+(\.0|\.png)?", cell)]
        category = next((cell for cell in cells if cell in ("benign", "malignant")), None)
        if numbers and category:
            classes[numbers[0].split(".")[0].lstrip("0")] = cast("Category", category)
    return classes
