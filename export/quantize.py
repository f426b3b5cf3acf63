"""INT8 by NNCF, by the rules that TensorRT accepts and every runtime computes alike.

NNCF's defaults are made for its own runtime. What is changed, and why:

- every quantizer is signed: TensorRT refuses UINT8 zero points;
- ``overflow_fix`` is off: it halves weight ranges for AVX2 and puts weights on rounding ties;
- the convolution branch of an addition has no quantizer: one fused kernel;
- scales are rounded to FP16 numbers, so that FP16-typed graphs hold the same values.

These are internals of NNCF 3.4: the package pins it and the tests check each.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edge_bts.export.environment import need_extension, quiet
from edge_bts.export.layers import LayerPlan, plan_layers
from edge_bts.export.settings import QuantizeSettings

__all__ = ["MIN_SCALE", "quantize", "quantizers", "snap_scales", "summarise", "use_onnx_pairs"]

MIN_SCALE = 2.0**-14
"""Smallest normal FP16 number; TensorRT refuses a scale of 0."""


def quantize(
    model: nn.Module,
    images: Sequence[Tensor],
    settings: QuantizeSettings,
    only: Collection[str] | None = None,
) -> tuple[nn.Module, LayerPlan]:
    """Put quantizers into a copy of a folded model and calibrate them.

    Args:
        model: Float model without batch norms, in ``eval`` mode, on the CPU.
        images: Normalised calibration images, each (1, 1, S, S) float32.
        settings: Which layers.
        only: Names of the only convolutions to quantize, if ``settings`` allow them; None: all.

    Returns:
        The quantized model, trainable like any module, and what was decided for each layer. Its
        ``forward`` is not thread-safe.

    Raises:
        EnvironmentMismatchError: NNCF's extension could not be compiled in time.
    """
    with quiet():
        import nncf

        need_extension()

        plan = plan_layers(model, images[0], settings, only)
        quantized = nncf.quantize(
            copy.deepcopy(model),
            nncf.Dataset(images),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=plan.floating),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.DISABLE
            ),
        )
    _remove_fused(quantized, plan)
    for _, quantizer in quantizers(quantized):
        quantizer.signed = True
    snap_scales(quantized)
    return quantized, plan


def quantizers(model: nn.Module, *, shared: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the quantizers of a model with their hook names.

    With ``shared``, one that serves several inputs (of a concatenation) comes once for each.
    """
    from nncf.torch.function_hook.wrapper import get_hook_storage

    yield from get_hook_storage(model).named_hooks(remove_duplicate=not shared)


@torch.no_grad()
def snap_scales(model: nn.Module) -> None:
    """Round every scale (one quantum) to a positive FP16 number, after calibration or training."""
    for _, quantizer in quantizers(model):
        top = quantizer.level_high
        quantum = (quantizer.scale.abs() / top).half().float().clamp(min=MIN_SCALE)
        quantizer.scale.copy_(quantum * top)


def use_onnx_pairs(model: nn.Module) -> nn.Module:
    """Return a copy whose ONNX export writes QuantizeLinear and DequantizeLinear pairs."""
    from nncf.torch.quantization.layers import QuantizerExportMode

    copied = copy.deepcopy(model).eval()
    for _, quantizer in quantizers(copied):
        quantizer.set_export_mode(QuantizerExportMode.ONNX_QUANTIZE_DEQUANTIZE_PAIRS)
    return copied


def summarise(model: nn.Module, plan: LayerPlan) -> dict[str, Any]:
    """Return what is INT8, JSON-able: layers, and how many quantizers are where."""
    names = [name for name, _ in quantizers(model, shared=True)]
    return {
        "layers": dict(sorted(plan.layers.items())),
        "int8_convolutions": sum(kind == "int8" for kind in plan.layers.values()),
        "float_convolutions": sum(kind != "int8" for kind in plan.layers.values()),
        "weight_quantizers": sum(name.startswith("pre_hooks") for name in names),
        "activation_quantizers": sum(name.startswith("post_hooks") for name in names),
        "shared_quantizers": len(names) - len(list(quantizers(model))),
        "fused_additions": len(plan.fused),
    }


def _remove_fused(model: nn.Module, plan: LayerPlan) -> None:
    from nncf.torch.function_hook.wrapper import get_hook_storage

    storage = get_hook_storage(model)
    present = {name for name, _ in quantizers(model, shared=True)}
    for conv, addition, port in plan.fused:
        for name in (f"post_hooks.{conv}__0.0", f"pre_hooks.{addition}__{port}.0"):
            if name in present:
                storage.delete_hook(name)
