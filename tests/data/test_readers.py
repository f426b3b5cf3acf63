"""Readers: every layout is found and read, every defect is one sentence."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_bts.data import open_dataset
from edge_bts.data.images import read_gray, read_mask
from edge_bts.errors import EnvironmentMismatchError, InputError

Make = Callable[..., Path]


def _png(path: Path, image: Any, *options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, list(options))
    return path


def test_busi_is_found_and_read(make_busi: Make) -> None:
    """The authors' BUSI layout gives classes, natural order and stable ids."""
    dataset = open_dataset(make_busi(benign=11))
    assert (dataset.name, dataset.layout) == ("BUSI", "busi")
    ids = [sample.id for sample in dataset.samples]
    assert ids[:2] == ["benign/benign (1)", "benign/benign (2)"]
    assert ids[9:12] == ["benign/benign (10)", "benign/benign (11)", "malignant/malignant (1)"]
    assert [dataset.count(c) for c in ("benign", "malignant", "normal", "lesion")] == [11, 3, 2, 0]
    image, mask = dataset.samples[0].read()
    assert image.shape == mask.shape == (40, 50)
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert not dataset.samples[-1].read()[1].any()


def test_ids_do_not_depend_on_where_the_folder_is(make_busi: Make, tmp_path: Path) -> None:
    """The same files in another place have the same ids and groups."""
    here = make_busi()
    there = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(here, there)
    first, second = open_dataset(here), open_dataset(there)
    assert [(s.id, s.group) for s in first.samples] == [(s.id, s.group) for s in second.samples]


def test_several_masks_are_joined(make_busi: Make) -> None:
    """A pixel is lesion when any of an image's masks says so."""
    root = make_busi()
    second = np.zeros((40, 50), np.uint8)
    second[:3, :4] = 255
    _png(root / "benign" / "benign (1)_mask_1.png", second)
    sample = open_dataset(root).samples[0]
    assert len(sample.mask_paths) == 2
    one = read_mask(sample.mask_paths[0])
    expected = one.copy()
    expected[:3, :4] = 1
    np.testing.assert_array_equal(sample.read()[1], expected)


def test_every_storage_becomes_gray_bytes(tmp_path: Path) -> None:
    """RGB, RGBA, 1-bit and 16-bit files all become the same uint8 gray."""
    gray = np.tile(np.arange(0, 250, 10, np.uint8), (9, 1))
    colour = np.repeat(gray[:, :, None], 3, axis=2)
    alpha = np.dstack([colour, np.full(gray.shape, 7, np.uint8)])
    for name, stored in (("rgb", colour), ("rgba", alpha), ("deep", gray.astype(np.uint16) * 257)):
        path = _png(tmp_path / f"{name}.png", stored)
        np.testing.assert_array_equal(read_gray(path), gray, err_msg=name)
    bits = np.where(gray > 100, 255, 0).astype(np.uint8)
    path = _png(tmp_path / "bits.png", bits, cv2.IMWRITE_PNG_BILEVEL, 1)
    np.testing.assert_array_equal(read_gray(path), bits)


def test_palette_images_are_read(tmp_path: Path) -> None:
    """A palette PNG, which BUSI mirrors contain, is read by its colours, not by its indices."""
    image_module = pytest.importorskip("PIL.Image")
    gray = np.tile(np.arange(0, 250, 10, np.uint8), (9, 1))
    picture = image_module.fromarray(gray).convert("RGB").convert("P", palette=1, colors=256)
    picture.save(tmp_path / "palette.png")
    found = read_gray(tmp_path / "palette.png").astype(int)
    np.testing.assert_array_equal(found, np.asarray(picture.convert("L")).astype(int))


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_both_habits(tmp_path: Path, high: int) -> None:
    """Masks stored as 0/1 and as 0/255 read the same."""
    stored = np.zeros((6, 8), np.uint8)
    stored[2:4, 3:5] = high
    mask = read_mask(_png(tmp_path / "m.png", stored))
    np.testing.assert_array_equal(mask, (stored > 0).astype(np.uint8))


def test_a_mask_of_middling_values_is_refused(tmp_path: Path) -> None:
    """A mask whose largest value is 76 is a mistake to show, not to threshold away."""
    path = _png(tmp_path / "m.png", np.full((4, 4), 76, np.uint8))
    with pytest.raises(InputError, match=r"0 and 255.*76"):
        read_mask(path)


