"""Lesions and the signs by which they are read.

Benign masses are oval, wider than tall (parallel to the skin), smooth, with a thin bright capsule
and often posterior enhancement; simple cysts are anechoic. Malignant masses are irregular or
spiculated, often taller than wide, with an echogenic halo, posterior shadowing and sometimes
microcalcifications (Stavros et al., "Solid breast nodules: use of sonography to distinguish between
benign and malignant lesions", Radiology 196, 1995; ACR BI-RADS Ultrasound, 2013). The signs
overlap between the classes, as they do in patients; how often is chosen, not measured.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_bts.data.phantom.anatomy import Anatomy
from edge_bts.data.phantom.grid import Float, Grid, Texture, Tissue, smoothstep

__all__ = ["Lesion", "Placed", "insert", "place"]

_ANGLES = 720
_INTERIOR, _RIM, _CALCIFICATION = 210, 220, 230
_ELEVATIONAL_MM = 3.0


@dataclass(frozen=True)
class Lesion:
    """One lesion. Lengths in mm, levels in dB, angles in rad.

    Attributes:
        category: ``"benign"`` or ``"malignant"``.
        x_mm: Lateral place of the centre; ``z_mm`` its depth.
        width_mm: Width of the ellipse that the contour varies about; ``height_mm`` its height,
            ``thickness_mm`` its elevational extent.
        tilt: Rotation in the imaging plane.
        harmonics: Relative amplitude and phase of the contour's harmonics from the second on.
        spikes: Angle, relative length and angular width of each spiculation.
        contrast_db: Echo level against the tissue around it.
        heterogeneity_db: Standard deviation of the level inside.
        border_mm: Width over which the level changes at the border.
        capsule: Brightness of the thin bright edge.
        halo_db: Lift of the echogenic halo; ``halo_mm`` its width.
        posterior_db: Two-way gain behind the lesion's full height: positive enhances, negative
            shadows.
        edge_db: Loss of the refraction shadows below the lateral edges.
        calcifications: Number of microcalcifications.
        displacement: How far surrounding layers are pushed (positive) or drawn in (negative),
            in radii.
    """

    category: Literal["benign", "malignant"]
    x_mm: float
    z_mm: float
    width_mm: float
    height_mm: float
    thickness_mm: float
    tilt: float
    harmonics: tuple[tuple[float, float], ...]
    spikes: tuple[tuple[float, float, float], ...]
    contrast_db: float
    heterogeneity_db: float
    border_mm: float
    capsule: float
    halo_db: float
    halo_mm: float
    posterior_db: float
    edge_db: float
    calcifications: int
    displacement: float

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        category: Literal["benign", "malignant"],
        grid: Grid,
        anatomy: Anatomy,
    ) -> Lesion:
        """Draw a lesion of ``category`` that lies whole within the field of view."""
        lesion = (_draw_benign if category == "benign" else _draw_malignant)(rng)
        limit = min(
            1.0, 0.5 * grid.depth_mm / lesion.height_mm, 0.55 * grid.width_mm / lesion.width_mm
        )
        lesion = dataclasses.replace(
            lesion,
            width_mm=lesion.width_mm * limit,
            height_mm=lesion.height_mm * limit,
            thickness_mm=lesion.thickness_mm * limit,
        )
        # Spiculations reach beyond the ellipse; the frame is kept clear of them too.
        reach = lesion.reach
        half_w, half_h = 0.5 * lesion.width_mm * reach, 0.5 * lesion.height_mm * reach
        borders = anatomy.borders_mm()
        top, bottom = borders[0] + half_h + 0.5, grid.depth_mm - half_h - 1.0
        depth = float(rng.uniform(borders[0] + 2.0, max(borders[2], borders[0] + 4.0)))
        side = min(half_w + 1.0, 0.5 * grid.width_mm)
        return dataclasses.replace(
            lesion,
            x_mm=float(rng.uniform(side, grid.width_mm - side)),
            z_mm=float(np.clip(depth, min(top, bottom), bottom)),
        )

    @property
    def reach(self) -> float:
        """Largest radius of the contour against the ellipse's."""
        return float(self.radii().max())

    def radii(self) -> Float:
        """Return the contour's radius against the ellipse's at 720 even angles, float32."""
        angle = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
        radius = np.ones(_ANGLES)
        for order, (amplitude, phase) in enumerate(self.harmonics, start=2):
            radius += amplitude * np.cos(order * angle + phase)
        for at, length, width in self.spikes:
            away = np.angle(np.exp(1j * (angle - at)))
            radius += length * np.exp(-(np.abs(away / width) ** 1.3))
        return np.maximum(radius, 0.3).astype(np.float32)

    def section(self, elevation_mm: float) -> float:
        """Return the scale of the cross-section at ``elevation_mm`` from the centre's plane.

        The lesion is an ellipsoid in elevation: the area scales by the square of this number,
        ``1 - (elevation / (thickness / 2))**2``, and is 0 outside.
        """
        ratio = elevation_mm / (0.5 * self.thickness_mm)
        return float(np.sqrt(max(0.0, 1 - ratio * ratio)))


