"""Bootstrap intervals against SciPy, theory and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edge_bts.metrics import (
    auc,
    bootstrap_auc_ci,
    bootstrap_ci,
    bootstrap_ratio_ci,
    paired_difference,
)

VALUES = np.random.default_rng(3).beta(5, 2, size=120)


def test_interval_equals_scipy() -> None:
    """The percentile interval is SciPy's, within the noise of resampling."""
    from scipy.stats import bootstrap

    for level in (0.8, 0.95):
        reference = bootstrap(
            (VALUES,), np.mean, confidence_level=level, n_resamples=20_000, method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        got = bootstrap_ci(VALUES, level=level, resamples=20_000, seed=1)
        assert got == pytest.approx((reference.low, reference.high), abs=1e-3)


def test_small_sample_equals_enumeration() -> None:
    """Of three values, all 27 resamples can be written down; the quantiles are theirs."""
    values = (0.0, 1.0, 5.0)
    means = [np.mean(draw) for draw in itertools.product(values, repeat=3)]
    expected = np.percentile(means, [25, 75], method="inverted_cdf")
    assert bootstrap_ci(values, level=0.5, resamples=40_000) == pytest.approx(tuple(expected))


def test_groups_widen_the_interval() -> None:
    """Images repeated within groups carry the groups' information, not their own."""
    plain = bootstrap_ci(VALUES, resamples=4000)
    repeated = np.repeat(VALUES, 5)
    grouped = bootstrap_ci(repeated, np.repeat(np.arange(VALUES.size), 5).tolist(), resamples=4000)
    assert grouped == pytest.approx(plain, abs=1e-9)
    naive = bootstrap_ci(repeated, resamples=4000)
    assert naive[1] - naive[0] < 0.6 * (grouped[1] - grouped[0])


def test_unequal_groups_are_drawn_whole() -> None:
    """With two groups the resampled means are those of the three unions, weighted by size."""
    values, groups = [0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"]
    assert bootstrap_ci(values, groups, level=0.999) == (0.0, 1.0)
    # P(mean = 0) = 1/4, P(3/4) = 1/2, P(1) = 1/4.
    assert bootstrap_ci(values, groups, level=0.3) == (0.75, 0.75)


def test_coverage() -> None:
    """Of 300 samples of a known mean, the 90 % interval covers it in about 90 %."""
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(300):
        low, high = bootstrap_ci(rng.normal(2.0, 1.0, 60), level=0.9, resamples=400, seed=trial)
        hits += low <= 2.0 <= high
    assert 0.84 <= hits / 300 <= 0.95


def test_same_seed_same_interval_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval depends on the seed alone, not on how the draws fit into memory."""
    first = bootstrap_ci(VALUES, seed=7)
    assert first != bootstrap_ci(VALUES, seed=8)
    monkeypatch.setattr("edge_bts.metrics.intervals._DRAWS_AT_ONCE", 1000)
    assert bootstrap_ci(VALUES, seed=7) == first


def test_ratio_of_sums() -> None:
    """A pooled score's interval holds the pooled score and handles empty denominators."""
    top, bottom = VALUES * 100, np.full(VALUES.size, 100.0)
    assert bootstrap_ratio_ci(top, bottom) == pytest.approx(bootstrap_ci(VALUES))
    assert bootstrap_ratio_ci([0, 0], [0, 0]) == (0.0, 0.0)


def test_paired_difference() -> None:
    """Pairing removes what the images share: a constant gain has a point interval."""
    gain = paired_difference(VALUES + 0.02, VALUES)
    assert (gain.low, gain.high, gain.lower_bound) == pytest.approx((0.02, 0.02, 0.02))
    noise = np.random.default_rng(1).normal(0, 0.05, VALUES.size)
    other = paired_difference(VALUES + noise, VALUES, seed=2)
    assert other.mean == pytest.approx(noise.mean())
    assert (other.low, other.high) == pytest.approx(bootstrap_ci(noise, seed=2))
    assert other.lower_bound == pytest.approx(bootstrap_ci(noise, seed=2, level=0.9)[0])
    assert other.n == VALUES.size


def test_what_cannot_be_estimated() -> None:
    """One group has no spread (nan); no values, nan and unequal lengths are errors."""
    assert all(math.isnan(bound) for bound in bootstrap_ci([0.5, 0.6], ["a", "a"]))
    assert math.isnan(paired_difference([0.5], [0.6]).lower_bound)
    for bad in ([], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="finite value"):
            bootstrap_ci(bad)
    with pytest.raises(ValueError, match="a group for each"):
        bootstrap_ci([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="same images"):
        paired_difference([1.0], [1.0, 2.0])


def _scores(n: int = 60) -> tuple[np.ndarray, np.ndarray, list[int]]:
    rng = np.random.default_rng(5)
    truth = rng.random(n) < 0.4
    scores = np.round(rng.normal(truth * 0.8, 1), 1)  # with ties
    return scores, truth, (np.arange(n) // 3).tolist()


def test_auc_equals_scikit_learn() -> None:
    """The area is scikit-learn's, ties and reversed scores included."""
    from sklearn.metrics import roc_auc_score

    scores, truth, _ = _scores()
    assert len(set(scores)) < len(scores)
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    assert auc(-scores, truth) == pytest.approx(1 - roc_auc_score(truth, scores))
    assert auc([0.5, 0.5], [True, False]) == 0.5


def test_auc_interval_is_that_of_drawn_groups() -> None:
    """The interval is the quantiles of scikit-learn's area over whole groups drawn anew."""
    from sklearn.metrics import roc_auc_score

    scores, truth, groups = _scores()
    members = [np.flatnonzero(np.equal(groups, group)) for group in range(20)]
    rng = np.random.default_rng(8)
    areas = []
    for _ in range(1500):
        drawn = np.concatenate([members[i] for i in rng.integers(0, 20, 20)])
        areas.append(roc_auc_score(truth[drawn], scores[drawn]))
    expected = np.percentile(areas, [2.5, 97.5])
    got = bootstrap_auc_ci(scores, truth, groups, resamples=6000)
    assert got == pytest.approx(expected, abs=0.015)
    assert got == bootstrap_auc_ci(scores, truth, groups, resamples=6000)
    assert got != pytest.approx(bootstrap_auc_ci(scores, truth, resamples=6000), abs=0.002)


def test_auc_ends() -> None:
    """One kind alone has no area, one group no interval; a perfect score has the interval 1."""
    with pytest.raises(ValueError, match="both kinds"):
        auc([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="finite score"):
        auc([0.1, math.nan], [True, False])
    assert all(map(math.isnan, bootstrap_auc_ci([0.1, 0.2], [False, True], ["a", "a"])))
    assert bootstrap_auc_ci([0.1, 0.2, 0.8, 0.9], [False, False, True, True]) == (1.0, 1.0)
