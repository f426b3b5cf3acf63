"""The image grid in millimetres, and smooth random maps that live on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "Float",
    "Grid",
    "Texture",
    "Tissue",
    "UInt8",
    "elevational_weights",
    "ridges",
    "smoothstep",
    "warp",
]

Float = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """A raster of ``height`` x ``width`` pixels of ``spacing_mm``; depth 0 is the probe's face.

    ``margin`` more pixels lie left, right and below, so that tissue can move into the picture;
    row 0 is always the probe's face and column ``margin`` is the first column of the picture.
    """

    height: int
    width: int
    spacing_mm: float
    margin: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns with the margin."""
        return self.height + self.margin, self.width + 2 * self.margin

    @property
    def depth_mm(self) -> float:
        """Depth of the field of view without the margin."""
        return self.height * self.spacing_mm

    @property
    def width_mm(self) -> float:
        """Width of the field of view without the margin."""
        return self.width * self.spacing_mm

    def x(self) -> Float:
        """Lateral position of the pixel centres in mm, 1 x columns; the picture starts at 0."""
        columns = np.arange(self.shape[1], dtype=np.float32) - self.margin
        return ((columns + 0.5) * self.spacing_mm)[None, :]

    def z(self) -> Float:
        """Depth of the pixel centres in mm, rows x 1."""
        return ((np.arange(self.shape[0], dtype=np.float32) + 0.5) * self.spacing_mm)[:, None]

    def crop(self, array: Float) -> Float:
        """Return the part of ``array`` that is in the picture."""
        return array[: self.height, self.margin : self.margin + self.width]


@dataclass
class Tissue:
    """What the sound meets, as maps on ``grid`` (float32, rows x columns, margin included).

    Attributes:
        grid: Where.
        echo_db: Diffuse backscatter amplitude against glandular tissue.
        specular: Amplitude of smooth interfaces, linear, 1 = glandular tissue.
        phase: Slowly varying complex weight of the interfaces (rows x columns x 2).
        loss_db_per_mm: Two-way attenuation a millimetre of depth.
    """

    grid: Grid
    echo_db: Float
    specular: Float
    phase: Float
    loss_db_per_mm: Float

    def warped(self, columns: Float, rows: Float) -> Tissue:
        """Return the tissue that shows at each pixel what was at (``rows``, ``columns``)."""
        echo, specular, phase, loss = (
            warp(m, columns, rows)
            for m in (self.echo_db, self.specular, self.phase, self.loss_db_per_mm)
        )
        return Tissue(self.grid, echo, specular, phase, loss)


def elevational_weights(elevation: float, length: float) -> dict[int, float]:
    """Return the Gaussian weights of the random planes at ``k * length`` seen from ``elevation``.

    Their squares sum to 1, so a weighted sum of unit-variance planes has unit variance, and two
    elevations ``d`` apart see sums that correlate as ``exp(-(d / length)**2 / 2)``.
    """
    position = elevation / length
    planes = range(int(np.floor(position)) - 2, int(np.floor(position)) + 4)
    weights = {k: float(np.exp(-((position - k) ** 2))) for k in planes}
    norm = float(np.sqrt(sum(w * w for w in weights.values())))
    return {k: w / norm for k, w in weights.items()}


class Texture:
    """Smooth Gaussian random maps of one piece of tissue, each named by a key.

    Args:
        entropy: The seed; the same seed and key give the same map.
        grid: Where the maps live.
        elevation_mm: Elevational position of the imaging plane: maps change smoothly with it.
            None is a single plane (a still), which costs less.
    """

    def __init__(
        self, entropy: np.random.SeedSequence, grid: Grid, elevation_mm: float | None = None
    ) -> None:
        self.entropy = entropy
        self.grid = grid
        self.elevation_mm = elevation_mm

    def rng(self, key: int, plane: int = 0) -> np.random.Generator:
        """Return the generator of ``key``; ``plane`` may be negative."""
        # A spawn key takes no negative numbers: fold the planes 0, -1, 1, -2, ... onto 0, 1, 2, ...
        folded = 2 * plane if plane >= 0 else -2 * plane - 1
        spawn_key = (*self.entropy.spawn_key, key, folded)
        return np.random.default_rng(
            np.random.SeedSequence(self.entropy.entropy, spawn_key=spawn_key)
        )

    def smooth(self, key: int, lateral_mm: float, axial_mm: float, elevational_mm: float) -> Float:
        """Return a map of mean 0 and variance about 1 with the given correlation lengths."""
        rows, columns = self.grid.shape
        return self._interpolate(key, (rows, columns), (axial_mm, lateral_mm), elevational_mm)

    def curve(self, key: int, lateral_mm: float, elevational_mm: float) -> Float:
        """Return a curve over the columns (1 x columns) of mean 0 and variance about 1."""
        columns = self.grid.shape[1]
        return self._interpolate(key, (1, columns), (1.0, lateral_mm), elevational_mm)

    def _interpolate(
        self, key: int, shape: tuple[int, int], lengths_mm: tuple[float, float], elevational: float
    ) -> Float:
        # Knots half a correlation length apart, smoothed by [1 2 1] / 4, then cubic between them.
        step = [max(1, round(0.5 * length / self.grid.spacing_mm)) for length in lengths_mm]
        if shape[0] == 1:
            step[0] = 1
        knots = (shape[0] // step[0] + 5, shape[1] // step[1] + 5)
        coarse = self._knots(key, knots, elevational)
        kernel = np.array([0.25, 0.5, 0.25], np.float32)
        coarse = cv2.sepFilter2D(coarse, cv2.CV_32F, kernel, kernel) / np.float32(0.375)
        fine = cv2.resize(
            coarse,
            (knots[1] * step[1], knots[0] * step[0]),
            interpolation=cv2.INTER_CUBIC,
        )
        top, left = 2 * step[0], 2 * step[1]
        result: Float = fine[top : top + shape[0], left : left + shape[1]]
        return result

    def _knots(self, key: int, knots: tuple[int, int], elevational_mm: float) -> Float:
        if self.elevation_mm is None:
            return self.rng(key).standard_normal(knots, dtype=np.float32)
        total = np.zeros(knots, np.float32)
        for plane, weight in elevational_weights(self.elevation_mm, elevational_mm).items():
            total += np.float32(weight) * self.rng(key, plane).standard_normal(
                knots, dtype=np.float32
            )
        return total


def smoothstep(value: Float, low: float, high: float) -> Float:
    """Return 0 below ``low``, 1 above ``high``, and a cubic with level ends between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    result: Float = t * t * (3 - 2 * t)
    return result


def ridges(field: Float, width_px: float) -> tuple[Float, Float]:
    """Return the zero lines of ``field`` as thin bright sheets, and how far each faces the probe.

    Level sets of a smooth random field close into the lens-shaped meshes that connective-tissue
    septa form around fat lobules.

    Returns:
        ``line`` in [0, 1], a Gaussian profile of standard deviation ``width_px`` across the line;
        ``facing`` in [0, 1], the squared axial component of the normal.
    """
    dx = cv2.Sobel(field, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    dz = cv2.Sobel(field, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    squared = dx * dx + dz * dz + np.float32(1e-8)
    line: Float = np.exp(field * field / squared * np.float32(-0.5 / width_px**2))
    facing: Float = dz * dz / squared
    return line, facing


def warp(array: Float, columns: Float, rows: Float) -> Float:
    """Return ``array`` sampled at (``rows``, ``columns``) in pixels, bilinear, edges mirrored."""
    sampled = cv2.remap(
        array, columns, rows, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(sampled, np.float32)
