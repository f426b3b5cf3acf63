"""Changes of the picture: what scan converter, screen and archive do to it.

A function takes pixels (N, 1, S, S) in 0..1 and returns them changed, in 0..1. Strengths are
drawn for each image.
"""

from __future__ import annotations

import functools
import math

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from edge_bts.trainers.augment.draw import sent, uniform
from edge_bts.trainers.augment.echo import picture_box
from edge_bts.trainers.augment.settings import AugmentSettings

__all__ = ["blur", "calipers", "gray_map", "jpeg", "sector", "text"]

_DASHES = 32  # dots of the line between two calipers
_CAPTIONS = (
    *("RT BREAST", "LT BREAST", "R ##:00", "L ##:00", "D ##.#mm", "1 L #.##cm", "2 L #.##cm"),
    *("FR ##Hz", "G ##", "DR ##", "#.#cm", "MI 0.#", "##dB"),
)
# A 5 x 7 dot font: five columns a sign, the lowest bit is the top row.
_FONT = {
    "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31",
    "4": "1814127F10", "5": "2745454539", "6": "3C4A494930", "7": "0171090503",
    "8": "3649494936", "9": "064949291E", ".": "0060600000", ":": "0036360000",
    "A": "7E1111117E", "B": "7F49494936", "D": "7F4141221C", "E": "7F49494941",
    "F": "7F09090901", "G": "3E4149497A", "H": "7F0808087F", "I": "00417F4100",
    "L": "7F40404040", "M": "7F020C027F", "R": "7F09192946", "S": "4649494931",
    "T": "01017F0101", "c": "3844444420", "d": "384444487F", "m": "7C04180478",
    "z": "4464544C44", " ": "0000000000",
}  # fmt: skip
# Luma quantisation of ITU-T T.81, table K.1, row by row.
_QUANTA = (
    *(16, 11, 10, 16, 24, 40, 51, 61), *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56), *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77), *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101), *(72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


def gray_map(image: Tensor, settings: AugmentSettings) -> Tensor:
    """Each machine and each screen has its own curve from echo level to brightness."""
    return image ** uniform(settings.gamma, len(image), 1, 1, 1, device=image.device)


def blur(image: Tensor, settings: AugmentSettings) -> Tensor:
    """The scan converter interpolates between beams, more across than along them."""
    widest = settings.blur_sigma * image.shape[-1]
    lateral = uniform((0.4 * widest, widest), len(image), 1)
    axial = lateral * uniform((0.3, 0.7), len(image), 1)
    reach = 2 * math.ceil(2.5 * widest) + 1
    sigma = sent(torch.cat([axial, lateral], dim=1), image.device)
    return gaussian_blur2d(image, (reach, reach), sigma, border_type="replicate").clamp_(0, 1)


def sector(image: Tensor, mask: Tensor) -> Tensor:
    """A convex probe sees a fan; beyond its edges there is no picture.

    The fan lies in the picture's box, whatever its black border. An image whose lesion the fan
    would cut is left as it is: the label and what teachers say of the image stay true.
    """
    count, size = len(image), image.shape[-1]
    top, bottom, left, right = (end[..., None, None].float() for end in picture_box(image))
    height, width = bottom - top, right - left
    middle, back, bow, reach = (
        uniform(ends, count, 1, 1, 1, device=image.device)
        for ends in ((0.47, 0.53), (0.4, 1.2), (0.42, 0.62), (0.94, 1.04))
    )
    at = torch.arange(size, device=image.device) + 0.5
    x = at - left - middle * width
    y = at[:, None] - top + back * height  # from the apex, which lies above the picture
    radius = torch.hypot(x, y)
    # `bow` is half the fan's width at the bottom, in widths of the picture.
    fan = (x.abs() * (1 + back) * height < bow * width * y) & (radius < (back + reach) * height)
    fan &= radius > back * height
    cut = (mask * ~fan).flatten(1).amax(1) > 0
    return image * (fan | cut[:, None, None, None])


def calipers(image: Tensor, _: AugmentSettings) -> Tensor:
    """Measuring leaves crosses and dotted lines; here they lie anywhere, so they tell nothing."""
    count, size = len(image), image.shape[-1]
    ends = uniform((0.06, 0.94), count, 2, 2) * size  # of a pair, (x, y)
    # Pairs measure a few cm: the second mark is drawn towards the first.
    ends[:, 1] = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * 0.6
    arm = max(1, round(size / 85))
    along = torch.arange(-arm, arm + 1.0)
    plus = torch.stack([torch.cat([along, 0 * along]), torch.cat([0 * along, along])], dim=-1)
    turned = (plus @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]])) * 0.75  # ×
    style = torch.rand(count, 1, 1) < 0.5
    marks = ends[:, :, None] + torch.where(style, plus, turned)[:, None]
    step = torch.arange(_DASHES) * (size / 40)  # pixels along the line
    span = (ends[:, 1] - ends[:, 0])[:, None]
    share = step[:, None] / span.norm(dim=-1, keepdim=True).clamp(min=1)
    dots = ends[:, :1] + share.clamp(max=1) * span
    lined = torch.rand(count, 1) < 0.6
    bright = uniform((0.65, 1.0), count, 1)
    values = torch.cat([bright.expand(-1, 2 * len(plus)), (bright * lined).expand(-1, _DASHES)], 1)
    return _burn(image, torch.cat([marks.flatten(1, 2), dots], dim=1), values)


