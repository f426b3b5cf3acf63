"""Both thresholds against a search over all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts.data import Sample
from edge_bts.errors import InputError
from edge_bts.evaluate import SegmenterLike, evaluate
from edge_bts.operating_point import THRESHOLD_GRID, pick_operating_point
from edge_bts.runtime import Prediction

Write = Callable[..., Sample]


def _disc(x: int, radius: float) -> NDArray[np.bool_]:
    yy, xx = np.mgrid[:90, :120]
    return np.asarray(np.hypot(yy - 45, xx - x) < radius)


def test_picked_threshold_is_the_best_of_the_grid(
    by_gray: SegmenterLike, samples: list[Sample]
) -> None:
    """No threshold of the grid has a higher mean Dice, and the Dice given is evaluate's."""
    point = pick_operating_point(by_gray, samples)
    reached = {}
    for candidate in THRESHOLD_GRID:
        lesions = evaluate(by_gray, samples, threshold=candidate, resamples=1).lesions
        assert lesions is not None
        reached[candidate] = lesions.scores["dice"].value
    assert reached[point.threshold] == max(reached.values())
    assert point.dice_ungated == pytest.approx(reached[point.threshold])


def test_equal_thresholds_go_to_the_middle(
    by_gray: SegmenterLike, write_sample: Write, tmp_path: Path
) -> None:
    """Where every threshold gives the same masks, 0.5 is chosen."""
    mask = _disc(50, 10)
    sample = write_sample(tmp_path, "a", mask.astype(np.uint8) * 255, mask)
    point = pick_operating_point(by_gray, [sample])
    assert (point.threshold, point.dice) == (0.5, 1.0)
    assert (point.presence_threshold, point.false_positive_rate) == (0.0, None)


class Scored:
    """A segmenter that finds a given share of probability 0.8 and scores each image as told."""

    threshold = 0.5
    presence_threshold = 0.0

    def __init__(self, scores: list[float]) -> None:
        self.scores = iter(scores)

    def predict(self, frame: NDArray[np.uint8], /) -> Prediction:
        """Return 0.8 where the frame is bright."""
        return Prediction((frame > 127) * np.float32(0.8), next(self.scores))


def _plain(write: Write, folder: Path, lesions: int, normals: int, empty: int = 0) -> list[Sample]:
    """Lesions found exactly, normals with a find, normals without."""
    disc, none = _disc(50, 12), _disc(0, 0)
    bright = disc.astype(np.uint8) * 255
    made = [write(folder, f"l{i}", bright, disc) for i in range(lesions)]
    made += [write(folder, f"n{i}", bright, none, category="normal") for i in range(normals)]
    dark = np.zeros_like(bright)
    return made + [write(folder, f"e{i}", dark, none, category="normal") for i in range(empty)]


@pytest.mark.parametrize("target", [0.0, 0.05, 0.1, 0.29, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_presence_threshold_is_the_lowest_that_keeps_the_target(
    write_sample: Write, tmp_path: Path, seed: int, target: float
) -> None:
    """A search over every threshold between scores finds none lower; it sits on no score.

    What is kept is the rate to be expected on a further normal, (k + 1)/(n + 1).
    """
    rng = np.random.default_rng(seed)
    lesions, normals, empty = 12, 14, 6
    samples = _plain(write_sample, tmp_path, lesions, normals, empty)
    scores = np.round(rng.uniform(0, 1, len(samples)), 1 + seed % 3)  # with ties
    scores[scores == 1] = 0.95
    point = pick_operating_point(
        Scored([*scores]), samples, false_positive_target=target, dice_cost=1.0
    )

    finds = scores[lesions : lesions + normals]
    levels = sorted({0.0, *scores, 1.0})
    candidates = [0.0] + [(a + b) / 2 for a, b in itertools.pairwise(levels)]
    count = normals + empty
    left = {c: int(np.sum(finds >= c)) for c in candidates}
    allowed = [c for c, k in left.items() if k == 0 or (k + 1) / (count + 1) <= target + 1e-9]
    assert point.presence_threshold == pytest.approx(min(allowed))
    assert point.presence_threshold == 0 or point.presence_threshold not in scores
    report = evaluate(
        Scored([*scores]), samples, presence_threshold=point.presence_threshold, resamples=2
    )
    assert report.normals is not None
    assert report.lesions is not None
    assert report.presence.sensitivity is not None
    assert point.false_positive_rate == pytest.approx(report.normals.rate.value)
    assert point.dice == pytest.approx(report.lesions.scores["dice"].value)
    assert point.sensitivity == pytest.approx(report.presence.sensitivity.value)
    assert point.dice_ungated == pytest.approx(1.0)


@pytest.mark.parametrize("cost", [0.0, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_lesions_go_before_normals(
    write_sample: Write, tmp_path: Path, seed: int, cost: float
) -> None:
    """Of all thresholds that cost no more than allowed, the one with the fewest finds is taken."""
    scores = np.random.default_rng(seed).uniform(0.3, 1, 24).round(4)
    samples = _plain(write_sample, tmp_path, 12, 12)
    point = pick_operating_point(
        Scored([*scores]), samples, false_positive_target=0.0, dice_cost=cost
    )
    lesions, normals = scores[:12], scores[12:]
    levels = sorted({0.0, *scores, 1.0})
    candidates = [0.0] + [(a + b) / 2 for a, b in itertools.pairwise(levels)]
    # Masks are exact: an emptied one costs its whole share.
    affordable = [c for c in candidates if np.mean(lesions < c) <= cost + 1e-9]
    assert point.false_positive_rate == min(np.mean(normals >= c) for c in affordable)
    assert point.dice_ungated - point.dice <= cost + 1e-9


def test_scores_of_one_are_out_of_reach(write_sample: Write, tmp_path: Path) -> None:
    """Where normals score 1 the threshold stays below 1, and the rate says that it failed."""
    samples = _plain(write_sample, tmp_path, 1, 1)
    point = pick_operating_point(Scored([1.0, 1.0]), samples, dice_cost=1.0)
    assert 0.999 < point.presence_threshold < 1
    assert point.false_positive_rate == 1.0


def test_normals_alone_choose_nothing(by_gray: SegmenterLike, samples: list[Sample]) -> None:
    """Without a lesion to choose on there is one sentence."""
    with pytest.raises(InputError, match="with a lesion"):
        pick_operating_point(by_gray, samples[-3:])
