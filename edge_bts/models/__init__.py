"""The networks, the registry that builds them by name, and their checkpoints (needs torch)."""

from edge_bts.models.attention_unet import AttentionUNet
from edge_bts.models.checkpoint import (
    Checkpoint,
    checkpoint_info,
    load_checkpoint,
    save_checkpoint,
)
from edge_bts.models.registry import ModelSpec, build_model, model_names, register_model
from edge_bts.models.simplified_unet import SimplifiedUNet

__all__ = [
    "AttentionUNet",
    "Checkpoint",
    "ModelSpec",
    "SimplifiedUNet",
    "build_model",
    "checkpoint_info",
    "load_checkpoint",
    "model_names",
    "register_model",
    "save_checkpoint",
]
