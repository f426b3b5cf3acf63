"""Attention U-Net (Oktay et al. 2018, arXiv 1804.03999) in the form that papers count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_bts.models.blocks import AttentionGate, ConvNormAct, DoubleConv

__all__ = ["AttentionUNet"]


class AttentionUNet(nn.Module):
    """The cumbersome teacher.

    Five levels of double 3x3 convolutions with ``width`` to ``16·width`` channels, max pooling,
    nearest upsampling with a 3x3 convolution, an additive gate on every skip. ``width=64`` is the
    canonical net: 34.877 M parameters, 66.35 GMACs at 1x256x256.

    Input (B, 1, H, W) float, normalised, H and W divisible by 16; output logits (B, 1, H, W).
    """

    divisor = 16

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"Expected width to be a multiple of 8, but got {width}.")
        channels = [width * 2**level for level in range(5)]
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(
            DoubleConv(i, o) for i, o in zip([1, *channels[:-1]], channels, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), ConvNormAct(2 * c, c, 3, bias=True))
            for c in channels[:-1]
        )
        self.gate = nn.ModuleList(AttentionGate(c, c // 2, bias=True) for c in channels[:-1])
        self.decoder = nn.ModuleList(DoubleConv(2 * c, c) for c in channels[:-1])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 1, H, W)."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        for level in range(3, -1, -1):
            x = self.up[level](x)
            x = self.decoder[level](torch.cat([self.gate[level](x, skips[level]), x], dim=1))
        return self.head(x)  # type: ignore[no-any-return]

    def feature_taps(self) -> dict[str, nn.Module]:
        """Name the modules whose outputs the feature path of distillation may read."""
        return _taps(self.encoder, self.decoder)


def _taps(encoder: nn.ModuleList, decoder: nn.ModuleList) -> dict[str, nn.Module]:
    taps = {f"encoder{level}": block for level, block in enumerate(encoder)}
    return taps | {f"decoder{level}": block for level, block in enumerate(decoder)}
