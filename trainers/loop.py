"""The training loop: one function that reads top to bottom.

The same loop trains teachers, distils students and fine-tunes quantized ones; what differs is
the :class:`~edge_bts.trainers.tasks.Task`. On one device it runs as it is, on several under
``torchrun`` or ``loop.devices``, by Lightning Fabric.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.trainers.augment import Augment
from edge_bts.trainers.data import CATEGORIES, TensorData
from edge_bts.trainers.log import RunLog
from edge_bts.trainers.settings import AugmentSettings, LoopSettings
from edge_bts.trainers.state import load_state, save_state
from edge_bts.trainers.tasks import Network, Task

__all__ = ["FitResult", "fit", "make_fabric", "validate"]

Save = Callable[[nn.Module, int, dict[str, float]], None]


@dataclass
class FitResult:
    """How a training ended.

    Attributes:
        epoch: The kept epoch, counted from 1.
        metrics: Validation metrics of the kept epoch.
        history: One row an epoch: losses, validation metrics, learning rate, images a second.
        stopped_early: Validation had not improved for ``patience`` epochs.
    """

    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_early: bool = False


def make_fabric(settings: LoopSettings) -> Fabric:
    """Return a launched Fabric for ``settings``.

    Raises:
        EnvironmentMismatchError: ``device`` is cuda and there is none.
    """
    if settings.device not in ("auto", "cpu", "cuda"):
        raise InputError(f"Expected device auto, cpu or cuda, but got {settings.device!r}.")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentMismatchError(
            "Expected a CUDA device, but torch finds none; use --device cpu or install a CUDA "
            "build of torch."
        )
    fabric = Fabric(
        accelerator="cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu",
        devices=settings.devices,
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def fit(
    task: Task,
    train: TensorData,
    val: TensorData,
    settings: LoopSettings,
    augment: AugmentSettings,
    *,
    folder: Path,
    save: Save,
    fabric: Fabric,
    fingerprint: str,
    resume: bool = False,
    log: RunLog | None = None,
) -> FitResult:
    """Train ``task`` and keep the epoch with the best validation Dice.

    Every epoch draws its order and its augmentation from ``(seed, epoch)`` and ends in a state
    file, so a run that is interrupted and resumed gives the weights of one that was not.

    Args:
        task: What to train; on ``fabric``'s device already.
        train: Images to learn from.
        val: Images that decide which epoch is kept and when to stop.
        settings: The loop's settings.
        augment: The augmentation's settings.
        folder: Where the state, the log and the curves go.
        save: Called with the network, the epoch and its metrics whenever validation improves.
        fabric: From :func:`make_fabric`.
        fingerprint: Hash of everything that must be equal for a resume.
        resume: Continue from the state in ``folder``.
        log: Where progress goes; default a new :class:`RunLog` in ``folder``.

    Raises:
        InputError: The state is missing, truncated or of another run; or the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    task.prepare(next(train.in_order(1)).image)
    task.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _make_optimizer(task, settings)
    result, since_best, first = FitResult(), 0, 1
    if resume:
        state = load_state(folder, fingerprint)
        task.load_state_dict(state["task"])
        optimizer.load_state_dict(state["optimizer"])
        result = FitResult(**state["result"])
        since_best, first = state["since_best"], state["epoch"] + 1
    model: Any = fabric.setup_module(task)
    wrapped: Any = fabric.setup_optimizers(optimizer)
    augmentation = Augment(augment).to(fabric.device)
    steps = train.steps(settings.batch, fabric.world_size)
    log = log or RunLog(folder, settings.epochs, main=fabric.is_global_zero)

    with log.running(result.history):
        for epoch in range(first, settings.epochs + 1):
            if since_best >= settings.patience:
                result.stopped_early = True
                break
            sums: dict[str, Any] = {}
            started, images = time.perf_counter(), 0
            torch.manual_seed(_epoch_seed(settings.seed, epoch, fabric.global_rank))
            order = torch.Generator().manual_seed(_epoch_seed(settings.seed, epoch, 0))
            model.train()
            batches = train.shuffled(settings.batch, order, fabric.global_rank, fabric.world_size)
            for step, batch in enumerate(batches):
                lr = _learning_rate(settings, (epoch - 1) * steps + step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with torch.no_grad():
                    image, mask = augmentation(batch.image, batch.mask)
                losses = model(image, mask, batch.category)
                fabric.backward(losses["total"])
                norm = fabric.clip_gradients(
                    model, wrapped, max_norm=settings.clip, error_if_nonfinite=False
                )
                wrapped.step()
                wrapped.zero_grad(set_to_none=True)
                for name, value in (*losses.items(), ("gradient_norm", norm)):
                    # Stays on the device: reading it here would wait for the step.
                    sums[name] = sums.get(name, 0) + value.detach()
                images += len(image) * fabric.world_size
                log.step(step + 1, steps)
            seconds = time.perf_counter() - started
            row = {f"train/{name}": float(value) / steps for name, value in sums.items()}
            if not math.isfinite(row["train/total"] + row["train/gradient_norm"]):
                raise InputError(
                    f"Expected finite losses and gradients, but epoch {epoch} gave "
                    f"{row['train/total']:g} and {row['train/gradient_norm']:g}; lower loop.lr or "
                    "set loop.precision to fp32, and train again with --force."
                )
            metrics = validate(task.network, val, fabric, settings.batch)
            row |= {f"val/{name}": value for name, value in metrics.items()}
            row |= {"epoch": epoch, "lr": lr, "images_per_second": images / seconds}
            result.history.append(row)
            if metrics["dice"] > result.metrics.get("dice", -1.0):
                result.epoch, result.metrics, since_best = epoch, metrics, 0
                if fabric.is_global_zero:
                    save(task.network.module, epoch, metrics)
            else:
                since_best += 1
            if fabric.is_global_zero:
                save_state(
                    folder,
                    {
                        "fingerprint": fingerprint,
                        "epoch": epoch,
                        "since_best": since_best,
                        "task": task.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "result": vars(result),
                    },
                )
            log.epoch(result.history, result.epoch)
    return result


@torch.no_grad()
def validate(network: Network, data: TensorData, fabric: Fabric, batch: int) -> dict[str, float]:
    """Return metrics of ``network`` on ``data`` in model geometry, at threshold 0.5.

    ``dice`` is the mean over images with a lesion (0 where there is none), with
    ``dice_benign`` and ``dice_malignant`` where such images are; ``false_positive_rate`` is the
    share of normals with any predicted pixel.
    """
    was_training = network.training
    network.eval()
    scores: list[Tensor] = []
    found: list[Tensor] = []
    for part in data.in_order(batch):
        with fabric.autocast():
            predicted = network(part.image).float() > 0
        truth = part.mask > 0
        overlap = (predicted & truth).flatten(1).sum(1)
        area = predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
        scores.append(2 * overlap / area.clamp(min=1))
        found.append(predicted.flatten(1).any(1))
    network.train(was_training)
    dice, positive = torch.cat(scores), torch.cat(found).float()
    lesion = (data.masks > 0).flatten(1).any(1)
    metrics = {"dice": float(dice[lesion].mean()) if lesion.any() else 0.0}
    for index, name in enumerate(CATEGORIES[:2]):
        if (chosen := lesion & (data.categories == index)).any():
            metrics[f"dice_{name}"] = float(dice[chosen].mean())
    if (~lesion).any():
        metrics["false_positive_rate"] = float(positive[~lesion].mean())
    return metrics


def _make_optimizer(task: Task, settings: LoopSettings) -> torch.optim.Optimizer:
    # Biases, batch norms and quantizer ranges are few and set scales: decay would only bias them.
    decayed = [p for p in task.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in task.parameters() if p.requires_grad and p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.lr,
    )


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    return (seed * 1_000_003 + epoch) * 1_009 + rank


def _learning_rate(settings: LoopSettings, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to ``min_lr``; a function of the step, so nothing to resume."""
    warmup, total = settings.warmup_epochs * steps, settings.epochs * steps
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1.0, total - warmup)
    return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (
        1 + math.cos(math.pi * min(1.0, progress))
    )
