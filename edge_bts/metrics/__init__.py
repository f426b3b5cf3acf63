"""Segmentation metrics on NumPy masks; conventions are stated where each quantity is defined."""

from edge_bts.metrics.overlap import (
    PixelCounts,
    dice,
    iou,
    pixel_counts,
    precision,
    recall,
)

__all__ = ["PixelCounts", "dice", "iou", "pixel_counts", "precision", "recall"]
