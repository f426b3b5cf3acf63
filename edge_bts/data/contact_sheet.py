"""A picture of a data set: some images of every category with the outlines of their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bts.data.sample import CATEGORIES, Category, Dataset, Sample
from edge_bts.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_bts.data.sample import U8

__all__ = ["ContactSheet", "write_png", "write_text"]

_COLUMNS = 6
_ROWS = {1: 5, 2: 3, 3: 2, 4: 2}  # rows of each category, by the number of categories
_TILE_W, _TILE_H = 260, 210  # the picture in a tile
_LABEL_H, _GAP, _MARGIN = 24, 12, 28
_HEADER_H, _SECTION_H = 64, 40

# BGR; the outline colours differ in lightness too, for readers who do not see red and green.
_PAPER, _INK, _FAINT, _BACK = (250, 249, 248), (45, 40, 38), (135, 128, 122), (22, 20, 20)
_OUTLINE: dict[Category, tuple[int, int, int]] = {
    "benign": (190, 215, 70),
    "malignant": (70, 95, 250),
    "normal": (200, 200, 200),
    "lesion": (60, 200, 250),
}


class ContactSheet:
    """Collects the tiles while a data set is read, then draws them.

    The samples shown are spread evenly over each category, so the same data give the same sheet.

    Args:
        samples: All samples of the data set.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        present = [c for c in CATEGORIES if any(s.category == c for s in samples)]
        places = _COLUMNS * _ROWS.get(len(present), 2)
        self._chosen: dict[Category, list[str]] = {}
        for category in present:
            ids = [sample.id for sample in samples if sample.category == category]
            step = max(len(ids) / places, 1.0)
            self._chosen[category] = [ids[int(k * step)] for k in range(min(places, len(ids)))]
        self._wanted = {name for ids in self._chosen.values() for name in ids}
        self._tiles: dict[str, U8] = {}

    def add(self, sample: Sample, image: U8, mask: U8) -> None:
        """Keep the tile of ``sample`` if it is to be shown; image and mask are uint8 H x W."""
        if sample.id in self._wanted:
            self._tiles[sample.id] = _tile(sample, image, mask)

    def draw(self, dataset: Dataset) -> U8:
        """Return the sheet as uint8 BGR, height x width x 3."""
        import numpy as np

        sections = {c: [n for n in ids if n in self._tiles] for c, ids in self._chosen.items()}
        sections = {category: ids for category, ids in sections.items() if ids}
        row_h = _TILE_H + _LABEL_H + _GAP
        rows = sum(-(-len(ids) // _COLUMNS) for ids in sections.values())
        height = _MARGIN + _HEADER_H + _SECTION_H * len(sections) + row_h * rows + _MARGIN // 2
        width = 2 * _MARGIN + _COLUMNS * _TILE_W + (_COLUMNS - 1) * _GAP
        sheet: U8 = np.full((height, width, 3), _PAPER, np.uint8)
        write_text(sheet, dataset.name, (_MARGIN, _MARGIN + 26), 1.0, _INK, 2)
        counts = ", ".join(f"{dataset.count(category)} {category}" for category in self._chosen)
        write_text(sheet, f"{len(dataset)} images: {counts}", (_MARGIN, _MARGIN + 56), 0.55, _FAINT)
        top = _MARGIN + _HEADER_H
        for category, ids in sections.items():
            _section(sheet, category, len(ids), dataset.count(category), top)
            top += _SECTION_H
            for index, name in enumerate(ids):
                row, column = divmod(index, _COLUMNS)
                y, x = top + row * row_h, _MARGIN + column * (_TILE_W + _GAP)
                sheet[y : y + _TILE_H + _LABEL_H, x : x + _TILE_W] = self._tiles[name]
            top += row_h * -(-len(ids) // _COLUMNS)
        return sheet


def write_png(path: str | Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an image as PNG, whole or not at all."""
    import cv2

    # Speckle is hard to pack: the best compression halves the file.
    _, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())


def write_text(
    target: U8,
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
    thickness: int = 1,
) -> None:
    """Write one line into a BGR picture; ``at`` is the left end of its base line, as x, y."""
    import cv2

    # OpenCV's font has ASCII only.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(target, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)


def _section(sheet: U8, category: Category, shown: int, of: int, top: int) -> None:
    import cv2

    swatch = (_MARGIN, top + 12), (_MARGIN + 16, top + 28)
    cv2.rectangle(sheet, *swatch, _OUTLINE[category], -1)
    cv2.rectangle(sheet, *swatch, _FAINT, 1)
    write_text(sheet, f"{category}  ({shown} of {of})", (_MARGIN + 26, top + 26), 0.6, _INK)


def _tile(sample: Sample, image: U8, mask: U8) -> U8:
    """Fit the image into the tile, draw the outline at the tile's resolution, write the label."""
    import cv2
    import numpy as np

    height, width = image.shape
    scale = min(_TILE_W / width, _TILE_H / height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.cvtColor(cv2.resize(image, size, interpolation=filter_), cv2.COLOR_GRAY2BGR)
    soft = cv2.resize(mask * np.uint8(255), size, interpolation=filter_)
    outlines, _ = cv2.findContours(
        (soft >= 128).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(picture, outlines, -1, _BACK, 3, cv2.LINE_AA)
    cv2.drawContours(picture, outlines, -1, _OUTLINE[sample.category], 1, cv2.LINE_AA)
    tile: U8 = np.full((_TILE_H + _LABEL_H, _TILE_W, 3), _PAPER, np.uint8)
    tile[:_TILE_H] = _BACK
    y, x = (_TILE_H - size[1]) // 2, (_TILE_W - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = picture
    detail = f"{width}x{height}"
    if len(sample.mask_paths) > 1:
        detail += f", {len(sample.mask_paths)} masks"
    write_text(tile, sample.id.rsplit("/", 1)[-1], (1, _TILE_H + 16), 0.42, _INK)
    (text_w, _), _ = cv2.getTextSize(detail, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    write_text(tile, detail, (_TILE_W - text_w - 1, _TILE_H + 16), 0.42, _FAINT)
    return tile
