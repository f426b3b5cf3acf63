"""Batched augmentation on the training device, by Kornia."""

from __future__ import annotations

import kornia.augmentation as K
from torch import Tensor, nn

from edge_bts.trainers.settings import AugmentSettings

__all__ = ["Augment"]


class Augment(nn.Module):
    """Change images and masks alike in space, and images alone in gray.

    Draws from torch's global generator: seed it and the batch is the same again.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        super().__init__()
        chance = settings.intensity
        self.changes = K.AugmentationSequential(
            K.RandomHorizontalFlip(p=settings.flip),
            K.RandomAffine(
                degrees=settings.rotate_degrees,
                translate=(settings.translate, settings.translate),
                scale=settings.scale,
                shear=settings.shear_degrees,
                p=settings.affine,
            ),
            K.RandomGamma(settings.gamma, p=chance),
            K.RandomBrightness(settings.brightness, p=chance),
            K.RandomContrast(settings.contrast, p=chance),
            K.RandomGaussianNoise(std=settings.noise, p=chance),
            data_keys=["image", "mask"],
        )

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Augment images (B, 1, H, W) in 0..1 and masks (B, 1, H, W) of 0 and 1."""
        images, masks = self.changes(images, masks)
        return images.clamp(0, 1), (masks > 0.5).to(images.dtype)
