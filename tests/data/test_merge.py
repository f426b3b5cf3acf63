"""Merging data sets: nothing is lost, groups and parts stay, leaks and origins are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_bts.cli import app
from edge_bts.data import (
    Dataset,
    Split,
    load_split,
    make_split,
    open_dataset,
    select,
    write_split,
)
from edge_bts.data.merge import merge
from edge_bts.data.phantom import write_phantoms
from edge_bts.data.split import PARTS, verify
from edge_bts.errors import InputError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two small data sets of the plain layout; an id of both is the same."""
    for name, seed in (("one", 1), ("two", 2)):
        write_phantoms(tmp_path / name, 24, seed, height=64, width=64)
    return tmp_path / "one", tmp_path / "two"


def sources(folders: tuple[Path, Path]) -> tuple[list[Dataset], list[Split]]:
    """Both with their splits."""
    datasets = [open_dataset(folder) for folder in folders]
    return datasets, [make_split(dataset) for dataset in datasets]


def test_every_image_is_there_with_its_mask_class_and_group(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Pixels, categories and groups of the merged folder are those of its sources."""
    merge([open_dataset(folder) for folder in folders], tmp_path / "both")
    both = {sample.id: sample for sample in open_dataset(tmp_path / "both").samples}
    assert len(both) == 48
    groups = set()
    for folder in folders:
        for sample in open_dataset(folder).samples:
            copy = both[f"{folder.name}-{sample.id}"]
            for old, new in zip(sample.read(), copy.read(), strict=True):
                np.testing.assert_array_equal(old, new)
            assert copy.category == sample.category
            groups.add(copy.group)
    assert len(groups) == len({s.group for f in folders for s in open_dataset(f).samples})


def test_parts_add_up(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """What tests in a set tests in the merged one; the split fits the files and names its parts."""
    datasets, splits = sources(folders)
    split = merge(datasets, tmp_path / "both", splits)
    given = dict(zip(("one", "two"), splits, strict=True))
    assert split is not None
    for part in ("train", "val", "test"):
        expected = {f"{name}-{n}" for name, each in given.items() for n in each.part(part)}
        assert set(split.part(part)) == expected
    assert split.merged == {name: each.hash for name, each in given.items()}
    assert split.dataset == "both"
    verify(open_dataset(tmp_path / "both"), split)
    assert not split.leaks
    write_split(tmp_path / "s.json", split)
    assert load_split(tmp_path / "s.json") == split
    assert len(select(open_dataset(tmp_path / "both"), split, "test")) == len(split.test)


def test_a_picture_in_both_sets_is_told_as_a_leak(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """A test image of the one that trains in the other is found and said."""
    (first, second), (first_split, second_split) = sources(folders)
    there = {s.id: s for s in second.samples}
    here = {s.id: s for s in first.samples}
    tested, trained = second_split.test[0], first_split.train[0]
    cv2.imwrite(str(there[tested].image_path), here[trained].read_image())
    again = open_dataset(folders[1])
    split = make_split(again).model_copy(update={p: second_split.part(p) for p in PARTS})
    made = merge([first, again], tmp_path / "both", [first_split, split])
    assert made is not None
    assert made.leaks == "1 test images have a duplicate in training or validation"


def test_several_masks_become_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """An image with two masks has their union in the merged folder."""
    dataset = open_dataset(folders[0])
    lesions = [s for s in dataset.samples if s.mask_paths]
    one, other = lesions[0], lesions[1]
    double = replace(one, mask_paths=(*one.mask_paths, *other.mask_paths))
    changed = replace(dataset, samples=tuple(double if s is one else s for s in dataset.samples))
    merge([changed, open_dataset(folders[1])], tmp_path / "both")
    both = {sample.id: sample for sample in open_dataset(tmp_path / "both").samples}
    copy = both[f"one-{one.id}"]
    np.testing.assert_array_equal(copy.read()[1], double.read()[1])
    assert double.read()[1].sum() > one.read()[1].sum()


def test_what_cannot_be_merged(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """One set, the same twice, a split for one alone: a sentence each, and nothing is written."""
    (first, second), splits = sources(folders)
    out = tmp_path / "both"
    for datasets, given, words in (
        ([first], splits[:1], "at least two"),
        ([first, first], splits, "one comes twice"),
        ([first, second], splits[:1], "a split for each of 2"),
    ):
        with pytest.raises(InputError, match=words):
            merge(datasets, out, given)
    assert not out.exists()
    first.samples[3].image_path.write_bytes(b"no picture")
    with pytest.raises(InputError):
        merge([first, second], out, splits)
    assert not out.exists()


def test_the_command_merges_and_splits(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """`data merge` writes folder and split; it replaces neither without --force."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for folder, file in zip(folders, files, strict=True):
        write_split(file, make_split(open_dataset(folder)))
    out = tmp_path / "both"
    command = ["data", "merge", *map(str, folders), "-o", str(out)]
    both = [*command, "--split", str(files[0]), "--split", str(files[1])]
    result = CliRunner().invoke(app, both)
    assert result.exit_code == 0, result.output
    assert "48 images of one, two" in result.output
    assert load_split(tmp_path / "both.split.json").dataset == "both"
    assert isinstance(CliRunner().invoke(app, both).exception, InputError)
    assert CliRunner().invoke(app, [*both, "--force"]).exit_code == 0
    one = CliRunner().invoke(app, [*command, "--split", str(files[0]), "--force"])
    assert "--split for each of 2" in str(one.exception)
