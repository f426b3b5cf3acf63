from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from scipy.stats import pearsonr
from sklearn.metrics.pairwise import cosine_similarity

from edge_bts.trainers.losses import (
    attention_transfer,
    bernoulli_kl,
    channel_wise,
    dist,
    fitnet,
    pairwise_affinity,
    region_affinity,
    segmentation_loss,
    soft_dice_loss,
)

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _region(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The region affinity for a lesion in the upper left corner."""
    mask = torch.zeros(len(student), 1, 2 * student.shape[2], 2 * student.shape[3])
    mask[..., : student.shape[2], :7] = 1
    return region_affinity(student, teacher, mask)


FEATURE_LOSSES: dict[str, Loss] = {
    "channel_wise": lambda s, t: channel_wise(s, t, 2.0),
    "attention_transfer": attention_transfer,
    "attention_transfer_4": lambda s, t: attention_transfer(s, t, 4.0),
    "fitnet": fitnet,
    "pairwise_affinity": pairwise_affinity,
    "region_affinity": _region,
}
LOSSES: dict[str, Loss] = FEATURE_LOSSES | {
    "bernoulli_kl": lambda s, t: bernoulli_kl(s, t, 2.0),
    "dist": lambda s, t: dist(s, t, 2.0),
}


@pytest.fixture
def logits() -> torch.Tensor:
    """Three logit maps."""
    return torch.randn(3, 1, 8, 9, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a student and of a teacher: three images, five channels, 9 x 12 positions."""
    generator = torch.Generator().manual_seed(5)
    student, teacher = torch.randn(2, 3, 5, 9, 12, generator=generator)
    return student, teacher


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


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 1.0])
def test_normals_pay_for_their_hardest_pixels(logits: torch.Tensor, fraction: float) -> None:
    """A normal pays the mean of its largest cross entropies; images with a lesion pay as ever."""
    mask = torch.zeros_like(logits)
    mask[1, :, 2:4, 3:6] = 1
    count = {0.02: 1, 0.1: 7, 0.5: 36, 1.0: 72}[fraction]
    entropy = [sorted(F.softplus(z).flatten().tolist())[-count:] for z in logits]
    value = segmentation_loss(logits, mask, fraction)
    for image in (0, 2):
        assert value[image].item() == pytest.approx(np.mean(entropy[image]), rel=1e-5)
    torch.testing.assert_close(value[1], segmentation_loss(logits, mask)[1])


def test_a_small_false_lesion_costs_what_the_docstring_says() -> None:
    """A find over 0.2 % of a normal costs 0.006 among all pixels and 0.3 among the hardest 2 %."""
    logits = torch.full((1, 1, 100, 100), -20.0)
    logits[0, 0, 50, 40:60] = 3.0
    empty = torch.zeros_like(logits)
    assert segmentation_loss(logits, empty).item() == pytest.approx(0.006, abs=5e-4)
    assert segmentation_loss(logits, empty, 0.02).item() == pytest.approx(0.3, abs=0.02)


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


def test_one_channel_softmax_distillation_would_be_zero(logits: torch.Tensor) -> None:
    """Hinton's formula as written teaches a one-channel net nothing; ours does."""
    s, t = F.log_softmax(logits, 1), F.log_softmax(logits.roll(1, 0), 1)
    assert (t.exp() * (t - s)).abs().max() == 0
    assert bernoulli_kl(logits, logits.roll(1, 0), 1.0).min() > 0.1


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dist_is_scipys_correlation(logits: torch.Tensor, temperature: float) -> None:
    """DIST is 1 minus SciPy's Pearson correlation of the probabilities of each image."""
    teacher = logits.roll(1, 0)
    p, q = (1 / (1 + np.exp(-z.double().numpy() / temperature)) for z in (logits, teacher))
    expected = [1 - pearsonr(a.ravel(), b.ravel()).statistic for a, b in zip(p, q, strict=True)]
    value = dist(logits, teacher, temperature)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-4)


def test_dist_becomes_the_correlation_of_logits(logits: torch.Tensor) -> None:
    """For T to infinity DIST tends to 1 minus the correlation of the logits."""
    teacher = logits.roll(1, 0)
    pairs = zip(logits.numpy(), teacher.numpy(), strict=True)
    limit = [1 - pearsonr(a.ravel(), b.ravel()).statistic for a, b in pairs]
    np.testing.assert_allclose(dist(logits, teacher, 200.0).numpy(), limit, rtol=1e-3)


