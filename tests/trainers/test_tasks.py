from __future__ import annotations

import pytest
import torch

from edge_bts.errors import InputError
from edge_bts.models import Checkpoint, ModelSpec, build_model
from edge_bts.trainers.losses import bernoulli_kl, segmentation_loss
from edge_bts.trainers.settings import DistillSettings
from edge_bts.trainers.tasks import DistillTask, Network, Teacher

BENIGN, MALIGNANT, NORMAL, LESION = range(4)


def make_teacher(category: str, seed: int, imgsz: int = 32) -> Teacher:
    """Return the narrowest teacher with random weights."""
    torch.manual_seed(seed)
    spec = ModelSpec(name="attention_unet", options={"width": 8})
    checkpoint = Checkpoint(
        model=spec,
        role="teacher",
        category=category,  # type: ignore[arg-type]
        imgsz=imgsz,
        mean=0.5,
        std=0.5,
    )
    return Teacher(build_model(spec), checkpoint, ["decoder1", "decoder2"])


def make_task(**changes: object) -> DistillTask:
    """Return a prepared task with fixed batch norms, so that losses can be computed again."""
    settings = DistillSettings(imgsz=64, **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    module = build_model(ModelSpec(name="simplified_unet", options={"base": 16})).eval()
    network = Network(module, 0.3, 0.2)
    task = DistillTask(network, make_teacher("benign", 1), make_teacher("malignant", 2), settings)
    task.prepare(torch.rand(1, 1, 64, 64))
    return task.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """Four raw images."""
    return torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def mask(image: torch.Tensor) -> torch.Tensor:
    """Their masks."""
    return (image > 0.7).float()


def test_each_image_hears_its_classs_teacher(image: torch.Tensor, mask: torch.Tensor) -> None:
    """By label, the prediction loss is the KL to teacher B on benign and to M on malignant."""
    task = make_task(benign_weight=1.0, malignant_weight=2.0)
    category = torch.tensor([BENIGN, MALIGNANT, BENIGN, NORMAL])
    losses = task(image, mask, category)
    logits = task.network(image)
    told_b, _ = task.teachers["benign"](image)
    told_m, _ = task.teachers["malignant"](image)
    kl_b, kl_m = bernoulli_kl(logits, told_b, 2.0), bernoulli_kl(logits, told_m, 2.0)
    expected = (kl_b[0] + 2 * kl_m[1] + kl_b[2]) / 4
    torch.testing.assert_close(losses["prediction"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_route_mean_lets_both_teachers_speak(image: torch.Tensor, mask: torch.Tensor) -> None:
    """With route mean every lesion hears both teachers at half weight; normals still none."""
    task = make_task(route="mean", malignant_weight=1.0)
    losses = task(image, mask, torch.tensor([BENIGN, MALIGNANT, LESION, NORMAL]))
    logits = task.network(image)
    both = [bernoulli_kl(logits, task.teachers[name](image)[0], 2.0) for name in task.teachers]
    expected = 0.5 * sum(kl[:3].sum() for kl in both) / 4
    torch.testing.assert_close(losses["prediction"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_normals_have_no_teacher(image: torch.Tensor) -> None:
    """A batch of normals is supervision alone, and the adapters get a gradient of zero."""
    task = make_task()
    empty = torch.zeros_like(image)
    losses = task(image, empty, torch.full((4,), NORMAL))
    losses["total"].backward()
    assert losses["prediction"] == losses["feature"] == 0
    expected = segmentation_loss(task.network(image), empty).mean()
    torch.testing.assert_close(losses["total"].detach(), expected.detach())
    assert all(p.grad is not None and not p.grad.any() for p in task.adapters.parameters())


def test_total_is_the_weighted_sum(image: torch.Tensor, mask: torch.Tensor) -> None:
    """The total is L_seg + λ_p·prediction + λ_f·feature."""
    task = make_task(prediction_weight=0.3, feature_weight=0.7)
    losses = task(image, mask, torch.tensor([BENIGN, MALIGNANT, LESION, NORMAL]))
    expected = losses["segmentation"] + 0.3 * losses["prediction"] + 0.7 * losses["feature"]
    torch.testing.assert_close(losses["total"].detach(), expected)
    assert losses["feature"] > 0


def test_teachers_are_neither_trained_nor_saved(image: torch.Tensor, mask: torch.Tensor) -> None:
    """A step leaves no gradient on a teacher, and the task's state has none of its tensors."""
    task = make_task()
    task(image, mask, torch.tensor([BENIGN, MALIGNANT, LESION, NORMAL]))["total"].backward()
    teacher = task.teachers["benign"].network
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(key.startswith(("network.", "adapters.")) for key in task.state_dict())
    assert all(p.grad is not None for p in task.adapters.parameters())


def test_a_teacher_sees_its_own_image_size(image: torch.Tensor) -> None:
    """A teacher of 32 px gets images of 32 px and answers at the student's 64."""
    teacher = make_teacher("benign", 1)
    seen: list[torch.Size] = []
    teacher.network.register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape))
    logits, features = teacher(image)
    assert seen == [torch.Size([4, 1, 32, 32])]
    assert logits.shape == image.shape
    assert features["decoder1"].shape[-2:] == (16, 16)


def test_an_unknown_tap_is_named() -> None:
    """A feature pair that a net does not offer is an error that lists the taps."""
    with pytest.raises(InputError, match=r"decoder0.*'neck'"):
        make_task(feature_pairs={"neck": "decoder1"})
