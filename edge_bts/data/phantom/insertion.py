"""Put a lesion into the tissue: its cross-section, and what it does to echo and attenuation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_bts.data.phantom.grid import Float, Grid, Texture, Tissue, UInt8, smoothstep
from edge_bts.data.phantom.lesion import ANGLES, Lesion

__all__ = ["Placed", "insert", "place"]

_INTERIOR, _RIM, _CALCIFICATION = 210, 220, 230
_ELEVATIONAL_MM = 3.0
_SOLID_DB = -23.0  # level of the darkest solid mass
_FLUID_DB = -22.0  # contrast of the faintest cyst


@dataclass(frozen=True)
class Placed:
    """A lesion's cross-section on a grid.

    Attributes:
        radius: Distance from the centre against the contour's: below 1 is inside.
        ellipse: The same against the ellipse that the contour varies about.
        distance_mm: Signed distance to the contour, negative inside.
        scale: Scale of the cross-section, see ``Lesion.section``.
    """

    radius: Float
    ellipse: Float
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
    at = angle * np.float32(ANGLES / (2 * np.pi))
    low = np.minimum(at.astype(np.int32), ANGLES - 1)
    part = at - low.astype(np.float32)
    radius = distance / (table[low] * (1 - part) + table[low + 1] * part)
    inside = (radius < 1).astype(np.uint8)
    signed = _distance(1 - inside) - _distance(inside)
    return Placed(radius, distance, signed * np.float32(grid.spacing_mm), scale)


def insert(lesion: Lesion, placed: Placed, tissue: Tissue, texture: Texture) -> Tissue:
    """Return ``tissue`` with the lesion in it."""
    tissue = _displace(lesion, placed, tissue)
    grid = tissue.grid
    rim = texture.smooth(_RIM, 2.0, 2.0, _ELEVATIONAL_MM)
    # A soft border is also a ragged one: where it lies varies by a third of its width.
    distance = placed.distance_mm + np.float32(0.33 * lesion.border_mm) * rim
    inside = 1 - smoothstep(distance, -0.5 * lesion.border_mm, 0.5 * lesion.border_mm)
    # Even in dark fat a solid mass keeps some echo; only fluid is blacker than _SOLID_DB.
    around = _surroundings(placed, tissue)
    level = max(around + lesion.contrast_db, min(_SOLID_DB, lesion.contrast_db))
    mottle = 0.8 * texture.smooth(_INTERIOR, 3.0, 2.2, _ELEVATIONAL_MM)
    mottle += 0.6 * texture.smooth(_INTERIOR + 1, 1.4, 0.5, _ELEVATIONAL_MM)
    echo = tissue.echo_db
    if lesion.halo_db > 0:
        halo = np.exp(-np.maximum(distance, 0) / np.float32(lesion.halo_mm))
        echo = echo + np.float32(lesion.halo_db) * halo * np.clip(0.7 + 0.5 * rim, 0, 1.5)
    interior = np.float32(level) + np.float32(lesion.heterogeneity_db) * mottle
    if lesion.contrast_db < _FLUID_DB:
        # Reverberation of the near wall and the beam's thickness fill in the rim of a cyst.
        interior += 14 * np.exp(np.minimum(distance, 0) / 0.45)
    echo = echo * (1 - inside) + interior * inside
    specular = tissue.specular * (1 - inside) + _capsule(lesion, placed, grid)
    specular += _calcifications(lesion, placed, texture)
    # Within the lesion its own attenuation rules; a column's effect grows with its path.
    loss = tissue.loss_db_per_mm
    loss = loss - np.float32(lesion.posterior_db / (lesion.height_mm)) * inside
    loss += _edge_shadows(lesion, placed, grid)
    return Tissue(grid, echo, specular, tissue.phase, loss)


def _distance(binary: UInt8) -> Float:
    pixels = cv2.distanceTransform(binary, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.maximum(pixels - 0.5, 0), np.float32)


def _displace(lesion: Lesion, placed: Placed, tissue: Tissue) -> Tissue:
    """Push the layers aside, or draw them in, around the lesion."""
    rows, columns = tissue.grid.shape
    x = np.arange(columns, dtype=np.float32)[None, :]
    z = np.arange(rows, dtype=np.float32)[:, None]
    spacing = np.float32(tissue.grid.spacing_mm)
    centre_x = np.float32(lesion.x_mm) / spacing - np.float32(0.5) + tissue.grid.margin
    centre_z = np.float32(lesion.z_mm) / spacing - np.float32(0.5)
    outside = np.maximum(placed.ellipse, 1)
    shift = np.float32(lesion.displacement * placed.scale) * np.exp(-(outside - 1) / 0.6)
    # The skin stays where the probe presses it, and the chest wall where it is.
    shift = shift * smoothstep(z * spacing, 0.0, 3.0)
    below = np.float32(0.5 * lesion.height_mm) / spacing
    shift *= 1 - 0.6 * smoothstep(z, float(centre_z), float(centre_z + 1.5 * below))
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
        elevation, bright = rng.uniform(-0.5, 0.5) * lesion.thickness_mm, rng.uniform(1.5, 5)
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
