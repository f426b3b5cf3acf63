"""Rows and summaries against sums made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edge_bts.metrics import (
    LESION_SIZES,
    ImageRow,
    PixelCounts,
    bootstrap_ci,
    lesion_size,
    pixel_counts,
    score_image,
    summarise,
)


def _row(number: int, prediction: np.ndarray, target: np.ndarray, **fields: object) -> ImageRow:
    values = {"group": f"g{number}", "category": "benign", "spacing_mm": None, "predicted": True}
    values |= {"presence": 0.5, "dice_ungated": 0.0}
    return score_image(prediction, target, id=f"{number}", **(values | fields))  # type: ignore[arg-type]


def _square(size: int, at: int = 10) -> np.ndarray:
    mask = np.zeros((60, 80), np.uint8)
    mask[at : at + size, at : at + size] = 1
    return mask


PAIRS = [(_square(20), _square(22)), (_square(10, 15), _square(12)), (_square(0), _square(9))]
NORMAL = (_square(0), _square(0))


def test_summary_is_of_lesion_images_alone() -> None:
    """Normals enter no lesion mean; means, pooled scores and counts are the plain ones."""
    rows = [_row(i, p, t) for i, (p, t) in enumerate([*PAIRS, NORMAL])]
    summary = summarise(rows)
    assert summary is not None
    pooled = sum((pixel_counts(p, t) for p, t in PAIRS), start=PixelCounts())
    assert (summary.images, summary.groups, summary.missed, summary.empty) == (3, 3, 1, 1)
    for name in ("dice", "iou", "precision", "recall"):
        each = [getattr(pixel_counts(p, t), name) for p, t in PAIRS]
        assert summary.scores[name].value == pytest.approx(np.mean(each))
        assert summary.scores[f"pooled_{name}"].value == pytest.approx(getattr(pooled, name))
        assert summary.scores[name].low == pytest.approx(bootstrap_ci(each)[0])


def test_missing_distances_are_left_out_and_penalised() -> None:
    """The plain mean distance is over images that have one; the other adds the diagonal."""
    rows = [_row(i, p, t) for i, (p, t) in enumerate(PAIRS)]
    summary = summarise(rows)
    assert summary is not None
    assert rows[2].hd95_px is None
    assert rows[2].assd_px is None
    have = [row.hd95_px for row in rows[:2]]
    assert summary.scores["hd95_px"].n == 2
    assert summary.scores["hd95_px"].value == pytest.approx(np.mean(have))  # type: ignore[arg-type]
    assert summary.scores["hd95_px_penalised"].n == 3
    assert summary.scores["hd95_px_penalised"].value == pytest.approx(
        (sum(have) + math.hypot(60, 80)) / 3  # type: ignore[arg-type]
    )


def test_millimetres_where_spacing_is_known() -> None:
    """Distances in mm are those in px times each image's own spacing."""
    rows = [
        _row(0, *PAIRS[0], spacing_mm=0.1),
        _row(1, *PAIRS[1], spacing_mm=0.2),
        _row(2, *PAIRS[0]),
    ]
    summary = summarise(rows)
    assert summary is not None
    score = summary.scores["assd_mm"]
    assert score.n == 2
    assert score.value == pytest.approx((0.1 * rows[0].assd_px + 0.2 * rows[1].assd_px) / 2)  # type: ignore[operator]
    without = summarise([rows[2]])
    assert without is not None
    assert "assd_mm" not in without.scores


def test_one_image_has_no_interval() -> None:
    """With one group the bounds are None; without a lesion there is no summary."""
    summary = summarise([_row(0, *PAIRS[0])])
    assert summary is not None
    assert (summary.scores["dice"].low, summary.scores["dice"].high) == (None, None)
    assert summarise([_row(0, *NORMAL)]) is None


@pytest.mark.parametrize(
    ("share", "size"),
    [
        (0.0, None),
        (1e-4, "small"),
        (0.0299, "small"),
        (0.03, "medium"),
        (0.1, "large"),
        (1, "large"),
    ],
)
def test_size_classes(share: float, size: str | None) -> None:
    """Sizes are fixed shares of the image, lower limits included."""
    assert lesion_size(share) == size


@pytest.mark.realdata
def test_size_classes_are_near_the_tertiles_of_busi(real_data: Path) -> None:
    """Each size class holds between a quarter and two fifths of the lesions of BUSI."""
    from edge_bts.data import open_dataset

    samples = open_dataset(real_data / "Dataset_BUSI_with_GT").samples
    lesions = [sample for sample in samples if sample.category != "normal"]
    sizes = [lesion_size(sample.read()[1].mean()) for sample in lesions]
    assert len(sizes) == 647
    for size in LESION_SIZES:
        assert 0.25 < sizes.count(size) / len(sizes) < 0.4, size
