"""Losses of the student: supervision, prediction path and feature path.

Logits and masks are (B, 1, H, W) floats, masks 0 or 1; features are (B, C, h, w), student and
teacher of one h and w. Every loss returns one value an image, (B,), so that the task can route
and weigh images before it averages. Half-precision inputs are computed in fp32, under autocast
too. Gradients flow to the student alone if the teacher's tensors need none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "attention_transfer",
    "bernoulli_kl",
    "channel_wise",
    "dist",
    "fitnet",
    "pairwise_affinity",
    "region_affinity",
    "segmentation_loss",
    "soft_dice_loss",
]

# A map that varies less (standard deviation of a probability), or a feature vector that is
# shorter, has no direction: dividing by its length would blow rounding up into a lesson.
_FLOOR = 1e-4
_TINY = 1e-12  # makes 0/0 a 0


def soft_dice_loss(logits: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """Return ``1 - (2·Σpm + s) / (Σp + Σm + s)`` of each image, (B,) in 0..1 (Milletari 2016).

    ``smooth`` is in pixels; it keeps the value finite on empty masks, where callers should not
    use this loss: its gradient there is that of ``log Σp`` and says little about a lesion.
    """
    probability = torch.sigmoid(logits.float()).flatten(1)
    target = mask.float().flatten(1)
    overlap = (probability * target).sum(1)
    return 1 - (2 * overlap + smooth) / (probability.sum(1) + target.sum(1) + smooth)


def segmentation_loss(logits: Tensor, mask: Tensor, hard_fraction: float = 1.0) -> Tensor:
    """Return ``0.5·BCE + 0.5·Dice`` of each image, (B,); images without a lesion: BCE alone.

    A soft Dice on an empty mask is near 1 whatever the net does and drowns the images that have
    a lesion, so normals are taught by the cross entropy only: its mean over their hardest pixels,
    ``max(1, round(hard_fraction·H·W))`` of them. With ``hard_fraction`` 1 that is the mean over
    all, where a false lesion hardly counts: at a logit of 3 over 0.2 % of the image it costs
    0.006, a missed lesion about 0.5 by its Dice alone. With 0.02 it costs 0.3. The hardest
    pixels of a normal are its highest logits, those that a find on it would be made of.

    Args:
        logits: (B, 1, H, W).
        mask: (B, 1, H, W), 0 or 1.
        hard_fraction: Share of a normal's pixels that count, in (0, 1].
    """
    cross_entropy = F.binary_cross_entropy_with_logits(
        logits.float(), mask.float(), reduction="none"
    ).flatten(1)
    mean = cross_entropy.mean(1)
    hardest = mean
    if hard_fraction < 1:
        count = max(1, round(hard_fraction * cross_entropy.shape[1]))
        hardest = cross_entropy.topk(count, dim=1, sorted=False).values.mean(1)
    lesion = (mask > 0).flatten(1).any(dim=1)
    both = 0.5 * mean + 0.5 * soft_dice_loss(logits, mask)
    return torch.where(lesion, both, hardest)


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


def dist(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``1 - ρ(σ(z_s/T), σ(z_t/T))`` of each image, (B,) in 0..2, ρ Pearson's over positions.

    The intra-class relation of DIST (Huang et al. 2022, arXiv 2205.10536), image by image instead
    of over the batch, as images are routed. Its inter-class relation correlates the classes of
    one pixel; one channel has no two of them (0/0), so it is left out. No factor T²: ρ is blind
    to scale, and for T to infinity the loss tends to ``1 - ρ(z_s, z_t)``.

    0 for maps that agree up to gain and offset, and, with zero gradient, where the teacher's map
    is constant (standard deviation at most 1e-4) and has nothing to tell; 1 where the student's
    alone is.
    """
    s = torch.sigmoid(student.float() / temperature).flatten(1)
    t = torch.sigmoid(teacher.float() / temperature).flatten(1)
    s, t = s - s.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
    shortest = _FLOOR * s.shape[1] ** 0.5
    correlation = (_direction(s, shortest) * _direction(t, shortest)).sum(1)
    return torch.where(t.norm(dim=1) > shortest, 1 - correlation, 0)


