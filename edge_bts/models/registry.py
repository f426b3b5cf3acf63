"""Models by name: what a recipe writes and a checkpoint stores."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from edge_bts.errors import InputError
from edge_bts.models.attention_unet import AttentionUNet
from edge_bts.models.simplified_unet import SimplifiedUNet

__all__ = ["TRUST_VARIABLE", "ModelSpec", "build_model", "model_names", "register_model"]

TRUST_VARIABLE = "EDGE_BTS_TRUST_MODELS"
"""Environment variable: comma-separated ``module:function`` names that checkpoints may run."""

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "attention_unet": AttentionUNet,
    "simplified_unet": SimplifiedUNet,
}

_TRUSTED: set[str] = set()  # what this process's user has named


class ModelSpec(BaseModel):
    """A registered name, or a user's ``module:function``, and its keyword arguments."""

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


def build_model(spec: ModelSpec, *, trusted: bool = True) -> nn.Module:
    """Build a fresh module from its spec.

    A name ``module:function`` is imported and called; what it returns must be as
    :func:`register_model` says.

    Args:
        spec: Name and options.
        trusted: The spec comes from the user, not from a file of somebody else's. Where it does
            not, a name is imported only if the user gave it before in this process or in the
            environment variable ``EDGE_BTS_TRUST_MODELS``: a checkpoint must not choose what
            code runs.

    Raises:
        InputError: Unknown name, code that cannot be imported or is not trusted, or options that
            the constructor does not take.
    """
    builder = _BUILDERS.get(spec.name) or _imported(spec.name, trusted)
    try:
        return builder(**spec.options)
    except (TypeError, ValueError) as error:
        raise InputError(f"Model {spec.name} refused its options {spec.options}: {error}") from None


def _imported(name: str, trusted: bool) -> Callable[..., nn.Module]:
    module, colon, function = name.partition(":")
    if not colon:
        raise InputError(
            f"Expected a model among {', '.join(model_names())}, or module:function of your own, "
            f"but got {name!r}; correct the recipe's model name."
        )
    if not trusted and name not in {*_TRUSTED, *os.environ.get(TRUST_VARIABLE, "").split(",")}:
        raise InputError(
            f"Expected a checkpoint of a model of edge-bts, but this one is built by {name}, which "
            f"would run code; if you know it, set {TRUST_VARIABLE}={name} and try again."
        )
    try:
        builder = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"Expected to import {function!r} from the module {module!r}, but {error}; correct the "
            "recipe's model name, or put the module on PYTHONPATH."
        ) from None
    if not callable(builder):
        raise InputError(f"Expected {name} to be a function or class, but it is {builder!r}.")
    _TRUSTED.add(name)
    return builder  # type: ignore[no-any-return]
