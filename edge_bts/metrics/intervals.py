"""Bootstrap percentile intervals (Efron & Tibshirani 1993, chapter 13), resampled by group.

Images of one patient, or near-duplicates, are not independent: with ``groups`` whole groups are
drawn with replacement and the mean is taken over the images that come with them (the cluster
bootstrap). Every function is deterministic in ``seed``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Difference",
    "auc",
    "bootstrap_auc_ci",
    "bootstrap_ci",
    "bootstrap_ratio_ci",
    "group_index",
    "paired_difference",
]

_DRAWS_AT_ONCE = 2_000_000  # group draws held in memory: 16 MB


@dataclass(frozen=True)
class Difference:
    """A paired mean difference ``a - b`` with its bootstrap bounds (nan with one group).

    ``low`` and ``high`` hold the two-sided interval; ``lower_bound`` is the one-sided bound of
    the same level, which a gate "not worse by more than x" compares with ``-x``.
    """

    mean: float
    low: float
    high: float
    lower_bound: float
    n: int


def bootstrap_ci(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the mean of ``values``.

    Args:
        values: One finite number an image, (N,).
        groups: The group of each image (patient, duplicate group); None: each is its own.
        level: Probability that the interval shall cover, in (0, 1).
        resamples: Bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper bound; (nan, nan) if there is one group only: it says nothing of spread.

    Raises:
        ValueError: No values, values that are not finite or not (N,), groups of another length.
    """
    values = np.asarray(values, np.float64)
    return bootstrap_ratio_ci(
        values, np.ones_like(values), groups, level=level, resamples=resamples, seed=seed
    )


def bootstrap_ratio_ci(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of ``sum(numerators) / sum(denominators)``: of a pooled score.

    A resample whose denominators are all 0 counts as 0. Other arguments, the result and the
    errors are those of :func:`bootstrap_ci`.
    """
    ratios = _resampled_ratios(numerators, denominators, groups, resamples, seed)
    if ratios is None:
        return math.nan, math.nan
    low, high = np.percentile(ratios, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two models on the same images: the mean of ``a - b`` and its bounds.

    Args:
        a: One score an image, (N,).
        b: The other model's scores, the images in the same order, (N,).
        groups: The group of each image; None: each is its own.
        level: Probability of the two-sided interval and of the one-sided bound.
        resamples: Bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        ValueError: ``a`` and ``b`` differ in length, or as :func:`bootstrap_ci`.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"Expected scores of the same images, but got shapes {first.shape} and {second.shape}."
        )
    difference = first - second
    means = _resampled_ratios(difference, np.ones_like(difference), groups, resamples, seed)
    quantiles = [50 * (1 - level), 50 * (1 + level), 100 * (1 - level)]
    bounds = [math.nan] * 3 if means is None else np.percentile(means, quantiles)
    low, high, lower_bound = (float(bound) for bound in bounds)
    return Difference(float(difference.mean()), low, high, lower_bound, difference.size)


def auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Return the area under the ROC curve: P(score of a positive > of a negative), ties half.

    Args:
        scores: One finite number an image, (N,).
        positive: Whether the image is one of those that should score high, (N,) bool.

    Raises:
        ValueError: No image of one of the kinds, or as :func:`bootstrap_ci`.
    """
    values, truth = _scored(scores, positive)
    return float(_weighted_auc(values, truth, np.ones((1, values.size)))[0])


def bootstrap_auc_ci(
    scores: ArrayLike,
    positive: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of :func:`auc`.

    A resample with images of one kind only has no area and is left out. Other arguments, the
    result and the errors are those of :func:`bootstrap_ci`.
    """
    values, truth = _scored(scores, positive)
    of_image = group_index(range(values.size) if groups is None else groups, values.size)
    count = int(of_image.max()) + 1
    if count == 1:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    chunk = max(1, _DRAWS_AT_ONCE // values.size)
    areas = []
    for start in range(0, resamples, chunk):
        drawn = rng.integers(0, count, size=(min(chunk, resamples - start), count))
        times = np.stack([np.bincount(row, minlength=count) for row in drawn])
        areas.append(_weighted_auc(values, truth, times[:, of_image]))
    reached = np.concatenate(areas)
    reached = reached[np.isfinite(reached)]
    if not reached.size:
        return math.nan, math.nan
    low, high = np.percentile(reached, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _scored(
    scores: ArrayLike, positive: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    if values.ndim != 1 or values.shape != truth.shape or not np.isfinite(values).all():
        raise ValueError(
            f"Expected a finite score and a truth for each image, (N,), got {values.shape}, "
            f"{truth.shape}."
        )
    if truth.all() or not truth.any():
        raise ValueError("Expected images of both kinds to compare, but all are of one.")
    return values, truth


def _weighted_auc(
    values: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[Any]
) -> NDArray[np.float64]:
    """Area for each row of ``weights`` (R, N); nan where one kind has no weight."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))  # of runs of equal scores
    positive = np.add.reduceat((weights * truth)[:, order], starts, axis=1).astype(np.float64)
    negative = np.add.reduceat((weights * ~truth)[:, order], starts, axis=1).astype(np.float64)
    below = negative.cumsum(axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    wins = (positive * below).sum(axis=1)
    areas = np.full_like(wins, np.nan)
    return np.asarray(np.divide(wins, pairs, out=areas, where=pairs > 0), np.float64)


def _resampled_ratios(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[Hashable] | None,
    resamples: int,
    seed: int,
) -> NDArray[np.float64] | None:
    """Draw whole groups ``resamples`` times; None where there is only one to draw."""
    pair = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)])
    if pair.ndim != 2 or pair.shape[1] == 0 or not np.isfinite(pair).all():
        raise ValueError(
            f"Expected at least one finite value an image, (N,), got {pair.shape[1:]}."
        )
    sums = pair if groups is None else _sum_by_group(pair, groups)
    count = sums.shape[1]
    if count == 1:
        return None
    rng = np.random.default_rng(seed)
    chunk = max(1, _DRAWS_AT_ONCE // count)
    ratios = []
    for start in range(0, resamples, chunk):
        drawn = rng.integers(0, count, size=(min(chunk, resamples - start), count))
        top, bottom = sums[:, drawn].sum(axis=2)
        ratios.append(np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0))
    return np.concatenate(ratios)


def _sum_by_group(pair: NDArray[np.float64], groups: Sequence[Hashable]) -> NDArray[np.float64]:
    index = group_index(groups, pair.shape[1])
    return np.stack([np.bincount(index, weights=row) for row in pair])


def group_index(groups: Sequence[Hashable], images: int) -> NDArray[np.intp]:
    """Number the groups from 0 in the order in which they come: one number an image."""
    if len(groups) != images:
        raise ValueError(f"Expected a group for each of {images} images, got {len(groups)}.")
    number: dict[Hashable, int] = {}
    return np.asarray([number.setdefault(group, len(number)) for group in groups], np.intp)
