"""Agreement of predicted and true lesion areas (Bland & Altman, Lancet 1986; SMMR 1999).

Over the lesion images in which something is predicted: where nothing is, nothing was measured, and
such images are counted instead. An area is that of the whole mask.

The limits are mean ± 1.96 standard deviations (n - 1) of the differences "predicted - true". The
spread of areas grows with the area, so that limits in px² or mm² are too wide for small lesions
and too narrow for large ones; the limits of the ratio "predicted / true", taken of its logarithm
as Bland & Altman advise there, hold for all sizes: 0.8 to 1.3 says from 20 % too small to 30 % too
large. Images count alike, whatever group they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge_bts.metrics.report import ImageRow

__all__ = ["AreaAgreement", "Limits", "area_agreement"]

_Z = 1.96


class Limits(BaseModel):
    """Mean (``bias``) and 95 % limits of agreement of ``n`` images; None where n is 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias: float
    low: float | None
    high: float | None
    n: int


class AreaAgreement(BaseModel):
    """How predicted areas differ from true ones.

    Attributes:
        left_out: Lesion images without any predicted pixel.
        px2: Limits of predicted - true, px².
        mm2: The same in mm², over the images with known spacing; None if there are none.
        ratio: Limits of predicted / true; the bias is the geometric mean.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    left_out: int
    px2: Limits
    mm2: Limits | None
    ratio: Limits


def area_agreement(rows: Iterable[ImageRow]) -> AreaAgreement | None:
    """Compare areas over the rows with a lesion; None where in none something is predicted."""
    lesions = [row for row in rows if row.target_px]
    measured = [row for row in lesions if row.predicted_px]
    if not measured:
        return None
    ratio = _limits([float(np.log(row.predicted_px / row.target_px)) for row in measured])
    in_mm2 = [
        (row.predicted_px - row.target_px) * row.spacing_mm**2
        for row in measured
        if row.spacing_mm is not None
    ]
    return AreaAgreement(
        left_out=len(lesions) - len(measured),
        px2=_limits([row.predicted_px - row.target_px for row in measured]),
        mm2=_limits(in_mm2) if in_mm2 else None,
        ratio=Limits(
            bias=float(np.exp(ratio.bias)),
            low=None if ratio.low is None else float(np.exp(ratio.low)),
            high=None if ratio.high is None else float(np.exp(ratio.high)),
            n=ratio.n,
        ),
    )


def _limits(differences: Sequence[float]) -> Limits:
    bias = float(np.mean(differences))
    if len(differences) == 1:
        return Limits(bias=bias, low=None, high=None, n=1)
    reach = _Z * float(np.std(differences, ddof=1))
    return Limits(bias=bias, low=bias - reach, high=bias + reach, n=len(differences))
