"""Attention U-Net: the published size, and what its gates do."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edge_bts.models import AttentionUNet


@pytest.mark.parametrize(
    ("width", "parameters", "macs"),
    [(64, 34_877_421, 66_349_432_832), (32, 8_725_501, 16_598_827_008)],
)
def test_size(width: int, parameters: int, macs: int) -> None:
    """Parameters, and the multiply-accumulates that torch counts at 1x1x256x256, are pinned."""
    with torch.device("meta"):
        model = AttentionUNet(width)
        image = torch.empty(1, 1, 256, 256)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert counter.get_total_flops() == 2 * macs


def test_parameters_equal_the_formula() -> None:
    """The count is the one that the layer list of the paper's five levels adds up to."""

    def conv(i: int, o: int, k: int) -> int:
        return i * o * k * k + o + 2 * o  # with bias and batch norm

    channels = [64, 128, 256, 512, 1024]
    encoder = sum(conv(i, o, 3) + conv(o, o, 3) for i, o in zip([1, *channels], channels))  # noqa: B905
    decoder = sum(
        conv(2 * c, c, 3)  # up
        + conv(2 * c, c, 3) + conv(c, c, 3)  # after the concatenation
        + 2 * conv(c, c // 2, 1) + conv(c // 2, 1, 1)  # gate
        for c in channels[:-1]
    )  # fmt: skip
    assert encoder + decoder + channels[0] + 1 == 34_877_421


def test_a_closed_gate_blocks_its_skip() -> None:
    """With every gate forced shut, what the encoder passes sideways no longer matters."""
    torch.manual_seed(0)
    model = AttentionUNet(8).eval()
    for gate in model.gate:
        torch.nn.init.constant_(gate.psi[1].bias, -1e9)  # type: ignore[index,union-attr]
    seen = []
    model.decoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.rand(1, 1, 32, 32))
    assert seen[0][:, :8].abs().max() == 0
    assert seen[0][:, 8:].abs().max() > 0


@pytest.mark.parametrize("width", [0, 4, 20])
def test_wrong_width(width: int) -> None:
    """A width that is no multiple of 8 is refused."""
    with pytest.raises(ValueError, match="multiple of 8"):
        AttentionUNet(width)
