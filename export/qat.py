"""Quantization-aware training: the trainers' loop, with the float student as a teacher."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_bts.export.quantize import snap_scales
from edge_bts.export.settings import QatSettings
from edge_bts.models import Checkpoint
from edge_bts.trainers.data import Batch, TensorData
from edge_bts.trainers.loop import fit, make_fabric, validate
from edge_bts.trainers.losses import bernoulli_kl
from edge_bts.trainers.settings import AugmentSettings, DistillSettings
from edge_bts.trainers.tasks import DistillTask, SupervisedTask, Task
from edge_bts.trainers.teachers import Network, Teacher

__all__ = ["QatTask", "fine_tune"]


class QatTask(Task):
    """Another task, and beside it the float student: ``L = L_task + λ·T²·KL(float ‖ quantized)``.

    The float student is what the quantized one should be; its logits say so for every pixel,
    where masks alone would let the two drift apart.
    """

    def __init__(self, lesson: Task, reference: Teacher, settings: QatSettings) -> None:
        super().__init__(lesson.network)
        self.lesson = lesson
        self.settings = settings
        # In a dict, so that it is neither trained nor saved with the task.
        self._frozen = {"float": reference}
        self._logits: Tensor | None = None
        lesson.network.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._logits = output

    def prepare(self, train: TensorData) -> None:
        """Prepare the other task."""
        self.lesson.prepare(train)

    def start_epoch(self, epoch: int) -> None:
        """Tell the other task."""
        self.lesson.start_epoch(epoch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the other task with ``self`` added to them and to ``total``."""
        losses = self.lesson(batch)
        logits, self._logits = self._logits, None
        assert logits is not None  # every task calls its network
        spoken, _ = self._frozen["float"](batch.image)
        own = bernoulli_kl(logits, spoken, self.settings.temperature).mean()
        total = losses["total"] + self.settings.self_weight * own
        return {**losses, "total": total, "self": own.detach()}


def fine_tune(
    quantized: nn.Module,
    student: nn.Module,
    checkpoint: Checkpoint,
    data: tuple[TensorData, TensorData],
    settings: QatSettings,
    augment: AugmentSettings,
    teachers: Sequence[Teacher] = (),
    judge: Callable[[nn.Module], float] | None = None,
) -> dict[str, Any]:
    """Fine-tune a quantized model in place, and keep the best state on validation.

    The calibrated state takes part: if no epoch is better, it stays. It stays too if ``judge``
    finds the best epoch no better.

    Args:
        quantized: Of :func:`edge_bts.export.quantize.quantize`.
        student: The float model that it was made from.
        checkpoint: Input scaling of both.
        data: Training and validation images at the student's size, on the CPU.
        settings: Of the loop; 0 epochs only measure.
        augment: Of the augmentation.
        teachers: Benign and malignant, or none.
        judge: How good a model is as it is deployed: at thresholds of its own, in source
            geometry. Asked for the calibrated model and, if it is another, for that of the best
            epoch; epochs are compared at threshold 0.5, which is not where they will work.

    Returns:
        JSON-able: validation metrics ``float``, ``calibrated`` and ``tuned`` (model geometry,
        threshold 0.5), the ``best_epoch`` and the ``kept_epoch`` (0: calibrated) and the
        ``history``.
    """
    train, val = data
    fabric = make_fabric(settings)
    network = Network(quantized, checkpoint.mean, checkpoint.std).to(fabric.device)
    reference = Teacher(student, checkpoint, ()).to(fabric.device)
    kept: dict[str, Any] = {
        "epoch": 0,
        "metrics": validate(network, val, fabric, settings.batch),
        "state": _copied(quantized),
    }
    calibrated = dict(kept)
    to_beat = judge(quantized) if judge else 0.0
    outcome: dict[str, Any] = {
        "float": validate(reference.network, val, fabric, settings.batch),
        "calibrated": kept["metrics"],
        "history": [],
    }

    def save(module: nn.Module, epoch: int, metrics: dict[str, float]) -> None:
        if metrics["dice"] > kept["metrics"]["dice"]:
            kept.update(epoch=epoch, metrics=metrics, state=_copied(module))

    if settings.epochs:
        task = QatTask(_lesson(network, teachers, settings), reference, settings)
        for teacher in teachers:
            teacher.to(fabric.device)
        with tempfile.TemporaryDirectory() as folder:
            result = fit(
                task.to(fabric.device),
                train,
                val,
                settings,
                augment,
                folder=Path(folder),
                save=save,
                fabric=fabric,
                fingerprint="export",
            )
        outcome["history"] = [
            {k: v for k, v in row.items() if k != "images_per_second"} for row in result.history
        ]
    outcome["best_epoch"] = kept["epoch"]
    _restore(quantized, kept["state"])
    if judge and kept["epoch"] and judge(quantized) <= to_beat:
        kept = calibrated
        _restore(quantized, kept["state"])
    return {**outcome, "tuned": kept["metrics"], "kept_epoch": kept["epoch"]}


def _restore(quantized: nn.Module, state: dict[str, Tensor]) -> None:
    quantized.load_state_dict(state)
    quantized.cpu().eval()
    snap_scales(quantized)


def _lesson(network: Network, teachers: Sequence[Teacher], settings: QatSettings) -> Task:
    if not teachers:
        return SupervisedTask(network)
    benign, malignant = teachers
    words = DistillSettings(
        prediction={"kl": settings.teacher_weight},
        temperature=settings.temperature,
        feature={},
        view="same",
    )
    return DistillTask(network, benign, malignant, words)


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
