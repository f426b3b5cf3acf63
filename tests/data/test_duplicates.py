"""Duplicates: twins are found, strangers are not, and contradicting labels come to light."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_bts.data import duplicate_groups, label_conflicts, open_dataset, with_groups
from edge_bts.data.duplicates import groups_of, thumbnail

Make = Callable[..., Path]


def _image(seed: int, height: int = 200, width: int = 260) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    bright_above = np.linspace(60, -60, height, dtype=np.float32)[:, None]
    return np.clip(120 + bright_above + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def test_the_thumbnail_correlation_is_the_textbook_one() -> None:
    """Products of thumbnails are Pearson correlations of the high-passed 48x48 pictures."""
    first, second = _image(1), _image(2)
    small = [cv2.resize(x, (48, 48), interpolation=cv2.INTER_AREA) for x in (first, second)]
    flat = [x.astype(np.float64) for x in small]
    high = [(x - cv2.GaussianBlur(x, (0, 0), 4.0)).ravel() for x in flat]
    expected = np.corrcoef(high)[0, 1]
    assert float(thumbnail(first) @ thumbnail(second)) == pytest.approx(expected, abs=1e-4)
    assert float(thumbnail(first) @ thumbnail(first)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.clip(x.astype(np.float32) * 0.7 + 30, 0, 255).astype(np.uint8),
        lambda x: cv2.resize(x, (173, 131), interpolation=cv2.INTER_AREA),
        lambda x: x[4:-4, 5:-5],
        lambda x: cv2.putText(x.copy(), "LEFT", (20, 190), 0, 0.7, 255, 2),
        lambda x: cv2.imdecode(cv2.imencode(".jpg", x, [1, 40])[1], 0),
    ],
    ids=["gain", "resized", "cropped", "annotated", "jpeg"],
)
def test_a_changed_copy_is_found(change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Gain, size, a small crop, a burnt-in label and compression do not hide a twin."""
    images = [_image(1), _image(2), change(_image(1)), _image(3)]
    groups = groups_of(["a", "b", "c", "d"], [thumbnail(image) for image in images])
    assert groups == [["a", "c"]]


def test_what_all_images_have_in_common_does_not_count() -> None:
    """Images that share only their brightness from top to bottom are strangers."""
    images = [_image(seed) for seed in range(40)]
    raw = [cv2.resize(x, (48, 48)).ravel().astype(np.float32) for x in images]
    assert np.corrcoef(raw)[np.triu_indices(40, 1)].mean() > 0.3
    assert groups_of([str(n) for n in range(40)], [thumbnail(x) for x in images]) == []


def test_chains_are_one_group_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A like B and B like C make one group, wherever the blocks of the matrix end."""
    monkeypatch.setattr("edge_bts.data.duplicates._BLOCK", 2)
    angles = np.radians([0, 40, 80, 180, 200, 100])  # neighbours within 53 degrees correlate > 0.6
    vectors = [np.array([np.cos(a), np.sin(a)], np.float32) for a in angles]
    groups = groups_of(list("abcdef"), vectors)
    assert groups == [["a", "b", "c", "f"], ["d", "e"]]


def test_blank_images_resemble_nothing() -> None:
    """Two black frames are not taken for twins of each other or of anything."""
    black = np.zeros((30, 30), np.uint8)
    vectors = [thumbnail(black), thumbnail(black + 9), thumbnail(_image(1))]
    assert groups_of(["a", "b", "c"], vectors) == []


def test_groups_and_label_conflicts(make_busi: Make) -> None:
    """A copy within a class is a group, a copy in another class is also a conflict."""
    root = make_busi()
    shutil.copy(root / "benign" / "benign (1).png", root / "benign" / "benign (4).png")
    shutil.copy(root / "benign" / "benign (2).png", root / "malignant" / "malignant (3).png")
    dataset = open_dataset(root)
    assert duplicate_groups(dataset.samples) == [
        ["benign/benign (1)", "benign/benign (4)"],
        ["benign/benign (2)", "malignant/malignant (3)"],
    ]
    assert label_conflicts(dataset) == {
        "benign/benign (2)": ["benign", "malignant"],
        "malignant/malignant (3)": ["benign", "malignant"],
    }
    group = {sample.id: sample.group for sample in with_groups(dataset).samples}
    assert group["benign/benign (4)"] == "benign/benign (1)"
    assert group["malignant/malignant (3)"] == "benign/benign (2)"
    assert group["normal/normal (1)"] == "normal/normal (1)"


def test_patients_stay_the_groups(make_busbra: Make) -> None:
    """Where the data set names patients, looking for duplicates changes no group."""
    dataset = open_dataset(make_busbra(patients=3))
    assert with_groups(dataset) == dataset


@pytest.mark.realdata
def test_busi_pairs_are_recovered(real_data: Path) -> None:
    """At least 95 % of the known near-identical BUSI pairs fall into one group."""
    known = json.loads((real_data / "busi_duplicate_groups.json").read_text())
    groups = duplicate_groups(open_dataset(real_data / "Dataset_BUSI_with_GT").samples)
    home = {name.split("/")[1]: n for n, group in enumerate(groups) for name in group}
    pairs = [pair for group in known for pair in combinations(group, 2)]
    found = sum(a in home and home[a] == home.get(b) for a, b in pairs)
    assert found >= 0.95 * len(pairs)


@pytest.mark.realdata
def test_what_else_is_grouped_in_busi_is_duplicated_too(real_data: Path) -> None:
    """Of the grouped BUSI images at least 95 % are in an independent list of duplicates."""
    lines = (real_data / "splits" / "busi_curated.csv").read_text().splitlines()[1:]
    unique = {"{0}/{0} ({1})".format(*line.split(";")) for line in lines}
    samples = open_dataset(real_data / "Dataset_BUSI_with_GT").samples
    listed = {sample.id for sample in samples} - unique
    found = {name for group in duplicate_groups(samples) for name in group}
    assert len(listed) == 330
    assert len(found & listed) >= 0.95 * len(found)
    assert len(found & listed) >= 0.95 * len(listed)


@pytest.mark.realdata
@pytest.mark.slow
def test_no_two_busbra_patients_are_joined(real_data: Path) -> None:
    """In BUS-BRA, where patients are known, no group spans two of them."""
    samples = open_dataset(real_data / "BUSBRA").samples
    patient = {sample.id: sample.group for sample in samples}
    for group in duplicate_groups(samples):
        assert len({patient[name] for name in group}) == 1
