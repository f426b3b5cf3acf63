"""Counting layers in both forms of the inspector's JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_bts.tensorrt.inspector import count_layers

_CHW32 = "Thirty-two wide channel vectorized row major Int8 format"
_LINEAR = "Row major linear FP32"


def ten(kind: str) -> dict[str, Any]:
    """A tensor as 10.x writes it."""
    return {"Name": "t", "Dimensions": [1, 32, 8, 8], "Format/Datatype": kind}


def eleven(layout: str, kind: str, key: str = "Datatype") -> dict[str, Any]:
    """A tensor as 11.x writes it."""
    return {"Name": "t", "Dimensions": [1, 32, 8, 8], "Format": layout, key: kind}


FORMS = {
    "10": (ten(_LINEAR), ten(_CHW32), {"Bindings": ["image", "probability"]}),
    "10 short": (ten("Float"), ten("Int8"), {}),
    "11": (eleven("LINEAR", "Float"), eleven("CHW32", "Int8"), {"I/O Tensors": []}),
    "11 other": (eleven("LINEAR", "Float", "DataType"), eleven("CHW32", "Int8", "DataType"), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_give_the_same_counts(form: str) -> None:
    """A reformat, an INT8 and a float convolution, a fused pointwise layer, an empty layer."""
    single, int8, rest = FORMS[form]
    layers = [
        {"Name": "r", "LayerType": "Reformat", "Inputs": [single], "Outputs": [int8]},
        {"Name": "a", "LayerType": "CaskConvolution", "Inputs": [int8], "Outputs": [int8]},
        {
            "Name": "b", "LayerType": "x", "ParameterType": "Convolution",
            "Inputs": [single], "Outputs": [single],
        },
        {"Name": "c", "LayerType": "PointWiseV2", "Inputs": [single], "Outputs": [single]},
        {"Name": "d", "LayerType": "NoOp"},
    ]  # fmt: skip
    found = count_layers(json.dumps({"Layers": layers, **rest}))
    assert found is not None
    assert found.model_dump() == {
        "layers": 5, "int8_layers": 2, "convolutions": 2, "int8_convolutions": 1, "reformats": 1,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"Layers": ["only", "names"]}'])
def test_other_text_gives_nothing(text: str) -> None:
    """Null, not zero: nothing was counted."""
    assert count_layers(text) is None
