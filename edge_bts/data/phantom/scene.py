"""One simulated image: draw a patient, build the tissue, form the picture."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from edge_bts.data.phantom.acoustics import Scanner, Scatterers, form
from edge_bts.data.phantom.anatomy import Anatomy, build
from edge_bts.data.phantom.grid import Grid, Texture, UInt8
from edge_bts.data.phantom.insertion import insert, place
from edge_bts.data.phantom.lesion import Lesion
from edge_bts.errors import InputError

__all__ = [
    "NOISE_KEY",
    "SCATTERER_KEY",
    "Phantom",
    "PhantomCategory",
    "Scene",
    "draw_scene",
    "simulate",
]

PhantomCategory = Literal["benign", "malignant", "normal"]
# Keys of the random streams; look k has SCATTERER_KEY + k.
SCATTERER_KEY, NOISE_KEY = 300, 310


@dataclass(frozen=True)
class Phantom:
    """A simulated B-mode image. Never clinical data.

    Attributes:
        image: height x width uint8.
        mask: height x width uint8, 1 = lesion; all 0 for a normal breast.
        spacing_mm: Pixel spacing, the same in both directions.
        category: Kind of the lesion, or ``"normal"``.
        parameters: All that the image was made from, JSON-able: ``seed``, ``view``,
            ``scanner``, ``anatomy``, ``lesion`` (None without one), and for a cine the frame's
            ``elevation_mm`` and ``displacement_mm``.
    """

    image: UInt8
    mask: UInt8
    spacing_mm: float
    category: PhantomCategory
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A patient under a probe: everything but the scatterers."""

    seed: int
    view: int
    category: PhantomCategory
    grid: Grid
    scanner: Scanner
    anatomy: Anatomy
    lesion: Lesion | None
    entropy: np.random.SeedSequence

    def parameters(self, **more: Any) -> dict[str, Any]:
        """Return the JSON-able record of the scene with ``more`` added."""
        return {
            "seed": self.seed,
            "view": self.view,
            "scanner": dataclasses.asdict(self.scanner),
            "anatomy": dataclasses.asdict(self.anatomy),
            "lesion": None if self.lesion is None else dataclasses.asdict(self.lesion),
            **more,
        }


def simulate(
    seed: int,
    category: PhantomCategory,
    *,
    height: int = 320,
    width: int = 384,
    spacing_mm: float | None = None,
    view: int = 0,
    lesion: Lesion | None = None,
    scanner: Scanner | None = None,
) -> Phantom:
    """Simulate one B-mode image of the breast.

    Args:
        seed: Names the patient; the same arguments give the same bytes.
        category: ``"benign"``, ``"malignant"`` or ``"normal"``.
        height: Rows, at least 64.
        width: Columns, at least 64.
        spacing_mm: Pixel spacing; default is drawn so that the depth is 28 to 46 mm.
        view: Another image of the same patient: same breast and kind of lesion, another plane.
        lesion: A lesion to show instead of the drawn one (as ``parameters["lesion"]`` records it).
        scanner: Settings to use instead of the drawn ones.

    Raises:
        InputError: An argument is out of its range.
    """
    scene = draw_scene(
        seed,
        category,
        height=height,
        width=width,
        spacing_mm=spacing_mm,
        view=view,
        lesion=lesion,
        scanner=scanner,
    )
    texture = Texture(scene.entropy, scene.grid)
    tissue = build(scene.anatomy, texture, scene.scanner.frequency_mhz)
    mask = np.zeros(scene.grid.shape, np.uint8)
    placed = None if scene.lesion is None else place(scene.lesion, scene.grid)
    if scene.lesion is not None and placed is not None:
        tissue = insert(scene.lesion, placed, tissue, texture)
        mask = (placed.radius < 1).astype(np.uint8)
    fields = [
        Scatterers.draw(texture.rng(SCATTERER_KEY + look), scene.grid).field(
            scene.grid, scene.scanner
        )
        for look in range(scene.scanner.looks)
    ]
    image = form(tissue, fields, texture.rng(NOISE_KEY), scene.scanner)
    return Phantom(image, mask, scene.grid.spacing_mm, category, scene.parameters())


def draw_scene(
    seed: int,
    category: PhantomCategory,
    *,
    height: int,
    width: int,
    spacing_mm: float | None = None,
    view: int = 0,
    margin: int = 0,
    lesion: Lesion | None = None,
    scanner: Scanner | None = None,
) -> Scene:
    """Draw the patient and the settings of ``simulate``, which documents the arguments."""
    _check(seed, category, height, width, spacing_mm, view)
    if lesion is not None and lesion.category != category:
        raise InputError(
            f"Expected a lesion of category {category!r}, but it is {lesion.category!r}; "
            "pass the category of the lesion."
        )
    patient, probe = (np.random.default_rng([seed, _CATEGORY[category], k]) for k in (0, 1))
    spacing = float(probe.uniform(28.0, 46.0)) / height if spacing_mm is None else spacing_mm
    grid = Grid(height, width, spacing, margin)
    drawn_scanner = Scanner.draw(probe, grid.depth_mm)
    anatomy = Anatomy.draw(patient, grid)
    if lesion is None and category != "normal":
        lesion = Lesion.draw(patient, category, grid, anatomy)
        lesion = (
            _other_view(lesion, np.random.default_rng([seed, view, 2]), grid) if view else lesion
        )
    entropy = np.random.SeedSequence([seed, _CATEGORY[category], view])
    return Scene(seed, view, category, grid, scanner or drawn_scanner, anatomy, lesion, entropy)


_CATEGORY = {name: index for index, name in enumerate(get_args(PhantomCategory))}


def _other_view(lesion: Lesion, rng: np.random.Generator, grid: Grid) -> Lesion:
    """Return the lesion as another plane through it shows it."""
    scale, squeeze = float(rng.uniform(0.85, 1.0)), float(rng.uniform(0.9, 1.0))
    turn = float(rng.uniform(0, 2 * np.pi))
    turned = dataclasses.replace(
        lesion,
        width_mm=lesion.width_mm * scale * squeeze,
        height_mm=lesion.height_mm * scale,
        harmonics=tuple((a, p + turn * k) for k, (a, p) in enumerate(lesion.harmonics, start=2)),
        spikes=tuple((at - turn, length, wide) for at, length, wide in lesion.spikes),
    )
    half_w, half_h = turned.reach_mm
    side = min(half_w + 1.0, 0.5 * grid.width_mm)
    return dataclasses.replace(
        turned,
        x_mm=float(rng.uniform(side, grid.width_mm - side)),
        z_mm=float(
            np.clip(turned.z_mm, half_h + 2.0, max(grid.depth_mm - half_h - 1.0, half_h + 2))
        ),
    )


def _check(
    seed: int, category: str, height: int, width: int, spacing_mm: float | None, view: int
) -> None:
    if category not in _CATEGORY:
        raise InputError(
            f"Expected a category of {', '.join(_CATEGORY)}, but got {category!r}; choose one."
        )
    if seed < 0 or view < 0:
        raise InputError(
            f"Expected a seed and a view of 0 or more, but got {seed} and {view}; use 0, 1, 2, ..."
        )
    if height < 64 or width < 64:
        raise InputError(
            f"Expected a height and width of at least 64, but got {height} and {width}; "
            "the default is 320 x 384."
        )
    if spacing_mm is not None and not 0.02 <= spacing_mm <= 1.0:
        raise InputError(
            f"Expected a spacing of 0.02 to 1 mm, but got {spacing_mm}; 0.08 to 0.15 is usual."
        )
