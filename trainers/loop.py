"""The training loop: one function that reads top to bottom.

The same loop trains teachers, distils students and fine-tunes quantized ones; what differs is
the :class:`~edge_bts.trainers.tasks.Task`. On one device it runs as it is, on several under
``torchrun`` or ``loop.devices``, by Lightning Fabric.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor, nn

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.trainers.augment import Augment
from edge_bts.trainers.data import CATEGORIES, TensorData
from edge_bts.trainers.distributed import first_alone, whole_batch_norm
from edge_bts.trainers.log import RunLog
from edge_bts.trainers.settings import AugmentSettings, LoopSettings
from edge_bts.trainers.state import load_state, remove_leftovers, save_state
from edge_bts.trainers.tasks import Task
from edge_bts.trainers.teachers import Network

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
    """Return a launched Fabric for ``settings``; under ``torchrun`` that decides how many devices.

    On CUDA, fp32 multiplies in TF32 and cuDNN chooses its kernels by trying them: all shapes are
    fixed, so it pays. Runs repeat bit for bit on the CPU only.

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
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    devices, machines = settings.devices, 1
    if torch.distributed.is_torchelastic_launched():
        # Fabric would take loop.devices for the truth and train as many runs as processes.
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        machines = int(os.environ["WORLD_SIZE"]) // devices
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=machines,
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
    sizes: Sequence[int] = (),
    resume: bool = False,
    log: RunLog | None = None,
) -> FitResult:
    """Train ``task`` and keep the epoch with the best validation Dice.

    Every epoch draws its order and its augmentation from ``(seed, epoch)`` and ends in a state
    file, or those epochs do that lie ``state_seconds`` apart. So a run that is interrupted and
    resumed gives, on a CPU with as many threads, the weights of one that was not; with another
    number of threads it says so and goes on. The state is the last file of an epoch: a run that
    was killed does again what came after it.

    With N processes a step takes N batches, and losses, batch norms, metrics and decisions are
    those of one process with a batch N times as large. Only augmentation differs: each process
    draws its own.

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
        sizes: Side of the images in each epoch (progressive resizing); default that of ``train``.
            Below it an epoch is validated at its own side, is never kept and uses up no patience.
        resume: Continue from the state in ``folder``.
        log: Where progress goes; default a new :class:`RunLog` in ``folder``.

    Raises:
        InputError: The state is missing, truncated or of another run; there are fewer images
            than processes; or a loss or gradient is not finite: on the CPU at once, on CUDA, where
            reading a value waits for it, up to nine steps later. What earlier epochs left stays.
    """
    if len(train) < fabric.world_size:
        raise InputError(
            f"Expected at least one training image for each of {fabric.world_size} processes, but "
            f"got {len(train)}; start fewer."
        )
    first_alone(fabric, remove_leftovers, folder)
    torch.manual_seed(settings.seed)
    task.prepare(train)
    task.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _make_optimizer(task, settings)
    result, since_best, first = FitResult(), 0, 1
    if resume:
        state = first_alone(fabric, load_state, folder, fingerprint, fabric.world_size)
        task.load_state_dict(state["task"])
        optimizer.load_state_dict(state["optimizer"])
        result = FitResult(**state["result"])
        since_best, first = state["since_best"], state["epoch"] + 1
        if (threads := state["threads"]) != torch.get_num_threads() and fabric.is_global_zero:
            print(
                f"Resuming with {torch.get_num_threads()} threads what began with {threads}: sums "
                "are rounded in another order, so the result differs from an unbroken run's in "
                f"its last bits. OMP_NUM_THREADS={threads} gives the same bits."
            )
    if settings.compile:
        task.network.module.compile()
    model: Any = fabric.setup_module(task)
    wrapped: Any = fabric.setup_optimizers(optimizer)
    augmentation = Augment(augment).to(fabric.device)
    steps = train.steps(settings.batch, fabric.world_size)
    log = log or RunLog(folder, settings.epochs, main=fabric.is_global_zero)
    full = train.imgsz
    sizes = sizes or [full] * settings.epochs
    seen, judged = train, val  # at the side of the epoch
    stored = -math.inf

    with log.running(result.history), whole_batch_norm(task, fabric):
        for epoch in range(first, settings.epochs + 1):
            if since_best >= settings.patience:
                result.stopped_early = True
                break
            if (side := sizes[epoch - 1]) != seen.imgsz:
                seen, judged = train.resized(side), val.resized(side)
            losses = _EpochLosses(fabric, epoch)
            started, images = time.perf_counter(), 0
            torch.manual_seed(_epoch_seed(settings.seed, epoch, fabric.global_rank))
            order = torch.Generator().manual_seed(_epoch_seed(settings.seed, epoch, 0))
            task.start_epoch(epoch)
            model.train()
            batches = seen.shuffled(settings.batch, order, fabric.global_rank, fabric.world_size)
            for step, batch in enumerate(batches):
                lr = _learning_rate(settings, (epoch - 1) * steps + step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with torch.no_grad():
                    batch = batch._replace(**augmentation(batch.image, batch.mask)._asdict())
                parts = model(batch)
                fabric.backward(parts["total"])
                norm = fabric.clip_gradients(
                    model, wrapped, max_norm=settings.clip, error_if_nonfinite=False
                )
                losses.add({**parts, "gradient_norm": norm})
                wrapped.step()
                wrapped.zero_grad(set_to_none=True)
                images += len(batch.place) * fabric.world_size
                log.step(step + 1, steps)
            row = {f"train/{name}": value for name, value in losses.means().items()}
            seconds = time.perf_counter() - started
            metrics = validate(task.network, judged, fabric, settings.batch)
            row |= {f"val/{name}": value for name, value in metrics.items()}
            row |= {"epoch": epoch, "lr": lr, "images_per_second": images / seconds, "imgsz": side}
            result.history.append(row)
            if side < full:
                pass  # its Dice is that of an easier or a harder task
            elif metrics["dice"] > result.metrics.get("dice", -1.0):
                result.epoch, result.metrics, since_best = epoch, metrics, 0
                first_alone(fabric, save, task.network.module, epoch, metrics)
            else:
                since_best += 1
            first_alone(fabric, log.epoch, result.history, result.epoch)
            # Where an epoch takes a second, writing the state of a large network would take more.
            finished = epoch == settings.epochs or since_best >= settings.patience
            if not finished and time.monotonic() - stored < settings.state_seconds:
                continue
            stored = time.monotonic()
            state = {
                "fingerprint": fingerprint,
                "processes": fabric.world_size,
                "threads": torch.get_num_threads(),
                "epoch": epoch,
                "since_best": since_best,
                "task": task.state_dict(),
                "optimizer": optimizer.state_dict(),
                "result": vars(result),
            }
            first_alone(fabric, save_state, folder, state)
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
    dice = torch.zeros(len(data), device=fabric.device)
    positive = torch.zeros(len(data), device=fabric.device)
    # Every process fills in its own images, and the sum over all has no gaps.
    for part in islice(data.in_order(batch), fabric.global_rank, None, fabric.world_size):
        with fabric.autocast():
            predicted = network(part.image).float() > 0
        truth = part.mask > 0
        overlap = (predicted & truth).flatten(1).sum(1)
        area = predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
        dice[part.place] = 2 * overlap / area.clamp(min=1)
        positive[part.place] = predicted.flatten(1).any(1).float()
    network.train(was_training)
    dice, positive = (fabric.all_reduce(v, reduce_op="sum") for v in (dice, positive))  # type: ignore[assignment]
    lesion = (data.masks > 0).flatten(1).any(1)
    metrics = {"dice": float(dice[lesion].mean()) if lesion.any() else 0.0}
    for index, name in enumerate(CATEGORIES[:2]):
        if (chosen := lesion & (data.categories == index)).any():
            metrics[f"dice_{name}"] = float(dice[chosen].mean())
    if (~lesion).any():
        metrics["false_positive_rate"] = float(positive[~lesion].mean())
    return metrics


class _EpochLosses:
    """The losses of an epoch's steps, averaged over processes and steps.

    Raises:
        InputError: From ``add`` or ``means``: a value is not finite.
    """

    def __init__(self, fabric: Fabric, epoch: int) -> None:
        self._fabric = fabric
        self._epoch = epoch
        # To read a value of a GPU is to wait for it, and then the GPU waits for us.
        self._steps_a_look = 10 if fabric.device.type == "cuda" else 1
        self._unread: list[Tensor] = []
        self._steps = 0
        self._sums: dict[str, float] = {}

    def add(self, losses: dict[str, Any]) -> None:
        """Add the scalars of a step; the same names every time."""
        self._sums = self._sums or dict.fromkeys(losses, 0.0)
        values = torch.stack([value.detach().float() for value in losses.values()])
        # Over all processes, so that all of them stop at the same step.
        self._unread.append(self._fabric.all_reduce(values))  # type: ignore[arg-type]
        if len(self._unread) == self._steps_a_look:
            self._look()

    def means(self) -> dict[str, float]:
        """Return the mean of each loss."""
        self._look()
        return {name: total / self._steps for name, total in self._sums.items()}

    def _look(self) -> None:
        rows = torch.stack(self._unread).tolist() if self._unread else []
        self._unread.clear()
        for values in rows:
            self._steps += 1
            step = dict(zip(self._sums, values, strict=True))
            if bad := [name for name, value in step.items() if not math.isfinite(value)]:
                # The total follows its parts, the gradient all of them.
                name = next((n for n in bad if n not in ("total", "gradient_norm")), bad[0])
                raise InputError(
                    f"Expected finite losses and gradients, but {name} is {step[name]:g} at step "
                    f"{self._steps} of epoch {self._epoch}; lower loop.lr or set loop.precision to "
                    "fp32, and train again with --force."
                )
            for name, value in step.items():
                self._sums[name] += value


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
        fused=next(task.parameters()).is_cuda,  # one kernel instead of one for each weight
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
