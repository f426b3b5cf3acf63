"""A picture of all changes: each with its reason, then all together as training sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from edge_bts.data.contact_sheet import write_text
from edge_bts.trainers.augment.batch import Augment, reasons
from edge_bts.trainers.augment.settings import CHANGES, AugmentSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_bts.data.sample import U8

    F32 = NDArray[np.float32]

__all__ = ["draw_sheet"]

_CANDIDATES = 8  # draws of a change, of which the strongest is shown
_TOGETHER = 3  # rows of all changes together
_PANELS = 3
_TILE, _GAP, _LABEL, _MARGIN, _HEADER = 176, 6, 40, 28, 72

# BGR
_PAPER, _INK, _FAINT, _OUTLINE = (250, 249, 248), (45, 40, 38), (118, 110, 104), (60, 200, 250)


def draw_sheet(image: Tensor, mask: Tensor, settings: AugmentSettings, seed: int) -> U8:
    """Draw the changes of ``settings`` on some images.

    Args:
        image: (B, 1, S, S) float32 in 0..1.
        mask: (B, 1, S, S) float32, 0 or 1; shown as an outline.
        settings: Of whose strengths the strongest of some draws is shown.
        seed: The same seed gives the same sheet.

    Returns:
        uint8 BGR, height x width x 3.
    """
    why = reasons()
    rows = [("as stored", "Letterboxed squares with the outline of the lesion.", image, mask)]
    for number, name in enumerate(CHANGES):
        chance = getattr(settings, name)
        only = settings.model_copy(update={**dict.fromkeys(CHANGES, 0.0), name: 1.0})
        torch.manual_seed(seed * 1000 + number)
        title = f"{name.replace('_', ' ')}, probability {chance:g}"
        rows.append((title, why[name], *_strongest(Augment(only), image, mask)))
    torch.manual_seed(seed)
    for number in range(_TOGETHER):
        title = f"all together, {number + 1} of {_TOGETHER}"
        moved = Augment(settings)(image, mask)
        rows.append((title, "As training sees them, at their probabilities.", *moved[:2]))
    return _compose(rows, len(image))


def _strongest(augment: Augment, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each image, the draw that differs most from it."""
    draws = [augment(image, mask) for _ in range(_CANDIDATES)]
    images, masks = torch.stack([d.image for d in draws]), torch.stack([d.mask for d in draws])
    best = (images - image).abs().mean(dim=(2, 3, 4)).argmax(0)
    at = torch.arange(len(image))
    return images[best, at], masks[best, at]


def _compose(rows: list[tuple[str, str, Tensor, Tensor]], columns: int) -> U8:
    high = -(-len(rows) // _PANELS)
    wide = columns * (_TILE + _GAP) - _GAP
    step = _LABEL + _TILE + 2 * _GAP
    shape = (_MARGIN + _HEADER + high * step, _MARGIN + _PANELS * (wide + _MARGIN), 3)
    sheet: U8 = np.full(shape, _PAPER, np.uint8)
    write_text(sheet, "Augmentation of B-mode images", (_MARGIN, _MARGIN + 26), 0.95, _INK, 2)
    note = "Research software, not a medical device. Of each change the strongest of some draws."
    write_text(sheet, note, (_MARGIN, _MARGIN + 54), 0.5, _FAINT)
    for number, (title, reason, image, mask) in enumerate(rows):
        panel, row = divmod(number, high)
        x, y = _MARGIN + panel * (wide + _MARGIN), _MARGIN + _HEADER + row * step
        write_text(sheet, title, (x, y + 14), 0.52, _INK)
        write_text(sheet, reason, (x, y + 32), 0.42, _FAINT)
        for column in range(columns):
            tile = _tile(image[column, 0].numpy(), mask[column, 0].numpy())
            left, top = x + column * (_TILE + _GAP), y + _LABEL
            sheet[top : top + _TILE, left : left + _TILE] = tile
    return sheet


def _tile(image: F32, mask: F32) -> U8:
    area = cv2.INTER_AREA if len(image) > _TILE else cv2.INTER_LINEAR
    # 32 gray values look like 256 on speckle, and the file is half as large.
    gray = np.rint(cv2.resize(image, (_TILE, _TILE), interpolation=area) * 31) * (255 / 31)
    tile = cv2.cvtColor(gray.astype(np.uint8), cv2.COLOR_GRAY2BGR)
    soft = cv2.resize(mask, (_TILE, _TILE), interpolation=area)
    outlines, _ = cv2.findContours(
        (soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(tile, outlines, -1, _OUTLINE, 1)
    return np.asarray(tile, np.uint8)
