"""Inspect: the counts are right, every defect is listed at once, the sheet is drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_bts.cli import app
from edge_bts.data.contact_sheet import ContactSheet
from edge_bts.data.inspect import Inspection, inspect
from edge_bts.data.readers import scan
from edge_bts.errors import InputError

Make = Callable[..., Path]


def test_counts_and_sizes(make_busi: Make) -> None:
    """Images, masks, sizes and lesion shares are those that were written."""
    root = make_busi()
    shutil.copy(root / "benign" / "benign (1)_mask.png", root / "benign" / "benign (1)_mask_1.png")
    big = np.random.default_rng(9).integers(0, 256, (80, 60), np.uint8)
    cv2.imwrite(str(root / "malignant" / "malignant (1).png"), big)
    half = np.zeros((80, 60), np.uint8)
    half[:40] = 255
    cv2.imwrite(str(root / "malignant" / "malignant (1)_mask.png"), half)
    _, found = inspect(scan(root))
    assert (found.images, found.masks, found.patients, found.defects) == (9, 10, None, [])
    assert (found.categories["benign"].masks, found.categories["benign"].several_masks) == (5, 1)
    assert found.categories["malignant"].lesion_percent is not None
    assert found.categories["malignant"].lesion_percent.max == 50
    assert found.width is not None
    assert found.height is not None
    assert (found.width.min, found.width.median, found.width.max) == (50, 50, 60)
    assert (found.height.min, found.height.median, found.height.max) == (40, 40, 80)


def test_all_defects_at_once(make_busi: Make) -> None:
    """A folder with seven kinds of defect yields seven sentences, and the rest is still counted."""
    root = make_busi(benign=6, malignant=5, normal=2)
    benign, malignant = root / "benign", root / "malignant"
    (benign / "benign (1)_mask.png").unlink()
    (benign / "benign (2).png").unlink()
    (benign / "benign (3).png").write_bytes((benign / "benign (3).png").read_bytes()[:-20])
    cv2.imwrite(str(malignant / "malignant (1)_mask.png"), np.zeros((4, 5), np.uint8))
    (malignant / "malignant (2)_mask.png").write_text("no image")
    cv2.imwrite(str(malignant / "malignant (3)_mask.png"), np.zeros((40, 50), np.uint8))
    cv2.imwrite(str(root / "normal" / "normal (1)_mask.png"), np.full((40, 50), 255, np.uint8))
    _, found = inspect(scan(root))
    text = {defect["file"]: defect["problem"] for defect in found.defects}
    assert len(found.defects) == 7
    assert "mask for" in text["benign/benign (1).png"]
    assert "image for the mask" in text["benign/benign (2)_mask.png"]
    assert "truncated" in text["benign/benign (3).png"]
    assert "50x40 pixels" in text["malignant/malignant (1).png"]
    assert "cannot be decoded" in text["malignant/malignant (2).png"]
    assert "its mask is empty" in text["malignant/malignant (3).png"]
    assert "no lesion in the normal image" in text["normal/normal (1).png"]
    assert found.categories["malignant"].images == 5


def test_duplicates_are_told_apart(make_busi: Make) -> None:
    """Groups, byte-identical files and label conflicts are listed separately."""
    root = make_busi()
    copy = root / "benign" / "benign (4).png"
    image = cv2.imread(str(root / "benign" / "benign (1).png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(copy), image // 2 + 20)
    shutil.copy(root / "benign" / "benign (2).png", root / "malignant" / "malignant (3).png")
    _, found = inspect(scan(root))
    twins = ["benign/benign (2)", "malignant/malignant (3)"]
    assert found.duplicates.groups == [["benign/benign (1)", "benign/benign (4)"], twins]
    assert found.duplicates.identical == [twins]
    assert found.duplicates.conflicts == [twins]
    assert found.duplicates.images == 4
    assert "correlation" in found.duplicates.method


def test_duplicates_across_patients(make_busbra: Make) -> None:
    """Where patients are known, a group that spans two of them is counted."""
    root = make_busbra(patients=4)
    shutil.copy(root / "Images" / "bus_0001-l.png", root / "Images" / "bus_0001-r.png")
    shutil.copy(root / "Images" / "bus_0002-l.png", root / "Images" / "bus_0004-l.png")
    _, found = inspect(scan(root))
    assert (found.patients, len(found.duplicates.groups)) == (4, 2)
    assert found.duplicates.across_patients == 1
    assert found.folds == {2: 2, 3: 2, 4: 2, 5: 2}


def test_the_sheet_outlines_the_mask(make_busi: Make) -> None:
    """The outline is drawn around the lesion: coloured pixels lie on the mask's border only."""
    root = make_busi(benign=1, malignant=0, normal=0)
    found = scan(root)
    sheet = ContactSheet(found.dataset.samples)
    dataset, _ = inspect(found, visit=sheet.add)
    picture = sheet.draw(dataset)
    tile = picture[140:340, 28:288].astype(int)  # below title and section line
    coloured = np.argwhere((tile.max(2) - tile.min(2)) > 60)
    assert len(coloured) > 40
    centre = coloured.mean(0)
    radius = np.hypot(*(coloured - centre).T)
    # The disc of radius 6 in an image 50 wide becomes one of about 31 in a tile 260 wide.
    assert radius.min() > 27
    assert radius.max() < 38


