"""Random numbers, all from torch's global CPU generator, so that a seed gives one batch.

They are drawn on the CPU whatever the device: few numbers cross, and which images a change has
chosen is known without waiting for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["grain", "smooth", "uniform"]

_WIDTH = 0.7  # standard deviation of the smoothing, in cells: no lattice shows, few cells needed


def uniform(ends: tuple[float, float], *shape: int) -> Tensor:
    """Return numbers between ``ends``, float32, on the CPU."""
    return torch.rand(shape).mul_(ends[1] - ends[0]).add_(ends[0])


def smooth(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Return smooth Gaussian noise: mean 0 and variance 1 at every pixel.

    White noise on a coarse lattice is spread by Gaussians and each pixel scaled by the norm of
    its weights, so that neither the lattice nor the border shows in the variance. Two pixels
    that are d lattice cells apart correlate by about exp(-d² / (4 · 0.7²)).

    Args:
        shape: (N, C).
        rows: Number of pixels and of lattice cells down.
        columns: The same across.

    Returns:
        (N, C, pixels down, pixels across) float32, on the CPU.
    """
    noise = torch.randn(*shape, rows[1] + 4, columns[1] + 4)
    return _spread(*rows) @ noise @ _spread(*columns).mT


def grain(shape: tuple[int, int], size: int, cell: tuple[float, float]) -> Tensor:
    """Return fine Gaussian noise: mean 0 and variance 1 at every pixel.

    As :func:`smooth`, but bilinear between lattice points: cheap where these are many.

    Args:
        shape: (N, C).
        size: S.
        cell: Pixels of a lattice cell down and across, at least 1.

    Returns:
        (N, C, S, S) float32, on the CPU.
    """
    cells = [max(2, round(size / side)) for side in cell]
    noise = F.interpolate(torch.randn(*shape, *cells), size=(size, size), mode="bilinear")
    down, across = (
        F.interpolate(torch.eye(count)[None, None], size=(size, count), mode="bilinear").norm(dim=3)
        for count in cells
    )
    return noise.div_(down[..., None] * across[..., None, :])


def _spread(pixels: int, cells: int) -> Tensor:
    """Return weights (pixels, cells + 4) of unit norm; two lattice points lie beyond each end."""
    at = (torch.arange(pixels) + 0.5) * (cells / pixels) + 1.5
    distance = at[:, None] - torch.arange(cells + 4)
    return F.normalize(torch.exp(-0.5 * (distance / _WIDTH) ** 2), dim=1)
