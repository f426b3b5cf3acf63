from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edge_bts.errors import InputError
from edge_bts.models import Checkpoint, ModelSpec, build_model
from edge_bts.trainers.augment import warp
from edge_bts.trainers.data import Batch, TensorData
from edge_bts.trainers.losses import (
    attention_transfer,
    bernoulli_kl,
    dist,
    segmentation_loss,
)
from edge_bts.trainers.settings import DistillSettings
from edge_bts.trainers.tasks import DistillTask, SupervisedTask
from edge_bts.trainers.teachers import Network, Recording, Teacher

BENIGN, MALIGNANT, NORMAL, LESION = range(4)
MIXED = [BENIGN, MALIGNANT, LESION, NORMAL]


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


def make_data(categories: list[int]) -> TensorData:
    """Return noisy squares of 64 px with a dark lesion, normals without one."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(128, 256, (len(categories), 1, 64, 64), generator=generator)
    masks = torch.zeros_like(images) > 0
    masks[..., 16:40, 20:50] = True
    images[masks] -= 120
    masks[torch.tensor(categories) == NORMAL] = False
    return TensorData(images.to(torch.uint8), masks.to(torch.uint8), torch.tensor(categories))


def make_batch(categories: list[int]) -> Batch:
    """Return all of :func:`make_data` as one batch without augmentation."""
    return next(make_data(categories).in_order(len(categories)))


def make_task(
    teachers: tuple[Teacher, Teacher] | None = None,
    categories: list[int] = MIXED,
    **changes: object,
) -> DistillTask:
    """Return a prepared task with fixed batch norms, so that losses can be computed again."""
    settings = DistillSettings(**{"imgsz": 64, "view": "same", **changes})  # type: ignore[arg-type]
    torch.manual_seed(0)
    module = build_model(ModelSpec(name="simplified_unet", options={"base": 16})).eval()
    network = Network(module, 0.3, 0.2)
    benign, malignant = teachers or (make_teacher("benign", 1), make_teacher("malignant", 2))
    task = DistillTask(network, benign, malignant, settings)
    task.prepare(make_data(categories))
    return task.eval()


def words_of(task: DistillTask, batch: Batch) -> list[torch.Tensor]:
    """Return what each teacher says in logits."""
    return [teacher(batch.image).logits for teacher in task.teachers.values()]


def test_each_image_hears_its_classs_teacher() -> None:
    """By label, the prediction loss is the KL to teacher B on benign and to M on malignant."""
    batch = make_batch([BENIGN, MALIGNANT, BENIGN, NORMAL])
    task = make_task(benign_weight=1.0, malignant_weight=2.0, prediction={"kl": 0.5})
    losses = task(batch)
    logits = task.network(batch.image)
    kl_b, kl_m = (bernoulli_kl(logits, said, 2.0) for said in words_of(task, batch))
    expected = 0.5 * (kl_b[0] + 2 * kl_m[1] + kl_b[2]) / 4
    torch.testing.assert_close(losses["prediction"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_route_mean_lets_both_teachers_speak() -> None:
    """With route mean every lesion hears both teachers at half weight; normals still none."""
    batch = make_batch(MIXED)
    task = make_task(route="mean", malignant_weight=1.0, prediction={"kl": 1.0})
    losses = task(batch)
    logits = task.network(batch.image)
    both = [bernoulli_kl(logits, said, 2.0) for said in words_of(task, batch)]
    expected = 0.5 * sum(kl[:3].sum() for kl in both) / 4
    torch.testing.assert_close(losses["prediction"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_route_confidence_listens_to_who_is_right() -> None:
    """By confidence, a teacher's share is that of exp(-its own segmentation loss)."""
    batch = make_batch(MIXED)
    task = make_task(route="confidence", malignant_weight=1.0, prediction={"kl": 1.0})
    losses = task(batch)
    logits = task.network(batch.image)
    said = words_of(task, batch)
    wrong = [segmentation_loss(words, batch.mask).exp() for words in said]
    shares = [(1 / w) / (1 / wrong[0] + 1 / wrong[1]) for w in wrong]
    kl = [bernoulli_kl(logits, words, 2.0) for words in said]
    expected = sum((share * value)[:3].sum() for share, value in zip(shares, kl, strict=True)) / 4
    assert (shares[0] - 0.5).abs().max() > 1e-4  # the two are not equally right
    torch.testing.assert_close(losses["prediction"], expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("route", ["label", "mean", "confidence"])
def test_a_joint_teacher_speaks_once_whatever_the_route(route: str) -> None:
    """One teacher in both places is heard by every lesion at full share."""
    batch = make_batch(MIXED)
    joint = make_teacher("all", 1)
    task = make_task((joint, joint), route=route, malignant_weight=1.0, prediction={"kl": 1.0})
    kl = bernoulli_kl(task.network(batch.image), joint(batch.image).logits, 2.0)
    expected = (kl[:3].sum() / 4).detach()
    torch.testing.assert_close(task(batch)["prediction"], expected, rtol=1e-4, atol=1e-6)


def test_normals_have_no_teacher() -> None:
    """A batch of normals is supervision alone, and the adapters get a gradient of zero."""
    task = make_task()
    batch = make_batch([NORMAL] * 4)
    losses = task(batch)
    losses["total"].backward()
    assert losses["prediction"] == losses["feature"] == 0
    expected = segmentation_loss(task.network(batch.image), batch.mask, 0.05).mean()
    torch.testing.assert_close(losses["total"].detach(), expected.detach())
    assert all(p.grad is not None and not p.grad.any() for p in task.adapters.parameters())


def test_losses_add_up_by_their_weights() -> None:
    """The paths are the weighted sums of their losses, and the total is the sum of all."""
    batch = make_batch([BENIGN] * 4)
    task = make_task(
        prediction={"kl": 0.3, "dist": 0.7}, feature={"attention": 2.0}, benign_weight=1.0
    )
    losses = task(batch)
    logits = task.network(batch.image)
    said = task.teachers["benign"](batch.image)
    expected = 0.3 * bernoulli_kl(logits, said.logits, 2.0) + 0.7 * dist(logits, said.logits, 2.0)
    torch.testing.assert_close(losses["prediction"], expected.mean().detach(), rtol=1e-4, atol=1e-6)
    features: dict[str, torch.Tensor] = {}
    taps = task.network.module.feature_taps()  # type: ignore[operator]
    for name in ("decoder1", "decoder2"):
        taps[name].register_forward_hook(
            lambda _m, _i, out, name=name: features.__setitem__(name, out)
        )
    task.network(batch.image)
    feature = sum(
        2 * attention_transfer(own, F.adaptive_avg_pool2d(said.features[name], own.shape[-2:]))
        for name, own in features.items()
    )
    torch.testing.assert_close(losses["feature"], feature.mean().detach(), rtol=1e-4, atol=1e-6)
    total = losses["segmentation"] + losses["prediction"] + losses["feature"]
    torch.testing.assert_close(losses["total"].detach(), total)


def test_teachers_fall_in_over_the_warm_up() -> None:
    """With 3 epochs of warm-up the paths count a quarter in the first and whole in the fourth."""
    batch, task = make_batch(MIXED), make_task(warmup_epochs=3)
    for epoch, volume in ((1, 0.25), (2, 0.5), (4, 1.0), (9, 1.0)):
        task.start_epoch(epoch)
        losses = task(batch)
        taught = losses["total"].detach() - losses["segmentation"]
        torch.testing.assert_close(taught, volume * (losses["prediction"] + losses["feature"]))


@pytest.mark.parametrize("loss", ["channel_wise", "fitnet", "attention", "pairwise", "region"])
def test_every_feature_loss_teaches_the_student(loss: str) -> None:
    """Each feature loss is positive and changes the gradient of the student's encoder."""
    gradients = []
    for feature in ({loss: 1.0}, {}):
        task = make_task(feature=feature, prediction={})
        losses = task(make_batch(MIXED))
        losses["total"].backward()
        gradients.append(next(task.network.module.parameters()).grad)
        assert (losses["feature"] > 0) == bool(feature)
        assert bool(task.adapters) == (not feature.keys().isdisjoint(("channel_wise", "fitnet")))
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4 * gradients[1].abs().max()


def test_without_feature_losses_nothing_is_tapped() -> None:
    """A student without feature_taps can be distilled by its logits alone."""
    settings = DistillSettings(imgsz=64, feature={}, view="same")
    module = torch.nn.Conv2d(1, 1, 3, padding=1)
    teachers = make_teacher("benign", 1), make_teacher("malignant", 2)
    task = DistillTask(Network(module, 0.3, 0.2), *teachers, settings)
    task.prepare(make_data(MIXED))
    losses = task(make_batch(MIXED))
    assert losses["feature"] == 0
    assert losses["prediction"] > 0


def test_teachers_are_neither_trained_nor_saved() -> None:
    """A step leaves no gradient on a teacher, and the task's state has none of its tensors."""
    task = make_task()
    task(make_batch(MIXED))["total"].backward()
    teacher = task.teachers["benign"].network
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(key.startswith(("network.", "adapters.")) for key in task.state_dict())
    assert all(p.grad is not None for p in task.adapters.parameters())


def test_a_recording_repeats_what_the_teacher_says() -> None:
    """Without augmentation, clean and same views give the same losses to half precision."""
    batch = make_batch(MIXED)
    live, recorded = (
        make_task(view=view, loop={"precision": "fp32"}) for view in ("same", "clean")
    )
    recorded.load_state_dict(live.state_dict())
    told, again = live(batch), recorded(batch)
    for name in ("prediction", "feature"):
        torch.testing.assert_close(again[name], told[name], rtol=2e-3, atol=1e-5)


def test_a_recording_is_warped_as_the_image_is() -> None:
    """Under a left-right flip the recorded words are those about the stored square, flipped."""
    data, teacher = make_data(MIXED), make_teacher("all", 1)
    sizes = {"decoder1": (16, 16), "decoder2": (8, 8)}
    recording = Recording(teacher, data, torch.ones(4) > 0, sizes, 2, autocast=False)
    batch = next(data.in_order(4))
    theta = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]).expand(4, 2, 3)
    grid = F.affine_grid(theta, [4, 1, 64, 64], align_corners=False)
    flipped = batch._replace(image=warp(batch.image, grid), grid=grid)
    torch.testing.assert_close(flipped.image, batch.image.flip(-1), atol=1e-5, rtol=0)
    plain, words = recording.words(batch), recording.words(flipped)
    torch.testing.assert_close(words.logits, plain.logits.flip(-1), atol=1e-4, rtol=1e-4)
    for tap, values in words.features.items():
        torch.testing.assert_close(values, plain.features[tap].flip(-1), atol=1e-4, rtol=1e-3)


