"""A frame with what was found drawn on it: outline, diameters, and a line of figures below."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_bts.measure import Component
from edge_bts.runtime.segmenter import Result

__all__ = ["draw_overlay"]

_COLOURS = ((80, 220, 255), (255, 200, 90))  # BGR: amber, blue
_DARK = (24, 20, 18)
_TEXT = (232, 232, 232)
_FAINT = (150, 146, 142)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_WIDTH = 480  # below it the figures would not be legible
_SHIFT = 4  # OpenCV draws with this many fractional bits


def draw_overlay(
    frame: NDArray[np.uint8], result: Result, *, longest_side: int = 768
) -> NDArray[np.uint8]:
    """Draw a result on its frame.

    A small frame is enlarged by a whole factor, so that lines and letters stay fine beside the
    pixels. The largest two components carry outline, longest diameter and the extent
    perpendicular to it, further ones an outline; the strip below says the sizes, in mm where the
    spacing is known. The size of the picture depends on the size of the frame alone.

    Args:
        frame: uint8 H x W.
        result: What was found on it.
        longest_side: What a small frame is enlarged towards, in pixels.

    Returns:
        uint8 BGR, even height and width (video writers ask for it).
    """
    factor = max(1, round(longest_side / max(frame.shape)))
    canvas = np.asarray(cv2.cvtColor(_enlarge(frame, factor), cv2.COLOR_GRAY2BGR), np.uint8)
    line = max(1, round(max(canvas.shape) / 700))
    for component in result.components[len(_COLOURS) :]:
        _outline(canvas, component, factor, _FAINT, line)
    shown = list(zip(result.components, _COLOURS, strict=False))
    for component, colour in shown:
        _outline(canvas, component, factor, colour, line)
    for component, colour in shown:
        _calipers(canvas, component, factor, colour, line)
    canvas = _widen(canvas)
    return _even(np.vstack([canvas, _strip(canvas.shape[1], result)]))


def _widen(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    missing = max(0, _MIN_WIDTH - canvas.shape[1])
    left = missing // 2
    sides = (0, 0, left, missing - left)
    return np.asarray(
        cv2.copyMakeBorder(canvas, *sides, cv2.BORDER_CONSTANT, value=_DARK), np.uint8
    )


def _enlarge(frame: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return frame
    size = (frame.shape[1] * factor, frame.shape[0] * factor)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _fixed(points: object, factor: int) -> NDArray[np.int32]:
    """Scale (x, y) with pixel centres at whole numbers, to OpenCV's fixed-point numbers."""
    scaled = (np.asarray(points, np.float64) + 0.5) * factor - 0.5
    return np.rint(scaled * (1 << _SHIFT)).astype(np.int32)


def _outline(
    canvas: NDArray[np.uint8],
    component: Component,
    factor: int,
    colour: tuple[int, int, int],
    line: int,
) -> None:
    points = [_fixed(component.contour, factor).reshape(-1, 1, 2)]
    for shade, width in ((_DARK, 2 * line + 1), (colour, line)):
        cv2.polylines(canvas, points, True, shade, width, cv2.LINE_AA, _SHIFT)


def _calipers(
    canvas: NDArray[np.uint8],
    component: Component,
    factor: int,
    colour: tuple[int, int, int],
    line: int,
) -> None:
    """Draw the two diameters as sonographers set them: a cross at each end, dots between."""
    arm = 4 * line + 1
    for ends in (component.longest_ends, _orthogonal_ends(component)):
        first, second = (_fixed(end, factor) for end in ends)
        for shade, width in ((_DARK, 2 * line + 1), (colour, line)):
            _dots(canvas, first, second, shade, width, 6 * line)
            for x, y in (first, second):
                reach = arm << _SHIFT
                for dx, dy in ((reach, 0), (0, reach)):
                    a, b = (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy))
                    cv2.line(canvas, a, b, shade, width, cv2.LINE_AA, _SHIFT)


def _orthogonal_ends(component: Component) -> tuple[tuple[float, float], tuple[float, float]]:
    """Place the perpendicular extent where it is met: midway between its two extreme points."""
    first, second = (np.array(end, np.float64) for end in component.longest_ends)
    along = second - first
    length = float(np.hypot(*along))
    if length == 0:
        return component.longest_ends
    along /= length
    across = np.array([-along[1], along[0]])
    points = component.contour.astype(np.float64)
    offsets = points @ across
    low, high = points[int(offsets.argmin())], points[int(offsets.argmax())]
    middle = (low + high) / 2
    half = across * component.orthogonal_px / 2
    a, b = middle - half, middle + half
    return (float(a[0]), float(a[1])), (float(b[0]), float(b[1]))


def _dots(
    canvas: NDArray[np.uint8],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    shade: tuple[int, int, int],
    width: int,
    gap: int,
) -> None:
    length = math.hypot(*(second - first)) / (1 << _SHIFT)
    for share in np.linspace(0, 1, max(2, round(length / gap) + 1))[1:-1]:
        x, y = first + (second - first) * share
        radius = width << (_SHIFT - 1)
        cv2.circle(canvas, (int(x), int(y)), radius, shade, -1, cv2.LINE_AA, _SHIFT)


def _strip(width: int, result: Result) -> NDArray[np.uint8]:
    """Three lines, whatever was found: the frames of a video must be of one size."""
    figures = [_figures(component) for component in result.components]
    hidden = len(figures) - len(_COLOURS)
    second = (
        "" if len(figures) < 2 else figures[1] + (f", and {hidden} smaller" if hidden > 0 else "")
    )
    lines = (
        (figures[0] if figures else "no lesion found", _COLOURS[0] if figures else _TEXT),
        (second, _COLOURS[1]),
        ("research software, not for diagnosis", _FAINT),
    )
    scale = width / 1150
    step = round(36 * scale)
    strip = np.full((step * len(lines) + step // 2, width, 3), _DARK, np.uint8)
    for number, (text, colour) in enumerate(lines):
        at = (round(0.02 * width), step * (number + 1))
        cv2.putText(strip, text, at, _FONT, scale, colour, 1, cv2.LINE_AA)
    return strip


def _figures(component: Component) -> str:
    if component.longest_mm is None or component.area_mm2 is None:
        return (
            f"{component.longest_px:.0f} x {component.orthogonal_px:.0f} px, "
            f"area {component.area_px} px"
        )
    return (
        f"{component.longest_mm:.1f} x {component.orthogonal_mm:.1f} mm, "
        f"area {component.area_mm2:.1f} mm2"
    )


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    sides = (0, height % 2, 0, width % 2)
    return np.asarray(cv2.copyMakeBorder(image, *sides, cv2.BORDER_REPLICATE), np.uint8)
