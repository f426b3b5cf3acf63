"""Cine loops: the probe sweeps across the lesion, or the patient breathes under it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from edge_bts.data.phantom.acoustics import Scatterers, form
from edge_bts.data.phantom.anatomy import build
from edge_bts.data.phantom.grid import Float, Grid, Texture, elevational_weights, warp
from edge_bts.data.phantom.insertion import insert, place
from edge_bts.data.phantom.scene import (
    NOISE_KEY,
    SCATTERER_KEY,
    Phantom,
    PhantomCategory,
    Scene,
    draw_scene,
)
from edge_bts.errors import InputError

__all__ = ["Breathing", "Motion", "simulate_cine"]

Motion = Literal["sweep", "breathing"]
_BREATHING_KEY = 320
_MARGIN_MM = 3.5
_SIGMA_PER_FWHM = 1 / 1.6651  # exp(-(y / sigma)**2), the form that elevational_weights takes


@dataclass(frozen=True)
class Breathing:
    """Periodic motion of the tissue: none at the probe's face, more with depth.

    Attributes:
        axial_mm: Amplitude in depth, far from the probe.
        lateral_mm: Amplitude sideways.
        grip_mm: Depth over which the probe's hold on the tissue fades.
        period: Frames of one breath.
    """

    axial_mm: float
    lateral_mm: float
    grip_mm: float
    period: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Breathing:
        """Draw a quiet breath; displacements stay below 3 mm."""
        return cls(
            axial_mm=float(rng.uniform(0.8, 2.2)),
            lateral_mm=float(rng.uniform(-1.2, 1.2)),
            grip_mm=float(rng.uniform(6.0, 12.0)),
            period=float(rng.uniform(18.0, 28.0)),
        )

    def displacement_mm(self, depth_mm: Float | float, frame: float) -> tuple[Float, Float]:
        """Return the lateral and axial displacement of tissue that rests at ``depth_mm``."""
        share = 1 - np.exp(-np.asarray(depth_mm, np.float32) / np.float32(self.grip_mm))
        turn = 2 * np.pi * frame / self.period
        # The chest wall slides a little after it rises: the tissue runs an ellipse.
        lateral = share * np.float32(self.lateral_mm * np.sin(turn - 0.6))
        return lateral, share * np.float32(self.axial_mm * np.sin(turn))


def simulate_cine(
    seed: int,
    category: PhantomCategory,
    frames: int = 30,
    motion: Motion = "sweep",
    *,
    height: int = 320,
    width: int = 384,
    spacing_mm: float | None = None,
) -> list[Phantom]:
    """Simulate a loop of one patient whose masks move as the tissue does.

    ``"sweep"`` moves the probe elevationally across the lesion from one side to the other: its
    cross-section grows and shrinks by the law of an ellipsoid, and speckle decorrelates with the
    distance over the elevational beam width. ``"breathing"`` displaces every scatterer and every
    tissue boundary by one smooth field, so speckle moves with the tissue.

    Args:
        seed: Names the patient; the same arguments give the same bytes.
        category: ``"benign"``, ``"malignant"`` or ``"normal"``.
        frames: Number of frames, at least 1.
        motion: ``"sweep"`` or ``"breathing"``.
        height: Rows, at least 64.
        width: Columns, at least 64.
        spacing_mm: Pixel spacing; default as in ``simulate``.

    Returns:
        The frames; ``parameters`` of each has ``frame``, ``elevation_mm`` and
        ``displacement_mm`` (lateral, axial, at the lesion's centre or half the depth).

    Raises:
        InputError: An argument is out of its range.
    """
    if frames < 1:
        raise InputError(f"Expected at least 1 frame, but got {frames}; pass frames=30.")
    if motion not in get_args(Motion):
        raise InputError(f"Expected a motion of sweep, breathing, but got {motion!r}; choose one.")
    margin = 0
    if motion == "breathing":
        spacing = spacing_mm if spacing_mm is not None else 28.0 / height
        margin = int(np.ceil(_MARGIN_MM / spacing))
    scene = draw_scene(
        seed, category, height=height, width=width, spacing_mm=spacing_mm, margin=margin
    )
    return list((_sweep if motion == "sweep" else _breathe)(scene, frames))


def _sweep(scene: Scene, frames: int) -> Iterator[Phantom]:
    thickness = 12.0 if scene.lesion is None else scene.lesion.thickness_mm
    reach = 0.65 * thickness if frames > 1 else 0.0
    length = scene.scanner.slice_fwhm_mm * _SIGMA_PER_FWHM
    planes: dict[tuple[int, int], Float] = {}
    for index, elevation in enumerate(np.linspace(-reach, reach, frames)):
        texture = Texture(scene.entropy, scene.grid, float(elevation))
        tissue = build(scene.anatomy, texture, scene.scanner.frequency_mhz)
        mask = np.zeros(scene.grid.shape, np.uint8)
        placed = None if scene.lesion is None else place(scene.lesion, scene.grid, elevation)
        if scene.lesion is not None and placed is not None:
            tissue = insert(scene.lesion, placed, tissue, texture)
            mask = (placed.radius < 1).astype(np.uint8)
        weights = elevational_weights(float(elevation), length)
        planes = {at: plane for at, plane in planes.items() if at[1] in weights}
        fields = [_slab(scene, texture, planes, weights, k) for k in range(scene.scanner.looks)]
        image = form(tissue, fields, texture.rng(NOISE_KEY, index), scene.scanner)
        record = scene.parameters(
            frame=index, elevation_mm=float(elevation), displacement_mm=[0.0, 0.0]
        )
        yield Phantom(image, mask, scene.grid.spacing_mm, scene.category, record)


def _slab(
    scene: Scene,
    texture: Texture,
    planes: dict[tuple[int, int], Float],
    weights: dict[int, float],
    look: int,
) -> Float:
    """Return the scatterers that the elevational beam sees: a weighted sum of random planes."""
    total = np.zeros((*scene.grid.shape, 2), np.float32)
    for plane, weight in weights.items():
        if (look, plane) not in planes:
            rng = texture.rng(SCATTERER_KEY + look, plane)
            planes[look, plane] = Scatterers.draw(rng, scene.grid).field(scene.grid, scene.scanner)
        total += np.float32(weight) * planes[look, plane]
    return total


def _breathe(scene: Scene, frames: int) -> Iterator[Phantom]:
    grid = scene.grid
    texture = Texture(scene.entropy, grid)
    breathing = Breathing.draw(texture.rng(_BREATHING_KEY))
    rest = build(scene.anatomy, texture, scene.scanner.frequency_mhz)
    radius = np.full(grid.shape, 2, np.float32)
    placed = None if scene.lesion is None else place(scene.lesion, grid)
    if scene.lesion is not None and placed is not None:
        rest = insert(scene.lesion, placed, rest, texture)
        radius = placed.radius
    looks = range(scene.scanner.looks)
    resting = [Scatterers.draw(texture.rng(SCATTERER_KEY + k), grid) for k in looks]
    centre = 0.5 * grid.depth_mm if scene.lesion is None else scene.lesion.z_mm
    for index in range(frames):
        columns, rows = _origin(breathing, grid, index)
        fields = [_moved(s, breathing, grid, index).field(grid, scene.scanner) for s in resting]
        image = form(
            rest.warped(columns, rows), fields, texture.rng(NOISE_KEY, index), scene.scanner
        )
        mask = (grid.crop(warp(radius, columns, rows)) < 1).astype(np.uint8)
        moved = [float(v) for v in breathing.displacement_mm(centre, index)]
        record = scene.parameters(frame=index, elevation_mm=0.0, displacement_mm=moved)
        yield Phantom(image, mask, grid.spacing_mm, scene.category, record)


def _moved(rest: Scatterers, breathing: Breathing, grid: Grid, frame: int) -> Scatterers:
    spacing = np.float32(grid.spacing_mm)
    lateral, axial = breathing.displacement_mm((rest.rows + np.float32(0.5)) * spacing, frame)
    return Scatterers(rest.columns + lateral / spacing, rest.rows + axial / spacing)


def _origin(breathing: Breathing, grid: Grid, frame: int) -> tuple[Float, Float]:
    """Return where, in pixels at rest, the tissue of each pixel came from."""
    here = grid.z()
    depth = here
    # Displacement varies slowly with depth, so the fixed point is reached in a few steps.
    for _ in range(8):
        lateral, axial = breathing.displacement_mm(depth, frame)
        depth = np.maximum(here - axial, 0)
    spacing = np.float32(grid.spacing_mm)
    columns = np.arange(grid.shape[1], dtype=np.float32)[None, :] - lateral / spacing
    rows = np.broadcast_to(depth / spacing - np.float32(0.5), grid.shape)
    return columns, np.ascontiguousarray(rows)
