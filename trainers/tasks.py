"""What a step minimises: supervision alone, or with it the words of two teachers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_bts.errors import InputError
from edge_bts.models import Checkpoint
from edge_bts.trainers.data import CATEGORIES
from edge_bts.trainers.losses import bernoulli_kl, channel_wise, segmentation_loss
from edge_bts.trainers.settings import DistillSettings

__all__ = ["DistillTask", "Network", "SupervisedTask", "Task", "Teacher"]

_BENIGN, _MALIGNANT, _NORMAL, _LESION = range(len(CATEGORIES))


class Network(nn.Module):
    """A module and the scaling of its input; called on images (B, 1, S, S) in 0..1."""

    def __init__(self, module: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.module = module
        self.mean = mean
        self.std = std

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, 1, S, S) of ``module`` for raw images."""
        normalised = (image - self.mean) / self.std
        return self.module(normalised.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


class Task(nn.Module):
    """What :func:`edge_bts.trainers.loop.fit` trains: the network and how it is taught.

    It is a module, so that one wrapper (mixed precision, gradients over several devices) covers
    the network and whatever trains beside it; only ``network.module`` is saved as the result.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def prepare(self, image: Tensor) -> None:
        """Make the parts whose shapes depend on the networks; called once, before training."""

    def forward(self, image: Tensor, mask: Tensor, category: Tensor) -> dict[str, Tensor]:
        """Return scalars of a :class:`~edge_bts.trainers.data.Batch`: minimise ``total``."""
        raise NotImplementedError


class SupervisedTask(Task):
    """Learn masks: ``L = L_seg``."""

    def forward(self, image: Tensor, mask: Tensor, category: Tensor) -> dict[str, Tensor]:
        """Return ``total``, the mean of :func:`segmentation_loss`."""
        del category
        return {"total": segmentation_loss(self.network(image), mask).mean()}


class Teacher:
    """A frozen network with the outputs that distillation reads."""

    def __init__(self, module: nn.Module, checkpoint: Checkpoint, taps: Iterable[str]) -> None:
        self.network = Network(module.eval().requires_grad_(False), checkpoint.mean, checkpoint.std)
        self.imgsz = checkpoint.imgsz
        self.category = checkpoint.category
        self._taps = _Taps(module, taps, f"teacher {checkpoint.model}")

    def to(self, device: torch.device) -> Teacher:
        """Move to ``device``, in channels-last layout."""
        self.network.module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, 1, S, S) at the student's size and the tapped features.

        A teacher sees images of the size that it was trained on: lesions keep their scale.
        """
        size = image.shape[-2:]
        if size[-1] != self.imgsz:
            mode = "area" if size[-1] > self.imgsz else "bilinear"
            image = F.interpolate(image, (self.imgsz, self.imgsz), mode=mode)
        with self._taps.reading() as features:
            logits = self.network(image).float()
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits, dict(features)


class DistillTask(Task):
    """Dual-path joint distillation of two class teachers into one student.

    ``L = L_seg + λ_p·T²·KL + λ_f·Σ_k CWD(A_k(F_s,k), F_t,k)``: the *prediction path* compares
    logits (:func:`bernoulli_kl`), the *feature path* decoder features (:func:`channel_wise`)
    through trained 1x1 adapters ``A_k``, which stay behind when the student is saved. With route
    ``label`` a benign image hears teacher B and a malignant one teacher M; with ``mean``, and for
    lesions of unknown class, both speak and their losses are averaged. Normals have no teacher:
    neither ever saw one.
    """

    def __init__(
        self,
        network: Network,
        benign: Teacher,
        malignant: Teacher,
        settings: DistillSettings,
    ) -> None:
        super().__init__(network)
        self.settings = settings
        # Not registered as submodules: teachers are neither trained nor saved with the student.
        self.teachers = {"benign": benign, "malignant": malignant}
        self._taps = _Taps(network.module, settings.feature_pairs, "student")
        self.adapters = nn.ModuleDict()

    @torch.no_grad()
    def prepare(self, image: Tensor) -> None:
        """Make the adapters, whose channel counts one forward pass of ``image`` tells."""
        was_training = self.network.training
        self.network.eval()
        with self._taps.reading() as student:
            self.network(image)
        self.network.train(was_training)
        _, teacher = self.teachers["benign"](image)
        self.adapters = nn.ModuleDict(
            {
                pupil: nn.Conv2d(student[pupil].shape[1], teacher[master].shape[1], 1)
                for pupil, master in self.settings.feature_pairs.items()
            }
        ).to(image.device)

    def forward(self, image: Tensor, mask: Tensor, category: Tensor) -> dict[str, Tensor]:
        """Return ``total`` and its parts ``segmentation``, ``prediction`` and ``feature``."""
        with self._taps.reading() as features:
            logits = self.network(image)
        segmentation = segmentation_loss(logits, mask).mean()
        prediction = torch.zeros((), device=logits.device)
        # Adapters take part in every step, if only with 0: several devices wait for each other.
        feature = sum((0 * p.sum() for p in self.adapters.parameters()), prediction)
        for name, weight in self._weights(category).items():
            index = weight.nonzero()[:, 0]
            if not len(index):
                continue
            spoken, teacher_features = self.teachers[name](image[index])
            share = weight[index] / len(image)
            kl = bernoulli_kl(logits[index], spoken, self.settings.temperature)
            prediction = prediction + (share * kl).sum()
            difference = self._feature_loss(features, teacher_features, index)
            feature = feature + (share * difference).sum()
        total = (
            segmentation
            + self.settings.prediction_weight * prediction
            + self.settings.feature_weight * feature
        )
        return {
            "total": total,
            "segmentation": segmentation.detach(),
            "prediction": prediction.detach(),
            "feature": feature.detach(),
        }

    def _weights(self, category: Tensor) -> dict[Literal["benign", "malignant"], Tensor]:
        """Return how loud each teacher speaks for each image, two (B,) floats."""
        settings = self.settings
        own = torch.zeros(category.shape, device=category.device)
        weight = own.clone()
        weight[category == _BENIGN] = settings.benign_weight
        weight[category == _MALIGNANT] = settings.malignant_weight
        weight[category == _LESION] = 1.0
        # The share of teacher B: 1 or 0 by label, 0.5 where both speak.
        own[category == _BENIGN] = 1.0
        own[category == _LESION] = 0.5
        if settings.route == "mean":
            own.fill_(0.5)
        return {"benign": weight * own, "malignant": weight * (1 - own)}

    def _feature_loss(
        self, student: dict[str, Tensor], teacher: dict[str, Tensor], index: Tensor
    ) -> Tensor:
        loss = torch.zeros(len(index), device=index.device)
        if not self.settings.feature_weight:
            return loss
        for pupil, master in self.settings.feature_pairs.items():
            adapted = self.adapters[pupil](student[pupil][index])
            target = teacher[master]
            if target.shape[-2:] != adapted.shape[-2:]:
                target = F.adaptive_avg_pool2d(target.float(), adapted.shape[-2:])
            loss = loss + channel_wise(adapted, target, self.settings.feature_temperature)
        return loss


class _Taps:
    """Reads the outputs of named submodules during a forward pass."""

    def __init__(self, module: nn.Module, names: Iterable[str], who: str) -> None:
        names = list(names)
        offered: dict[str, nn.Module] = {}
        if callable(taps := getattr(module, "feature_taps", None)):
            offered = taps()
        if unknown := [name for name in names if name not in offered]:
            raise InputError(
                f"Expected feature_pairs to name taps of the {who} among "
                f"{', '.join(offered) or 'none (it has no feature_taps)'}, but got {unknown[0]!r}."
            )
        self._modules = {name: offered[name] for name in names}

    @contextmanager
    def reading(self) -> Iterator[dict[str, Tensor]]:
        features: dict[str, Tensor] = {}
        handles = [
            module.register_forward_hook(
                lambda _module, _input, output, name=name: features.__setitem__(name, output)
            )
            for name, module in self._modules.items()
        ]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()
