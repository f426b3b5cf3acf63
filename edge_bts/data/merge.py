"""Several data sets as one folder of the plain layout, with the split that theirs add up to."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from edge_bts.data.duplicates import duplicate_groups, with_groups
from edge_bts.data.plain import scan_plain, write_table
from edge_bts.data.sample import Dataset, Sample
from edge_bts.data.split import assemble
from edge_bts.data.split_file import PARTS, Part, Split
from edge_bts.errors import InputError
from edge_bts.files import new_folder

__all__ = ["merge"]

_COLUMNS = ("id", "category", "group", "spacing_mm", "device")


def merge(
    datasets: Sequence[Dataset], output: Path, splits: Sequence[Split] = (), *, force: bool = False
) -> Split | None:
    """Copy data sets into one folder: ``images/``, ``masks/``, ``samples.csv``.

    Images are copied byte for byte, and so are masks; several masks of an image become one. An id
    becomes the data set's name, a hyphen and the old id. Groups stay what they were. With splits
    their parts add up to one split: what trains, validates or tests anywhere does so here, so that
    figures can be compared with those of each set alone.

    Args:
        datasets: At least two, of different names.
        output: The folder to make.
        splits: One of each data set, in their order, or none.
        force: Replace what stands there.

    Raises:
        InputError: One data set, two of a name, splits for some, a damaged file, or ``output`` is
            there already.

    Returns:
        The split, or None without splits.
    """
    names = [dataset.name for dataset in datasets]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"Expected data sets of different names, but {twice[0]} comes twice.")
    if len(datasets) < 2:
        raise InputError("Expected at least two data sets to merge, but got one.")
    if len(splits) not in (0, len(datasets)):
        raise InputError(
            f"Expected a split for each of {len(datasets)} data sets, or none, but got "
            f"{len(splits)}; pass --split for each of {len(datasets)}, in their order."
        )
    with new_folder(output, force=force) as folder:
        rows: list[tuple[str, ...]] = []
        parts: dict[str, Part] = {}
        for name in ("images", "masks"):
            (folder / name).mkdir()
        for dataset, split in zip_longest(datasets, splits):
            for sample in _grouped(dataset, split):
                name = _new_id(dataset.name, sample.id)
                _copy(sample, name, folder)
                rows.append(_row(dataset.name, name, sample))
            for part in PARTS if split else ():
                parts |= dict.fromkeys((_new_id(dataset.name, n) for n in split.part(part)), part)
        write_table(folder, _COLUMNS, rows)
        named = dict(zip(names, splits, strict=False))
        return _split(folder, output.resolve().name, named, parts) if splits else None


def _grouped(dataset: Dataset, split: Split | None) -> list[Sample]:
    if split is None:
        return list(with_groups(dataset).samples)
    return [replace(s, group=split.groups.get(s.id, s.group)) for s in dataset.samples]


def _new_id(dataset: str, name: str) -> str:
    return f"{dataset}-{name.replace('/', '-')}"


def _copy(sample: Sample, name: str, folder: Path) -> None:
    image = sample.read_image()  # damaged files are no data
    mask = sample.read_mask((image.shape[0], image.shape[1]))
    shutil.copyfile(sample.image_path, folder / "images" / f"{name}{sample.image_path.suffix}")
    if len(sample.mask_paths) == 1:
        (path,) = sample.mask_paths
        shutil.copyfile(path, folder / "masks" / f"{name}{path.suffix}")
    elif sample.mask_paths:
        import cv2

        if not cv2.imwrite(str(folder / "masks" / f"{name}.png"), 255 * mask):
            raise OSError(None, "OpenCV did not write a mask", str(folder))


def _row(dataset: str, name: str, sample: Sample) -> tuple[str, ...]:
    spacing = "" if sample.spacing_mm is None else repr(sample.spacing_mm)
    group = _new_id(dataset, sample.group)
    return name, sample.category, group, spacing, sample.device or dataset


def _split(folder: Path, name: str, splits: dict[str, Split], parts: dict[str, Part]) -> Split:
    dataset = replace(scan_plain(folder).dataset, name=name)
    groups = {sample.id: sample.group for sample in dataset.samples}
    duplicates = duplicate_groups(dataset.samples)
    torn = {
        member
        for group in duplicates
        for member in group
        if parts.get(member) == "test" and any(parts.get(m) in ("train", "val") for m in group)
    }
    leaks = [f"{each}: {split.leaks}" for each, split in splits.items() if split.leaks]
    if torn and not leaks:
        leaks = [f"{len(torn)} test images have a duplicate in training or validation"]
    return assemble(
        dataset,
        parts,
        groups,
        duplicates,
        method="merged: " + ", ".join(f"{n} ({s.hash[:12]})" for n, s in splits.items()),
        seed=0,
        leaks="; ".join(leaks),
        merged={each: split.hash for each, split in splits.items()},
    )