def test_busbra_has_patients_and_folds(make_busbra: Make) -> None:
    """BUS-BRA's Case is the group, kFold the fold, and its pixel columns are not believed."""
    dataset = open_dataset(make_busbra(patients=4))
    assert (dataset.layout, dataset.has_patients, len(dataset)) == ("busbra", True, 8)
    first, second = dataset.samples[:2]
    assert first.id == "bus_0001-l"
    assert first.group == second.group != dataset.samples[2].group
    assert first.fold == second.fold == 2
    assert first.device == "d"
    assert dataset.count("malignant") == 2
    assert first.read()[0].shape == (40, 50)


def _datasetb(root: Path, names: tuple[str, ...] = ("000001", "000002", "000010")) -> Path:
    for name in names:
        _png(root / "original" / f"{name}.png", np.full((20, 30), 90, np.uint8))
        _png(root / "GT" / f"{name}.png", np.full((20, 30), 255, np.uint8))
    return root


def test_datasetb_with_its_workbook(tmp_path: Path) -> None:
    """Dataset B takes its classes from DatasetB.xlsx, numbers without zeros."""
    openpyxl = pytest.importorskip("openpyxl")
    root = _datasetb(tmp_path / "b")
    book = openpyxl.Workbook()
    for row in (
        ("Image", "Type", ""),
        (1, "Benign", "CYST"),
        (2, "Malignant", "IDC"),
        (10, "Benign", "FA"),
    ):
        book.active.append(row)
    book.save(root / "DatasetB.xlsx")
    dataset = open_dataset(root)
    assert dataset.layout == "datasetb"
    assert [s.category for s in dataset.samples] == ["benign", "malignant", "benign"]


def test_datasetb_with_a_csv(tmp_path: Path) -> None:
    """Dataset B's class list may be a CSV of file names."""
    root = _datasetb(tmp_path / "b")
    (root / "DatasetB.csv").write_text("000001.png,benign\n000002.png,malignant\n10,malignant\n")
    categories = [sample.category for sample in open_dataset(root).samples]
    assert categories == ["benign", "malignant", "malignant"]


def test_datasetb_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without openpyxl the workbook is an environment error that names both ways out."""
    root = _datasetb(tmp_path / "b")
    (root / "DatasetB.xlsx").write_bytes(b"PK")
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "openpyxl":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(EnvironmentMismatchError, match=r"pip install openpyxl.*DatasetB\.csv"):
        open_dataset(root)


def test_datasetb_with_a_broken_workbook(tmp_path: Path) -> None:
    """A workbook that is none is bad input, not a traceback."""
    pytest.importorskip("openpyxl")
    root = _datasetb(tmp_path / "b")
    (root / "DatasetB.xlsx").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="Excel workbook"):
        open_dataset(root)


def test_plain_without_a_table(make_plain: Make) -> None:
    """A plain folder without a table holds lesions of unknown class that stand alone."""
    root = make_plain()
    (root / "masks" / "img1.png").rename(root / "masks" / "img1_mask.png")
    dataset = open_dataset(root)
    assert (dataset.name, dataset.layout, dataset.has_patients) == ("mine", "plain", False)
    assert [(s.id, s.category, s.spacing_mm) for s in dataset.samples] == [
        ("img0", "lesion", None),
        ("img1", "lesion", None),
        ("img2", "lesion", None),
    ]


def test_plain_with_a_table(make_plain: Make) -> None:
    """samples.csv gives class, patient, spacing and device, and a normal image needs no mask."""
    table = ["id,category,group,spacing_mm,device", "img0,benign,p1,0.08,GE", "img1,Normal,p1,,"]
    table += ["img2,,p2,,"]
    root = make_plain(table=table)
    (root / "masks" / "img1.png").unlink()
    dataset = open_dataset(root)
    assert dataset.has_patients
    found = [(s.category, s.group, s.spacing_mm) for s in dataset.samples]
    assert found == [("benign", "p1", 0.08), ("normal", "p1", None), ("lesion", "p2", None)]
    assert [s.device for s in dataset.samples] == ["GE", "", ""]
    assert not dataset.samples[1].read()[1].any()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (["id,category", "img0,cyst", "img1,", "img2,"], r"benign, malignant.*'cyst'"),
        (["id,spacing_mm", "img0,80", "img1,", "img2,"], r"millimetres per pixel.*'80'"),
        (["id", "img0", "img0", "img1", "img2"], "repeated"),
        (["name", "img0"], r"columns id.*not there"),
        (["id", "img0", "img1"], r"img2\.png to be listed"),
        (["id", "img0", "img1", "img2", "img9"], r"img9 that samples\.csv lists"),
    ],
)
def test_a_bad_table_is_one_sentence(make_plain: Make, table: list[str], message: str) -> None:
    """Each mistake in samples.csv is named with the value that came."""
    with pytest.raises(InputError, match=message):
        open_dataset(make_plain(table=table))


def test_a_missing_mask_is_named(make_busi: Make) -> None:
    """Opening names the image without a mask and how many more defects there are."""
    root = make_busi()
    (root / "benign" / "benign (2)_mask.png").unlink()
    with pytest.raises(InputError, match=r"mask for .*benign \(2\)\.png.*restore") as caught:
        open_dataset(root)
    assert "more" not in str(caught.value)
    (root / "benign" / "benign (3)_mask.png").unlink()
    with pytest.raises(InputError, match=r"And 1 more: `edge-bts data inspect`"):
        open_dataset(root)


def test_an_orphan_mask_is_named(make_busi: Make) -> None:
    """A mask whose image is gone betrays a damaged copy."""
    root = make_busi()
    (root / "malignant" / "malignant (1).png").unlink()
    with pytest.raises(InputError, match=r"image for the mask .*malignant \(1\)_mask"):
        open_dataset(root)


def test_a_mask_of_another_size_is_named(make_busi: Make) -> None:
    """Reading a pair of different sizes says both sizes."""
    root = make_busi()
    _png(root / "benign" / "benign (1)_mask.png", np.zeros((40, 49), np.uint8))
    with pytest.raises(InputError, match=r"50x40 pixels.*49x40"):
        open_dataset(root).samples[0].read()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.97])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    """A file cut anywhere is an error even where OpenCV would decode its upper part."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    path = _png(tmp_path / f"image{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="restore the file"):
        read_gray(path)


