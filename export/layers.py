"""Which layers become INT8 and which stay float, decided on the graph that NNCF sees.

NNCF names operations by module and call (``psi/0/conv2d/2``), so the same name may stand for
other layers in another network. The rules here therefore go by what an operation is and what
feeds it; modules are named by their weights, whose names are unique.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from edge_bts.export.settings import QuantizeSettings

__all__ = ["LayerPlan", "plan_layers"]

INT8 = "int8"


@dataclass(frozen=True)
class LayerPlan:
    """What :func:`plan_layers` decided.

    Attributes:
        layers: For every convolution, by module name, ``"int8"`` or why it stays float.
        floating: Names of graph operations that NNCF shall ignore.
        fused: For every addition fed by a convolution alone, the pair (convolution, addition) and
            the input port: no quantizer goes there, so that both run as one kernel.
    """

    layers: dict[str, str] = field(default_factory=dict)
    floating: list[str] = field(default_factory=list)
    fused: list[tuple[str, str, int]] = field(default_factory=list)


def plan_layers(
    model: nn.Module,
    example: torch.Tensor,
    settings: QuantizeSettings,
    only: Collection[str] | None = None,
) -> LayerPlan:
    """Decide for each layer of a folded model.

    Float stay convolutions of fewer than ``min_channels`` channels or named by ``keep_float``,
    sigmoids, and the multiplication by a sigmoid (an attention gate): a broadcast multiply is
    bound by memory and gains nothing from INT8. With ``only``, every operation does but the
    convolutions that it names.
    """
    import nncf

    graph = nncf.build_graph(copy.deepcopy(model), example_input=example)
    plan = LayerPlan()
    for node in graph.get_all_nodes():
        if node.node_type == "conv2d":
            name = _module_name(graph, node)
            plan.layers[name] = _decide(name, model.get_submodule(name), settings)
            if plan.layers[name] != INT8:
                plan.floating.append(node.node_name)
        elif node.node_type == "sigmoid":
            plan.floating.append(node.node_name)
            users = graph.get_next_nodes(node)
            plan.floating.extend(user.node_name for user in users if _is(user, "mul"))
        elif _is(node, "add"):
            plan.fused.extend(_fused(graph, node))
    plan.floating.extend(_after_last(graph, set(plan.floating)))
    if only is not None:
        plan.layers.update(dict.fromkeys(plan.layers.keys() - set(only), "not asked for"))
        plan.floating[:] = _all_but(graph, plan, only)
    return plan


def _all_but(graph: Any, plan: LayerPlan, only: Collection[str]) -> list[str]:
    """Return every operation but the convolutions ``only`` that are INT8 by the plan."""
    kept = {name for name in only if plan.layers[name] == INT8}
    return [
        node.node_name
        for node in graph.get_all_nodes()
        if not node.node_type.startswith("nncf_model")
        and not (node.node_type == "conv2d" and _module_name(graph, node) in kept)
    ]


def _after_last(graph: Any, floating: set[str]) -> list[str]:
    """Return what only serves the output: NNCF would quantize the logits before a pixel shuffle."""
    nodes = graph.get_all_nodes()
    front = [n for n in nodes if n.node_type == "conv2d" and n.node_name not in floating]
    before: set[int] = set()
    while front:
        node = front.pop()
        if node.node_id not in before:
            before.add(node.node_id)
            front.extend(graph.get_previous_nodes(node))
    return [
        node.node_name
        for node in nodes
        if node.node_id not in before
        and node.node_name not in floating
        and not node.node_type.startswith("nncf_model")
    ]


def _decide(name: str, conv: nn.Module, settings: QuantizeSettings) -> str:
    if any(fnmatchcase(name, pattern) for pattern in settings.keep_float):
        return "named by keep_float"
    assert isinstance(conv, nn.Conv2d)
    narrow = min(conv.in_channels, conv.out_channels)
    if narrow < settings.min_channels:
        return f"{narrow} of at least {settings.min_channels} channels"
    return INT8


def _module_name(graph: Any, node: Any) -> str:
    for previous in graph.get_previous_nodes(node):
        name = str(previous.node_name)
        if previous.node_type == "nncf_model_const" and name.endswith(".weight"):
            return name.removesuffix(".weight")
    raise ValueError(f"Expected {node.node_name} to have a weight of its own, but it has none.")


def _fused(graph: Any, node: Any) -> list[tuple[str, str, int]]:
    """Return the first input of an addition that is the output of a convolution used only here.

    Where both inputs are (a projected shortcut), the other one counts as the skip path.
    """
    edges = sorted(graph.get_input_edges(node), key=lambda edge: int(edge.input_port_id))
    for edge in edges:
        source = edge.from_node
        if source.node_type == "conv2d" and len(graph.get_next_nodes(source)) == 1:
            return [(source.node_name, node.node_name, int(edge.input_port_id))]
    return []


def _is(node: Any, operation: str) -> bool:
    return node.node_type in (operation, f"{operation}_", f"__{operation}__", f"__i{operation}__")
