"""The machine's peaks, a network's floor under them, its activations and its layers' times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_bts.benchmarks.complexity import activation_peak, of_openvino
from edge_bts.benchmarks.layers import layer_times
from edge_bts.benchmarks.roofline import Peaks, floor, measure_peaks

openvino = pytest.importorskip("openvino")


def chain(skip: bool) -> Any:
    """An image of 100 floats through three operations, with a skip over two of them or without."""
    ops = openvino.opset13
    image = ops.parameter([1, 1, 10, 10], np.float32)
    first = ops.relu(image)
    second = ops.sigmoid(ops.tanh(first))
    last = ops.add(second, first) if skip else ops.relu(second)
    return openvino.Model([last], [image])


def test_floor_is_the_longer_of_two() -> None:
    """MACs at the rate of the precision, or bytes at the rate of the memory, by hand."""
    peaks = Peaks(gmacs={"int8": 200.0}, gbytes=10.0)
    found = floor(peaks, "int8", macs=536_000_000, weight_bytes=1_000_000, engine_ms=5.36)
    assert found is not None
    assert found.compute_ms == pytest.approx(2.68)
    assert found.memory_ms == pytest.approx(0.1)
    assert found.share == pytest.approx(0.5)
    heavy = floor(peaks, "int8", macs=1000, weight_bytes=100_000_000, engine_ms=20.0)
    assert heavy is not None
    assert heavy.share == pytest.approx(0.5)
    assert floor(peaks, "fp32", 1, 1, 1.0) is None
    unknown = floor(Peaks(gmacs={"int8": 200.0}), "int8", 200_000_000, 1, 1.0)
    assert unknown is not None
    assert (unknown.memory_ms, unknown.share) == (None, pytest.approx(1.0))


def test_peaks_are_measured_in_the_precision_they_are_named_for() -> None:
    """The machine has a rate for float convolutions and for copies, and INT8 is no slower."""
    peaks = measure_peaks(threads=1, seconds=0.3)
    assert peaks.gbytes is not None
    assert peaks.gbytes > 0
    assert peaks.gmacs["fp32"] > 0
    if "int8" in peaks.gmacs:  # CPUs without dot products of INT8 compute in float
        assert peaks.gmacs["int8"] > 0


def test_activations_that_live_at_once() -> None:
    """Input and output stay (400 B each); in between a chain holds two tensors, a skip three."""
    # chain: image and result all the way, and beside them what is read and what is written.
    assert activation_peak(chain(skip=False)) == 400 * 4
    # skip: `first` is held until the sum.
    assert activation_peak(chain(skip=True)) == 400 * 5


@pytest.mark.parametrize("seed", range(5))
def test_activations_by_simulation(seed: int) -> None:
    """A run that allocates at each node and frees after the last reader needs the same peak."""
    ops = openvino.opset13
    random = np.random.default_rng(seed)
    image = ops.parameter([1, 1, 8, 8], np.float32)
    nodes = [ops.relu(image)]
    for _ in range(12):
        one, other = (nodes[random.integers(len(nodes))] for _ in range(2))
        nodes.append(ops.add(one, other) if random.random() < 0.5 else ops.tanh(one))
    total = nodes[0]
    for node in nodes[1:]:
        total = ops.add(total, node)
    model = openvino.Model([total], [image])
    order = [n for n in model.get_ordered_ops() if n.get_type_name() not in ("Result", "Constant")]
    left = {
        n.get_friendly_name(): [
            r.get_node().get_friendly_name() for r in n.output(0).get_target_inputs()
        ]
        for n in order
    }
    kept = {image.get_friendly_name(), total.get_friendly_name()}
    live, peak = {*kept}, 0
    for node in order:
        live.add(node.get_friendly_name())
        peak = max(peak, len(live))
        for name in list(live):
            left[name] = [r for r in left[name] if r != node.get_friendly_name()]
            if not left[name] and name not in kept:
                live.remove(name)
    assert activation_peak(model) == 256 * peak


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_layers_of_a_graph_are_those_of_torch(transposed: bool, groups: int, tmp_path: Any) -> None:
    """Kind, MACs and weights of each convolution, transposed and in groups too."""
    torch = pytest.importorskip("torch")
    from edge_bts.benchmarks.complexity import of_module

    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), kind(4, 6, 2, 2, groups=groups)).eval()
    torch.onnx.export(module, (torch.zeros(1, 1, 20, 20),), tmp_path / "n.onnx", dynamo=False)
    graph = of_openvino(openvino.Core().read_model(tmp_path / "n.onnx"))
    expected = of_module(module, 20)
    found = [(la.kind, la.macs, la.parameters, la.output) for la in graph.layers]
    assert found == [(la.kind, la.macs, la.parameters, la.output) for la in expected.layers]


def test_times_of_layers_are_shares_of_the_whole() -> None:
    """Every node that runs has a time; convolutions have their MACs; the slowest comes first."""
    ops = openvino.opset13
    image = ops.parameter([1, 3, 16, 16], np.float32)
    weight = np.ones((4, 3, 3, 3), np.float32)
    node = ops.convolution(image, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    found = layer_times(openvino.Model([ops.softmax(node, 1)], [image]), threads=1, frames=5)
    assert sum(layer.share for layer in found) == pytest.approx(1.0, abs=1e-6)
    assert [layer.us for layer in found] == sorted((la.us for la in found), reverse=True)
    (conv,) = [layer for layer in found if layer.kind == "Convolution"]
    assert conv.macs == 4 * 3 * 9 * 16 * 16
    assert conv.output == [1, 4, 16, 16]
