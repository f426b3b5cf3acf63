"""Random numbers, all from torch's global generators, so that a seed gives one batch.

Strengths are drawn on the CPU whatever the device: few numbers cross, and which images a change has
chosen is known without waiting for the device. Fields, which have a number for every pixel, are
drawn where the images are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CPU", "grain", "sent", "smooth", "uniform"]

CPU = torch.device("cpu")
_WIDTH = 0.7  # standard deviation of the smoothing, in cells: no lattice shows, few cells needed


def uniform(ends: tuple[float, float], *shape: int, device: torch.device = CPU) -> Tensor:
    """Return numbers between ``ends``, float32, drawn on the CPU and sent to ``device``."""
    return sent(torch.rand(shape).mul_(ends[1] - ends[0]).add_(ends[0]), device)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return ``values`` of the CPU on ``device``, without waiting until a GPU has them."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def smooth(
    shape: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
    device: torch.device = CPU,
) -> Tensor:
    """Return smooth Gaussian noise: mean 0 and variance 1 at every pixel.

    White noise on a coarse lattice is spread by Gaussians and each pixel scaled by the norm of
    its weights, so that neither the lattice nor the border shows in the variance. Two pixels
    that are d lattice cells apart correlate by about exp(-d² / (4 · 0.7²)).

    Args:
        shape: (N, C).
        rows: Number of pixels and of lattice cells down.
        columns: The same across.
        device: Where they are drawn.

    Returns:
        (N, C, pixels down, pixels across) float32, on ``device``.
    """
    noise = torch.randn(*shape, rows[1] + 4, columns[1] + 4, device=device)
    return _spread(*rows, device) @ noise @ _spread(*columns, device).mT


def grain(
    shape: tuple[int, int],
    size: int,
    cell: tuple[float, float],
    device: torch.device = CPU,
) -> Tensor:
    """Return fine Gaussian noise: mean 0 and variance 1 at every pixel.

    As :func:`smooth`, but bilinear between lattice points: cheap where these are many.

    Args:
        shape: (N, C).
        size: S.
        cell: Pixels of a lattice cell down and across, at least 1.
        device: Where they are drawn.

    Returns:
        (N, C, S, S) float32, on ``device``.
    """
    cells = [max(2, round(size / side)) for side in cell]
    noise = torch.randn(*shape, *cells, device=device)
    noise = F.interpolate(noise, size=(size, size), mode="bilinear")
    down, across = (
        F.interpolate(
            torch.eye(count, device=device)[None, None], size=(size, count), mode="bilinear"
        ).norm(dim=3)
        for count in cells
    )
    return noise.div_(down[..., None] * across[..., None, :])


def _spread(pixels: int, cells: int, device: torch.device) -> Tensor:
    """Return weights (pixels, cells + 4) of unit norm; two lattice points lie beyond each end."""
    at = (torch.arange(pixels, device=device) + 0.5) * (cells / pixels) + 1.5
    distance = at[:, None] - torch.arange(cells + 4, device=device)
    return F.normalize(torch.exp(-0.5 * (distance / _WIDTH) ** 2), dim=1)
