"""One batch through all changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_bts.trainers.augment import display, echo, space
from edge_bts.trainers.augment.draw import sent
from edge_bts.trainers.augment.settings import CHANGES, AugmentSettings

__all__ = ["Augment", "Augmented", "reasons"]

Change = Callable[[Tensor, AugmentSettings], Tensor]

# In the order of what happens: tissue, receiver, amplifier, log compression; ...
_ECHO: tuple[Change, ...] = (
    *(echo.attenuation, echo.shadow, echo.enhancement, echo.speckle),
    *(echo.noise, echo.tgc, echo.gain, echo.dynamic_range),
)
# ... then the picture of the scan; ...
_PICTURE: tuple[Change, ...] = (display.gray_map, display.blur)
# ... then where it lies, which is one matrix, before it is pressed out of shape; ...
_LINEAR = (space.flip, space.affine)
# ... and what is written over the picture stands upright on the screen.
_SCREEN: tuple[Change, ...] = (display.calipers, display.text, display.jpeg)


class Augmented(NamedTuple):
    """A changed batch.

    Attributes:
        image: (B, 1, S, S) float32 in 0..1.
        mask: (B, 1, S, S) float32, 0 or 1.
        grid: (B, S, S, 2) float32, how the stored squares were sampled; see :func:`.space.warp`.
    """

    image: Tensor
    mask: Tensor
    grid: Tensor


class Augment(nn.Module):
    """Change images and masks alike in space, and images alone in gray.

    Draws from torch's global generators: seed them and the batch is the same again. First of all
    is drawn which images undergo which change; images that none has chosen come back bit for bit.
    Depth is down the stored square, so shadows turn with the anatomy that casts them.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        super().__init__()
        self.settings = settings
        self._chances = torch.tensor([getattr(settings, name) for name in CHANGES])

    def forward(self, image: Tensor, mask: Tensor) -> Augmented:
        """Augment images (B, 1, S, S) in 0..1 and masks (B, 1, S, S) of 0 and 1, both float32.

        S must be a multiple of 8.
        """
        drawn = torch.rand(len(CHANGES), len(image)) < self._chances[:, None]
        chosen = dict(zip(CHANGES, drawn, strict=True))
        image = image.clone()
        heard = _any(chosen, _ECHO)
        if len(places := _places(heard, image)):
            amplitude = echo.decompress(image.index_select(0, places))
            self._undergo(_ECHO, amplitude, {name: row[heard] for name, row in chosen.items()})
            image.index_copy_(0, places, echo.compress(amplitude))
        self._undergo(_PICTURE, image, chosen)
        if len(places := _places(chosen["sector"], image)):
            scans = display.sector(image.index_select(0, places), mask.index_select(0, places))
            image.index_copy_(0, places, scans)
        image, mask, grid = self._move(image, mask, chosen)
        self._undergo(_SCREEN, image, chosen)
        return Augmented(image, mask, grid)

    def _undergo(
        self, changes: tuple[Change, ...], values: Tensor, chosen: dict[str, Tensor]
    ) -> None:
        """Change in place those of ``values`` (N, ...) that were chosen."""
        for change in changes:
            if len(places := _places(chosen[change.__name__], values)):
                changed = change(values.index_select(0, places), self.settings)
                values.index_copy_(0, places, changed)

    def _move(
        self, image: Tensor, mask: Tensor, chosen: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, size = len(image), image.shape[-1]
        matrices = torch.eye(3).repeat(count, 1, 1)
        for change in _LINEAR:
            if len(places := chosen[change.__name__].nonzero()[:, 0]):
                matrices[places] = change(len(places), self.settings) @ matrices[places]
        grid = space.linear_grid(matrices, size, image.device)
        if len(places := _places(chosen["elastic"], image)):
            field = space.elastic(len(places), size, self.settings, image.device)
            grid.index_add_(0, places, field)
        moved = chosen["flip"] | chosen["affine"] | chosen["elastic"]
        if len(places := _places(moved, image)):
            both = torch.cat([image, mask], dim=1).index_select(0, places)
            both = space.warp(both, grid.index_select(0, places))
            image.index_copy_(0, places, both[:, :1].clamp(0, 1))
            # Half of the bilinear mask is the contour between the pixels; the nearest pixel would
            # put steps on it wherever the picture is enlarged.
            mask = mask.index_copy(0, places, (both[:, 1:] > 0.5).float())
        return image, mask, grid


def reasons() -> dict[str, str]:
    """Return the physical reason of every change, by name, in the order of ``CHANGES``."""
    functions = (*_ECHO, *_PICTURE, display.sector, *_LINEAR, space.elastic, *_SCREEN)
    lines = {function.__name__: str(function.__doc__).partition("\n")[0] for function in functions}
    return {name: lines[name] for name in CHANGES}


def _any(chosen: dict[str, Tensor], changes: tuple[Change, ...]) -> Tensor:
    return torch.stack([chosen[change.__name__] for change in changes]).any(0)


def _places(chosen: Tensor, like: Tensor) -> Tensor:
    """Return where ``chosen`` (B,) is true, on the device; known on the CPU, so nothing waits."""
    return sent(chosen.nonzero()[:, 0], like.device)
