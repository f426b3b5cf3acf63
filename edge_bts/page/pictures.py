"""The images of a page: the best, the middle and the worst, and the most suspected normals."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.metrics import ImageRow

if TYPE_CHECKING:
    from edge_bts.data import Sample
    from edge_bts.evaluate import Report, SegmenterLike

__all__ = ["choose", "draw"]

_LONGEST = 512  # pixels of the picture: a page of twelve stays below a megabyte
_QUALITY = 88
_ORDER = ("Best", "Median", "Worst", "Normals with the highest presence")


def choose(rows: Sequence[ImageRow], each: int = 3) -> dict[str, list[ImageRow]]:
    """Choose up to ``each`` rows of each kind, of a group one; kinds without any are left out."""
    lesions = sorted((row for row in rows if row.target_px), key=lambda row: (row.dice, row.id))
    normals = sorted(
        (row for row in rows if not row.target_px), key=lambda row: (-row.presence, row.id)
    )
    middle = lesions[len(lesions) // 2].dice if lesions else 0.0
    orders = {
        "Best": lesions[::-1],
        "Worst": lesions,
        "Median": sorted(lesions, key=lambda row: (abs(row.dice - middle), row.id)),
        "Normals with the highest presence": normals,
    }
    shown: set[str] = set()  # groups: near-duplicates show nothing new
    chosen: dict[str, list[ImageRow]] = {kind: [] for kind in _ORDER}
    for kind, order in orders.items():
        for row in order:
            if row.group not in shown and len(chosen[kind]) < each:
                chosen[kind].append(row)
                shown.add(row.group)
    return {kind: found for kind, found in chosen.items() if found}


def draw(row: ImageRow, sample: Sample, segmenter: SegmenterLike, report: Report) -> str:
    """Return the figure of one image: its pixels, both outlines, and what it reached."""
    image, target = sample.read()
    found = segmenter.predict(image)
    mask = geometry.threshold(found.probability, report.threshold)
    if found.presence < report.presence_threshold:
        mask[:] = 0
    height, width = image.shape
    scale = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    outlines = "".join(
        f'<path class="halo" d="{path}"/><path class="{kind}" d="{path}"/>'
        for kind, path in (("truth", _outline(target)), ("found", _outline(mask)))
        if path
    )
    return (
        f'<figure class="picture"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(row.id)}"><image width="{width}" height="{height}" '
        f'preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{base64.b64encode(content).decode()}"/>{outlines}</svg>'
        f"<figcaption><b>{escape(row.id)}</b>{_caption(row, report)}</figcaption></figure>"
    )


def _caption(row: ImageRow, report: Report) -> str:
    emptied = row.presence < report.presence_threshold
    parts = [f"presence {row.presence:.3f}" + (", mask emptied" if emptied else "")]
    if row.target_px:
        parts.insert(0, f"{row.category}, {row.size}")
        parts.insert(0, f"Dice {row.dice:.3f}")
    elif row.predicted_px:
        parts.append(f"{row.predicted_px} px found")
    return escape(" · ".join(parts))


def _outline(mask: NDArray[Any]) -> str:
    """Return the borders of a mask as an SVG path in source pixels, through pixel centres."""
    borders, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(0, 0)
    )
    paths = []
    for border in borders:
        points = " ".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in border[:, 0])
        paths.append(f"M{points}z")
    return "".join(paths)
