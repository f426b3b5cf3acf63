"""Flicker, toggles and jitter against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_bts.metrics.temporal import Trace, area_jitter, change, flicker, held, toggles


def square(x: int, y: int, side: int = 2) -> np.ndarray:
    """A 6 x 8 mask with one square."""
    mask = np.zeros((6, 8), np.uint8)
    mask[y : y + side, x : x + side] = 1
    return mask


def test_a_change_is_one_minus_dice() -> None:
    """Two 2 x 2 squares that share a column of two: Dice 2·2/8, so the change is a half."""
    assert change(square(2, 2), square(3, 2)) == 0.5
    assert change(square(2, 2), square(2, 2)) == 0.0
    assert change(square(0, 0), square(4, 3)) == 1.0
    assert change(square(0, 0, 0), square(0, 0, 0)) == 0.0


@pytest.mark.parametrize("motion", [(1, 0), (-2, 0), (0, 1), (0, -2), (3, -1), (-2, 2)])
def test_known_motion_is_taken_out(motion: tuple[int, int]) -> None:
    """A mask that moves as the tissue does has not changed; one that stays behind has."""
    right, down = motion
    moved = square(2 + right, 2 + down)
    assert change(square(2, 2), moved, motion) == 0.0
    assert change(square(2, 2), square(2, 2), motion) > 0.0


def test_what_leaves_the_frame_does_not_count() -> None:
    """A square half beyond the edge after the motion is compared by the half that both see."""
    after = np.zeros((6, 8), np.uint8)
    after[2:4, 7] = 1
    assert change(square(6, 2), after, (1, 0)) == 0.0


def test_hysteresis_holds_down_to_keep_and_not_below() -> None:
    """Once entered at 0.8, scores of 0.6 stay present; after a fall 0.8 is needed again."""
    scores = [0.7, 0.8, 0.6, 0.59, 0.7, 0.9, 0.65]
    assert held(scores, 0.8).tolist() == [False, True, False, False, False, True, False]
    assert held(scores, 0.8, 0.6).tolist() == [False, True, True, False, False, True, True]
    assert held(scores, 0.8, 0.0).tolist() == held(scores, 0.8).tolist()
    assert held(scores, 0.0).all()


def test_flicker_is_the_mean_over_pairs_that_show_a_mask() -> None:
    """Pairs: both shown 0.25, one shown 1, none shown left out, one shown 1, both 0.75."""
    trace = Trace(np.zeros(6), np.ones(6, np.int64), np.array([0.25, 0.1, 0.0, 0.2, 0.75]))
    shown = np.array([True, True, False, False, True, True])
    assert flicker(trace, shown) == pytest.approx((0.25 + 1 + 1 + 0.75) / 4)
    assert flicker(trace, np.zeros(6, np.bool_)) is None


def test_a_present_frame_without_a_pixel_shows_nothing() -> None:
    """Presence alone is no mask; a mask without presence is none either."""
    trace = Trace(np.array([0.9, 0.9, 0.1]), np.array([0, 5, 5]), np.zeros(2))
    assert trace.shown(0.5).tolist() == [False, True, False]
    assert trace.shown(0.5, 0.1).tolist() == [False, True, True]


def test_toggles_are_comings_and_goings() -> None:
    """On, off, off, on, on: two changes."""
    assert toggles(np.array([True, False, False, True, True])) == 2
    assert toggles(np.array([True])) == 0


def test_area_jitter_is_blind_to_growth_and_sees_noise() -> None:
    """A straight rise has none; 10, 13, 10, 13 has second differences -6 and 6, mean area 11.5."""
    on = np.ones(4, np.bool_)
    assert area_jitter(np.array([10, 20, 30, 40]), on) == 0.0
    assert area_jitter(np.array([10, 13, 10, 13]), on) == pytest.approx(6 / math.sqrt(6) / 11.5)
    assert area_jitter(np.array([10, 13, 10, 13]), np.array([True, True, False, True])) is None


def test_area_jitter_estimates_the_spread_of_noise_on_a_slope() -> None:
    """Independent noise of 4 % on a growing area is found, within what 20,000 frames allow."""
    rng = np.random.default_rng(0)
    area = np.rint(np.linspace(10_000, 10_100, 20_000) + rng.normal(0, 400, 20_000))
    found = area_jitter(area.astype(np.int64), np.ones(area.size, np.bool_))
    assert found == pytest.approx(400 / 10_050, rel=0.03)