@dataclass(frozen=True)
class Placed:
    """A lesion's cross-section on a grid.

    Attributes:
        radius: Distance from the centre against the contour's: below 1 is inside.
        distance_mm: Signed distance to the contour, negative inside.
        scale: Scale of the cross-section, see ``Lesion.section``.
    """

    radius: Float
    distance_mm: Float
    scale: float


def place(lesion: Lesion, grid: Grid, elevation_mm: float = 0.0) -> Placed | None:
    """Return the cross-section of ``lesion`` in the plane, or None where the plane misses it."""
    scale = lesion.section(elevation_mm)
    if min(lesion.width_mm, lesion.height_mm) * scale < 2 * grid.spacing_mm:
        return None
    dx = grid.x() - np.float32(lesion.x_mm)
    dz = grid.z() - np.float32(lesion.z_mm)
    cos, sin = np.float32(np.cos(lesion.tilt)), np.float32(np.sin(lesion.tilt))
    u = (dx * cos + dz * sin) * np.float32(2 / (lesion.width_mm * scale))
    v = (dz * cos - dx * sin) * np.float32(2 / (lesion.height_mm * scale))
    distance, angle = cv2.cartToPolar(u, v)
    table = np.append(lesion.radii(), lesion.radii()[:1])
    at = angle * np.float32(_ANGLES / (2 * np.pi))
    low = np.minimum(at.astype(np.int32), _ANGLES - 1)
    part = at - low.astype(np.float32)
    radius = distance / (table[low] * (1 - part) + table[low + 1] * part)
    inside = (radius < 1).astype(np.uint8)
    signed = _distance(1 - inside) - _distance(inside)
    return Placed(radius, signed * np.float32(grid.spacing_mm), scale)


def insert(lesion: Lesion, placed: Placed, tissue: Tissue, texture: Texture) -> Tissue:
    """Return ``tissue`` with the lesion in it."""
    tissue = _displace(lesion, placed, tissue)
    grid = tissue.grid
    distance = placed.distance_mm
    inside = 1 - smoothstep(distance, -0.5 * lesion.border_mm, 0.5 * lesion.border_mm)
    rim = texture.smooth(_RIM, 2.0, 2.0, _ELEVATIONAL_MM)
    level = _surroundings(placed, tissue) + lesion.contrast_db
    mottle = texture.smooth(_INTERIOR, 2.5, 1.8, _ELEVATIONAL_MM)
    echo = tissue.echo_db
    if lesion.halo_db > 0:
        halo = np.exp(-np.maximum(distance, 0) / np.float32(lesion.halo_mm))
        echo = echo + np.float32(lesion.halo_db) * halo * np.clip(0.7 + 0.5 * rim, 0, 1.5)
    interior = np.float32(level) + np.float32(lesion.heterogeneity_db) * mottle
    echo = echo * (1 - inside) + interior * inside
    specular = tissue.specular * (1 - inside) + _capsule(lesion, placed, grid)
    specular += _calcifications(lesion, placed, texture)
    # Within the lesion its own attenuation rules; a column's effect grows with its path.
    loss = tissue.loss_db_per_mm
    loss = loss - np.float32(lesion.posterior_db / (lesion.height_mm)) * inside
    loss += _edge_shadows(lesion, placed, grid)
    return Tissue(grid, echo, specular, tissue.phase, loss)


