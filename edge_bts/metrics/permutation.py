"""Paired permutation test by sign flips, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from edge_bts.metrics.intervals import group_index

__all__ = ["holm", "paired_permutation_p"]


def paired_permutation_p(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the two-sided p of "``a`` and ``b`` score alike" on the same images.

    If they do, the names of the two models could be exchanged within a group of images (a patient,
    a set of near-duplicates) without changing anything: the mean difference is compared with those
    under sign flips of whole groups (Fisher 1935, §21). With at most ``draws`` possible flips all
    are enumerated and p is exact, else ``draws`` random ones are drawn and
    ``p = (1 + hits) / (1 + draws)`` (Phipson & Smyth 2010), which is never 0.

    Args:
        a: One score an image, (N,).
        b: The other model's scores, the images in the same order, (N,).
        groups: The group of each image; None: each is its own.
        draws: Random flips; its order is the resolution of p.
        seed: Seed of the flips.

    Raises:
        ValueError: No values, values that are not finite, or of another length.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if difference.ndim != 1 or not difference.size or not np.isfinite(difference).all():
        raise ValueError(
            f"Expected at least one finite pair an image, (N,), got {difference.shape}."
        )
    sums = difference
    if groups is not None:
        sums = np.bincount(group_index(groups, difference.size), difference).astype(np.float64)
    # Flips that leave the sum as it is must not fall below it by rounding.
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    count = 2**sums.size
    if count <= draws:
        bits = (np.arange(count)[:, None] >> np.arange(sums.size)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sums) >= observed))
    rng = np.random.default_rng(seed)
    hits = 0
    for start in range(0, draws, 1000):  # some MB at a time
        signs = 1 - 2 * rng.integers(0, 2, (min(1000, draws - start), sums.size), np.int8)
        hits += int((np.abs(signs @ sums) >= observed).sum())
    return (1 + hits) / (1 + draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p of each test, adjusted for all of them together (Holm 1979).

    The k-th smallest of m is multiplied by ``m - k + 1``, and none is smaller than one before it.
    Comparing the result with α keeps the probability of any false finding at most α.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
