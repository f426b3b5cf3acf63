from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edge_bts.benchmarks.complexity import of_module, of_openvino  # noqa: E402
from edge_bts.models import AttentionUNet, SimplifiedUNet  # noqa: E402


def torch_macs(module: Any, *shape: int) -> int:
    """Half of what torch's own counter says."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(shape))
    return int(counter.get_total_flops()) // 2


def network(kind: str) -> Any:
    """A network that has layers of one kind."""
    layers = {
        "attention_unet": lambda: AttentionUNet(8),
        "simplified_unet": lambda: SimplifiedUNet(16),
        "strided": lambda: torch.nn.Conv2d(1, 6, 3, stride=2, padding=1),
        "grouped": lambda: torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 1), torch.nn.Conv2d(8, 12, 3, groups=4, dilation=2)
        ),
        "transposed": lambda: torch.nn.ConvTranspose2d(1, 5, 4, stride=2, padding=1),
        "linear": lambda: torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.Linear(64, 7)),
    }
    return layers[kind]()


@pytest.mark.parametrize(
    "kind", ["attention_unet", "simplified_unet", "strided", "grouped", "transposed", "linear"]
)
def test_macs_are_those_of_torch(kind: str) -> None:
    """Our hooks count what torch's dispatcher counts, and every parameter once."""
    module = network(kind)
    cost = of_module(module, 64)
    assert cost.macs == torch_macs(module, 1, 1, 64, 64)
    assert cost.flops == 2 * cost.macs
    assert cost.parameters == sum(p.numel() for p in module.parameters())


def test_counting_leaves_the_module_as_it_was() -> None:
    """No hook stays, the mode is restored, and batch statistics are untouched."""
    module = SimplifiedUNet(16).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    of_module(module, 64)
    assert module.training
    assert all(not m._forward_hooks for m in module.modules())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_openvino_graph_has_the_same_macs(tmp_path: Path) -> None:
    """Without PyTorch the deployed graph gives the same MACs; batch norm is folded in it."""
    openvino = pytest.importorskip("openvino")
    module = SimplifiedUNet(16).eval()
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:  # the exporter stores equal constants, as those of fresh norms, once
        torch.nn.init.normal_(norm.bias)
    path = tmp_path / "net.onnx"
    torch.onnx.export(module, (torch.zeros(1, 1, 64, 64),), path, dynamo=False)
    cost = of_openvino(openvino.Core().read_model(path))
    expected = of_module(module, 64)
    assert cost.macs == expected.macs
    folded = sum(m.num_features for m in norms)  # scale and shift become one bias
    assert cost.parameters == expected.parameters - folded