def test_a_flipped_bit_in_a_png_is_refused(tmp_path: Path) -> None:
    """A PNG whose pixel data fail their checksum is damaged."""
    path = _png(tmp_path / "image.png", np.arange(256, dtype=np.uint8).reshape(16, 16))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="IDAT"):
        read_gray(path)


def test_text_named_png_is_refused(tmp_path: Path) -> None:
    """A file that is no image at all is named."""
    path = tmp_path / "x.png"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"x\.png.*cannot be decoded"):
        read_gray(path)


def test_folders_that_hold_nothing(tmp_path: Path, make_busi: Make) -> None:
    """A missing path, a file, an empty folder and an empty class each have their sentence."""
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        open_dataset(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="folder is empty"):
        open_dataset(tmp_path / "empty")
    (tmp_path / "hollow" / "images").mkdir(parents=True)
    (tmp_path / "hollow" / "masks").mkdir()
    with pytest.raises(InputError, match="there is none"):
        open_dataset(tmp_path / "hollow")
    root = make_busi(normal=0)
    (root / "normal").mkdir()
    with pytest.raises(InputError, match="category normal"):
        open_dataset(root)


def test_an_unknown_layout_lists_the_known(tmp_path: Path, make_busi: Make) -> None:
    """The error shows how the four layouts look and points at a data set one level down."""
    (tmp_path / "x" / "pictures").mkdir(parents=True)
    with pytest.raises(InputError, match=r"busi: .*busbra: .*datasetb: .*plain: "):
        open_dataset(tmp_path / "x")
    with pytest.raises(InputError, match=r"did you mean .*busi\?"):
        open_dataset(make_busi().parent)
    with pytest.raises(InputError, match=r"layout of auto, .*'coco'"):
        open_dataset(tmp_path, layout="coco")


@pytest.mark.realdata
def test_real_data_have_their_published_counts(real_data: Path) -> None:
    """BUSI and BUS-BRA give the counts that their authors publish."""
    busi = open_dataset(real_data / "Dataset_BUSI_with_GT")
    assert [busi.count(c) for c in ("benign", "malignant", "normal")] == [437, 210, 133]
    masks = dict.fromkeys(("benign", "malignant", "normal"), 0)
    for sample in busi.samples:
        masks[sample.category] += len(sample.mask_paths)
    assert list(masks.values()) == [454, 211, 133]
    busbra = open_dataset(real_data / "BUSBRA")
    assert [busbra.count(c) for c in ("benign", "malignant")] == [1268, 607]
    assert len({sample.group for sample in busbra.samples}) == 1064
    assert {sample.fold for sample in busbra.samples} == {1, 2, 3, 4, 5}
