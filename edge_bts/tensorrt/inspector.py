"""What TensorRT's engine inspector tells, in the JSON of 10.x and of 11.x.

10.x gives a tensor's type and layout as one text under ``Format/Datatype``, e.g. ``Thirty-two wide
channel vectorized row major Int8 format``; 11.x splits it into ``Format`` and ``Datatype``
(NVIDIA, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x").
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edge_bts.tensorrt.cache import Inspection

__all__ = ["count_layers"]

# NVIDIA's pages spell the new key in both ways.
_TYPE_KEYS = ("Format/Datatype", "Datatype", "DataType")


def count_layers(text: str) -> Inspection | None:
    """Count the layers of an engine that was built with detailed verbosity.

    Args:
        text: What ``EngineInspector.get_engine_information`` gave for JSON.

    Returns:
        None where it is no JSON of either form, or holds names of layers only.
    """
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return None
    convolutions = [layer for layer in layers if _is_convolution(layer)]
    return Inspection(
        layers=len(layers),
        int8_layers=sum(_int8(layer, ("Inputs", "Outputs")) for layer in layers),
        convolutions=len(convolutions),
        int8_convolutions=sum(_int8(layer, ("Inputs",)) for layer in convolutions),
        reformats=sum(_is_reformat(layer) for layer in layers),
    )


def _is_convolution(layer: dict[str, Any]) -> bool:
    kinds = (str(layer.get(key, "")).lower() for key in ("LayerType", "ParameterType"))
    return any("conv" in kind for kind in kinds)


def _is_reformat(layer: dict[str, Any]) -> bool:
    return str(layer.get("LayerType", "")).lower() == "reformat"


def _int8(layer: dict[str, Any], ends: Iterable[str]) -> bool:
    tensors = [tensor for end in ends for tensor in layer.get(end) or []]
    return any(
        "int8" in str(tensor.get(key, "")).lower()
        for tensor in tensors
        if isinstance(tensor, dict)
        for key in _TYPE_KEYS
    )
