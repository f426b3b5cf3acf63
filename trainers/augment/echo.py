"""Changes of the echo, on its amplitude: what tissue and receiver do to it.

A pixel v in 0..1 is the logarithm of an amplitude a in 0..1, with full scale 1:
``v = ln(1 + a (e^c - 1)) / c``, where c = 60 dB · ln 10 / 20. Above the floor that is the log
compression of a display of 60 dB, v = 1 + (20 dB / 60 dB) log10 a, so a factor on a moves gray
values by a constant; at the floor it goes to 0 linearly, so black stays black, and the black
border of a letterboxed picture with it. The range of a stored picture is not known; 60 is usual.

A function takes amplitudes (N, 1, S, S), row 0 at the probe, and returns them changed. It draws
strengths for each image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edge_bts.trainers.augment.draw import grain, smooth, uniform
from edge_bts.trainers.augment.settings import AugmentSettings

__all__ = [
    "attenuation",
    "compress",
    "decompress",
    "dynamic_range",
    "enhancement",
    "gain",
    "noise",
    "picture_box",
    "shadow",
    "speckle",
    "tgc",
]

RANGE_DB = 60.0
_NEPER = math.log(10) / 20  # amplitude, per dB
_C = RANGE_DB * _NEPER
_SLIDERS = 6  # of the machine's gain curve
_CELL = (2 / 256, 3.5 / 256)  # pulse and beam as fractions of a square of about 40 mm
_NOISE_RISE_DB = 15.0  # that gain compensation lifts the noise from the probe to the bottom


def decompress(image: Tensor) -> Tensor:
    """Return the amplitude of pixels in 0..1; 0 is 0 and 1 is 1."""
    return torch.expm1(image * _C).mul_(1 / math.expm1(_C))


def compress(echo: Tensor) -> Tensor:
    """Return pixels in 0..1; amplitudes above 1 saturate."""
    return torch.log1p(echo * math.expm1(_C)).mul_(1 / _C).clamp_(max=1)


def attenuation(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """Sound loses the same share of its power on each centimetre: gain falls with depth."""
    loss = uniform((0.0, settings.attenuation_db), len(echo), 1, 1, 1, device=echo.device)
    return echo * _factor(-loss * _depth(echo))


def shadow(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """Calcium, gas and dense stroma let no sound through: it is dark below them."""
    return echo * _column(echo, settings.shadow_db, -1, 0.03, 0.10)


def enhancement(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """Fluid weakens sound less than tissue, so that gain compensation makes it bright below."""
    return echo * _column(echo, settings.enhancement_db, 1, 0.06, 0.15)


def speckle(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """Scatterers elsewhere in the cell give other interference: a new grain, the same tissue.

    With share s of new power, a → a |√(1-s) + √s z|, z circular Gaussian of power 1, correlated
    as pulse and beam are: mean power is kept, and s = 1 is fully developed (Rayleigh) speckle.
    """
    count, size = len(echo), echo.shape[-1]
    cell = [max(1.0, side * size) for side in _CELL]
    new = grain((count, 2), size, (cell[0], cell[1]), echo.device)
    share = uniform((0.0, settings.speckle_share), count, 1, 1, 1, device=echo.device)
    new *= (share / 2).sqrt()
    power = (new[:, :1] + (1 - share).sqrt()).square_().addcmul_(new[:, 1:], new[:, 1:])
    return power.sqrt_().mul_(echo)


def noise(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """The receiver's thermal noise, lifted with depth by the gain compensation."""
    level = uniform(settings.noise_db, len(echo), 1, 1, 1, device=echo.device)
    size = echo.shape[-1]
    level = _factor(level - _NOISE_RISE_DB * (1 - _depth(echo)))
    top, bottom, left, right = picture_box(echo)
    at = torch.arange(size, device=echo.device)
    inside = ((at >= top) & (at < bottom))[:, None, :, None] & ((at >= left) & (at < right))[
        :, None, None
    ]
    white = torch.randn(echo.shape, device=echo.device)
    return (echo + white * level * inside).abs_()


def tgc(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """The sliders of time gain compensation, one for each depth, are set by hand."""
    size = echo.shape[-1]
    curve = smooth((len(echo), 1), (size, _SLIDERS), (1, 1), echo.device)
    return echo * _factor(curve * settings.tgc_db)


def gain(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """The overall gain is set by hand, to the sonographer's taste and the light of the room."""
    ends = (-settings.gain_db, settings.gain_db)
    return echo * _factor(uniform(ends, len(echo), 1, 1, 1, device=echo.device))


def dynamic_range(echo: Tensor, settings: AugmentSettings) -> Tensor:
    """Log compression shows 50 to 80 dB, as set: a narrow range is hard, a wide one soft.

    Showing R dB in place of 60 raises amplitudes to the power of 60 / R.
    """
    shown = uniform(settings.dynamic_range_db, len(echo), 1, 1, 1, device=echo.device)
    return echo ** (RANGE_DB / shown)


def picture_box(image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return first row, last row + 1, first and last column + 1 of what is not black: (N, 1) each.

    An all black image is its own box.
    """
    size = image.shape[-1]
    ends: list[Tensor] = []
    for axis in (3, 2):
        filled = (image.amax(dim=axis) > 0).flatten(1).to(torch.uint8)
        ends += [filled.argmax(1, keepdim=True), size - filled.flip(1).argmax(1, keepdim=True)]
    return ends[0], ends[1], ends[2], ends[3]


def _factor(decibels: Tensor) -> Tensor:
    return torch.exp(decibels * _NEPER)


def _depth(like: Tensor) -> Tensor:
    """Return depth (S, 1) as a fraction of the square."""
    size = like.shape[-1]
    return ((torch.arange(size, device=like.device) + 0.5) / size)[:, None]


def _column(
    echo: Tensor, decibels: tuple[float, float], sign: int, narrow: float, wide: float
) -> Tensor:
    """Return the factor of a soft-edged column of random strength, place, width and upper end."""
    strength, centre, top, half, soft = (
        uniform(ends, len(echo), 1, 1, 1, device=echo.device)
        for ends in (decibels, (0.1, 0.9), (0.15, 0.65), (narrow, wide), (0.005, 0.02))
    )
    depth = _depth(echo)
    across = torch.sigmoid((half - (depth.mT - centre).abs()) / soft)
    down = torch.sigmoid((depth - top) / soft)
    return _factor(sign * strength * down * across)
