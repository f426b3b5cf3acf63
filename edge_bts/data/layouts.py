"""The four folder layouts: how each looks and how its samples are listed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from edge_bts.data.images import IMAGE_SUFFIXES
from edge_bts.data.sample import CATEGORIES, Category, Dataset, Sample
from edge_bts.errors import EnvironmentMismatchError, InputError

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


def is_busi(root: Path) -> bool:
    """Whether there are folders named by class."""
    return any((root / name).is_dir() for name in ("benign", "malignant", "normal"))


def scan_busi(root: Path) -> Scan:
    """List BUSI as its authors publish it (Al-Dhabyani et al. 2020, 10.1016/j.dib.2019.104863).

    An image is ``<class>/<class> (N).png``; its masks are ``..._mask.png``, ``..._mask_1.png``, ...
    """
    samples: list[Sample] = []
    defects: list[Defect] = []
    for category in cast("tuple[Category, ...]", ("benign", "malignant", "normal")):
        folder = root / category
        if not folder.is_dir():
            continue
        images: dict[str, Path] = {}
        masks: dict[str, list[Path]] = {}
        for path in _images(folder):
            if match := re.fullmatch(r"(.+)_mask(_\d+)?", path.stem):
                masks.setdefault(match[1], []).append(path)
            else:
                images[path.stem] = path
        if not images:
            raise InputError(
                f"Expected images of the category {category} in {folder}, but there is none; "
                "add them or remove the folder."
            )
        for stem, path in images.items():
            found = masks.pop(stem, [])
            if found:
                name = f"{category}/{stem}"
                samples.append(Sample(name, name, category, path, tuple(found)))
            else:
                defects.append(_missing_mask(root, path, f"{stem}_mask.png"))
        defects += [_orphan(root, path) for paths in masks.values() for path in paths]
    return Scan(Dataset("BUSI", "busi", root, tuple(samples)), defects)


def is_busbra(root: Path) -> bool:
    """Whether the authors' table of cases is there."""
    return (root / "bus_data.csv").is_file()


def scan_busbra(root: Path) -> Scan:
    """List BUS-BRA as its authors publish it (Gomez-Flores et al. 2024, 10.1002/mp.16812).

    ``Case`` is the patient and the group; ``5-fold-cv.csv`` gives the official folds. ``Width``,
    ``Height`` and ``BBOX`` of the table speak of the authors' pixels and are not used: the files
    may have been resized.
    """
    rows = _read_csv(root / "bus_data.csv", ("ID", "Case", "Pathology"))
    folds: dict[str, int] = {}
    if (root / "5-fold-cv.csv").is_file():
        table = _read_csv(root / "5-fold-cv.csv", ("ID", "kFold"))
        folds = {row["ID"]: int(row["kFold"]) for row in table}
    samples: list[Sample] = []
    defects: list[Defect] = []
    for row in rows:
        name = row["ID"]
        image = root / "Images" / f"{name}.png"
        mask = root / "Masks" / f"mask_{name.removeprefix('bus_')}.png"
        category = _category(row["Pathology"], root / "bus_data.csv", ("benign", "malignant"))
        if not image.is_file():
            defects.append(_missing_image(root, image, "bus_data.csv"))
        elif not mask.is_file():
            defects.append(_missing_mask(root, image, f"Masks/{mask.name}"))
        else:
            group = f"case {row['Case']}"
            samples.append(Sample(name, group, category, image, (mask,), fold=folds.get(name)))
    dataset = Dataset("BUS-BRA", "busbra", root, tuple(samples), has_patients=True)
    return Scan(dataset, defects)


def is_datasetb(root: Path) -> bool:
    """Whether the two folders of Dataset B are there."""
    return (root / "original").is_dir() and (root / "GT").is_dir()


def scan_datasetb(root: Path) -> Scan:
    """List Dataset B (UDIAT; Yap et al. 2018, 10.1109/JBHI.2017.2731873).

    ``original/000001.png``, ``GT/000001.png`` and a class list in ``DatasetB.xlsx`` or
    ``DatasetB.csv``: every row with a number and the word benign or malignant counts, whatever
    its other columns hold.
    """
    categories = _datasetb_classes(root)
    samples: list[Sample] = []
    defects: list[Defect] = []
    for path in _images(root / "original"):
        mask = _with_stem(root / "GT", path.stem)
        category = categories.get(path.stem.lstrip("0"))
        if mask is None:
            defects.append(_missing_mask(root, path, f"GT/{path.name}"))
        elif category is None:
            problem = (
                f"Expected the class of {path} in the class list, but it is not there; add it."
            )
            defects.append(Defect(_relative(root, path), problem))
        else:
            samples.append(Sample(path.stem, path.stem, category, path, (mask,)))
    return Scan(Dataset("Dataset B", "datasetb", root, tuple(samples)), defects)


