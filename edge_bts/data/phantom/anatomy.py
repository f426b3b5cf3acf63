"""The breast without a lesion: skin, fat, gland, retromammary fat, muscle, chest wall.

Echo levels follow the textbook order (fat hypoechoic, fibroglandular tissue and connective septa
hyperechoic, muscle hypoechoic with bright striations; Stavros, "Breast Ultrasound", 2004) and
attenuation the ranges of Duck, "Physical Properties of Tissue", 1990. Thicknesses are plausible
ranges chosen by eye, not measured statistics.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_bts.data.phantom.grid import Float, Grid, Texture, Tissue, ridges, smoothstep, warp

__all__ = ["Anatomy", "build"]

# Keys of the random maps: each names one independent stream.
_BORDER, _SEPTA, _LIGAMENT, _FADE, _PHASE, _ISLAND, _MUSCLE, _MOTTLE = range(10, 90, 10)
_ELEVATIONAL_MM = 4.0

# dB / cm / MHz, one way: skin, fat, gland, retromammary fat, muscle, chest wall.
_ATTENUATION = (0.9, 0.48, 0.72, 0.48, 0.75, 1.2)
# Half-width in mm and amplitude of the sheets below skin, fat, gland, fat and muscle.
_SHEET_WIDTHS = (0.10, 0.08, 0.08, 0.10, 0.12)
_SHEET_PEAKS = (1.2, 0.6, 0.45, 1.1, 1.0)


@dataclass(frozen=True)
class Anatomy:
    """One patient's breast. Lengths in mm, levels in dB against glandular tissue.

    Attributes:
        skin_mm: Thickness of the skin, likewise ``fat_mm``, ``gland_mm``, ``retro_mm`` (the
            retromammary fat) and ``muscle_mm`` (the pectoral muscle).
        undulation_mm: Amplitude of the waves of the layer borders.
        tilt: Slope of the layers across the picture.
        fat_db: Echo level of fat; ``muscle_db`` that of muscle.
        islands: Share of fat lobules in the gland, 0 to about 0.5.
        septa: Brightness of septa and ligaments.
        striation: Brightness of the muscle's striations.
        shadow_db: Loss in a steep ligament's shadow, two-way.
        contact_db: Loss below the poorly coupled edge of the probe; its sign names the edge.
        rib_mm: Lateral position of a rib, None = none in the picture.
    """

    skin_mm: float
    fat_mm: float
    gland_mm: float
    retro_mm: float
    muscle_mm: float
    undulation_mm: float
    tilt: float
    fat_db: float
    muscle_db: float
    islands: float
    septa: float
    striation: float
    shadow_db: float
    contact_db: float
    rib_mm: float | None

    @classmethod
    def draw(cls, rng: np.random.Generator, grid: Grid) -> Anatomy:
        """Draw a patient whose breast fills the field of view."""
        scale = float(np.clip(grid.depth_mm / 38, 0.4, 1.6))
        has_rib = rng.random() < 0.3
        rib = float(rng.uniform(0.1, 0.9)) * grid.width_mm
        contact = float(rng.uniform(4, 14)) * (1 if rng.random() < 0.5 else -1)
        return cls(
            skin_mm=float(rng.uniform(1.2, 2.2)),
            fat_mm=float(rng.uniform(2.5, 9.0)) * scale,
            gland_mm=float(rng.uniform(8.0, 17.0)) * scale,
            retro_mm=float(rng.uniform(1.0, 4.0)) * scale,
            muscle_mm=float(rng.uniform(6.0, 16.0)) * scale,
            undulation_mm=float(rng.uniform(0.4, 1.6)),
            tilt=float(rng.normal(0.0, 0.09)),
            fat_db=float(rng.uniform(-15.0, -9.0)),
            muscle_db=float(rng.uniform(-15.0, -9.0)),
            islands=float(rng.uniform(0.02, 0.45)),
            septa=float(rng.uniform(0.5, 1.6)),
            striation=float(rng.uniform(0.6, 2.0)),
            shadow_db=float(rng.uniform(2.0, 9.0)),
            contact_db=contact if rng.random() < 0.3 else 0.0,
            rib_mm=rib if has_rib else None,
        )

    def borders_mm(self) -> list[float]:
        """Return the mean depths of the five borders: below skin, fat, gland, fat, muscle."""
        layers = (self.skin_mm, self.fat_mm, self.gland_mm, self.retro_mm, self.muscle_mm)
        return [float(v) for v in np.cumsum(layers)]


def build(anatomy: Anatomy, texture: Texture, frequency_mhz: float) -> Tissue:
    """Return the tissue maps of ``anatomy``; ``texture`` seeds them and names the elevation."""
    grid = texture.grid
    straight = _straighten(anatomy, texture)
    x = np.broadcast_to(np.arange(grid.shape[1], dtype=np.float32)[None, :], grid.shape).copy()
    row = straight / np.float32(grid.spacing_mm) - np.float32(0.5)

    def follow(field: Float) -> Float:
        """Bend a texture drawn on straight layers to the wavy ones."""
        return warp(field, x, row)

    below = [smoothstep(straight, b - 0.15, b + 0.15) for b in anatomy.borders_mm()]
    echo, specular, steep = _layers(anatomy, texture, below, straight, follow)
    loss = np.full(grid.shape, _ATTENUATION[0], np.float32)
    for inside, (above, here) in zip(below, itertools.pairwise(_ATTENUATION), strict=True):
        loss += inside * np.float32(here - above)
    loss *= np.float32(0.2 * frequency_mhz)
    loss += np.float32(anatomy.shadow_db) * steep
    loss += _contact(anatomy, grid)
    if anatomy.rib_mm is not None:
        _add_rib(anatomy, texture, straight, echo, specular, loss)
    fade = [texture.smooth(_PHASE + i, 4.0, 1.6, _ELEVATIONAL_MM) for i in range(2)]
    strength = np.hypot(fade[0], fade[1])
    phase = np.stack(fade, axis=2) / (np.float32(0.45) + strength)[:, :, None]
    return Tissue(grid, echo, specular, phase, loss)


def _straighten(anatomy: Anatomy, texture: Texture) -> Float:
    """Return, for each pixel, the depth it has in the same breast with straight layers."""
    grid = texture.grid
    x, z = grid.x(), grid.z()
    tilt = np.float32(anatomy.tilt) * (x - np.float32(grid.width_mm / 2))
    means = anatomy.borders_mm()
    curves = [np.full_like(x, 0.0)]
    for i, mean in enumerate(means):
        wave = 0.7 * texture.curve(_BORDER + i, 11.0, 8.0) + 0.3 * texture.curve(
            _BORDER + 5, 16.0, 8.0
        )
        size = 0.12 if i == 0 else anatomy.undulation_mm * (1.0, 1.5, 0.8, 0.5)[i - 1]
        curve = np.float32(mean) + np.float32(size) * wave + (0 if i == 0 else 1) * tilt
        thickness = np.float32(0.35 * (mean - ([0.0, *means])[i]))
        curves.append(np.maximum(curve, curves[-1] + thickness))
    straight = np.zeros(grid.shape, np.float32)
    for above, below, low, high in zip(curves, curves[1:], [0.0, *means], means, strict=False):
        share = np.clip((z - above) / (below - above), 0, 1)
        straight += np.float32(high - low) * share
    straight += np.maximum(z - curves[-1], 0)
    return straight


def _layers(
    anatomy: Anatomy,
    texture: Texture,
    below: list[Float],
    straight: Float,
    follow: Callable[[Float], Float],
) -> tuple[Float, Float, Float]:
    """Return the echo level in dB, the sheets, and where ligaments stand steep."""
    spacing = texture.grid.spacing_mm
    skin, fat, gland, retro, muscle = below  # each: 1 below the layer of that name
    in_fat = skin * (1 - fat) + gland * (1 - retro)
    in_gland = fat * (1 - gland)
    in_muscle = retro * (1 - muscle)

    def draw(key: int, lateral_mm: float, axial_mm: float) -> Float:
        return follow(texture.smooth(key, lateral_mm, axial_mm, _ELEVATIONAL_MM))

    mottle, patch = draw(_MOTTLE, 4.0, 2.0), draw(_MOTTLE + 1, 1.6, 0.7)
    strand = draw(_MOTTLE + 2, 3.2, 0.45)
    fade, scatter = draw(_FADE, 6.0, 2.5), draw(_FADE + 1, 2.2, 1.0)

    islands = draw(_ISLAND, 5.0, 2.2) + 0.3 * patch + 0.2 * strand
    cut = 1.06 * float(np.sqrt(2) * _erfinv(1 - 2 * anatomy.islands))
    island = smoothstep(islands, cut - 0.45, cut + 0.35) * in_gland
    fatty = np.clip(in_fat + island, 0, 1)
    glandular = in_gland - island

    echo = (1 - skin) * np.float32(-2)
    echo += fatty * (np.float32(anatomy.fat_db) + 1.2 * mottle + 0.8 * patch + 1.4 * strand)
    echo += glandular * (2.0 * mottle + 1.6 * patch + 2.2 * strand)
    echo += in_muscle * (np.float32(anatomy.muscle_db) + 1.2 * mottle + 2.4 * strand)
    echo += muscle * (np.float32(anatomy.muscle_db - 6) + 2.0 * mottle + 2.0 * strand)

    # Septa in fat and in the gland; Cooper's ligaments run steeper and cast shadows.
    septa, facing = ridges(draw(_SEPTA, 9.0, 2.0), 0.07 / spacing)
    fine, fine_facing = ridges(draw(_SEPTA + 1, 5.0, 0.9), 0.06 / spacing)
    ligament, ligament_facing = ridges(draw(_LIGAMENT, 8.0, 5.0), 0.15 / spacing)
    present, other = smoothstep(fade, -0.6, 0.9), smoothstep(-fade, -0.6, 0.9)
    broken = smoothstep(scatter, -1.2, 0.9)
    soft = in_fat + 0.5 * in_gland
    strength = np.float32(anatomy.septa)
    specular = strength * 0.85 * septa * facing**3 * present * broken * soft
    specular += strength * 0.5 * fine * fine_facing**3 * broken * (0.5 * in_fat + 0.9 * in_gland)
    specular += strength * 0.45 * ligament * ligament_facing**2 * soft * other
    lift = np.clip(0.7 * septa * present * broken + ligament * other, 0, 1) * in_fat
    echo += lift * np.float32(-0.75 * anatomy.fat_db)
    steep = ligament * other * (1 - ligament_facing) * (in_fat + 0.3 * in_gland)

    striae, striae_facing = ridges(draw(_MUSCLE, 14.0, 0.8), 0.07 / spacing)
    run = smoothstep(draw(_MUSCLE + 1, 7.0, 1.4), -0.6, 1.0) * (0.3 + 0.7 * broken)
    deep = in_muscle + 0.5 * muscle
    specular += np.float32(anatomy.striation) * 0.6 * striae * striae_facing**2 * run * deep
    echo += deep * striae * run * np.float32(5)

    # The borders are sheets too: the skin's two faces, the mammary and pectoral fascia, and at
    # the bottom the pleura; none is equally bright all along.
    patchy = 0.35 + 0.65 * broken
    sheets = (
        (0.15, 0.14, 3.0),
        *zip(anatomy.borders_mm(), _SHEET_WIDTHS, _SHEET_PEAKS, strict=True),
    )
    for depth, width, peak in sheets:
        profile = np.exp(-0.5 * ((straight - np.float32(depth)) / np.float32(width)) ** 2)
        specular += np.float32(peak) * profile * (1.0 if depth < 0.2 else patchy)
    return echo, specular, steep


def _contact(anatomy: Anatomy, grid: Grid) -> Float:
    """Return the loss where the probe's edge is badly coupled: all of it within the skin."""
    if anatomy.contact_db == 0:
        return np.zeros(grid.shape, np.float32)
    x = grid.x() / np.float32(grid.width_mm)
    edge = smoothstep(x if anatomy.contact_db > 0 else 1 - x, 0.78, 1.0)
    top = grid.z() < anatomy.skin_mm
    result: Float = np.float32(abs(anatomy.contact_db) / anatomy.skin_mm) * edge * top
    return result


