"""What a training run can be told; defaults are those of the shipped students."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_bts.config import Settings
from edge_bts.models.registry import ModelSpec

__all__ = ["AugmentSettings", "DistillSettings", "LoopSettings", "TrainSettings"]


class AugmentSettings(Settings):
    """Random changes of a training batch; ranges in the unit of each name."""

    flip: float = Field(0.5, ge=0, le=1)  # probability; left and right are alike, up and down not
    rotate_degrees: float = Field(15.0, ge=0, le=180)  # the probe is held at a slight angle
    translate: float = Field(0.10, ge=0, le=0.5)  # fraction of the side
    scale: tuple[float, float] = (0.8, 1.25)  # depth setting of the machine
    shear_degrees: float = Field(5.0, ge=0, le=45)  # compression by the probe
    affine: float = Field(0.9, ge=0, le=1)  # probability of the four above together
    gamma: tuple[float, float] = (0.7, 1.4)  # log compression and display curve
    brightness: tuple[float, float] = (0.8, 1.2)  # overall gain
    contrast: tuple[float, float] = (0.7, 1.3)  # dynamic range
    noise: float = Field(0.03, ge=0, le=1)  # standard deviation, image in 0..1
    intensity: float = Field(0.5, ge=0, le=1)  # probability of each intensity change


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
    device: str = "auto"  # auto, cpu, cuda
    devices: int = Field(1, ge=1)
    seed: int = 0


class TrainSettings(Settings):
    """One supervised training: ``edge-bts train``, section ``[train]`` of a recipe."""

    model: ModelSpec = ModelSpec(name="attention_unet", options={"width": 64})
    imgsz: int = Field(256, ge=32, multiple_of=32)
    # Mean and standard deviation of v/255 over letterboxed BUSI training frames (0.268, 0.238).
    mean: float = 0.27
    std: float = Field(0.24, gt=0)
    loop: LoopSettings = LoopSettings()
    augment: AugmentSettings = AugmentSettings()


class DistillSettings(TrainSettings):
    """The dual-path joint distillation: ``edge-bts distill``, section ``[distill]``."""

    model: ModelSpec = ModelSpec(name="simplified_unet")
    prediction_weight: float = Field(0.5, ge=0)  # λ_p of the Bernoulli KL on logits
    temperature: float = Field(2.0, gt=0)  # T of the prediction path
    feature_weight: float = Field(0.5, ge=0)  # λ_f of the channel-wise distillation
    feature_temperature: float = Field(2.0, gt=0)
    # Student tap to teacher tap; stages of like resolution when both see their own input size.
    feature_pairs: dict[str, str] = Field(
        default_factory=lambda: {"decoder1": "decoder1", "decoder2": "decoder2"}
    )
    route: Literal["label", "mean"] = "label"  # label: each image hears its class's teacher
    # Weight of a class's distillation loss: malignant images are the fewer and the harder ones.
    benign_weight: float = Field(1.0, ge=0)
    malignant_weight: float = Field(1.5, ge=0)
