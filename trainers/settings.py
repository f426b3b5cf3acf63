"""What a training run can be told; defaults are those of the shipped students."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge_bts.config import Settings
from edge_bts.models.registry import ModelSpec
from edge_bts.trainers.augment.settings import AugmentSettings

__all__ = ["AugmentSettings", "DistillSettings", "LoopSettings", "TrainSettings"]

PredictionLoss = Literal["kl", "dist"]
FeatureLoss = Literal["channel_wise", "fitnet", "attention", "pairwise", "region"]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]

_PREDICTION: dict[PredictionLoss, float] = {"kl": 0.5}
_FEATURE: dict[FeatureLoss, float] = {"channel_wise": 0.5}


class LoopSettings(Settings):
    """The optimisation loop."""

    epochs: int = Field(60, ge=1)
    batch: int = Field(16, ge=1)  # images a step and device
    lr: float = Field(2e-3, gt=0)  # peak; AdamW
    min_lr: float = Field(1e-5, ge=0)  # end of the cosine
    warmup_epochs: float = Field(2.0, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    clip: float = Field(1.0, gt=0)  # norm of the gradient; fresh batch norms give rare huge steps
    patience: int = Field(30, ge=1)  # epochs without a better validation Dice before the stop
    precision: Literal["fp32", "bf16"] = "bf16"  # bf16: autocast, weights stay fp32
    # torch.compile the network; not with a feature loss. Off: on a CPU of two threads the student
    # in bf16 trains at 33 images/s compiled and 41 as it is.
    compile: bool = False
    device: str = "auto"  # auto, cpu, cuda
    devices: int = Field(1, ge=1)
    # Least time between two states to resume from; 0: one an epoch.
    state_seconds: float = Field(0.0, ge=0)
    seed: int = 0


class TrainSettings(Settings):
    """One supervised training: ``edge-bts train``, section ``[train]`` of a recipe."""

    model: ModelSpec = ModelSpec(name="attention_unet", options={"width": 64})
    imgsz: int = Field(256, ge=32, multiple_of=32)
    # Progressive resizing: side in pixels to the share of the epochs that is trained at it, the
    # smallest first; the rest at imgsz. Early epochs learn what is coarse, at a part of the cost.
    progressive: dict[int, Share] = Field(default_factory=dict)
    # Mean and standard deviation of v/255 over letterboxed BUSI training frames (0.268, 0.238).
    mean: float = 0.27
    std: float = Field(0.24, gt=0)
    # Images without lesion pay for their hardest pixels, this share of all: over all pixels a
    # small false find costs next to nothing.
    hard_normals: float = Field(0.05, gt=0, le=1)
    loop: LoopSettings = LoopSettings()
    augment: AugmentSettings = AugmentSettings()

    def epoch_sizes(self) -> list[int]:
        """Return the side of the training images of each epoch."""
        sizes: list[int] = []
        share = 0.0
        for side in sorted(self.progressive):
            share += self.progressive[side]
            sizes += [side] * (round(share * self.loop.epochs) - len(sizes))
        return sizes + [self.imgsz] * (self.loop.epochs - len(sizes))

    @model_validator(mode="after")
    def _check_progressive(self) -> TrainSettings:
        if bad := [s for s in self.progressive if s < 32 or s % 32 or s >= self.imgsz]:
            raise ValueError(
                f"progressive expects sides that are multiples of 32 below imgsz={self.imgsz}, "
                f"but got {bad[0]}"
            )
        # An epoch at a smaller side is never kept, so the last one must be at imgsz.
        if self.epoch_sizes()[-1] != self.imgsz:
            raise ValueError(
                "progressive expects to leave at least the last epoch to imgsz, but its shares add "
                f"up to {sum(self.progressive.values()):g} of {self.loop.epochs} epochs"
            )
        return self


class DistillSettings(TrainSettings):
    """The dual-path joint distillation: ``edge-bts distill``, section ``[distill]``."""

    model: ModelSpec = ModelSpec(name="simplified_unet")
    # Weights of the losses on logits (prediction path) and on features (feature path).
    prediction: dict[PredictionLoss, Weight] = Field(default_factory=lambda: dict(_PREDICTION))
    temperature: float = Field(2.0, gt=0)  # T of the prediction path
    feature: dict[FeatureLoss, Weight] = Field(default_factory=lambda: dict(_FEATURE))
    feature_temperature: float = Field(2.0, gt=0)  # of channel_wise
    # Student tap to teacher tap; stages of like resolution when both see their own input size.
    feature_pairs: dict[str, str] = Field(
        default_factory=lambda: {"decoder1": "decoder1", "decoder2": "decoder2"}
    )
    route: Literal["label", "mean", "confidence"] = "label"  # label: the paper's idea
    # What the teachers judge. clean: the square as it is stored, recorded once before training
    # and warped as the student's image is; same: the student's own augmented image, every step.
    view: Literal["clean", "same"] = "clean"
    warmup_epochs: int = Field(0, ge=0)  # both paths rise from 0 over these epochs
    # Weight of a class's distillation loss: malignant images are the fewer and the harder ones.
    benign_weight: float = Field(1.0, ge=0)
    malignant_weight: float = Field(1.5, ge=0)

    @property
    def read_pairs(self) -> dict[str, str]:
        """The ``feature_pairs`` that are read: none without a feature loss."""
        return self.feature_pairs if self.feature else {}

    @model_validator(mode="after")
    def _refuse_compiled_taps(self) -> DistillSettings:
        # The hooks that read features during a forward pass are lost in a compiled one.
        if self.loop.compile and self.feature:
            raise ValueError("loop.compile goes with no feature loss: set one of them off")
        return self
