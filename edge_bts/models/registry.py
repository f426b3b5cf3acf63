"""Models by name: what a recipe writes and a checkpoint stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from edge_bts.errors import InputError
from edge_bts.models.attention_unet import AttentionUNet
from edge_bts.models.simplified_unet import SimplifiedUNet

__all__ = ["ModelSpec", "build_model", "model_names", "register_model"]

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "attention_unet": AttentionUNet,
    "simplified_unet": SimplifiedUNet,
}


class ModelSpec(BaseModel):
    """A registered name and the keyword arguments of its constructor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    def __str__(self) -> str:
        """Return ``name(key=value, ...)``."""
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in sorted(self.options.items()))})"


def register_model(name: str, builder: Callable[..., nn.Module]) -> None:
    """Make ``builder(**options)`` available to recipes as ``name``.

    The module maps (B, 1, H, W) normalised floats to logits (B, 1, H, W). It declares ``divisor``
    (what H and W must be divisible by) and, to take part in the feature path of distillation,
    ``feature_taps()``.

    Raises:
        InputError: The name is taken.
    """
    if name in _BUILDERS:
        raise InputError(f"Expected a new model name, but {name!r} is registered; choose another.")
    _BUILDERS[name] = builder


def model_names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_BUILDERS)


def build_model(spec: ModelSpec) -> nn.Module:
    """Build a fresh module from its spec.

    Raises:
        InputError: Unknown name, or options that the constructor does not take.
    """
    try:
        builder = _BUILDERS[spec.name]
    except KeyError:
        raise InputError(
            f"Expected a model among {', '.join(model_names())}, but got {spec.name!r}; "
            "correct the recipe's [model] name."
        ) from None
    try:
        return builder(**spec.options)
    except (TypeError, ValueError) as error:
        raise InputError(f"Model {spec.name} refused its options {spec.options}: {error}") from None