def test_dist_spans_0_to_2() -> None:
    """A map and its negative are 2 apart, whatever their gain and offset are 0 apart."""
    probability = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(6)) * 0.8 + 0.1
    same, opposite = (torch.logit(p) for p in (0.3 * probability + 0.2, 1 - probability))
    reference = torch.logit(probability)
    assert dist(reference, same, 1.0).item() == pytest.approx(0, abs=1e-5)
    assert dist(reference, opposite, 1.0).item() == pytest.approx(2, abs=1e-5)


def test_dist_of_constant_maps(logits: torch.Tensor) -> None:
    """A constant teacher has nothing to tell; a constant student is 1 away and can leave."""
    constant = torch.full_like(logits, -3.0).requires_grad_()
    student = logits.clone().requires_grad_()
    silent = dist(student, constant.detach(), 1.0)
    silent.sum().backward()
    assert student.grad is not None
    assert not silent.any()
    assert not student.grad.any()
    value = dist(constant, logits, 1.0)
    value.sum().backward()
    torch.testing.assert_close(value, torch.ones(3))
    assert constant.grad is not None
    assert constant.grad.isfinite().all()
    # A step against the gradient rises where the teacher is sure of a lesion.
    assert -(constant.grad * (logits - logits.mean(dim=(1, 2, 3), keepdim=True))).sum() > 0


@pytest.mark.parametrize("exponent", [2.0, 4.0])
def test_attention_transfer_by_hand(
    features: tuple[torch.Tensor, torch.Tensor], exponent: float
) -> None:
    """Attention transfer is the squared distance of normalised maps, computed with NumPy."""
    expected = []
    for pair in zip(*(f.double().numpy() for f in features), strict=True):
        maps = [np.mean(np.abs(f) ** exponent, axis=0) for f in pair]
        s, t = (m / np.sqrt(np.sum(m**2)) for m in maps)
        expected.append(np.sum((s - t) ** 2))
    value = attention_transfer(*features, exponent)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-4)


