"""Losses of the student: supervision, prediction path and feature path.

Logits and masks are (B, 1, H, W) floats, masks 0 or 1. Every loss returns one value an image,
(B,), so that the task can route and weigh images before it averages.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["bernoulli_kl", "channel_wise", "segmentation_loss", "soft_dice_loss"]


def soft_dice_loss(logits: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """Return ``1 - (2·Σpm + s) / (Σp + Σm + s)`` of each image, (B,) in 0..1 (Milletari 2016).

    ``smooth`` is in pixels; it keeps the value finite on empty masks, where callers should not
    use this loss: its gradient there is that of ``log Σp`` and says little about a lesion.
    """
    probability = torch.sigmoid(logits.float()).flatten(1)
    target = mask.float().flatten(1)
    overlap = (probability * target).sum(1)
    return 1 - (2 * overlap + smooth) / (probability.sum(1) + target.sum(1) + smooth)


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return ``0.5·BCE + 0.5·Dice`` of each image, (B,); images without a lesion: BCE alone.

    A soft Dice on an empty mask is near 1 whatever the net does and drowns the images that have
    a lesion, so normals are taught by the cross entropy only.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(
        logits.float(), mask.float(), reduction="none"
    ).mean(dim=(1, 2, 3))
    lesion = (mask > 0).flatten(1).any(dim=1)
    both = 0.5 * cross_entropy + 0.5 * soft_dice_loss(logits, mask)
    return torch.where(lesion, both, cross_entropy)


def bernoulli_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``T²·mean_p KL(Ber(σ(z_t/T)) ‖ Ber(σ(z_s/T)))`` of each image, (B,), at least 0.

    The one-channel form of Hinton's distillation (arXiv 1503.02531): a softmax over one channel
    is constant and would teach nothing. Computed on logits, so that saturated pixels stay finite.
    """
    s, t = student.float() / temperature, teacher.float() / temperature
    p = torch.sigmoid(t)
    # p·log(p/q) + (1-p)·log((1-p)/(1-q)) with log σ(x) = -softplus(-x)
    kl = p * (F.softplus(-s) - F.softplus(-t)) + (1 - p) * (F.softplus(s) - F.softplus(t))
    return temperature**2 * kl.mean(dim=(1, 2, 3))


def channel_wise(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``T²/C · Σ_c KL(φ_c(F_t) ‖ φ_c(F_s))`` of each image, (B,), at least 0.

    Channel-wise distillation (Shu et al. 2021, arXiv 2011.13256): φ_c is the softmax of channel c
    over all positions at temperature T. Shapes (B, C, H, W) must agree; blind to a constant added
    to a channel.
    """
    s = F.log_softmax(student.float().flatten(2) / temperature, dim=2)
    t = F.log_softmax(teacher.float().flatten(2) / temperature, dim=2)
    return temperature**2 * (t.exp() * (t - s)).sum(dim=2).mean(dim=1)
