"""What an export can be told; defaults are those of the shipped bundles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_bts.config import Settings
from edge_bts.export.gates import GateSettings
from edge_bts.export.latency import LatencySettings
from edge_bts.trainers.settings import AugmentSettings, LoopSettings

__all__ = ["ExportSettings", "QatSettings", "QuantizeSettings", "SensitivitySettings"]


class QuantizeSettings(Settings):
    """Which layers become INT8, and from what their ranges are taken."""

    calibration_images: int = Field(200, ge=1)  # training images, drawn to cover them
    # Narrower convolutions stay float: INT8 kernels work on 16 or 32 channels at a time, and
    # those that are narrower here (stem, psi of the gates, head) are the sensitive ones.
    min_channels: int = Field(16, ge=1)
    # Module names (shell patterns) that shall stay float besides, found by sensitivity.
    keep_float: tuple[str, ...] = ()


class QatSettings(LoopSettings):
    """The fine-tune with quantizers in place: the loop of the trainers, small steps."""

    epochs: int = Field(3, ge=0)  # 0: the calibrated model as it is (PTQ)
    lr: float = Field(5e-5, gt=0)  # 1/40 of training: weights move by less than a quantum
    min_lr: float = Field(1e-6, ge=0)
    warmup_epochs: float = Field(0.25, ge=0)  # AdamW's first steps are the largest in effect
    weight_decay: float = Field(0.0, ge=0)  # would shrink quantizer ranges too
    # Quantized values have 8 significant bits, a bfloat16 has 8: their product would be rounded.
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"  # NNCF compiles an extension with nvcc where it finds CUDA
    self_weight: float = Field(1.0, ge=0)  # KL to the float student's own logits
    teacher_weight: float = Field(0.25, ge=0)  # KL to the class teachers, where they are given
    temperature: float = Field(2.0, gt=0)


class SensitivitySettings(Settings):
    """Which part of the network loses Dice in INT8: ``edge-bts export --sensitivity``."""

    groups: tuple[str, ...] = ()  # shell patterns of those to measure; none: all
    images: int = Field(100, ge=2)  # lesion images of the validation part
    calibration_images: int = Field(50, ge=1)  # 2 quantizations a group: fewer than an export
    # Dice that a group must give back, in the mean and as a 95 % bound above 0, to be proposed.
    recovery: float = Field(0.002, ge=0)


class ExportSettings(Settings):
    """One export: ``edge-bts export``, section ``[export]`` of a recipe."""

    precision: Literal["fp32", "fp16", "int8"] = "int8"
    version: str = "1"  # of the model, as its maker counts; goes into the manifest
    seed: int = 0  # calibration draw, order and augmentation of the fine-tune
    opset: Literal[19, 20] = 19  # 19: first with FP16 scales; 20: last of TensorRT 10.0's parser
    quantize: QuantizeSettings = QuantizeSettings()
    qat: QatSettings = QatSettings()
    gates: GateSettings = GateSettings()
    latency: LatencySettings = LatencySettings()
    sensitivity: SensitivitySettings = SensitivitySettings()
    # Milder than in training: the ranges should be those of images as they come.
    augment: AugmentSettings = AugmentSettings.off(
        flip=0.5,
        affine=0.5,
        rotate_degrees=8.0,
        translate=0.05,
        scale=(0.9, 1.1),
        gain=0.5,
        gain_db=4.0,
        gray_map=0.5,
        gamma=(0.85, 1.2),
    )
    golden_frames: int = Field(4, ge=1, le=32)  # phantoms: benign, malignant, normal, benign, ...
    golden_seed: int = 20_000  # far from seeds of phantom data sets
    parity_images: int = Field(100, ge=1)  # validation images on which all forms are compared
    # Least mean Dice of a backend's masks against those of the torch model that it was made from.
    agreement: float = Field(0.98, ge=0, le=1)
