"""Parameters and multiply-accumulates of a network."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Complexity", "of_module", "of_openvino"]


class Complexity(BaseModel):
    """What one forward pass of batch 1 costs.

    ``macs`` counts the multiply-accumulates of convolutions and matrix products, the convention of
    the field; normalisation, activation and resize are not counted. One MAC is two FLOPs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Two a MAC."""
        return 2 * self.macs


def of_module(module: nn.Module, imgsz: int) -> Complexity:
    """Count a PyTorch module on an input (1, 1, imgsz, imgsz), through forward hooks.

    Convolutions (also transposed) and linear layers are counted as modules; what a forward
    computes by ``torch.nn.functional`` is not seen.
    """
    import torch
    from torch import nn

    macs = 0

    def count(layer: Any, inputs: Any, output: Any) -> None:
        nonlocal macs
        # A transposed convolution spends its kernel on every input pixel, a convolution on
        # every output pixel; the weight of both holds channels in, channels out and kernel.
        pixels = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        if isinstance(layer, nn.Linear):
            macs += pixels.numel() * layer.in_features
        else:
            macs += layer.weight.numel() * pixels.shape[0] * prod(pixels.shape[2:])

    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, layers)]
    parameter = next(module.parameters())
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(parameter.new_zeros(1, 1, imgsz, imgsz))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return Complexity(parameters=sum(p.numel() for p in module.parameters()), macs=macs)


def of_openvino(model: Any) -> Complexity:
    """Count a float OpenVINO model of static shape; works where PyTorch is absent.

    Parameters are those of the deployed graph, batch norm folded, so slightly fewer than the
    module has.
    """
    macs = 0
    parameters = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            # (out, in, kh, kw), or (groups, out, in, kh, kw): each weight meets each output pixel.
            macs += prod(node.input(1).get_shape()) * prod(node.output(0).get_shape()[2:])
        elif kind == "MatMul":
            axis = -2 if node.get_attributes()["transpose_a"] else -1
            macs += prod(node.output(0).get_shape()) * node.input(0).get_shape()[axis]
        elif kind == "Constant" and node.get_element_type().is_real():
            readers = {i.get_node().get_type_name() for i in node.output(0).get_target_inputs()}
            if readers != {"Interpolate"}:  # a resize reads its scales, which nobody trained
                parameters += prod(node.output(0).get_shape())
    return Complexity(parameters=parameters, macs=macs)
