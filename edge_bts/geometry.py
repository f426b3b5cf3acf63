"""From source geometry to the square that the network sees, and back.

*Source geometry* is the pixels as the probe delivered them, H x W. *Model geometry* is a square:
the image is resized so that its longer side is ``size`` (aspect kept; area filter where an axis
shrinks, bilinear with half-pixel centres where it grows, decided for each axis) and centred on a
background of 0. Training, evaluation, export and the device all use these functions.

They run in the C++ core where it is built and in NumPy elsewhere (``BACKEND`` says which), with
the same bits: the arithmetic is defined in integers, see :mod:`edge_bts._geometry_numpy`.

Every function raises :class:`edge_bts.errors.InputError` for an argument of the wrong type, dtype,
shape or range. Arrays need not be contiguous; results are new arrays.
"""

from __future__ import annotations

import math
import operator
from dataclasses import astuple, dataclass
from typing import Any, Literal, SupportsFloat

import numpy as np
import numpy.typing as npt

from edge_bts import _geometry_numpy
from edge_bts.errors import InputError

try:
    from edge_bts import _native
except (ImportError, OSError):  # OSError: an editable install whose extension was removed
    _native = None  # type: ignore[assignment]

__all__ = [
    "BACKEND",
    "MAX_SIZE",
    "Letterbox",
    "letterbox",
    "letterbox_mask",
    "normalise",
    "plan",
    "threshold",
    "to_source",
]

BACKEND: Literal["native", "numpy"] = "numpy" if _native is None else "native"
"""Who computes: the C++ core or NumPy."""

MAX_SIZE = 16384
"""The largest height, width and size in pixels."""


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies in the square; made by :func:`plan`. All in pixels."""

    source_height: int
    source_width: int
    size: int
    height: int
    """Height of the content box inside the square."""
    width: int
    """Width of the content box inside the square."""
    top: int
    """First row of the content box."""
    left: int
    """First column of the content box."""


def plan(height: int, width: int, size: int) -> Letterbox:
    """Say where an image of ``height`` x ``width`` lies in a square of ``size``.

    The longer side becomes ``size``; the other is scaled alike, rounded half up, at least 1.
    Where the margins differ by one, the smaller is above or left.

    Args:
        height: Rows of the image, 1 to 16384.
        width: Columns of the image, 1 to 16384.
        size: Side of the square, 1 to 16384.

    Raises:
        InputError: A side is no integer or out of range.
    """
    height, width, size = _side("height", height), _side("width", width), _side("size", size)
    longer = max(height, width)
    inner_height, inner_width = (
        max(1, (2 * side * size + longer) // (2 * longer)) for side in (height, width)
    )
    return Letterbox(
        source_height=height,
        source_width=width,
        size=size,
        height=inner_height,
        width=inner_width,
        top=(size - inner_height) // 2,
        left=(size - inner_width) // 2,
    )


def letterbox(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Resize an image into the square of the network.

    Args:
        image: uint8, H x W, 0 to 255.
        size: Side of the square in pixels.

    Returns:
        uint8, size x size; 0 outside the content box of ``plan(H, W, size)``.

    Raises:
        InputError: ``image`` is no such array, or a side is out of range.
    """
    image = _array("image", image, np.uint8)
    box = plan(image.shape[0], image.shape[1], size)
    if _native is not None:
        return _native.letterbox(np.ascontiguousarray(image), box.size)
    return _geometry_numpy.letterbox(image, *astuple(box)[2:])


