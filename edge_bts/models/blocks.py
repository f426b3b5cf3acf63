"""The parts that both networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AttentionGate", "Bottleneck", "ConvNormAct", "DoubleConv", "multiple_of_16"]


def multiple_of_16(channels: int) -> int:
    """Round up to a multiple of 16, what INT8 kernels fill."""
    return -(-channels // 16) * 16


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm and (unless ``act`` is false) ReLU; "same" padding, stride 1.

    Args:
        in_channels: Channels of the input, (B, in_channels, H, W).
        out_channels: Channels of the output, (B, out_channels, H, W).
        kernel_size: 1 or 3.
        act: End in a ReLU.
        bias: Give the convolution a bias that batch norm makes redundant; only the canonical
            teacher has it, so that its parameter count is the published one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        act: bool = True,
        bias: bool = False,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias),
            nn.BatchNorm2d(out_channels),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions with batch norm and ReLU: the block of U-Net."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            ConvNormAct(in_channels, out_channels, 3, bias=True),
            ConvNormAct(out_channels, out_channels, 3, bias=True),
        )


class Bottleneck(nn.Module):
    """Residual bottleneck: 1x1 reduce by ``reduction``, 3x3, 1x1 expand (He et al. 2015, fig. 5).

    The inner width is rounded up to a multiple of 16.
    """

    def __init__(self, in_channels: int, out_channels: int, reduction: int = 4) -> None:
        super().__init__()
        inner = multiple_of_16(out_channels // reduction)
        self.reduce = ConvNormAct(in_channels, inner, 1)
        self.conv = ConvNormAct(inner, inner, 3)
        self.expand = ConvNormAct(inner, out_channels, 1, act=False)
        self.shortcut: nn.Module = (
            nn.Identity()
            if in_channels == out_channels
            else ConvNormAct(in_channels, out_channels, 1, act=False)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.act(self.expand(self.conv(self.reduce(x))) + self.shortcut(x))  # type: ignore[no-any-return]


class AttentionGate(nn.Module):
    """Additive attention gate (Oktay et al. 2018, eq. 1): what the decoder asks for passes.

    ``skip * σ(psi(relu(W_g·gating + W_x·skip)))`` with 1x1 convolutions and batch norm; ``psi``
    has one channel.
    """

    def __init__(self, channels: int, inner: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gating = ConvNormAct(channels, inner, 1, act=False, bias=bias)
        self.skip = ConvNormAct(channels, inner, 1, act=False, bias=bias)
        self.act = nn.ReLU(inplace=True)
        self.psi = ConvNormAct(inner, 1, 1, act=False, bias=bias)

    def forward(self, gating: Tensor, skip: Tensor) -> Tensor:
        """Weigh ``skip`` (B, channels, H, W) by what ``gating`` of the same shape asks for."""
        weight = torch.sigmoid(self.psi(self.act(self.gating(gating) + self.skip(skip))))
        return skip * weight
