"""Simplified U-Net: its budgets and what INT8 kernels ask of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge_bts.models import SimplifiedUNet


@pytest.mark.parametrize(
    ("options", "parameters", "macs"),
    [
        ({}, 1_066_620, 536_313_856),
        ({"stem": "full"}, 1_065_657, 2_082_340_864),
        ({"base": 16}, 278_508, 229_752_832),
    ],
)
def test_size(options: dict[str, Any], parameters: int, macs: int) -> None:
    """Parameters, and the multiply-accumulates that torch counts at 1x1x256x256, are pinned."""
    with torch.device("meta"):
        model = SimplifiedUNet(**options)
        image = torch.empty(1, 1, 256, 256)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert counter.get_total_flops() == 2 * macs


def test_default_is_within_the_budget() -> None:
    """The default student has at most 1.1 M parameters."""
    with torch.device("meta"):
        assert sum(p.numel() for p in SimplifiedUNet().parameters()) <= 1_100_000


@pytest.mark.parametrize("stem", ["full", "space_to_depth"])
@pytest.mark.parametrize("base", [16, 32, 48, 64, 80])
def test_channels_are_multiples_of_16(base: int, stem: Any) -> None:
    """Every convolution has multiples of 16 in and out, but for image, mask and gate weight."""
    with torch.device("meta"):
        model = SimplifiedUNet(base, stem)
    odd = {
        (name, end)
        for name, conv in model.named_modules()
        if isinstance(conv, nn.Conv2d)
        for end, channels in (("in", conv.in_channels), ("out", conv.out_channels))
        if channels % 16
    }
    gates = {(f"gate.{level}.psi.0", "out") for level in range(4)}
    assert odd == gates | {("encoder.0.0.0", "in"), ("head", "out")}


def test_layers_are_those_that_quantize_well() -> None:
    """No transposed convolution, no norm but batch norm, no activation but ReLU."""
    with torch.device("meta"):
        model = SimplifiedUNet()
    leaves = {type(m) for m in model.modules() if not list(m.children())}
    assert leaves == {
        nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Upsample, nn.Identity,
        nn.PixelUnshuffle, nn.PixelShuffle,
    }  # fmt: skip
    assert all(m.mode == "nearest" for m in model.modules() if isinstance(m, nn.Upsample))


def test_stem_and_head_are_inverse() -> None:
    """Folding pixels into channels and unfolding them loses no position."""
    model = SimplifiedUNet(16)
    image = torch.rand(1, 1, 32, 64)
    assert torch.equal(model.shuffle(model.unshuffle(image)), image)


@pytest.mark.parametrize(("options", "match"), [({"base": 24}, "16"), ({"stem": "half"}, "stem")])
def test_wrong_options(options: dict[str, Any], match: str) -> None:
    """A base that is no multiple of 16 and an unknown stem are refused."""
    with pytest.raises(ValueError, match=match):
        SimplifiedUNet(**options)
