"""Groups of images that show the same thing twice, so that no split tears them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_bts.data.sample import Category, Dataset, Sample

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    F32 = npt.NDArray[np.float32]

__all__ = ["METHOD", "duplicate_groups", "label_conflicts", "with_groups"]

_SIDE = 48  # pixels of the thumbnail
_SIGMA = 4.0  # standard deviation of the blur that is taken away, thumbnail pixels
_THRESHOLD = 0.6  # correlation from which two images count as one scene
_BLOCK = 1024  # rows of the correlation matrix held at once

METHOD = (
    f"correlation > {_THRESHOLD} of {_SIDE}x{_SIDE} thumbnails (area-averaged, minus their "
    f"Gaussian blur of sigma {_SIGMA:g}), joined transitively"
)


def duplicate_groups(samples: Sequence[Sample]) -> list[list[str]]:
    """Find groups of near-identical images.

    Every image is squeezed to a 48x48 thumbnail by area averaging; its Gaussian blur (sigma 4) is
    subtracted, so that what all breast images have in common, bright above and dark below, no
    longer counts; two images whose thumbnails correlate above 0.6 are joined, and so are chains of
    such pairs. Byte-identical files correlate by 1. The thumbnail ignores aspect ratio, gain,
    contrast, resolution, small callipers and text; it does not see mirrored or strongly
    cropped twins.

    The threshold was set on BUSI: every pair that correlates above 0.98 as plain thumbnails is
    recovered; of the 330 images that Aumente-Maestro et al. 2025 (10.1016/j.cmpb.2024.108540)
    call duplicated 314 are found, and 11 others, which are neighbouring frames of one scene. It
    was checked on BUS-BRA: of its 1.76 million pairs four are joined, each of one patient.
    Neither set has mirrored twins.

    Args:
        samples: The images to compare, all with all.

    Returns:
        Groups of at least two ids, in the order of ``samples``.

    Raises:
        InputError: An image cannot be read.
    """
    return groups_of(
        [sample.id for sample in samples], [thumbnail(s.read_image()) for s in samples]
    )


def thumbnail(image: npt.NDArray[np.uint8]) -> F32:
    """Return the float32 unit vector (2304 values) by which an image H x W is compared."""
    import cv2
    import numpy as np

    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= cv2.GaussianBlur(small, (0, 0), _SIGMA)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    # A blank image resembles nothing, not even another blank image.
    return (small / length if length > 1e-3 else np.zeros_like(small)).ravel()


def groups_of(ids: Sequence[str], thumbnails: Sequence[F32]) -> list[list[str]]:
    """Join the ids whose thumbnails correlate; see :func:`duplicate_groups`."""
    import numpy as np

    if len(ids) < 2:
        return []
    matrix = np.stack(thumbnails)
    parent = list(range(len(ids)))
    for start in range(0, len(ids), _BLOCK):
        rows = matrix[start : start + _BLOCK] @ matrix[start:].T
        for row, column in zip(*np.nonzero(np.triu(rows > _THRESHOLD, 1)), strict=True):
            first, second = _root(parent, start + int(row)), _root(parent, start + int(column))
            parent[max(first, second)] = min(first, second)
    members: dict[int, list[str]] = {}
    for index, name in enumerate(ids):
        members.setdefault(_root(parent, index), []).append(name)
    return [group for group in members.values() if len(group) > 1]


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def with_groups(dataset: Dataset) -> Dataset:
    """Return the data set with ``Sample.group`` filled in.

    Where the data set names patients nothing is changed. Else every member of a duplicate group
    gets the id of its first member as group; this reads every image.
    """
    if dataset.has_patients:
        return dataset
    leader = {name: group[0] for group in duplicate_groups(dataset.samples) for name in group}
    samples = tuple(replace(s, group=leader.get(s.id, s.id)) for s in dataset.samples)
    return replace(dataset, samples=samples)


def label_conflicts(
    dataset: Dataset, groups: Iterable[Sequence[str]] | None = None
) -> dict[str, list[Category]]:
    """Return the samples that have a duplicate of another category.

    One of the labels must be wrong, and a class teacher must not learn it:
    :func:`edge_bts.data.select` drops these when it is asked for one class.

    Args:
        dataset: The data set.
        groups: Duplicate groups of it; found anew (every image is read) by default.

    Returns:
        For each id in conflict all categories that its duplicate group carries, its own among
        them.
    """
    category: dict[str, Category] = {sample.id: sample.category for sample in dataset.samples}
    found = duplicate_groups(dataset.samples) if groups is None else groups
    conflicts: dict[str, list[Category]] = {}
    for group in found:
        carried = sorted({category[name] for name in group})
        if len(carried) > 1:
            conflicts |= dict.fromkeys(group, carried)
    return conflicts
