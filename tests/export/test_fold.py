"""Batch norms go into the convolutions without a trace in the output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edge_bts.export.fold import fold_batch_norm
from edge_bts.models import AttentionUNet


def test_folded_student_computes_the_same(workshop: Any) -> None:
    """Logits of the folded student are those of the original within float rounding."""
    image = torch.cat(workshop.images)
    with torch.no_grad():
        expected, came = workshop.module(image), workshop.folded(image)
    assert torch.allclose(came, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_folding_leaves_the_original_alone(workshop: Any) -> None:
    """The copy has no batch norm, the original keeps all of them."""
    kinds = [type(part) for part in workshop.folded.modules()]
    assert nn.BatchNorm2d not in kinds
    assert nn.BatchNorm2d in [type(part) for part in workshop.module.modules()]


def test_teacher_with_biases_folds_too() -> None:
    """Convolutions that have a bias of their own keep its effect."""
    torch.manual_seed(0)
    teacher = AttentionUNet(8).train()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        teacher(image)  # moves the running statistics
        teacher.eval()
        assert torch.allclose(fold_batch_norm(teacher)(image), teacher(image), atol=1e-5)


def test_a_batch_norm_elsewhere_is_refused() -> None:
    """A batch norm that no convolution precedes is named, not quantized as it is."""
    with pytest.raises(ValueError, match="1"):
        fold_batch_norm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)))