def attention_transfer(student: Tensor, teacher: Tensor, exponent: float = 2.0) -> Tensor:
    """Return ``‖A_s/‖A_s‖ - A_t/‖A_t‖‖²`` of each image, (B,) in 0..2, with ``A = mean_c |F_c|^p``.

    Attention transfer (Zagoruyko and Komodakis 2017, arXiv 1612.03928), squared and summed over
    positions, as EMKD does with p = 4 (Qin et al. 2021, arXiv 2108.09987). Channel counts may
    differ: it needs no adapter. Blind to the sign and the scale of features. 0 for proportional
    maps, so for two constant ones; 1, with zero gradient, where one has no feature but 0.
    """
    difference = _attention(student, exponent) - _attention(teacher, exponent)
    return difference.square().sum(1)


def fitnet(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ``mean (A(F_s) - F_t)²`` of each image, (B,), at least 0.

    FitNet's hint (Romero et al. 2015, arXiv 1412.6550) on features that a trained 1x1
    convolution A has adapted: shapes (B, C, h, w) agree. 0 for equal features only, constants
    and scale included.
    """
    return (student.float() - teacher.float()).square().flatten(1).mean(1)


def pairwise_affinity(student: Tensor, teacher: Tensor, grid: int = 16) -> Tensor:
    """Return ``mean_ij (a_ij(F_s) - a_ij(F_t))²`` of each image, (B,) in 0..4.

    The pair-wise term of structured distillation (Liu et al. 2019, arXiv 1903.04197): a_ij is the
    cosine between the channel vectors of positions i and j, after an average pool to ``grid`` x
    ``grid`` positions at most, which bounds the matrix to ``grid``⁴ values. Channel counts may
    differ: it needs no adapter. Blind to the scale of each vector and to rotations of the channel
    space. 0 for two constant maps, whatever their vectors; a cosine with a zero vector is 0.
    """
    difference = _affinity(student, grid) - _affinity(teacher, grid)
    return difference.square().mean(dim=(1, 2))


def region_affinity(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return ``(cos(r_l, r_b)_s - cos(r_l, r_b)_t)²`` of each image, (B,) in 0..4.

    Region affinity distillation of EMKD (Qin et al. 2021, arXiv 2108.09987): r_l and r_b are the
    mean feature vectors of lesion and background. The mask (B, 1, H, W) is brought to the
    features' size by area, so that a lesion smaller than a cell still weighs what it covers.
    Channel counts may differ: it needs no adapter. 0 with zero gradient for images without a
    lesion or without background, which have no two regions.
    """
    height, width = student.shape[-2:]
    weight = F.adaptive_avg_pool2d(mask.float(), (height, width))
    lesion = weight.sum(dim=(1, 2, 3))
    contrasted = (lesion > 0) & (lesion < weight[0].numel())
    difference = _region_cosine(student, weight) - _region_cosine(teacher, weight)
    return torch.where(contrasted, difference.square(), 0)


def _direction(vectors: Tensor, shortest: float = _FLOOR, dim: int = 1) -> Tensor:
    """Return ``v / max(‖v‖, shortest)``: of length 1, or less for a vector without direction."""
    return F.normalize(vectors, dim=dim, eps=shortest)


def _attention(features: Tensor, exponent: float) -> Tensor:
    """Return the attention map of each image, (B, h·w) of length 1."""
    size = features.float().abs()
    # The map is blind to scale: powers of values up to 1 neither overflow nor all vanish.
    size = size / size.detach().amax(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)
    return _direction(size.pow(exponent).mean(1).flatten(1), shortest=_TINY)


def _affinity(features: Tensor, grid: int) -> Tensor:
    """Return the cosines between all positions of each image, (B, n, n) in -1..1."""
    height, width = (min(side, grid) for side in features.shape[-2:])
    pooled = F.adaptive_avg_pool2d(features.float(), (height, width)).flatten(2)
    directions = _direction(pooled)
    with torch.autocast(features.device.type, enabled=False):  # it would multiply in half precision
        return directions.transpose(1, 2) @ directions


def _region_cosine(features: Tensor, weight: Tensor) -> Tensor:
    """Return the cosine between the mean vectors inside and outside ``weight``, (B,)."""
    means = [
        (features.float() * region).sum(dim=(2, 3)) / region.sum(dim=(2, 3)).clamp_min(_TINY)
        for region in (weight, 1 - weight)
    ]
    inside, outside = (_direction(mean) for mean in means)
    return (inside * outside).sum(1)
