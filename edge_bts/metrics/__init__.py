"""Segmentation metrics on NumPy masks; conventions are stated where each quantity is defined.

* :mod:`.overlap`: Dice, IoU, precision, recall of one image, and their pooled forms.
* :mod:`.surface`: 95th-percentile Hausdorff and average symmetric surface distance.
* :mod:`.intervals`: bootstrap intervals and paired differences, resampled by patient.
* :mod:`.report`: one row an image, summaries with intervals.
"""

from edge_bts.metrics.intervals import (
    Difference,
    bootstrap_ci,
    bootstrap_ratio_ci,
    paired_difference,
)
from edge_bts.metrics.overlap import PixelCounts, dice, iou, pixel_counts, precision, recall
from edge_bts.metrics.report import (
    LESION_SIZES,
    FalsePositives,
    ImageRow,
    Score,
    Summary,
    false_positives,
    lesion_size,
    score_image,
    summarise,
)
from edge_bts.metrics.surface import assd, hd95, surface_distances

__all__ = [
    "LESION_SIZES",
    "Difference",
    "FalsePositives",
    "ImageRow",
    "PixelCounts",
    "Score",
    "Summary",
    "assd",
    "bootstrap_ci",
    "bootstrap_ratio_ci",
    "dice",
    "false_positives",
    "hd95",
    "iou",
    "lesion_size",
    "paired_difference",
    "pixel_counts",
    "precision",
    "recall",
    "score_image",
    "summarise",
    "surface_distances",
]