def _distance(binary: np.ndarray) -> Float:
    result: Float = cv2.distanceTransform(binary, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.maximum(result - np.float32(0.5), 0)


def _displace(lesion: Lesion, placed: Placed, tissue: Tissue) -> Tissue:
    """Push the layers aside, or draw them in, around the lesion."""
    rows, columns = tissue.grid.shape
    x = np.arange(columns, dtype=np.float32)[None, :]
    z = np.arange(rows, dtype=np.float32)[:, None]
    spacing = np.float32(tissue.grid.spacing_mm)
    centre_x = np.float32(lesion.x_mm) / spacing - np.float32(0.5) + tissue.grid.margin
    centre_z = np.float32(lesion.z_mm) / spacing - np.float32(0.5)
    outside = np.maximum(placed.radius, 1)
    shift = np.float32(lesion.displacement * placed.scale) * np.exp(-(outside - 1) / 0.6)
    # The skin stays where the probe presses it.
    shift *= smoothstep(z * spacing, 0.0, 3.0)
    share = np.clip(1 - shift / outside, 0.2, 2)
    return tissue.warped(centre_x + (x - centre_x) * share, centre_z + (z - centre_z) * share)


def _surroundings(placed: Placed, tissue: Tissue) -> float:
    ring = (placed.distance_mm > 0.3) & (placed.distance_mm < 3.0)
    return float(tissue.echo_db[ring].mean()) if ring.any() else 0.0


def _capsule(lesion: Lesion, placed: Placed, grid: Grid) -> Float:
    """Return the thin bright edge, strongest where it faces the probe."""
    if lesion.capsule == 0:
        return np.zeros(grid.shape, np.float32)
    smooth = cv2.GaussianBlur(placed.distance_mm, (0, 0), 1.0)
    dz = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5 / grid.spacing_mm)
    line = np.exp(-0.5 * ((placed.distance_mm - 0.05) / np.float32(0.1)) ** 2)
    result: Float = np.float32(lesion.capsule) * line * np.clip(dz * dz, 0, 1)
    return result


def _calcifications(lesion: Lesion, placed: Placed, texture: Texture) -> Float:
    grid = texture.grid
    spots = np.zeros(grid.shape, np.float32)
    rng = texture.rng(_CALCIFICATION)
    for _ in range(lesion.calcifications):
        angle, radius = rng.uniform(0, 2 * np.pi), 0.75 * np.sqrt(rng.uniform())
        elevation, bright = rng.uniform(-0.5, 0.5) * lesion.thickness_mm, rng.uniform(3, 9)
        x = lesion.x_mm + radius * 0.5 * lesion.width_mm * np.cos(angle)
        z = lesion.z_mm + radius * 0.5 * lesion.height_mm * np.sin(angle)
        away = 0.0 if texture.elevation_mm is None else texture.elevation_mm - elevation
        row, column = int(z / grid.spacing_mm), int(x / grid.spacing_mm) + grid.margin
        if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]:
            spots[row, column] += bright * np.exp(-((away / 0.8) ** 2))
    return spots * (placed.radius < 1)


