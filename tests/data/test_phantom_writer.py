"""The folder of phantoms that every command reads."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_bts.cli import app
from edge_bts.data import open_dataset
from edge_bts.data.phantom import write_phantoms, writer
from edge_bts.errors import EdgeBtsError, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty small images."""
    path = tmp_path_factory.mktemp("phantom") / "set"
    return write_phantoms(path, 20, seed=3, height=96, width=128, progress=False)


def contents(path: Path) -> dict[str, bytes]:
    """Return every file of a folder by its relative name."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_the_reader_opens_it(folder: Path) -> None:
    """The plain layout's reader finds every image with its category, group and spacing."""
    dataset = open_dataset(folder)
    assert Counter(s.category for s in dataset.samples) == {
        "benign": 9,
        "malignant": 7,
        "normal": 4,
    }
    for sample in dataset.samples:
        image, mask = sample.read()
        assert image.shape == mask.shape == (96, 128)
        assert bool(mask.any()) == (sample.category != "normal")
        assert sample.spacing_mm is not None
        assert 28 <= sample.spacing_mm * 96 <= 46.1


def test_patients_have_one_or_two_images_of_one_category(folder: Path) -> None:
    """A group is one simulated patient: at most two images, all of one category."""
    with (folder / "samples.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row["category"])
    assert {len(g) for g in groups.values()} == {1, 2}
    assert all(len(set(g)) == 1 for g in groups.values())


def test_it_says_that_it_is_simulated(folder: Path) -> None:
    """README and record carry the note, and the record has every image's parameters."""
    assert "not clinical data" in (folder / "README.md").read_text()
    record = json.loads((folder / "phantom.json").read_text())
    assert record["note"] == "simulated, not clinical data"
    assert {s["id"] for s in record["samples"]} == {p.stem for p in (folder / "images").iterdir()}


def test_same_arguments_same_bytes(folder: Path, tmp_path: Path) -> None:
    """A second run with the same arguments writes the same files; another seed does not."""
    again = write_phantoms(tmp_path / "a", 20, seed=3, height=96, width=128, progress=False)
    assert contents(folder) == contents(again)
    other = write_phantoms(tmp_path / "b", 20, seed=4, height=96, width=128, progress=False)
    images = {k: v for k, v in contents(other).items() if k.startswith("images")}
    assert not set(images.values()) & set(contents(folder).values())


def test_a_loop_is_a_readable_folder_and_a_video(tmp_path: Path) -> None:
    """``cine`` adds a plain-layout folder of frames with a video of as many frames."""
    path = write_phantoms(tmp_path / "set", 1, height=96, width=128, cine=1, progress=False)
    (loop,) = (path / "cine").iterdir()
    assert len(open_dataset(loop).samples) == 30
    video = cv2.VideoCapture(str(loop / "loop.avi"))
    frames = []
    while (got := video.read())[0]:
        frames.append(got[1])
    assert len(frames) == 30
    still = cv2.imread(str(loop / "images" / "frame-015.png"), cv2.IMREAD_GRAYSCALE)
    assert np.abs(frames[15][:, :, 0].astype(int) - still).mean() < 8


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    """An existing folder is refused and stays as it was."""
    before = contents(folder)
    with pytest.raises(InputError, match="--force"):
        write_phantoms(folder, 1, progress=False)
    assert contents(folder) == before


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills in the middle, neither the folder nor a part of it remains."""

    def full(path: Path, _image: object) -> None:
        if "00002" in path.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_write_png", full)
    with pytest.raises(EdgeBtsError, match="No space left"):
        write_phantoms(tmp_path / "set", 5, height=64, width=64, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"count": 0}, {"seed": -1}, {"cine": -1}, {"height": 8}])
def test_bad_arguments_write_nothing(tmp_path: Path, change: dict[str, int]) -> None:
    """An argument out of range is an InputError and leaves no folder."""
    with pytest.raises(InputError):
        write_phantoms(tmp_path / "set", **{"count": 2, "progress": False, **change})
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path: Path) -> None:
    """``edge-bts data phantom`` writes the folder and says what it is."""
    out = tmp_path / "set"
    words = ["data", "phantom", str(out), "--count", "2", "--height", "64", "--width", "64"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "not clinical data" in result.output
    assert len(list((out / "images").iterdir())) == 2
