"""The quantizers keep to what TensorRT, ONNX Runtime and OpenVINO compute alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edge_bts.export.layers import plan_layers
from edge_bts.export.quantize import MIN_SCALE, quantize, quantizers, snap_scales, summarise
from edge_bts.export.settings import QuantizeSettings


def test_every_quantizer_is_signed(workshop: Any) -> None:
    """Trap: NNCF makes quantizers after a ReLU unsigned, which TensorRT refuses."""
    found = [quantizer for _, quantizer in quantizers(workshop.quantized)]
    assert len(found) > 80
    assert {quantizer.signed for quantizer in found} == {True}
    assert {(q.level_low, q.level_high) for q in found} <= {(-128, 127), (-127, 127)}


def test_no_weight_range_is_halved(workshop: Any) -> None:
    """Trap: the overflow fix would quantize first-layer weights to seven bits."""
    assert not any(quantizer.is_half_range for _, quantizer in quantizers(workshop.quantized))


def test_convolution_branch_of_additions_is_free(workshop: Any) -> None:
    """Trap: NNCF quantizes both inputs of an addition; here only the skip has a quantizer."""
    names = {name for name, _ in quantizers(workshop.quantized, shared=True)}
    # 9 bottlenecks and 4 gates.
    assert len(workshop.plan.fused) == 13
    for conv, addition, port in workshop.plan.fused:
        assert f"post_hooks.{conv}__0.0" not in names
        assert f"pre_hooks.{addition}__{port}.0" not in names
    skips = [name for name in names if name.startswith("post_hooks.shortcut/")]
    # Each bottleneck but the first, whose skip is the identity, and the last, which feeds the head.
    assert len(skips) == 7


def test_inputs_of_a_concatenation_share_their_quantizer(workshop: Any) -> None:
    """Both inputs of each of the four concatenations are scaled alike."""
    shared: dict[int, list[str]] = {}
    for name, quantizer in quantizers(workshop.quantized, shared=True):
        shared.setdefault(id(quantizer), []).append(name)
    groups = [names for names in shared.values() if len(names) > 1]
    assert len(groups) == 4
    assert all(len(names) == 2 for names in groups)


def test_sensitive_layers_stay_float(workshop: Any) -> None:
    """Stem, psi of the gates and head stay float, everything else is INT8."""
    floats = {name for name, kind in workshop.plan.layers.items() if kind != "int8"}
    assert floats == {"encoder.0.0.0", "head", *(f"gate.{level}.psi.0" for level in range(4))}
    names = [name for name, _ in quantizers(workshop.quantized, shared=True)]
    assert not [n for n in names if "psi/" in n or "head/" in n or "sigmoid" in n]
    # The logits before the pixel shuffle are not rounded to 8 bits.
    assert not [n for n in names if "shuffle" in n]
    summary = summarise(workshop.quantized, workshop.plan)
    assert (summary["int8_convolutions"], summary["float_convolutions"]) == (47, 6)


def test_a_layer_can_be_kept_float_by_name(workshop: Any) -> None:
    """Shell patterns of module names keep layers out of INT8."""
    settings = QuantizeSettings(keep_float=("decoder.0.*",))
    plan = plan_layers(workshop.folded, workshop.images[0], settings)
    kept = {name for name, kind in plan.layers.items() if kind == "named by keep_float"}
    assert kept == {f"decoder.0.{part}.0" for part in ("reduce", "conv", "expand", "shortcut")}


def test_a_group_can_be_quantized_alone(workshop: Any) -> None:
    """Only input and weight of its two convolutions are rounded, no addition, nothing else."""
    wanted = ["gate.0.gating.0", "gate.0.skip.0"]
    model, plan = quantize(workshop.folded, workshop.images[:2], QuantizeSettings(), wanted)
    assert [name for name, kind in plan.layers.items() if kind == "int8"] == wanted
    names = sorted(name.split("__")[0] for name, _ in quantizers(model, shared=True))
    # NNCF numbers calls: of four gates, that of the finest level is called last.
    gating, skip = "pre_hooks.gating/0/conv2d/3", "pre_hooks.skip/0/conv2d/3"
    assert names == [gating, gating, skip, skip]


def test_scales_are_positive_numbers_of_fp16(workshop: Any) -> None:
    """Each quantum survives the way to FP16 unchanged, that of an empty channel included."""
    _, first = next(quantizers(workshop.quantized))
    before = first.scale.detach().clone()
    with torch.no_grad():
        first.scale.view(-1)[0] = 0
    snap_scales(workshop.quantized)
    for _, quantizer in quantizers(workshop.quantized):
        quantum = quantizer.scale.detach() / quantizer.level_high
        assert float(quantum.min()) >= MIN_SCALE * (1 - 1e-6)
        assert torch.allclose(quantum.half().float(), quantum, rtol=1e-6, atol=0)
    with torch.no_grad():
        first.scale.copy_(before)


def test_calibration_alone_keeps_the_masks(workshop: Any) -> None:
    """Quantized and float student find nearly the same discs."""
    image = torch.cat(workshop.images)
    with torch.no_grad():
        a, b = workshop.folded(image) > 0, workshop.quantized(image) > 0
    assert a.any()
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.97


def test_float_student_is_left_alone(workshop: Any) -> None:
    """Quantization works on a copy."""
    assert not [name for name in workshop.folded.state_dict() if "hook" in name]


@pytest.mark.parametrize("field", ["calibration_images", "min_channels"])
def test_settings_refuse_nonsense(field: str) -> None:
    """Zero images or channels is no setting."""
    with pytest.raises(ValueError, match=field):
        QuantizeSettings.model_validate({field: 0})