def _edge_shadows(lesion: Lesion, placed: Placed, grid: Grid) -> Float:
    """Return the loss where the beam grazes the lesion's sides and is refracted away."""
    loss = np.zeros(grid.shape, np.float32)
    columns = np.flatnonzero((placed.radius < 1).any(axis=0))
    if lesion.edge_db == 0 or columns.size == 0:
        return loss
    rows = (np.abs(grid.z() - np.float32(lesion.z_mm)) < 0.5).astype(np.float32)
    for column in (columns[0], columns[-1]):
        at = float(grid.x()[0, column])
        profile = np.exp(-0.5 * ((grid.x() - np.float32(at)) / np.float32(0.35)) ** 2)
        loss += np.float32(lesion.edge_db * placed.scale) * profile * rows
    return loss


def _draw_benign(rng: np.random.Generator) -> Lesion:
    width = float(np.clip(rng.lognormal(np.log(11.0), 0.4), 4.0, 26.0))
    height = width / float(rng.uniform(1.25, 2.3))
    cyst = rng.random() < 0.25
    lobes = float(rng.uniform(0.0, 0.07))
    harmonics = [
        (float(rng.normal(0, lobes / k)), float(rng.uniform(0, 2 * np.pi))) for k in (2, 3, 4)
    ]
    return Lesion(
        category="benign",
        x_mm=0.0,
        z_mm=0.0,
        width_mm=width,
        height_mm=height,
        thickness_mm=width * float(rng.uniform(0.7, 1.1)),
        tilt=float(rng.normal(0, 0.15)),
        harmonics=tuple(harmonics),
        spikes=(),
        contrast_db=float(rng.uniform(-34, -26) if cyst else rng.uniform(-14, -3.5)),
        heterogeneity_db=0.3 if cyst else float(rng.uniform(0.5, 1.6)),
        border_mm=float(rng.uniform(0.15, 0.4)),
        capsule=float(rng.uniform(0.3, 1.5)),
        halo_db=0.0,
        halo_mm=1.0,
        posterior_db=float(rng.uniform(6, 14) if cyst else rng.normal(3.5, 2.5)),
        edge_db=float(rng.uniform(0, 7)),
        calcifications=0,
        displacement=float(rng.uniform(0.1, 0.45)),
    )


def _draw_malignant(rng: np.random.Generator) -> Lesion:
    size = float(np.clip(rng.lognormal(np.log(12.0), 0.4), 5.0, 26.0))
    tall = rng.random() < 0.65
    aspect = float(rng.uniform(0.65, 0.98) if tall else rng.uniform(1.0, 1.7))
    rough = float(rng.uniform(0.05, 0.13))
    harmonics = [
        (float(rng.normal(0, rough * (2 / k) ** 0.7)), float(rng.uniform(0, 2 * np.pi)))
        for k in range(2, 13)
    ]
    spikes: list[tuple[float, float, float]] = []
    if rng.random() < 0.55:
        spikes = [
            (
                float(rng.uniform(0, 2 * np.pi)),
                float(rng.uniform(0.12, 0.5)),
                float(rng.uniform(0.06, 0.16)),
            )
            for _ in range(int(rng.integers(5, 14)))
        ]
    return Lesion(
        category="malignant",
        x_mm=0.0,
        z_mm=0.0,
        width_mm=size * aspect**0.5,
        height_mm=size / aspect**0.5,
        thickness_mm=size * float(rng.uniform(0.8, 1.2)),
        tilt=float(rng.normal(0, 0.2)),
        harmonics=tuple(harmonics),
        spikes=tuple(spikes),
        contrast_db=float(rng.uniform(-19, -6)),
        heterogeneity_db=float(rng.uniform(1.2, 3.0)),
        border_mm=float(rng.uniform(0.3, 1.3)),
        capsule=0.0,
        halo_db=float(rng.uniform(0, 7)),
        halo_mm=float(rng.uniform(0.6, 2.0)),
        posterior_db=float(-rng.uniform(4, 22) if rng.random() < 0.75 else rng.normal(0, 2)),
        edge_db=float(rng.uniform(0, 2)),
        calcifications=int(rng.integers(3, 14)) if rng.random() < 0.45 else 0,
        displacement=float(rng.uniform(-0.35, 0.1)),
    )
