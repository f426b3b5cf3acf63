"""Overlap scores against scikit-learn, MONAI and hand-made edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts import metrics

SHAPE = (37, 53)


def _pair(seed: int, share: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return rng.random(SHAPE) < share, rng.random(SHAPE) < 0.3


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 1.0])
@pytest.mark.parametrize("name", ["dice", "iou", "precision", "recall"])
def test_scores_equal_scikit_learn(name: str, share: float) -> None:
    """Each score is scikit-learn's score of the flattened pixels."""
    from sklearn import metrics as reference

    score = {
        "dice": reference.f1_score,
        "iou": reference.jaccard_score,
        "precision": reference.precision_score,
        "recall": reference.recall_score,
    }[name]
    for seed in range(3):
        p, t = _pair(seed, share)
        expected = score(t.ravel(), p.ravel(), zero_division=0.0)
        assert getattr(metrics, name)(p, t) == pytest.approx(expected, abs=1e-12)


def test_dice_equals_monai() -> None:
    """Dice is MONAI's DiceMetric, whose answer on two empty masks we take as 1."""
    import torch
    from monai.metrics import DiceMetric

    pairs = [_pair(seed, share) for seed in range(3) for share in (0.0, 0.1, 0.7)]
    pairs.append((np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)))
    stack = [torch.tensor(np.stack(masks))[:, None] for masks in zip(*pairs, strict=True)]
    expected = DiceMetric(reduction="none", ignore_empty=False)(*stack).numpy().ravel()
    assert [metrics.dice(p, t) for p, t in pairs] == pytest.approx(list(expected), abs=1e-6)


def test_pooled_scores_are_those_of_the_concatenated_pixels() -> None:
    """Summed counts score like one long image."""
    pairs = [_pair(seed, share) for seed in range(2) for share in (0.0, 0.1, 0.7)]
    pooled = sum((metrics.pixel_counts(p, t) for p, t in pairs), start=metrics.PixelCounts())
    whole = metrics.pixel_counts(*(np.concatenate(m) for m in zip(*pairs, strict=True)))
    assert pooled == whole
    assert pooled.true_negative == sum(int((~p & ~t).sum()) for p, t in pairs)


NOTHING = np.zeros((4, 5), np.uint8)
FULL = np.ones((4, 5), np.uint8)
PIXEL = NOTHING.copy()
PIXEL[1, 2] = 1


@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [
        (NOTHING, NOTHING, (1, 1, 1, 1)),
        (NOTHING, PIXEL, (0, 0, 0, 0)),
        (PIXEL, NOTHING, (0, 0, 0, 0)),
        (PIXEL, PIXEL, (1, 1, 1, 1)),
        (FULL, FULL, (1, 1, 1, 1)),
        (FULL, PIXEL, (2 / 21, 1 / 20, 1 / 20, 1)),
        (PIXEL, FULL, (2 / 21, 1 / 20, 1, 1 / 20)),
        (PIXEL, np.roll(PIXEL, 1), (0, 0, 0, 0)),
        (PIXEL * 255, PIXEL, (1, 1, 1, 1)),
    ],
)
def test_edge_cases(
    prediction: NDArray[Any], target: NDArray[Any], expected: tuple[float, ...]
) -> None:
    """Empty, full, one-pixel and 0/255 masks score as the docstring says."""
    scores = (metrics.dice, metrics.iou, metrics.precision, metrics.recall)
    assert tuple(score(prediction, target) for score in scores) == pytest.approx(expected)


def test_a_wrong_pair_is_refused() -> None:
    """Masks of different shapes and probabilities are errors, not broadcasts or casts."""
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(5,\)"):
        metrics.dice(FULL, FULL[0])
    with pytest.raises(ValueError, match="got float64; apply a threshold"):
        metrics.iou(FULL * 0.5, FULL)
