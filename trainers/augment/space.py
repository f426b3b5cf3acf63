"""Changes in space, composed into one sampling grid for image, mask and what teachers say.

A grid (B, S, S, 2) is that of :func:`torch.nn.functional.grid_sample` with ``align_corners=False``:
at each pixel of the new square the place (x, y) in the stored one, from -1 to 1. Squares are
isotropic in these units, so rotations need no pixel sizes. A linear change is a matrix (N, 3, 3)
that takes stored places to new ones, an elastic one a field (N, S, S, 2) that is added to the grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_affine_matrix2d
from torch import Tensor

from edge_bts.trainers.augment.draw import CPU, sent, smooth, uniform
from edge_bts.trainers.augment.settings import AugmentSettings

__all__ = ["affine", "elastic", "flip", "linear_grid", "warp"]

_CELLS = 6  # of the elastic field across the square: smooth over a lesion, not over the breast


def flip(count: int, _: AugmentSettings) -> Tensor:
    """A breast has a mirror image, and probes are held either way round."""
    return torch.diag(torch.tensor([-1.0, 1.0, 1.0])).repeat(count, 1, 1)


def affine(count: int, settings: AugmentSettings) -> Tensor:
    """The probe is tilted and moved, the depth set otherwise, the tissue pushed sideways."""
    shift, turn, shear = 2 * settings.translate, settings.rotate_degrees, settings.shear_degrees
    matrix: Tensor = get_affine_matrix2d(
        translations=uniform((-shift, shift), count, 2),
        center=torch.zeros(count, 2),
        scale=uniform(settings.scale, count, 1).expand(-1, 2),
        angle=uniform((-turn, turn), count),
        sx=uniform((-shear, shear), count).deg2rad(),
    )
    return matrix


def elastic(count: int, size: int, settings: AugmentSettings, device: torch.device = CPU) -> Tensor:
    """Soft tissue gives way unevenly under the pressure of the probe."""
    field = smooth((count, 2), (size, _CELLS), (size, _CELLS), device)
    rms = uniform((0.0, 2 * settings.elastic_shift), count, 1, 1, 1, device=device)
    return (field * rms).permute(0, 2, 3, 1)


def linear_grid(matrices: Tensor, size: int, device: torch.device) -> Tensor:
    """Return the grids (B, size, size, 2) of matrices (B, 3, 3) that take stored places to new."""
    back: Tensor = sent(torch.linalg.inv(matrices)[:, :2], device)
    at = (torch.arange(size, device=device) * 2 + 1) / size - 1
    across = back[:, :, 0, None] * at + back[:, :, 2, None]
    return across.mT[:, None] + (back[:, :, 1, None] * at).mT[:, :, None]


def warp(values: Tensor, grid: Tensor, *, fill: float = 0.0) -> Tensor:
    """Take what belongs to the stored squares to the augmented ones, bilinearly.

    Args:
        values: (B, C, h, w), computed on the stored squares, at any resolution up to the grid's.
        grid: (B, S, S, 2); its mean over each of the h x w cells is where that cell samples.
        fill: Value outside the picture.

    Returns:
        (B, C, h, w) in the dtype of ``values``; sampled in float32, whose grid is exact enough.
    """
    size = values.shape[2:]
    if grid.shape[1:3] != size:
        grid = F.interpolate(grid.permute(0, 3, 1, 2), size=size, mode="area").permute(0, 2, 3, 1)
    shifted = values.float() - fill if fill else values.float()
    moved = F.grid_sample(shifted, grid, mode="bilinear", align_corners=False)
    return (moved + fill if fill else moved).to(values.dtype)
