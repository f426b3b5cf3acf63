"""What a step minimises: supervision alone, or with it the words of two teachers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edge_bts.trainers.data import CATEGORIES, Batch, TensorData
from edge_bts.trainers.losses import (
    attention_transfer,
    bernoulli_kl,
    channel_wise,
    dist,
    fitnet,
    pairwise_affinity,
    region_affinity,
    segmentation_loss,
)
from edge_bts.trainers.settings import DistillSettings
from edge_bts.trainers.teachers import Network, Recording, Taps, Teacher, Words, pooled

__all__ = ["DistillTask", "SupervisedTask", "Task"]

_BENIGN, _MALIGNANT, _NORMAL, _LESION = range(len(CATEGORIES))


class Task(nn.Module):
    """What :func:`edge_bts.trainers.loop.fit` trains: the network and how it is taught.

    It is a module, so that one wrapper (mixed precision, gradients over several devices) covers
    the network and whatever trains beside it; only ``network.module`` is saved as the result.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def prepare(self, train: TensorData) -> None:
        """Make what depends on the networks and the data; called once, before training."""

    def start_epoch(self, epoch: int) -> None:
        """Be told which epoch begins, counted from 1."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalars of an augmented batch: minimise ``total``, show the others."""
        raise NotImplementedError


class SupervisedTask(Task):
    """Learn masks: ``L = L_seg``.

    Args:
        network: What learns.
        hard_normals: See :func:`segmentation_loss`.
    """

    def __init__(self, network: Network, hard_normals: float = 1.0) -> None:
        super().__init__(network)
        self.hard_normals = hard_normals

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``total``, the mean of :func:`segmentation_loss`."""
        logits = self.network(batch.image)
        return {"total": segmentation_loss(logits, batch.mask, self.hard_normals).mean()}


class DistillTask(Task):
    """Dual-path joint distillation of two teachers into one student.

    ``L = L_seg + v·(Σ λ_i·P_i + Σ λ_j·Σ_k F_j(A_k(F_s,k), F_t,k))``: the *prediction path* compares
    logits, the *feature path* the features of paired stages, by the losses and weights that the
    settings name. ``A_k`` are trained 1x1 adapters, made only for losses that compare channel by
    channel; they stay behind when the student is saved. ``v`` rises from 0 to 1 in the warm-up.

    Who is heard: with route ``label`` a benign image hears teacher B and a malignant one teacher
    M; with ``mean`` both speak and their losses are averaged; with ``confidence`` they are
    weighted by how right each is about this image, ``1 - softmax(L_seg(teacher))`` (CA-MKD, Zhang
    et al. 2022, arXiv 2201.00007, eq. 3). A lesion of unknown class hears both. Normals have no
    teacher: a class teacher never saw one. Each class has its own loudness.

    Args:
        network: The student.
        benign: Teacher B.
        malignant: Teacher M; the same object as ``benign`` for one joint teacher.
        settings: Losses, weights, route.
    """

    def __init__(
        self, network: Network, benign: Teacher, malignant: Teacher, settings: DistillSettings
    ) -> None:
        super().__init__(network)
        self.settings = settings
        # Not registered as submodules: teachers are neither trained nor saved with the student.
        self.teachers = {"benign": benign}
        if malignant is not benign:
            self.teachers["malignant"] = malignant
        self._pairs = settings.read_pairs
        self._taps = Taps(network.module, self._pairs, "student")
        self._recordings: dict[str, Recording] = {}
        self._volume = 1.0
        self.adapters = nn.ModuleDict()

    @torch.no_grad()
    def prepare(self, train: TensorData) -> None:
        """Make the adapters, whose channel counts one forward pass tells, and the recordings."""
        image = next(train.in_order(1)).image
        was_training = self.network.training
        self.network.eval()
        with self._taps.reading() as student:
            self.network(image)
        self.network.train(was_training)
        words = self.teachers["benign"](image)
        if not _CHANNEL_BY_CHANNEL.isdisjoint(self.settings.feature):
            self.adapters = nn.ModuleDict(
                {
                    pupil: nn.Conv2d(student[pupil].shape[1], words.features[master].shape[1], 1)
                    for pupil, master in self._pairs.items()
                }
            ).to(image.device)
        if self.settings.view == "clean":
            sizes = {t: _size(student[s]) for s, t in self._pairs.items()}
            self._recordings = {
                name: Recording(
                    self.teachers[name],
                    train,
                    share > 0,
                    sizes,
                    self.settings.loop.batch,
                    autocast=self.settings.loop.precision == "bf16",
                )
                for name, share in self._shares(train.categories).items()
            }

    def start_epoch(self, epoch: int) -> None:
        """Set how loud the teachers are in this epoch."""
        self._volume = min(1.0, epoch / (self.settings.warmup_epochs + 1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``total`` and its parts ``segmentation``, ``prediction`` and ``feature``."""
        with self._taps.reading() as features:
            logits = self.network(batch.image)
        segmentation = segmentation_loss(logits, batch.mask, self.settings.hard_normals).mean()
        prediction = torch.zeros((), device=logits.device)
        # Adapters take part in every step, if only with 0: several devices wait for each other.
        feature = sum((0 * p.sum() for p in self.adapters.parameters()), prediction)
        shares = self._shares(batch.category)
        heard = {name: self._hear(name, batch, share > 0) for name, share in shares.items()}
        if self.settings.route == "confidence" and len(heard) > 1:
            self._weigh_by_confidence(shares, heard, batch.mask)
        loudness = self._loudness(batch.category) / len(batch.image)
        for name, (index, words) in heard.items():
            if words is None:
                continue
            weight = (loudness * shares[name])[index]
            prediction = prediction + (weight * self._predictions(logits[index], words)).sum()
            if self._pairs:
                student = {tap: values[index] for tap, values in features.items()}
                loss = self._features(student, words, batch.mask[index])
                feature = feature + (weight * loss).sum()
        return {
            "total": segmentation + self._volume * (prediction + feature),
            "segmentation": segmentation.detach(),
            "prediction": prediction.detach(),
            "feature": feature.detach(),
        }

    def _loudness(self, category: Tensor) -> Tensor:
        """Return the weight of each image's distillation loss, (B,)."""
        weight = torch.zeros(len(CATEGORIES), device=category.device)
        weight[_BENIGN] = self.settings.benign_weight
        weight[_MALIGNANT] = self.settings.malignant_weight
        weight[_LESION] = 1.0
        return weight[category]

    def _shares(self, category: Tensor) -> dict[str, Tensor]:
        """Return the share of each teacher in what each image hears, (B,) in 0..1; normals 0."""
        lesion = (category != _NORMAL).float()
        if len(self.teachers) == 1:
            return {"benign": lesion}
        if self.settings.route != "label":
            return {"benign": lesion / 2, "malignant": lesion / 2}
        own = torch.zeros(len(CATEGORIES), device=category.device)
        own[_BENIGN], own[_LESION] = 1.0, 0.5
        return {"benign": own[category], "malignant": lesion - own[category]}

    def _hear(self, name: str, batch: Batch, listens: Tensor) -> tuple[Tensor, Words | None]:
        """Return the places of the listeners in the batch and what they hear."""
        index = listens.nonzero()[:, 0]
        if not len(index):
            return index, None
        if recording := self._recordings.get(name):
            return index, recording.words(batch.at(index))
        return index, self.teachers[name](batch.image[index])

    @staticmethod
    def _weigh_by_confidence(
        shares: dict[str, Tensor], heard: dict[str, tuple[Tensor, Words | None]], mask: Tensor
    ) -> None:
        loss = {
            name: segmentation_loss(words.logits, mask[index])
            for name, (index, words) in heard.items()
            if words is not None
        }
        if loss:
            # Of two teachers, 1 - softmax of the one's loss is the softmax of the other's.
            confidence = torch.softmax(-torch.stack(list(loss.values())), 0)
            for name, value in zip(loss, confidence, strict=True):
                index = heard[name][0]
                shares[name] = shares[name].index_put((index,), value)

    def _predictions(self, logits: Tensor, words: Words) -> Tensor:
        settings = self.settings
        loss = torch.zeros(len(logits), device=logits.device)
        for name, weight in settings.prediction.items():
            loss = loss + weight * _PREDICTION[name](logits, words.logits, settings.temperature)
        return loss

    def _features(self, student: dict[str, Tensor], words: Words, mask: Tensor) -> Tensor:
        loss = torch.zeros(len(mask), device=mask.device)
        temperature = self.settings.feature_temperature
        for pupil, master in self._pairs.items():
            own = student[pupil]
            target = pooled(words.features[master], _size(own))
            adapted = self.adapters[pupil](own) if self.adapters else own
            for name, weight in self.settings.feature.items():
                values = adapted if name in _CHANNEL_BY_CHANNEL else own
                loss = loss + weight * _FEATURE[name](values, target, mask, temperature)
        return loss


def _size(features: Tensor) -> tuple[int, int]:
    return features.shape[-2], features.shape[-1]


_PREDICTION: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl": bernoulli_kl,
    "dist": dist,
}
_FEATURE: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "channel_wise": lambda s, t, _mask, temperature: channel_wise(s, t, temperature),
    "fitnet": lambda s, t, _mask, _temperature: fitnet(s, t),
    "attention": lambda s, t, _mask, _temperature: attention_transfer(s, t),
    "pairwise": lambda s, t, _mask, _temperature: pairwise_affinity(s, t),
    "region": lambda s, t, mask, _temperature: region_affinity(s, t, mask),
}
# These need as many channels as the teacher has; the others compare maps or relations.
_CHANNEL_BY_CHANNEL = frozenset({"channel_wise", "fitnet"})
