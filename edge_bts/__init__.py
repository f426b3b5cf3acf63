"""edge-bts: breast-tumour segmentation in ultrasound, from training to the scanner.

Research software, not a medical device.

    import cv2, edge_bts
    model = edge_bts.open("student.ebts", trust="maker.pub")
    result = model.segment(cv2.imread("image.png", cv2.IMREAD_GRAYSCALE))
    cv2.imwrite("mask.png", result.mask * 255)

Importing this package needs numpy alone; torch, nncf, onnx and openvino are imported where they
are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_bts.runtime import Segmenter

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(
    bundle: str | Path,
    *,
    trust: str | Path | Iterable[str | Path] = (),
    allow_unsigned: bool = False,
    **options: object,
) -> Segmenter:
    """Open a bundle for segmentation.

    Args:
        bundle: The folder ``NAME.ebts``.
        trust: Public keys to believe, or folders of them, besides those that
            :func:`edge_bts.signing.find_trust` knows.
        allow_unsigned: Accept a bundle without a signature of a trusted key; the segmenter's
            ``notes`` say so.
        **options: As for :func:`edge_bts.runtime.open_bundle`, which also names the errors.
    """
    from edge_bts.runtime import open_bundle
    from edge_bts.signing import find_trust

    believed = find_trust(trust, allow_unsigned=allow_unsigned)
    return open_bundle(bundle, trust=believed, **options)  # type: ignore[arg-type]