def test_attention_transfer_is_blind_to_scale_and_sign(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Features a million times as large or as small, or negated, have the same attention."""
    expected = attention_transfer(*features, 4.0)
    for factor in (1e10, 1e-10, -1.0):
        scaled = attention_transfer(features[0] * factor, features[1], 4.0)
        torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-6)


def test_attention_transfer_of_dead_and_constant_maps() -> None:
    """Constant maps agree; a dead map is 1 from any other, and its gradient is 0."""
    constant, double = torch.ones(2, 3, 4, 5), torch.full((2, 6, 4, 5), 2.0)
    torch.testing.assert_close(attention_transfer(constant, double), torch.zeros(2))
    dead = torch.zeros(2, 3, 4, 5, requires_grad=True)
    value = attention_transfer(dead, constant)
    value.sum().backward()
    torch.testing.assert_close(value, torch.ones(2))
    assert dead.grad is not None
    assert not dead.grad.any()


def test_fitnet_is_the_mean_squared_error_of_an_image(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """FitNet's hint is the mean over channels and positions of the squared difference."""
    s, t = (f.double().numpy() for f in features)
    expected = [np.mean((a - b) ** 2) for a, b in zip(s, t, strict=True)]
    np.testing.assert_allclose(fitnet(*features).numpy(), expected, rtol=1e-5)


def test_pairwise_affinity_is_scikit_learns_cosine(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Pair-wise affinity compares the cosines, by scikit-learn, of pooled positions."""
    expected = []
    for pair in zip(*(f.numpy() for f in features), strict=True):
        cells = [f.reshape(5, 3, 3, 3, 4).mean(axis=(2, 4)).reshape(5, 9).T for f in pair]
        a_s, a_t = (cosine_similarity(c) for c in cells)
        expected.append(np.mean((a_s - a_t) ** 2))
    np.testing.assert_allclose(pairwise_affinity(*features, grid=3).numpy(), expected, rtol=1e-4)


def test_pairwise_affinity_takes_small_maps_as_they_are(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Maps within the grid are not pooled; larger ones cost no more than the grid's pairs."""
    s, t = (f.flatten(2).transpose(1, 2).numpy() for f in features)
    pairs = zip(s, t, strict=True)
    expected = [np.mean((cosine_similarity(a) - cosine_similarity(b)) ** 2) for a, b in pairs]
    np.testing.assert_allclose(pairwise_affinity(*features).numpy(), expected, rtol=1e-4)


def test_pairwise_affinity_of_constant_and_empty_maps() -> None:
    """Constant maps agree whatever their vectors; a map of zeros is 1 away, its gradient finite."""
    one, other = torch.ones(2, 3, 4, 5), torch.ones(2, 7, 4, 5) * torch.arange(7.0)[:, None, None]
    torch.testing.assert_close(pairwise_affinity(one, other), torch.zeros(2))
    dead = torch.zeros(2, 3, 4, 5, requires_grad=True)
    value = pairwise_affinity(dead, other)
    value.sum().backward()
    torch.testing.assert_close(value, torch.ones(2))
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_region_affinity_by_hand(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Region affinity compares the cosines of lesion and background means, by plain loops."""
    mask = (torch.rand(3, 1, 18, 24, generator=torch.Generator().manual_seed(7)) > 0.7).float()
    weight = mask[:, 0].reshape(3, 9, 2, 12, 2).mean(dim=(2, 4)).double().numpy()
    cosines = np.zeros((2, 3))
    for who, f in enumerate(features):
        for image in range(3):
            sums, areas = np.zeros((2, 5)), np.zeros(2)
            for row in range(9):
                for column in range(12):
                    share = weight[image, row, column]
                    for region, part in enumerate((share, 1 - share)):
                        sums[region] += part * f[image, :, row, column].double().numpy()
                        areas[region] += part
            inside, outside = sums / areas[:, None]
            lengths = np.linalg.norm(inside) * np.linalg.norm(outside)
            cosines[who, image] = inside @ outside / lengths
    expected = (cosines[0] - cosines[1]) ** 2
    np.testing.assert_allclose(region_affinity(*features, mask).numpy(), expected, rtol=1e-4)


def test_region_affinity_hears_a_lesion_smaller_than_a_cell(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """One lesion pixel of 16 in a cell is enough for two regions."""
    mask = torch.zeros(3, 1, 36, 48)
    mask[:, :, 17, 22] = 1
    assert (region_affinity(*features, mask) > 0).all()


def test_region_affinity_takes_two_regions(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Without a lesion, or without background, there is no loss and no gradient."""
    student = features[0].clone().requires_grad_()
    mask = torch.stack([torch.zeros(1, 18, 24), torch.ones(1, 18, 24), torch.zeros(1, 18, 24)])
    mask[2, :, :5, :5] = 1
    value = region_affinity(student, features[1], mask)
    value.sum().backward()
    assert value[0] == value[1] == 0 < value[2]
    assert student.grad is not None
    assert not student.grad[:2].any()
    assert student.grad[2].any()


@pytest.mark.parametrize("name", ["attention_transfer", "pairwise_affinity", "region_affinity"])
def test_channel_counts_may_differ(name: str, features: tuple[torch.Tensor, torch.Tensor]) -> None:
    """These losses need no adapter, and see a teacher whose channels come twice as the same."""
    student, teacher = features
    twice = torch.cat([teacher, teacher], dim=1)
    loss = FEATURE_LOSSES[name]
    torch.testing.assert_close(loss(student, twice), loss(student, teacher), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(name: str) -> None:
    """Identical tensors give zero loss and zero gradient; others give more, image by image."""
    channels = 5 if name in FEATURE_LOSSES else 1
    student = torch.randn(3, channels, 9, 12, generator=torch.Generator().manual_seed(4))
    student.requires_grad_()
    value = LOSSES[name](student, student.detach().clone())
    value.sum().backward()
    assert value.shape == (3,)
    assert value.abs().max() < 1e-6
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6
    mixed = student.detach().clone()
    mixed[1] = mixed[1].flip(1, 2) + 1
    other = LOSSES[name](student, mixed)
    assert other[1] > 1e-4
    assert other[[0, 2]].abs().max() < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_saturated_values_have_finite_gradients(name: str) -> None:
    """Logits and features of 80 either way give finite losses and gradients."""
    channels = 5 if name in FEATURE_LOSSES else 1
    generator = torch.Generator().manual_seed(8)
    student, teacher = 160.0 * (torch.rand(2, 2, channels, 9, 12, generator=generator) > 0.5) - 80
    student.requires_grad_()
    value = LOSSES[name](student, teacher)
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_fp32(name: str, dtype: torch.dtype) -> None:
    """Half-precision inputs give what their fp32 copies give, bit for bit, under autocast too."""
    channels = 5 if name in FEATURE_LOSSES else 1
    generator = torch.Generator().manual_seed(9)
    student, teacher = (20 * torch.randn(2, 2, channels, 9, 12, generator=generator)).to(dtype)
    expected = LOSSES[name](student.float(), teacher.float())
    assert expected.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        value = LOSSES[name](student, teacher)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_supervision_in_half_precision_is_computed_in_fp32(
    logits: torch.Tensor, mask: torch.Tensor
) -> None:
    """Half-precision logits give what their fp32 copies give, lesions and normals alike."""
    mask[0] = 0
    half = logits.half()
    expected = segmentation_loss(half.float(), mask, 0.02)
    torch.testing.assert_close(segmentation_loss(half, mask, 0.02), expected, rtol=0, atol=0)