def letterbox_mask(mask: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Resize a mask into the square of the network, with the geometry of :func:`letterbox`.

    ``mask * 255`` is resized and set where it is at least 128: where the lesion has at least half
    of the output pixel.

    Args:
        mask: uint8 or bool, H x W, 0 or 1.
        size: Side of the square in pixels.

    Returns:
        uint8, size x size, 0 or 1.

    Raises:
        InputError: ``mask`` is no such array or holds other values, or a side is out of range.
    """
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = mask.view(np.uint8)
    mask = _array("mask", mask, np.uint8)
    if (highest := int(mask.max())) > 1:
        raise InputError(
            f"Expected a mask of 0 and 1, but it holds {highest}; pass (mask > 0) if that is meant."
        )
    box = plan(mask.shape[0], mask.shape[1], size)
    if _native is not None:
        return _native.letterbox_mask(np.ascontiguousarray(mask), box.size)
    return _geometry_numpy.letterbox_mask(mask, *astuple(box)[2:])


def normalise(image: npt.NDArray[np.uint8], mean: float, std: float) -> npt.NDArray[np.float32]:
    """Scale gray levels to what the network was trained on: ``(v/255 - mean)/std``.

    ``mean`` and ``std`` are rounded to float32, and so is each of the three operations.

    Args:
        image: uint8, H x W, 0 to 255.
        mean: Mean of the training images, in units of v/255.
        std: Standard deviation of the training images, in units of v/255, above 0.

    Returns:
        float32, H x W.

    Raises:
        InputError: ``image`` is no such array, or the constants are not finite, or ``std`` is
            not above 0 or so small that the result would not be finite.
    """
    image = _array("image", image, np.uint8)
    mean32, std32 = _float32("mean", mean), _float32("std", std)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        extremes = (np.array([0, 1], np.float32) - mean32) / std32
    if not (std32 > 0 and np.isfinite(extremes).all()):
        raise InputError(
            f"Expected a standard deviation above 0 that gives finite values, but it is {std}; "
            "take the constants from the manifest or the checkpoint."
        )
    if _native is not None:
        return _native.normalise(np.ascontiguousarray(image), float(mean32), float(std32))
    return _geometry_numpy.normalise(image, mean32, std32)


def to_source(probability: npt.NDArray[np.float32], box: Letterbox) -> npt.NDArray[np.float32]:
    """Bring a probability map back to source geometry.

    The content box is cut out and resized to the source size with the filters of
    :func:`letterbox`; values stay between the lowest and the highest of the input.

    Args:
        probability: float32, size x size. A NaN spreads to the pixels that it has a part in.
        box: What :func:`plan` gave for the image.

    Returns:
        float32, source_height x source_width.

    Raises:
        InputError: ``probability`` is not float32 of size x size, or ``box`` is not of ``plan``.
    """
    probability = _array("probability", probability, np.float32)
    if box != plan(box.source_height, box.source_width, box.size):
        raise InputError(f"Expected a letterbox made by plan(), but got {box}; call plan().")
    if probability.shape != (box.size, box.size):
        raise InputError(
            f"Expected a probability map of {box.size}x{box.size} as its letterbox says, but got "
            f"{probability.shape[0]}x{probability.shape[1]}; pass the map of that very frame."
        )
    source = (box.source_height, box.source_width)
    if _native is not None:
        return _native.to_source(np.ascontiguousarray(probability), *source)
    return _geometry_numpy.to_source(
        probability, (box.height, box.width, box.top, box.left), source
    )


def threshold(probability: npt.NDArray[np.float32], value: float) -> npt.NDArray[np.uint8]:
    """Turn a probability map into a mask: 1 where ``probability >= value``.

    ``value`` is rounded to float32 first. A NaN gives 0: it is no evidence of a lesion, and whoever
    must know that it came looks at the probabilities.

    Args:
        probability: float32, H x W.
        value: The threshold; finite.

    Returns:
        uint8, H x W, 0 or 1.

    Raises:
        InputError: ``probability`` is no such array, or ``value`` is not finite.
    """
    probability = _array("probability", probability, np.float32)
    value32 = _float32("threshold", value)
    if _native is not None:
        return _native.threshold(np.ascontiguousarray(probability), float(value32))
    return _geometry_numpy.threshold(probability, value32)


def _side(name: str, value: int) -> int:
    try:
        side = operator.index(value)
    except TypeError:
        raise InputError(
            f"Expected {name} to be an integer, but got {value!r}; pass pixels."
        ) from None
    if not 1 <= side <= MAX_SIZE:
        raise InputError(
            f"Expected {name} between 1 and {MAX_SIZE} pixels, but got {side}; "
            "crop or resample the image first."
        )
    return side


def _array(name: str, value: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    wanted = np.dtype(dtype).name
    if not isinstance(value, np.ndarray):
        raise InputError(
            f"Expected {name} as a NumPy array of {wanted}, but got {type(value).__name__}; "
            "convert it first."
        )
    if value.ndim != 2 or value.dtype != dtype:
        shape = "x".join(map(str, value.shape)) or "a scalar"
        raise InputError(
            f"Expected {name} as {wanted} of height x width, but got {value.dtype} of {shape}; "
            "convert it to one channel of that type first."
        )
    _side(f"the height of {name}", value.shape[0])
    _side(f"the width of {name}", value.shape[1])
    return value


def _float32(name: str, value: SupportsFloat) -> np.float32:
    with np.errstate(over="ignore"):
        number: np.float32 = np.float32(float(value))
    if not math.isfinite(number):
        raise InputError(f"Expected a finite {name}, but got {value}; correct the constant.")
    return number
