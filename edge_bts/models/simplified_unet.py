"""Simplified U-Net: Attention U-Net rebuilt from bottleneck blocks.

LightBTSeg (arXiv 2311.11086) names such a student; how it is built is not public. Widths, stem
and upsampling here are our own choices, made for INT8 kernels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edge_bts.models.attention_unet import _taps
from edge_bts.models.blocks import AttentionGate, Bottleneck, ConvNormAct, multiple_of_16

__all__ = ["SimplifiedUNet"]


class SimplifiedUNet(nn.Module):
    """The student.

    The topology of :class:`~edge_bts.models.AttentionUNet` with every double convolution replaced
    by one residual bottleneck, gates kept, and a 1x1 convolution *before* each nearest upsampling,
    where it costs a quarter. All channel counts inside are multiples of 16.

    ``stem="space_to_depth"`` folds 2x2 pixels into channels and unfolds the head's four channels:
    every stage runs at half the resolution, for a quarter of the compute and the same parameters.

    Input (B, 1, H, W) float, normalised, H and W divisible by ``divisor``; output logits
    (B, 1, H, W).
    """

    def __init__(
        self, base: int = 32, stem: Literal["full", "space_to_depth"] = "space_to_depth"
    ) -> None:
        super().__init__()
        if base < 16 or base % 16:
            raise ValueError(f"Expected base to be a multiple of 16, but got {base}.")
        if stem not in ("full", "space_to_depth"):
            raise ValueError(f"Expected stem to be full or space_to_depth, but got {stem!r}.")
        fold = stem == "space_to_depth"
        self.divisor = 32 if fold else 16
        channels = [base * 2**level for level in range(5)]
        self.unshuffle: nn.Module = nn.PixelUnshuffle(2) if fold else nn.Identity()
        self.pool = nn.MaxPool2d(2)
        stem_block = nn.Sequential(ConvNormAct(4 if fold else 1, base, 3), Bottleneck(base, base))
        self.encoder = nn.ModuleList([stem_block, *(Bottleneck(c // 2, c) for c in channels[1:])])
        self.up = nn.ModuleList(
            nn.Sequential(ConvNormAct(2 * c, c, 1), nn.Upsample(scale_factor=2))
            for c in channels[:-1]
        )
        self.gate = nn.ModuleList(AttentionGate(c, multiple_of_16(c // 2)) for c in channels[:-1])
        self.decoder = nn.ModuleList(Bottleneck(2 * c, c) for c in channels[:-1])
        self.head = nn.Conv2d(base, 4 if fold else 1, 1)
        self.shuffle: nn.Module = nn.PixelShuffle(2) if fold else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 1, H, W)."""
        x = self.unshuffle(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        for level in range(3, -1, -1):
            x = self.up[level](x)
            x = self.decoder[level](torch.cat([self.gate[level](x, skips[level]), x], dim=1))
        return self.shuffle(self.head(x))  # type: ignore[no-any-return]

    def feature_taps(self) -> dict[str, nn.Module]:
        """Name the modules whose outputs the feature path of distillation may read."""
        return _taps(self.encoder, self.decoder)
