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

import numpy as np

from edge_bts.data.phantom.anatomy import Anatomy
from edge_bts.data.phantom.grid import Float, Grid

__all__ = ["ANGLES", "Lesion"]

ANGLES = 720  # of the tabulated contour


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
            1.0, 0.45 * grid.depth_mm / lesion.height_mm, 0.55 * grid.width_mm / lesion.width_mm
        )
        lesion = dataclasses.replace(
            lesion,
            width_mm=lesion.width_mm * limit,
            height_mm=lesion.height_mm * limit,
            thickness_mm=lesion.thickness_mm * limit,
        )
        half_w, half_h = lesion.reach_mm
        borders = anatomy.borders_mm()
        top, bottom = borders[0] + half_h + 0.5, grid.depth_mm - half_h - 1.0
        # Most masses arise in the gland, some in fat.
        middle = 0.5 * (borders[1] + borders[2])
        depth = float(rng.triangular(borders[0], middle, borders[2] + 1.0))
        side = min(half_w + 1.0, 0.5 * grid.width_mm)
        return dataclasses.replace(
            lesion,
            x_mm=float(rng.uniform(side, grid.width_mm - side)),
            z_mm=float(np.clip(depth, min(top, bottom), bottom)),
        )

    @property
    def reach_mm(self) -> tuple[float, float]:
        """How far the contour goes from the centre, lateral and axial, spiculations included."""
        angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
        u = 0.5 * self.width_mm * self.radii() * np.cos(angle)
        v = 0.5 * self.height_mm * self.radii() * np.sin(angle)
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return float(np.abs(u * cos - v * sin).max()), float(np.abs(u * sin + v * cos).max())

    def radii(self) -> Float:
        """Return the contour's radius against the ellipse's at 720 even angles, float32."""
        angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
        radius = np.ones(ANGLES)
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
        contrast_db=float(rng.uniform(-32, -24) if cyst else rng.uniform(-14, -3.5)),
        heterogeneity_db=0.3 if cyst else float(rng.uniform(0.5, 1.6)),
        border_mm=float(rng.uniform(0.15, 0.4)),
        capsule=float(rng.uniform(0.1, 0.8)),
        halo_db=0.0,
        halo_mm=1.0,
        posterior_db=float(rng.uniform(6, 14) if cyst else rng.normal(3.5, 2.5)),
        edge_db=float(rng.uniform(0, 7)),
        calcifications=0,
        displacement=float(rng.uniform(0.1, 0.45)),
    )


def _draw_malignant(rng: np.random.Generator) -> Lesion:
    size = float(np.clip(rng.lognormal(np.log(11.0), 0.38), 5.0, 24.0))
    tall = rng.random() < 0.65
    aspect = float(rng.uniform(0.65, 0.98) if tall else rng.uniform(1.0, 1.7))
    spiculated = rng.random() < 0.5
    rough = float(rng.uniform(0.04, 0.13)) * (0.6 if spiculated else 1.0)
    harmonics = [
        (float(rng.normal(0, rough * (2 / k) ** 0.6)), float(rng.uniform(0, 2 * np.pi)))
        for k in range(2, 15)
    ]
    number = int(rng.integers(6, 16)) if spiculated else 0
    spikes = [
        (
            float(rng.uniform(0, 2 * np.pi)),
            float(rng.uniform(0.08, 0.36)),
            float(rng.uniform(0.05, 0.13)),
        )
        for _ in range(number)
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
        contrast_db=float(rng.uniform(-17, -4.5)),
        heterogeneity_db=float(rng.uniform(1.5, 3.5)),
        border_mm=float(rng.uniform(0.4, 2.2)),
        capsule=0.0,
        halo_db=float(rng.uniform(0, 7)),
        halo_mm=float(rng.uniform(0.6, 2.0)),
        posterior_db=float(-rng.uniform(4, 22) if rng.random() < 0.75 else rng.normal(0, 2)),
        edge_db=float(rng.uniform(0, 2)),
        calcifications=int(rng.integers(3, 14)) if rng.random() < 0.45 else 0,
        displacement=float(rng.uniform(-0.22, 0.1)),
    )
