"""The geometry of :mod:`edge_bts.geometry` in NumPy: the reference and the pure-Python fallback.

This module is the readable spelling of the specification in
``runtime/include/edge_bts/geometry.hpp`` and gives the same bits as the C++ core. Arguments
are checked by the caller.

Along one axis, ``n_in`` pixels become ``n_out``, each a weighted mean of neighbours whose weights
are *integers* over one common denominator, so that nothing depends on a compiler's rounding:

* shrinking (``n_out < n_in``), area filter: source pixel ``j`` has the part of output pixel ``i``
  that it covers, ``min((i+1)·n_in, (j+1)·n_out) - max(i·n_in, j·n_out)`` over ``n_in``;
* enlarging, bilinear with half-pixel centres: ``t = (2i+1)·n_in - n_out``, clamped to
  ``[0, 2·n_out·(n_in-1)]``; pixel ``t // 2n_out`` has ``2n_out - t % 2n_out``, the next one
  ``t % 2n_out``, over ``2n_out``;
* equal lengths: a copy.

uint8: the exact two-dimensional sum is divided once, rounding half up. float32: rows are summed
first, then columns, each in ascending order in float64 (products rounded, no fused multiply-add),
divided once by the product of the denominators and rounded to float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["letterbox", "letterbox_mask", "normalise", "threshold", "to_source"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Taps:
    """The weights of one axis: output ``i`` is ``Σ_k weights[k][i] · input[first[i] + k]``."""

    first: npt.NDArray[np.intp]  # n_out
    count: npt.NDArray[np.intp]  # n_out, taps with a weight above zero
    weights: npt.NDArray[np.int32]  # taps x n_out, zero from count[i] on
    denominator: int


@lru_cache(maxsize=64)
def _taps(n_in: int, n_out: int) -> _Taps:
    if n_out == n_in:
        ones = np.ones(n_in, np.intp)
        return _Taps(np.arange(n_in), ones, np.ones((1, n_in), np.int32), 1)
    return _area(n_in, n_out) if n_out < n_in else _bilinear(n_in, n_out)


def _area(n_in: int, n_out: int) -> _Taps:
    low = np.arange(n_out, dtype=np.intp) * n_in
    high = low + n_in
    first = low // n_out
    count = (high - 1) // n_out - first + 1
    source = first + np.arange(int(count.max()))[:, None]
    covered = np.minimum(high, (source + 1) * n_out) - np.maximum(low, source * n_out)
    return _Taps(first, count, np.maximum(covered, 0).astype(np.int32), n_in)


def _bilinear(n_in: int, n_out: int) -> _Taps:
    whole = 2 * n_out
    at = (2 * np.arange(n_out, dtype=np.intp) + 1) * n_in - n_out
    at = at.clip(0, whole * (n_in - 1))
    part = at % whole
    weights = np.stack([whole - part, part]).astype(np.int32)
    return _Taps(at // whole, 1 + (part > 0), weights, whole)


def _weighted_sum(values: Array, taps: _Taps, axis: int, dtype: npt.DTypeLike) -> Array:
    """Sum along ``axis`` tap by tap, in ascending order; zero weights are left out, not added.

    Leaving them out matters for floats only: 0 times a NaN beside the pixel would be a NaN.
    """
    column = (slice(None), None) if axis == 0 else (None, slice(None))
    total: Array = np.take(values, taps.first, axis).astype(dtype)
    total *= taps.weights[0][column]
    for k in range(1, len(taps.weights)):
        used = np.flatnonzero(taps.count > k)
        term = np.take(values, taps.first[used] + k, axis).astype(dtype)
        term *= taps.weights[k][used][column]
        if len(used) == len(taps.count):
            total += term
        elif axis == 0:
            total[used] += term
        else:
            total[:, used] += term
    return total


def _resize_u8(image: Array, height: int, width: int) -> Array:
    if image.shape == (height, width):
        return image
    rows, columns = _taps(image.shape[0], height), _taps(image.shape[1], width)
    # 255 · 2^15 fits int32 after the rows; both axes need 38 bits.
    total = _weighted_sum(image, rows, 0, np.int32)
    total = _weighted_sum(total, columns, 1, np.int64)
    denominator = rows.denominator * columns.denominator
    total += denominator // 2
    total //= denominator
    return total.astype(np.uint8)


def letterbox(
    image: Array, size: int, height: int, width: int, top: int, left: int
) -> npt.NDArray[np.uint8]:
    """Resize ``image`` to ``height`` x ``width`` and place it in a zero square."""
    square = np.zeros((size, size), np.uint8)
    square[top : top + height, left : left + width] = _resize_u8(image, height, width)
    return square


def letterbox_mask(
    mask: Array, size: int, height: int, width: int, top: int, left: int
) -> npt.NDArray[np.uint8]:
    """Letterbox ``mask * 255`` and threshold at 128."""
    square = letterbox(mask * np.uint8(255), size, height, width, top, left)
    return (square >= 128).astype(np.uint8)


def normalise(image: Array, mean: np.float32, std: np.float32) -> npt.NDArray[np.float32]:
    """Look ``(v/255 - mean)/std`` up, each operation rounded to float32."""
    table = (np.arange(256, dtype=np.float32) / np.float32(255) - mean) / std
    normalised: npt.NDArray[np.float32] = table.astype(np.float32, copy=False)[image]
    return normalised


def to_source(
    probability: Array, content: tuple[int, int, int, int], source: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Cut ``content`` (height, width, top, left) out and resize it to ``source``."""
    height, width, top, left = content
    crop = probability[top : top + height, left : left + width]
    if (height, width) == source:
        return crop.astype(np.float32)
    rows, columns = _taps(height, source[0]), _taps(width, source[1])
    with np.errstate(invalid="ignore"):  # an infinite probability is the caller's to find
        total = _weighted_sum(crop, rows, 0, np.float64)
        total = _weighted_sum(total, columns, 1, np.float64)
    total /= rows.denominator * columns.denominator
    return total.astype(np.float32)


def threshold(probability: Array, value: np.float32) -> npt.NDArray[np.uint8]:
    """Return ``probability >= value`` as 0/1; a NaN gives 0."""
    with np.errstate(invalid="ignore"):
        return (probability >= value).astype(np.uint8)
