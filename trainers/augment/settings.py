"""How often and how strongly a training batch is changed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from edge_bts.config import Settings

__all__ = ["CHANGES", "AugmentSettings"]

# In the order in which a batch undergoes them; each is the name of a probability and a function.
CHANGES = (
    *("attenuation", "shadow", "enhancement", "speckle", "noise", "tgc", "gain", "dynamic_range"),
    *("gray_map", "blur", "sector", "flip", "affine", "elastic", "calipers", "text", "jpeg"),
)


def _ordered(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the lower end must come first")
    return ends


Chance = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Positive = Annotated[float, Field(gt=0)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
Quality = Annotated[float, Field(ge=1, le=100)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_ordered)]
Decibels = Annotated[float, Field(ge=0, le=60)]


class AugmentSettings(Settings):
    """Random changes of a training batch.

    The field that bears a change's name is the probability that an image undergoes it; the others
    are strengths in the unit of their name. Each image draws its own. Why each change is physical
    stands at its function in :mod:`edge_bts.trainers.augment`.
    """

    # In space: image and mask alike.
    flip: Chance = 0.5  # left and right are alike, up and down are not
    affine: Chance = 0.9  # the four below together
    rotate_degrees: float = Field(15.0, ge=0, le=180)
    translate: float = Field(0.10, ge=0, le=0.5)  # fraction of the side
    scale: PositiveRange = (0.8, 1.25)
    shear_degrees: float = Field(5.0, ge=0, le=45)
    elastic: Chance = 0.3
    elastic_shift: float = Field(0.015, ge=0, le=0.03)  # rms, fraction of the side; beyond: folds

    # The echo on its way through the tissue.
    attenuation: Chance = 0.3
    attenuation_db: Decibels = 15.0  # at most, at the bottom of the picture
    shadow: Chance = 0.2
    shadow_db: Range = (6.0, 20.0)
    enhancement: Chance = 0.1
    enhancement_db: Range = (3.0, 9.0)
    speckle: Chance = 0.3
    speckle_share: float = Field(0.35, ge=0, le=1)  # of the power that is new speckle, at most

    # The machine.
    noise: Chance = 0.2
    noise_db: Range = (-56.0, -44.0)  # at the bottom of the picture, against full scale
    tgc: Chance = 0.3
    tgc_db: Decibels = 4.0  # standard deviation of each slider
    gain: Chance = 0.5
    gain_db: Decibels = 8.0  # up or down, at most
    dynamic_range: Chance = 0.3
    dynamic_range_db: PositiveRange = (48.0, 78.0)  # 60 dB leaves the picture as it is
    gray_map: Chance = 0.3
    gamma: PositiveRange = (0.7, 1.4)
    blur: Chance = 0.2
    blur_sigma: float = Field(0.004, gt=0, le=0.02)  # lateral, at most; fraction of the side
    sector: Chance = 0.1

    # The screen and the archive.
    calipers: Chance = 0.15
    text: Chance = 0.15
    jpeg: Chance = 0.2
    jpeg_quality: QualityRange = (30.0, 90.0)  # as libjpeg counts, 1 to 100

    @classmethod
    def off(cls, **kept: Any) -> AugmentSettings:
        """Return settings with every probability 0 but those that are named.

        ``AugmentSettings.off()`` leaves images as they are, ``off(flip=0.5)`` mirrors half of them.
        """
        return cls(**{**dict.fromkeys(CHANGES, 0.0), **kept})