def test_a_recording_holds_its_listeners_alone() -> None:
    """By label, teacher B's recording takes the memory of the benign images alone."""
    categories = [BENIGN, MALIGNANT, MALIGNANT, MALIGNANT, NORMAL]
    task = make_task(categories=categories, view="clean")
    memory = {name: recording.bytes for name, recording in task._recordings.items()}
    assert memory["malignant"] == 3 * memory["benign"] > 0


def test_hard_normals_reach_the_loss() -> None:
    """A supervised task pays for the hardest share of a normal's pixels that it was told."""
    batch = make_batch([NORMAL, NORMAL])
    network = Network(torch.nn.Conv2d(1, 1, 3, padding=1), 0.3, 0.2)
    loss = SupervisedTask(network, 0.1)(batch)["total"]
    expected = segmentation_loss(network(batch.image), batch.mask, 0.1).mean()
    torch.testing.assert_close(loss, expected)
    assert loss > SupervisedTask(network, 1.0)(batch)["total"]


def test_a_teacher_sees_its_own_image_size() -> None:
    """A teacher of 32 px gets images of 32 px and answers at the student's 64."""
    teacher = make_teacher("benign", 1)
    seen: list[torch.Size] = []
    teacher.network.register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape))
    logits, features = teacher(make_batch(MIXED).image)
    assert seen == [torch.Size([4, 1, 32, 32])]
    assert logits.shape == (4, 1, 64, 64)
    assert features["decoder1"].shape[-2:] == (16, 16)


def test_an_unknown_tap_is_named() -> None:
    """A feature pair that a net does not offer is an error that lists the taps."""
    with pytest.raises(InputError, match=r"decoder0.*'neck'"):
        make_task(feature_pairs={"neck": "decoder1"})
