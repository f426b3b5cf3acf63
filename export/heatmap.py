"""A picture of where forms of a network differ: for each its worst image and a heat map."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.data.contact_sheet import write_text
from edge_bts.export.verify import Worst
from edge_bts.manifest import Manifest

__all__ = ["draw_differences"]

U8 = NDArray[np.uint8]

_SIDE, _GAP, _MARGIN = 232, 14, 28
_HEADER, _TITLE = 84, 30
_HEADS = ("frame", "probability expected", "probability that came", "absolute difference")
# BGR, as in the contact sheet of a data set.
_PAPER, _INK, _FAINT = (250, 249, 248), (45, 40, 38), (125, 118, 112)
_EXPECTED, _CAME = (190, 215, 70), (60, 150, 255)


def draw_differences(worst: Mapping[str, Worst], manifest: Manifest) -> U8:
    """Draw one row a form: frame with both outlines, both probabilities, and their difference.

    The heat map of a row runs from 0 (black) to that row's largest difference (white), which is
    written above it: rows cannot be compared by colour.

    Args:
        worst: By name of the form, from :func:`edge_bts.export.verify.verify`.
        manifest: Of the bundle: side of the square and threshold of the outlines.

    Returns:
        uint8 BGR, height x width x 3.
    """
    width = 2 * _MARGIN + 4 * _SIDE + 3 * _GAP
    height = _MARGIN + _HEADER + len(worst) * (_TITLE + _SIDE + _GAP) + _MARGIN // 2
    sheet: U8 = np.full((height, width, 3), _PAPER, np.uint8)
    write_text(sheet, f"{manifest.name}: where forms differ most", (_MARGIN, 48), 0.9, _INK, 2)
    x = _MARGIN
    key = ((f"outlines at probability {manifest.threshold:.2f}: expected", _EXPECTED),)
    for text, colour in (*key, ("that came", _CAME)):
        write_text(sheet, text, (x, 76), 0.5, _FAINT)
        x += cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] + 8
        cv2.line(sheet, (x, 71), (x + 24, 71), colour, 3)
        x += 40
    for column, head in enumerate(_HEADS):
        x = _MARGIN + column * (_SIDE + _GAP)
        write_text(sheet, head, (x, _MARGIN + _HEADER - 6), 0.5, _INK)
    for row, (name, found) in enumerate(worst.items()):
        top = _MARGIN + _HEADER + row * (_TITLE + _SIDE + _GAP)
        difference = np.abs(found.came - found.expected)
        peak = float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0
        title = (
            f"{name}, against {found.against}: image {found.index}, "
            f"mean {found.difference:.1e}, largest {peak:.2g}"
        )
        write_text(sheet, title, (_MARGIN, top + 20), 0.5, _INK)
        heat = np.nan_to_num(difference, nan=peak, posinf=peak) / max(peak, 1e-12)
        tiles = (
            _outlined(found, manifest),
            _gray(found.expected),
            _gray(found.came),
            np.asarray(cv2.applyColorMap(_bytes(heat), cv2.COLORMAP_INFERNO), np.uint8),
        )
        for column, tile in enumerate(tiles):
            x, y = _MARGIN + column * (_SIDE + _GAP), top + _TITLE
            sheet[y : y + _SIDE, x : x + _SIDE] = _fit(tile)
    return sheet


def _outlined(found: Worst, manifest: Manifest) -> U8:
    square = geometry.letterbox(found.frame, manifest.imgsz)
    picture = _fit(np.asarray(cv2.cvtColor(square, cv2.COLOR_GRAY2BGR), np.uint8))
    # The expected outline is the thicker one, so that it shows where both are the same.
    for probability, colour, thickness in ((found.expected, _EXPECTED, 3), (found.came, _CAME, 1)):
        mask = (_resized(probability) >= manifest.threshold).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, thickness, cv2.LINE_AA)
    return picture


def _gray(probability: NDArray[np.float32]) -> U8:
    return np.asarray(cv2.cvtColor(_bytes(probability), cv2.COLOR_GRAY2BGR), np.uint8)


def _bytes(values: NDArray[np.float32]) -> U8:
    return np.asarray(np.round(np.nan_to_num(values).clip(0, 1) * 255), np.uint8)


def _resized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    filter_ = cv2.INTER_AREA if values.shape[0] > _SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (_SIDE, _SIDE), interpolation=filter_), np.float32)


def _fit(tile: U8) -> U8:
    if tile.shape[0] == _SIDE:
        return tile
    filter_ = cv2.INTER_AREA if tile.shape[0] > _SIDE else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(tile, (_SIDE, _SIDE), interpolation=filter_), np.uint8)
