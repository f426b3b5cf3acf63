"""Parameters, multiply-accumulates and activations of a network, as a whole and by layer."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Complexity", "Layer", "activation_peak", "of_module", "of_openvino"]


class Layer(BaseModel):
    """A convolution or matrix product.

    Attributes:
        name: In the module or graph.
        kind: ``conv 3x3``, ``conv 3x3 /4`` in four groups, ``transposed conv 2x2``, ``matmul``.
        macs: Of one forward pass of batch 1.
        parameters: Weights, without the bias.
        output: Shape of what it gives.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    macs: int
    parameters: int
    output: list[int]

    @property
    def flops(self) -> int:
        """Two a MAC."""
        return 2 * self.macs


class Complexity(BaseModel):
    """What one forward pass of batch 1 costs.

    ``macs`` counts the multiply-accumulates of convolutions and matrix products, the convention of
    the field; normalisation, activation and resize are not counted. One MAC is two FLOPs.
    ``activation_bytes`` is the most that must be held at once beside the weights, in float32 and
    in the order of the graph, nothing fused and nothing in place; None where no graph was read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: int
    macs: int
    layers: list[Layer] = []
    activation_bytes: int | None = None

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

    names = {layer: name for name, layer in module.named_modules()}
    found: list[Layer] = []

    def count(layer: Any, inputs: Any, output: Any) -> None:
        # A transposed convolution spends its kernel on every input pixel, a convolution on
        # every output pixel; the weight of both holds channels in, channels out and kernel.
        transposed = isinstance(layer, nn.ConvTranspose2d)
        pixels = inputs[0] if transposed else output
        if isinstance(layer, nn.Linear):
            macs, kind = pixels.numel() * layer.in_features, "matmul"
        else:
            macs = layer.weight.numel() * pixels.shape[0] * prod(pixels.shape[2:])
            kind = _conv(layer.kernel_size, layer.groups, transposed=transposed)
        found.append(
            Layer(
                name=names[layer] or type(layer).__name__,
                kind=kind,
                macs=macs,
                parameters=layer.weight.numel(),
                output=list(output.shape),
            )
        )

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
    return Complexity(
        parameters=sum(p.numel() for p in module.parameters()),
        macs=sum(layer.macs for layer in found),
        layers=found,
    )


def of_openvino(model: Any) -> Complexity:
    """Count a float OpenVINO model of static shape; works where PyTorch is absent.

    Parameters are those of the deployed graph, batch norm folded, so slightly fewer than the
    module has.
    """
    layers = list(_layers(model))
    parameters = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().is_real():
            readers = {i.get_node().get_type_name() for i in node.output(0).get_target_inputs()}
            if readers != {"Interpolate"}:  # a resize reads its scales, which nobody trained
                parameters += prod(node.output(0).get_shape())
    return Complexity(
        parameters=parameters,
        macs=sum(layer.macs for layer in layers),
        layers=layers,
        activation_bytes=activation_peak(model),
    )


def _layers(model: Any) -> Iterator[Layer]:
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in (
            *("Convolution", "GroupConvolution", "MatMul"),
            *("ConvolutionBackpropData", "GroupConvolutionBackpropData"),
        ):
            continue
        output = list(node.output(0).get_shape())
        weight = list(node.input(1).get_shape())
        if kind == "MatMul":
            axis = -2 if node.get_attributes()["transpose_a"] else -1
            macs, name = prod(output) * node.input(0).get_shape()[axis], "matmul"
            constant = node.input_value(1).get_node().get_type_name() == "Constant"
            weight = weight if constant else [0]
        else:
            # (out, in, kh, kw), or (groups, out, in, kh, kw): each weight meets each pixel, of
            # the output; of the input where it is transposed.
            transposed = kind.endswith("BackpropData")
            pixels = node.input(0).get_shape()[2:] if transposed else output[2:]
            macs = prod(weight) * prod(pixels)
            groups = weight[0] if kind.startswith("Group") else 1
            name = _conv(weight[-2:], groups, transposed=transposed)
        yield Layer(
            name=node.get_friendly_name(),
            kind=name,
            macs=macs,
            parameters=prod(weight),
            output=output,
        )


def activation_peak(model: Any) -> int:
    """Return the most bytes of activations that live at once; see :class:`Complexity`.

    A tensor lives from the node that makes it to the last that reads it; inputs and outputs of the
    model live from first to last, as the caller holds them.
    """
    nodes = [n for n in model.get_ordered_ops() if n.get_type_name() not in ("Constant", "Result")]
    step = {node.get_friendly_name(): index for index, node in enumerate(nodes)}
    change = [0] * (len(nodes) + 1)
    for index, node in enumerate(nodes):
        for port in node.outputs():
            size = port.get_element_type().size * prod(port.get_shape())
            readers = [i.get_node() for i in port.get_target_inputs()]
            given = node.get_type_name() == "Parameter"
            taken = any(reader.get_type_name() == "Result" for reader in readers)
            last = [step.get(reader.get_friendly_name(), index) for reader in readers]
            end = len(nodes) - 1 if given or taken else max(last, default=index)
            change[0 if given or taken else index] += size
            change[end + 1] -= size
    peak = current = 0
    for difference in change:
        current += difference
        peak = max(peak, current)
    return peak


def _conv(kernel: Any, groups: int, *, transposed: bool) -> str:
    name = f"{'transposed ' if transposed else ''}conv {'x'.join(map(str, kernel))}"
    return f"{name} /{groups}" if groups > 1 else name
