"""The presence score against a plain sort."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from edge_bts.presence import presence


@pytest.mark.parametrize(
    ("side", "count"), [(1, 1), (8, 1), (32, 2), (64, 8), (128, 33), (224, 100), (256, 131)]
)
def test_mean_of_the_highest(side: int, count: int) -> None:
    """The score is the exact mean of the 0.2 % highest values, wherever they are."""
    assert count == max(1, round(0.002 * side * side))
    probability = np.random.default_rng(side).random((side, side), np.float32) ** 3
    highest = sorted(probability.ravel().tolist(), reverse=True)[:count]
    expected = float(sum(map(Fraction, highest), Fraction()) / count)
    assert presence(probability) == expected
    shuffled = np.random.default_rng(0).permutation(probability.ravel()).reshape(side, side)
    assert presence(shuffled) == expected
    assert presence(probability.T) == expected


def test_ends_and_nan() -> None:
    """Nothing scores 0, certainty 1; NaN counts as nothing, and the input stays as it is."""
    assert presence(np.zeros((64, 64), np.float32)) == 0
    assert presence(np.ones((64, 64), np.float32)) == 1
    broken = np.full((64, 64), np.nan, np.float32)
    assert presence(broken) == 0
    assert np.isnan(broken).all()
    broken[0, :4] = 1
    assert presence(broken) == 0.5  # 4 of 8
