from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from edge_bts.trainers.losses import (
    bernoulli_kl,
    channel_wise,
    segmentation_loss,
    soft_dice_loss,
)


@pytest.fixture
def logits() -> torch.Tensor:
    """Three logit maps."""
    return torch.randn(3, 1, 8, 9, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def mask() -> torch.Tensor:
    """Three masks."""
    return (torch.rand(3, 1, 8, 9, generator=torch.Generator().manual_seed(1)) > 0.6).float()


def test_soft_dice_is_monais(logits: torch.Tensor, mask: torch.Tensor) -> None:
    """The Dice loss of each image is that of MONAI with the same smoothing."""
    reference = DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0, reduction="none")
    torch.testing.assert_close(soft_dice_loss(logits, mask), reference(logits, mask).flatten())


def test_segmentation_is_half_cross_entropy_half_dice(
    logits: torch.Tensor, mask: torch.Tensor
) -> None:
    """An image with a lesion pays half its cross entropy and half its Dice loss."""
    cross_entropy = torch.stack(
        [F.binary_cross_entropy(torch.sigmoid(z), m) for z, m in zip(logits, mask, strict=True)]
    )
    expected = 0.5 * cross_entropy + 0.5 * soft_dice_loss(logits, mask)
    torch.testing.assert_close(segmentation_loss(logits, mask), expected)


def test_normals_are_taught_by_cross_entropy_alone(logits: torch.Tensor) -> None:
    """An image without a lesion pays its cross entropy and no Dice loss."""
    empty = torch.zeros_like(logits)
    expected = F.softplus(logits).mean(dim=(1, 2, 3))
    torch.testing.assert_close(segmentation_loss(logits, empty), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_bernoulli_kl_is_torchs_divergence(logits: torch.Tensor, temperature: float) -> None:
    """The prediction path is T² times the divergence that torch.distributions computes."""
    teacher = logits.roll(1, 0)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(logits=teacher.double() / temperature),
        torch.distributions.Bernoulli(logits=logits.double() / temperature),
    )
    expected = temperature**2 * divergence.mean(dim=(1, 2, 3))
    torch.testing.assert_close(bernoulli_kl(logits, teacher, temperature).double(), expected)


def test_bernoulli_kl_becomes_a_quarter_of_logit_matching(logits: torch.Tensor) -> None:
    """For T to infinity T²·KL tends to mean (z_s - z_t)² / 8 (Hinton 2015, section 2.1)."""
    teacher = logits.roll(1, 0)
    limit = ((logits - teacher) ** 2).mean(dim=(1, 2, 3)) / 8
    value = bernoulli_kl(logits.double(), teacher.double(), 300.0)
    torch.testing.assert_close(value, limit, rtol=2e-3, atol=0)


def test_bernoulli_kl_of_saturated_logits_is_finite() -> None:
    """Pixels that both nets are sure of give finite losses and gradients."""
    student = torch.tensor([[[[80.0, -80.0]]]], requires_grad=True)
    loss = bernoulli_kl(student, torch.tensor([[[[-80.0, 80.0]]]]), 1.0).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_channel_wise_is_a_sum_of_kl_over_positions() -> None:
    """The feature path is the mean over channels of T²·KL of the positions' softmax."""
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(2, 2, 5, 4, 3, generator=generator)
    expected = torch.stack(
        [
            torch.stack(
                [
                    torch.distributions.kl_divergence(
                        torch.distributions.Categorical(logits=t.flatten() / 3),
                        torch.distributions.Categorical(logits=s.flatten() / 3),
                    )
                    for s, t in zip(image_s, image_t, strict=True)
                ]
            ).mean()
            * 9
            for image_s, image_t in zip(student, teacher, strict=True)
        ]
    )
    torch.testing.assert_close(channel_wise(student, teacher, 3.0), expected)


def test_channel_wise_is_blind_to_a_constant() -> None:
    """Adding a constant to a channel changes nothing: the path cannot teach the threshold."""
    features = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    shifted = features + torch.tensor([1.0, -2.0, 5.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(channel_wise(features, shifted, 1.0), torch.zeros(2))


@pytest.mark.parametrize("loss", [bernoulli_kl, channel_wise])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(loss) -> None:  # type: ignore[no-untyped-def]
    """Identical tensors give zero loss and zero gradient."""
    student = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(4)).requires_grad_()
    value = loss(student, student.detach().clone(), 2.0).sum()
    value.backward()
    assert abs(value.item()) < 1e-6
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_one_channel_softmax_distillation_would_be_zero(logits: torch.Tensor) -> None:
    """Hinton's formula as written teaches a one-channel net nothing; ours does."""
    s, t = F.log_softmax(logits, 1), F.log_softmax(logits.roll(1, 0), 1)
    assert (t.exp() * (t - s)).abs().max() == 0
    assert bernoulli_kl(logits, logits.roll(1, 0), 1.0).min() > 0.1