def is_plain(root: Path) -> bool:
    """Whether ``images/`` and ``masks/`` are there."""
    return (root / "images").is_dir() and (root / "masks").is_dir()


def scan_plain(root: Path) -> Scan:
    """List a folder ``images/`` + ``masks/``, with an optional ``samples.csv``.

    A mask has the image's name or ``NAME_mask``. ``samples.csv`` has the columns id, category,
    group and spacing_mm, of which only id is obligatory, and must then list every image; without
    it every image is of the category lesion. A normal image needs no mask.
    """
    table = _plain_table(root)
    samples: list[Sample] = []
    defects: list[Defect] = []
    images: dict[str, Path] = {}
    for path in _images(root / "images"):
        if path.stem in images:
            problem = (
                f"Expected one image {path.stem}, but there are {images[path.stem]} and {path}; "
                "keep one."
            )
            defects.append(Defect(_relative(root, path), problem))
        images.setdefault(path.stem, path)
    if table is not None:
        listed = {stem: path for stem, path in images.items() if stem in table}
        for stem in images.keys() - listed.keys():
            problem = f"Expected {images[stem]} to be listed in samples.csv, but it is not; add it."
            defects.append(Defect(_relative(root, images[stem]), problem))
        defects += [
            _missing_image(root, root / "images" / stem, "samples.csv")
            for stem in table.keys() - images.keys()
        ]
        images = listed
    for stem, path in images.items():
        row = (table or {}).get(stem, {})
        category = _category(row.get("category") or "lesion", root / "samples.csv", CATEGORIES)
        mask = _with_stem(root / "masks", stem) or _with_stem(root / "masks", f"{stem}_mask")
        if mask is None and category != "normal":
            defects.append(_missing_mask(root, path, f"masks/{path.name}"))
            continue
        group = row.get("group") or stem
        spacing = _spacing(row.get("spacing_mm"), stem, root / "samples.csv")
        masks = () if mask is None else (mask,)
        samples.append(Sample(stem, group, category, path, masks, spacing))
    grouped = any(row.get("group") for row in (table or {}).values())
    dataset = Dataset(root.resolve().name, "plain", root, tuple(samples), grouped)
    return Scan(dataset, sorted(defects, key=lambda defect: _natural(defect.file)))


def _plain_table(root: Path) -> dict[str, dict[str, str]] | None:
    path = root / "samples.csv"
    if not path.is_file():
        return None
    rows = _read_csv(path, ("id",))
    table = {row["id"]: row for row in rows}
    if len(table) != len(rows):
        raise InputError(f"Expected every id once in {path}, but some are repeated; remove them.")
    return table


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


def _images(folder: Path) -> list[Path]:
    """List the image files of ``folder`` in natural order, without hidden ones."""
    found = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _with_stem(folder: Path, stem: str) -> Path | None:
    candidates = (folder / f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = [{key: (row[key] or "").strip() for key in header} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"Expected a comma-separated table in {path}, but it cannot be read ({error})."
        ) from error
    if missing := [name for name in columns if name not in header]:
        raise InputError(
            f"Expected the columns {', '.join(columns)} in {path}, but {', '.join(missing)} is "
            "not there; add it."
        )
    return rows


def _category(text: str, path: Path, allowed: Sequence[str]) -> Category:
    if text.lower() not in allowed:
        raise InputError(
            f"Expected a category of {', '.join(allowed)} in {path}, but got {text!r}; correct it."
        )
    return cast("Category", text.lower())


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _missing_mask(root: Path, image: Path, expected: str) -> Defect:
    problem = (
        f"Expected a mask for {image}, but {expected} is missing; restore it or remove the image."
    )
    return Defect(_relative(root, image), problem)


def _missing_image(root: Path, image: Path, listed: str) -> Defect:
    problem = f"Expected the image {image} that {listed} lists, but it is missing; restore it."
    return Defect(_relative(root, image), problem)


def _orphan(root: Path, mask: Path) -> Defect:
    problem = (
        f"Expected an image for the mask {mask}, but there is none; restore it or remove the mask."
    )
    return Defect(_relative(root, mask), problem)
