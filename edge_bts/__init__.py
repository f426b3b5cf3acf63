"""edge-bts: breast-tumour segmentation in ultrasound, from training to the scanner.

Research software, not a medical device.

    import cv2, edge_bts
    model = edge_bts.open("student.ebts")
    result = model.segment(cv2.imread("image.png", cv2.IMREAD_GRAYSCALE))
    cv2.imwrite("mask.png", result.mask * 255)

Importing this package needs numpy alone; torch, nncf, onnx and openvino are imported where they
are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edge_bts.runtime import Segmenter

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(bundle: str | Path, **options: object) -> Segmenter:
    """Open a bundle for segmentation; see :func:`edge_bts.runtime.open_bundle`."""
    from edge_bts.runtime import open_bundle

    return open_bundle(bundle, **options)  # type: ignore[arg-type]