def text(image: Tensor, _: AugmentSettings) -> Tensor:
    """Machines write settings and measures into the picture, at any place as far as tissue goes."""
    count, size = len(image), image.shape[-1]
    font, captions = _typeface()
    signs = captions[torch.randint(len(captions), (count,))]
    digits = torch.randint(10, signs.shape)
    dots = font[torch.where(signs < 0, digits, signs)]  # (N, length, 7, 5)
    dot = max(1, round(size / 256))
    start = uniform((0.0, 1.0), count, 2) * (size - torch.tensor([50.0, 8.0]) * dot).clamp(min=0)
    sign, row, column = torch.meshgrid(*(torch.arange(n) for n in dots.shape[1:]), indexing="ij")
    place = torch.stack([sign * 6 + column, row], dim=-1).flatten(0, 2).float() * dot
    fill = torch.stack(torch.meshgrid(torch.arange(dot), torch.arange(dot), indexing="xy"), dim=-1)
    places = (place[:, None] + fill.flatten(0, 1)).flatten(0, 1)
    bright = uniform((0.6, 1.0), count, 1)
    values = dots.flatten(1).repeat_interleave(dot * dot, dim=1) * bright
    return _burn(image, start.floor()[:, None] + places, values)


def jpeg(image: Tensor, settings: AugmentSettings) -> Tensor:
    """Archives compress: blocks of 8 x 8 pixels, their cosine coefficients rounded.

    What a baseline gray JPEG of that quality loses, as libjpeg scales table K.1, but not the
    rounding to 8 bits after it. S must be a multiple of 8.
    """
    count, size = len(image), image.shape[-1]
    basis, quanta = _cosines(image.device)
    quality = uniform(settings.jpeg_quality, count, 1, 1).floor()
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    table = ((quanta * sent(scale, image.device) + 50) / 100).floor().clamp(1, 255)
    blocks = image.reshape(count, size // 8, 8, size // 8, 8).transpose(2, 3).reshape(count, -1, 64)
    coefficients = (blocks * 255 - 128) @ basis.T
    blocks = ((coefficients / table).round_() * table) @ basis
    blocks = blocks.view(count, size // 8, size // 8, 8, 8).transpose(2, 3)
    return blocks.reshape(image.shape).add_(128).mul_(1 / 255).clamp_(0, 1)


def _burn(image: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Lay ``values`` (N, P) at ``places`` (N, P, 2) as x, y over the image; beyond it: nothing."""
    size = image.shape[-1]
    at = places.round().long()
    inside = ((at >= 0) & (at < size)).all(-1)
    index = (at[..., 1] * size + at[..., 0]) * inside
    values = sent(values * inside, image.device)
    pixels = image.flatten(1).scatter_reduce(1, sent(index, image.device), values, "amax")
    return pixels.view_as(image)


@functools.cache
def _typeface() -> tuple[Tensor, Tensor]:
    """Return the font (signs, 7, 5) of 0 and 1, and captions as its indices; -1 is any digit."""
    columns = torch.tensor([list(bytes.fromhex(code)) for code in _FONT.values()])
    font = (columns[:, None] >> torch.arange(7)[:, None]) & 1
    length = max(map(len, _CAPTIONS))
    names = list(_FONT)
    captions = [
        [-1 if sign == "#" else names.index(sign) for sign in caption.ljust(length)]
        for caption in _CAPTIONS
    ]
    return font.float(), torch.tensor(captions)


@functools.cache
def _cosines(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the orthonormal 8 x 8 DCT-II as a matrix (64, 64), and the quanta (64)."""
    k = torch.arange(8, dtype=torch.float64)
    line = torch.cos(torch.pi / 8 * k[:, None] * (k + 0.5)) * 0.5
    line[0] *= math.sqrt(0.5)
    basis, quanta = torch.kron(line, line).float(), torch.tensor(_QUANTA, dtype=torch.float32)
    return basis.to(device), quanta.to(device)
