"""Calibration images cover the training images attribute by attribute."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_bts.data import Sample
from edge_bts.export.calibration import Trait, coverage, draw_covering, traits_of


def many(count: int, seed: int) -> list[Trait]:
    """Return traits as uneven as those of real data: rare devices, few normals."""
    rng = np.random.default_rng(seed)
    return [
        {
            "category": str(rng.choice(["benign", "malignant", "normal"], p=[0.56, 0.27, 0.17])),
            "lesion size": str(rng.choice(["small", "medium", "large"], p=[0.3, 0.4, 0.3])),
            "device": str(rng.choice(["a", "b", "c"], p=[0.6, 0.385, 0.015])),
        }
        for _ in range(count)
    ]


def gap(traits: list[Trait], drawn: list[int]) -> float:
    """Return the largest deviation of any count from its exact share."""
    share = len(drawn) / len(traits)
    every = Counter(pair for trait in traits for pair in trait.items())
    had = Counter(pair for index in drawn for pair in traits[index].items())
    return max(abs(had[pair] - share * count) for pair, count in every.items())


@pytest.mark.parametrize("count", [20, 100, 200])
def test_every_share_is_met_to_one_image(count: int) -> None:
    """Each value's count is its share of the draw, rounded; a random draw is off by several."""
    for seed in range(5):
        traits = many(700, seed)
        drawn = draw_covering(traits, count, seed)
        assert len(set(drawn)) == count
        assert drawn == sorted(drawn)
        assert gap(traits, drawn) <= 1
    random = np.random.default_rng(0).permutation(700)[:count].tolist()
    assert gap(traits, random) > 1


def test_the_seed_names_the_draw() -> None:
    """One seed gives one draw, another seed another of the same coverage; few images are all."""
    traits = many(300, 1)
    assert draw_covering(traits, 50, 3) == draw_covering(traits, 50, 3)
    assert draw_covering(traits, 50, 3) != draw_covering(traits, 50, 4)
    assert draw_covering(traits, 300, 3) == draw_covering(traits, 999, 3) == list(range(300))


def test_coverage_counts_all_and_drawn() -> None:
    """The table holds, for each value, how many images there are and how many were drawn."""
    traits: list[Trait] = [{"device": "a"}, {"device": "b"}, {"device": "a"}]
    assert coverage(traits, [0]) == {"device": {"a": [2, 1], "b": [1, 0]}}


def test_traits_are_read_from_the_pixels(tmp_path: Path) -> None:
    """Quartiles of the frames' gray levels, size classes by share of the frame, devices by name."""
    samples = []
    for number in range(8):
        image = np.full((40, 50), 20 * number, np.uint8)
        mask = np.zeros_like(image)
        mask[:number, :number] = 255  # 49 of 2000 pixels at most: small
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / f"{number}m.png"), mask)
        samples.append(
            Sample(
                f"{number}", f"{number}", "benign", tmp_path / f"{number}.png",
                (tmp_path / f"{number}m.png",), device="GE" if number else "",
            )
        )  # fmt: skip
    traits = traits_of(samples)
    assert [t["gray level"] for t in traits] == (
        ["darkest"] * 2 + ["dark"] * 2 + ["bright"] * 2 + ["brightest"] * 2
    )
    assert [t["lesion size"] for t in traits] == ["none"] + ["small"] * 7
    assert [t["device"] for t in traits] == ["unknown"] + ["GE"] * 7