def _add_rib(
    anatomy: Anatomy,
    texture: Texture,
    straight: Float,
    echo: Float,
    specular: Float,
    loss: Float,
) -> None:
    """Draw a rib's bright front and let nothing through it, in place."""
    grid = texture.grid
    rng = texture.rng(_BORDER + 9)
    half_width, half_height = float(rng.uniform(4, 7)), float(rng.uniform(2, 3.5))
    top = anatomy.borders_mm()[-1] - 1.5
    u = (grid.x() - np.float32(anatomy.rib_mm)) / np.float32(half_width)
    v = (straight - np.float32(top + half_height)) / np.float32(half_height)
    radius = np.sqrt(u * u + v * v)
    front = np.exp(-0.5 * ((radius - 1) * np.float32(half_height / 0.18)) ** 2) * (v < 0)
    specular += 1.8 * front * (1 - u * u).clip(0, 1)
    inside = radius < 1
    echo[inside] = -20
    loss += inside * np.float32(8)


def _erfinv(value: float) -> float:
    """Inverse error function by Winitzki's approximation; good to 0.2 %, ample for a share."""
    log = np.log(1 - value * value)
    a = 2 / (np.pi * 0.147) + log / 2
    return float(np.sign(value) * np.sqrt(np.sqrt(a * a - log / 0.147) - a))