@pytest.mark.parametrize("counts", [(1, 0, 0), (40, 1, 0), (9, 9, 9)])
def test_the_sheet_fits_any_count(make_busi: Make, counts: tuple[int, int, int]) -> None:
    """One image or many, one class or three: a picture of the same width."""
    found = scan(make_busi(*counts))
    sheet = ContactSheet(found.dataset.samples)
    dataset, _ = inspect(found, visit=sheet.add)
    picture = sheet.draw(dataset)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1676, 3)


def test_the_command_prints_and_draws(
    make_busi: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`data inspect` prints the table, writes the sheet here, and keeps it the second time."""
    monkeypatch.chdir(tmp_path)
    root = make_busi()
    first = CliRunner().invoke(app, ["data", "inspect", str(root)])
    assert first.exit_code == 0, first.output
    assert "malignant" in first.output
    sheet = tmp_path / "busi-inspect.png"
    drawn = sheet.read_bytes()
    again = CliRunner().invoke(app, ["data", "inspect", str(root)])
    assert again.exit_code == 0
    assert "was kept" in again.output
    assert sheet.read_bytes() == drawn
    named = CliRunner().invoke(app, ["data", "inspect", str(root), "-o", str(sheet)])
    assert isinstance(named.exception, InputError)


def test_json_holds_the_whole_inspection(make_busi: Make, tmp_path: Path) -> None:
    """`--json` prints one object that reads back as the inspection."""
    command = ["data", "inspect", str(make_busi()), "-o", str(tmp_path / "s.png"), "--json"]
    printed = json.loads(CliRunner().invoke(app, command).stdout)
    assert printed.pop("contact_sheet") == str(tmp_path / "s.png")
    assert Inspection.model_validate(printed).images == 9


def test_defects_end_with_an_error(make_busi: Make, tmp_path: Path) -> None:
    """With defects the report is printed whole and the command fails as bad input."""
    root = make_busi()
    (root / "benign" / "benign (1)_mask.png").unlink()
    result = CliRunner().invoke(app, ["data", "inspect", str(root), "-o", str(tmp_path / "s.png")])
    assert isinstance(result.exception, InputError)
    assert "found 1 (listed above)" in str(result.exception)
    assert "benign (1)_mask.png is missing" in " ".join(result.output.split())
    assert (tmp_path / "s.png").is_file()


@pytest.mark.realdata
def test_the_command_prints_the_published_counts(real_data: Path, tmp_path: Path) -> None:
    """`data inspect` on BUSI prints 437/210/133 images and 454/211/133 masks."""
    sheet = tmp_path / "sheet.png"
    command = ["data", "inspect", str(real_data / "Dataset_BUSI_with_GT"), "-o", str(sheet)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [line.replace("│", " ").split() for line in result.output.splitlines()]
    counts = {row[0]: row[1:3] for row in rows if len(row) > 2}
    assert counts["benign"] == ["437", "454"]
    assert counts["malignant"] == ["210", "211"]
    assert counts["normal"] == ["133", "133"]
    assert cv2.imread(str(sheet)).shape[1] == 1676
