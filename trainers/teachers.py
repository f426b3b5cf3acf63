"""What teachers say of an image, now or from a recording made before the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_bts.errors import InputError
from edge_bts.models import Checkpoint
from edge_bts.trainers.augment import warp
from edge_bts.trainers.data import Batch, TensorData

__all__ = ["Network", "Recording", "Taps", "Teacher", "Words", "pooled"]

# Logit of what lies outside a warped picture: surely no lesion.
_OUTSIDE = -10.0


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


class Words(NamedTuple):
    """What a teacher says of B images.

    Attributes:
        logits: (B, 1, S, S) float32, at the size of the student's images.
        features: For each tap (B, C, h, w), at the teacher's own resolution or a recorded one.
    """

    logits: Tensor
    features: dict[str, Tensor]


class Teacher:
    """A frozen network with the outputs that distillation reads."""

    def __init__(self, module: nn.Module, checkpoint: Checkpoint, taps: Iterable[str]) -> None:
        self.network = Network(module.eval().requires_grad_(False), checkpoint.mean, checkpoint.std)
        self.imgsz = checkpoint.imgsz
        self.category = checkpoint.category
        self._taps = Taps(module, taps, f"teacher {checkpoint.model}")

    def to(self, device: torch.device) -> Teacher:
        """Move to ``device``, in channels-last layout."""
        self.network.module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Words:
        """Speak about images (B, 1, S, S) in 0..1.

        A teacher sees them at the size that it was trained on: lesions keep their scale.
        """
        size = image.shape[-2:]
        logits, features = self.at_own_size(image)
        return Words(_resized(logits, size), features)

    @torch.no_grad()
    def at_own_size(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, 1, T, T) and features, with T the side that the teacher sees."""
        if image.shape[-1] != self.imgsz:
            mode = "area" if image.shape[-1] > self.imgsz else "bilinear"
            image = F.interpolate(image, (self.imgsz, self.imgsz), mode=mode)
        with self._taps.reading() as features:
            logits = self.network(image).float()
        return logits, dict(features)


class Recording:
    """A teacher's words about every stored square, kept in half precision.

    It spares the teacher's forward pass in every step: augmentation's sampling grid is laid over
    what the teacher said of the square as it is stored. The teacher thus judges the clean image
    where the student sees a changed one; gray changes, which have no such grid, stay unseen by it.

    Args:
        teacher: Who speaks; on the device of ``data``.
        data: The training images.
        listeners: (N,) bool, the images that hear this teacher; the others are not recorded.
        sizes: Height and width to which each tap's features are brought.
        batch: Images at a time.
        autocast: Speak in bfloat16, as in a training step of that precision.
    """

    def __init__(
        self,
        teacher: Teacher,
        data: TensorData,
        listeners: Tensor,
        sizes: Mapping[str, tuple[int, int]],
        batch: int,
        *,
        autocast: bool,
    ) -> None:
        self.device = data.images.device
        chosen = listeners.nonzero()[:, 0]
        self._place = torch.full((len(data),), -1, dtype=torch.int64, device=self.device)
        self._place[chosen] = torch.arange(len(chosen), device=self.device)
        self._tables: dict[str, Tensor] = {}
        for start in range(0, len(chosen), batch):
            images = data.images[chosen[start : start + batch]].float().div_(255)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
                logits, features = teacher.at_own_size(images)
            for tap, size in sizes.items():
                features[tap] = pooled(features[tap], size)
            for name, values in (("logits", logits), *features.items()):
                table = self._table(name, len(chosen), values)
                table[start : start + batch] = values.half().to(table.device)

    def _table(self, name: str, count: int, values: Tensor) -> Tensor:
        if name not in self._tables:
            shape = (count, *values.shape[1:])
            device = self.device
            if device.type == "cuda":
                # Most of the GPU belongs to the training; what does not fit a quarter waits in
                # the host's memory.
                free, _ = torch.cuda.mem_get_info(device)
                if 2 * torch.Size(shape).numel() > free / 4:
                    device = torch.device("cpu")
            self._tables[name] = torch.empty(shape, dtype=torch.float16, device=device)
        return self._tables[name]

    @property
    def bytes(self) -> int:
        """Memory that the recording takes."""
        return sum(table.nbytes for table in self._tables.values())

    def words(self, batch: Batch) -> Words:
        """Repeat what was said of the images of ``batch``, warped as they were.

        All of them must be listeners.
        """
        place = self._place[batch.place]
        heard = {
            name: table[place.to(table.device)].to(self.device).float()
            for name, table in self._tables.items()
        }
        if batch.grid is not None:
            side = batch.grid.shape[1]  # below the recording's where images grow during training
            heard = {
                name: warp(
                    pooled(values, (side, side)) if values.shape[-1] > side else values,
                    batch.grid,
                    fill=_OUTSIDE if name == "logits" else 0.0,
                )
                for name, values in heard.items()
            }
        logits = _resized(heard.pop("logits"), batch.image.shape[-2:])
        return Words(logits, heard)


class Taps:
    """Reads the outputs of named submodules during a forward pass.

    Raises:
        InputError: The module does not offer one of them.
    """

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
        """Yield a dict that a forward pass inside the block fills."""
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


def _resized(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def pooled(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring features (B, C, h, w) to ``size`` by averages over its cells."""
    if features.shape[-2:] == size:
        return features
    return F.adaptive_avg_pool2d(features.float(), size)
