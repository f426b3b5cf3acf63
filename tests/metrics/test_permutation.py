"""The paired permutation test against SciPy and enumeration, Holm against its rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_bts.metrics import holm, paired_permutation_p


@pytest.mark.parametrize(("images", "tolerance"), [(9, 1e-12), (60, 0.015)])
def test_equals_scipy(images: int, tolerance: float) -> None:
    """Few images are enumerated as SciPy does; many are drawn and agree within the noise."""
    from scipy.stats import permutation_test

    rng = np.random.default_rng(images)
    a = rng.normal(0.75, 0.1, images)
    b = a - 0.015 + rng.normal(0, 0.08, images)
    reference = permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    assert 0.02 < reference < 0.98
    assert paired_permutation_p(a, b) == pytest.approx(reference, abs=tolerance)


def test_groups_are_flipped_whole() -> None:
    """With groups, p is that of all sign patterns of the groups' sums, written down."""
    difference = np.array([0.3, 0.1, -0.2, 0.4, 0.05, 0.2, -0.1])
    groups = ["p", "p", "q", "r", "r", "s", "t"]
    sums = [0.4, -0.2, 0.45, 0.2, -0.1]
    flipped = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=5)]
    expected = np.mean([value >= abs(sum(sums)) - 1e-9 for value in flipped])
    assert paired_permutation_p(difference, np.zeros(7), groups) == pytest.approx(expected)
    assert paired_permutation_p(difference, np.zeros(7)) != pytest.approx(expected)


def test_null_hypothesis_is_rejected_at_its_rate() -> None:
    """Of 400 pairs of equal models, p < 0.1 holds for about 10 %."""
    rng = np.random.default_rng(2)
    p = [paired_permutation_p(*rng.normal(size=(2, 40)), draws=500, seed=i) for i in range(400)]
    assert 0.06 <= np.mean(np.array(p) < 0.1) <= 0.14


def test_ends() -> None:
    """Equal scores give 1, the smallest p is that of the draws, the same seed the same p."""
    a = np.random.default_rng(0).normal(size=50)
    assert paired_permutation_p(a, a) == 1.0
    assert paired_permutation_p(a + 5, a, draws=999) == 1 / 1000
    assert paired_permutation_p([1.0], [0.0]) == 1.0
    b = a[::-1]
    assert paired_permutation_p(a, b, seed=4) == paired_permutation_p(a, b, seed=4)


@pytest.mark.parametrize(
    ("a", "b", "groups"),
    [([], [], None), ([np.nan], [1.0], None), ([1.0, 2.0], [1.0, 1.0], ["p"])],
)
def test_what_is_no_pair_is_refused(
    a: list[float], b: list[float], groups: list[str] | None
) -> None:
    """No values, nan and groups of another length are errors."""
    with pytest.raises(ValueError, match="Expected"):
        paired_permutation_p(a, b, groups)


def test_holm() -> None:
    """The adjusted p are those of Holm's paper's rule, in the order that came."""
    # 4 · 0.005, 3 · 0.01, 2 · 0.03, and the last not below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
