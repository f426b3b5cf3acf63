"""Which training images give the quantizers their ranges, and whether they cover the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_bts.data import Sample
from edge_bts.metrics import lesion_size

__all__ = ["Trait", "coverage", "draw_covering", "traits_of"]

Trait = dict[str, str]
"""What is known of one image: value by attribute; the attributes of all images are the same."""

_QUARTILES = ("darkest", "dark", "bright", "brightest")


@dataclass(frozen=True)
class _Seen:
    """What must be read from the pixels of an image."""

    gray: float
    size: str


def traits_of(samples: Sequence[Sample]) -> list[Trait]:
    """Describe samples by what changes the ranges of activations.

    Attributes: ``category``, ``lesion size`` (``LESION_SIZES``, "none" without a lesion), ``gray
    level`` (quartile among these samples of the frame's mean gray value: the gain) and ``device``
    (as the data set names it, "unknown" where it does not).

    Raises:
        InputError: A sample cannot be read.
    """
    seen = []
    for sample in samples:
        image, mask = sample.read()
        size = lesion_size(float(np.count_nonzero(mask)) / mask.size)
        seen.append(_Seen(float(image.mean(dtype=np.float64)), size or "none"))
    edges = np.quantile([each.gray for each in seen], [0.25, 0.5, 0.75])
    return [
        {
            "category": sample.category,
            "lesion size": each.size,
            "gray level": _QUARTILES[int(np.searchsorted(edges, each.gray, "right"))],
            "device": sample.device or "unknown",
        }
        for sample, each in zip(samples, seen, strict=True)
    ]


def draw_covering(traits: Sequence[Trait], count: int, seed: int) -> list[int]:
    """Draw images whose traits are, one attribute at a time, in the proportions of all.

    A range is the extreme of what was seen: a random draw that misses the few bright or the few
    small-lesion images clips exactly these on the device. Cells of all attributes together would
    hold an image or none, so the margins are balanced: image after image, the one is taken that
    brings the sum of squared deviations from the wanted counts down most; of equal ones the first
    in an order drawn by the seed.

    Args:
        traits: Of every image.
        count: Images to draw; all, if there are no more.
        seed: Of the order.

    Returns:
        Their indices, rising.
    """
    total = len(traits)
    if count >= total:
        return list(range(total))
    order = np.random.default_rng(seed).permutation(total)
    values = sorted({pair for trait in traits for pair in trait.items()})
    column = {value: index for index, value in enumerate(values)}
    has = np.zeros((total, len(values)))
    for row, image in enumerate(order):
        has[row, [column[pair] for pair in traits[image].items()]] = 1
    wanted = has.mean(axis=0) * count
    free = np.ones(total, bool)
    drawn = np.zeros(len(values))
    for _ in range(count):
        # (wanted - drawn)^2 falls by 2 (wanted - drawn) - 1 for each value that the image has.
        gain = np.where(free, has @ (wanted - drawn), -np.inf)
        best = int(gain.argmax())
        free[best] = False
        drawn += has[best]
    return sorted(int(image) for image in order[~free])


def coverage(traits: Sequence[Trait], drawn: Sequence[int]) -> dict[str, dict[str, list[int]]]:
    """Count each value of each attribute: among all images, and among the drawn ones."""
    table: dict[str, dict[str, list[int]]] = {}
    chosen = set(drawn)
    for index, trait in enumerate(traits):
        for attribute, value in trait.items():
            counts = table.setdefault(attribute, {}).setdefault(value, [0, 0])
            counts[0] += 1
            counts[1] += index in chosen
    return {name: dict(sorted(values.items())) for name, values in sorted(table.items())}
