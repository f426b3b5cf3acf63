"""Training data in memory: letterboxed uint8 squares on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_bts import geometry
from edge_bts.data import Sample
from edge_bts.errors import InputError
from edge_bts.trainers.augment.draw import sent

__all__ = ["CATEGORIES", "Batch", "TensorData"]

CATEGORIES = ("benign", "malignant", "normal", "lesion")


class Batch(NamedTuple):
    """One step's input; a tuple, because wrappers of modules refuse frozen dataclasses.

    Attributes:
        image: (B, 1, S, S) float32 in 0..1, not yet normalised: every network has its own scaling.
        mask: (B, 1, S, S) float32, 0 or 1.
        category: (B,) int64, an index into ``CATEGORIES``.
        place: (B,) int64, the images' places in their :class:`TensorData`.
        grid: (B, S, S, 2) float32, how augmentation sampled the stored squares (see
            :func:`edge_bts.trainers.augment.warp`); None: not at all.
    """

    image: Tensor
    mask: Tensor
    category: Tensor
    place: Tensor
    grid: Tensor | None = None

    def at(self, index: Tensor) -> Batch:
        """Return the images at ``index`` (N,)."""
        grid = None if self.grid is None else self.grid[index]
        return Batch(
            self.image[index], self.mask[index], self.category[index], self.place[index], grid
        )


@dataclass(frozen=True)
class TensorData:
    """A part of a data set, letterboxed to one size.

    Attributes:
        images: (N, 1, S, S) uint8.
        masks: (N, 1, S, S) uint8, 0 or 1.
        categories: (N,) int64, indices into ``CATEGORIES``.
    """

    images: Tensor
    masks: Tensor
    categories: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.images)

    @property
    def imgsz(self) -> int:
        """The side S."""
        return self.images.shape[-1]

    @classmethod
    def read(cls, samples: Sequence[Sample], imgsz: int, device: torch.device) -> TensorData:
        """Read and letterbox ``samples``.

        Raises:
            InputError: There are no samples, or a file is missing or broken.
        """
        if not samples:
            raise InputError("Expected at least one sample to train or validate on, but got none.")
        images = np.empty((len(samples), 1, imgsz, imgsz), np.uint8)
        masks = np.empty_like(images)
        for index, sample in enumerate(samples):
            image, mask = sample.read()
            images[index, 0] = geometry.letterbox(image, imgsz)
            masks[index, 0] = geometry.letterbox_mask(mask, imgsz)
        categories = [CATEGORIES.index(sample.category) for sample in samples]
        return cls(
            torch.from_numpy(images).to(device),
            torch.from_numpy(masks).to(device),
            torch.tensor(categories, dtype=torch.int64, device=device),
        )

    def resized(self, imgsz: int) -> TensorData:
        """Return the same images at another side, by averages over areas; masks by majority."""
        if imgsz == self.imgsz:
            return self
        images = F.interpolate(self.images.float(), (imgsz, imgsz), mode="area")
        masks = F.interpolate(self.masks.float(), (imgsz, imgsz), mode="area")
        return TensorData(
            images.round_().to(torch.uint8), (masks >= 0.5).to(torch.uint8), self.categories
        )

    def steps(self, batch: int, world: int = 1) -> int:
        """Return the number of whole batches an epoch has (at least one)."""
        return max(1, len(self) // (batch * world))

    def shuffled(
        self, batch: int, generator: torch.Generator, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """Yield whole batches in random order; ``rank`` of ``world`` gets its own share.

        A rest smaller than a batch is left out of this epoch: batch norm would see too few images.
        A set smaller than one batch for each comes as one small batch, of the same size for each.
        """
        order = torch.randperm(len(self), generator=generator)
        share = min(batch, len(self) // world)
        for step in range(self.steps(batch, world)):
            start = (step * world + rank) * share
            yield self._batch(order[start : start + share])

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Yield every image once, in order."""
        for start in range(0, len(self), batch):
            yield self._batch(torch.arange(start, min(start + batch, len(self))))

    def _batch(self, index: Tensor) -> Batch:
        index = sent(index, self.images.device)
        return Batch(
            self.images[index].float().div_(255),
            self.masks[index].float(),
            self.categories[index],
            index,
        )
