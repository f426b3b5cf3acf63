"""Segmentation metrics on NumPy masks; conventions are stated where each quantity is defined.

* :mod:`.overlap`: Dice, IoU, precision, recall of one image, and their pooled forms.
* :mod:`.surface`: 95th-percentile Hausdorff and average symmetric surface distance.
* :mod:`.intervals`: bootstrap intervals and paired differences, resampled by patient.
* :mod:`.permutation`: paired permutation test, correction for several tests.
* :mod:`.report`: one row an image, summaries with intervals.
* :mod:`.agreement`: Bland-Altman limits of lesion areas.
* :mod:`.temporal`: how calm masks are from frame to frame.
"""

from edge_bts.metrics.agreement import AreaAgreement, Limits, area_agreement
from edge_bts.metrics.intervals import (
    Difference,
    auc,
    bootstrap_auc_ci,
    bootstrap_ci,
    bootstrap_ratio_ci,
    paired_difference,
)
from edge_bts.metrics.overlap import PixelCounts, dice, iou, pixel_counts, precision, recall
from edge_bts.metrics.permutation import holm, paired_permutation_p
from edge_bts.metrics.report import (
    LESION_SIZES,
    FalsePositives,
    ImageRow,
    Presence,
    Score,
    Summary,
    false_positives,
    lesion_size,
    presence_scores,
    score_image,
    summarise,
)
from edge_bts.metrics.surface import assd, hd95, surface_distances

__all__ = [
    "LESION_SIZES",
    "AreaAgreement",
    "Difference",
    "FalsePositives",
    "ImageRow",
    "Limits",
    "PixelCounts",
    "Presence",
    "Score",
    "Summary",
    "area_agreement",
    "assd",
    "auc",
    "bootstrap_auc_ci",
    "bootstrap_ci",
    "bootstrap_ratio_ci",
    "dice",
    "false_positives",
    "hd95",
    "holm",
    "iou",
    "lesion_size",
    "paired_difference",
    "paired_permutation_p",
    "pixel_counts",
    "precision",
    "presence_scores",
    "recall",
    "score_image",
    "summarise",
    "surface_distances",
]
