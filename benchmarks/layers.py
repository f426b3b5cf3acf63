"""Where a network's time goes in OpenVINO, layer by layer.

The library's own counters, in a process (``python -m edge_bts.benchmarks.layers``) and a run
of their own: counting slows a network down, so that no figure of a row comes from it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

if TYPE_CHECKING:
    from edge_bts.benchmarks.worker import Source

__all__ = ["LayerTime", "layer_times", "measure_layers"]

_FRAMES = 50


class LayerTime(BaseModel):
    """A node of the compiled graph, as the library runs it.

    Attributes:
        name: Of the node.
        kind: ``Convolution``, ``Subgraph`` (elementwise operations in one kernel), ``Reorder``.
        kernel: What computes it, e.g. ``brgconv_avx512_amx_i8``.
        output: Shape of what it gives.
        us: Median over the frames, microseconds.
        share: Of the sum of all nodes.
        macs: Of a convolution; None of anything else.
        covers: The operations of the graph that are fused in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    kernel: str
    output: list[int]
    us: float
    share: float
    macs: int | None
    covers: list[str]


def measure_layers(source: Source) -> list[LayerTime]:
    """Count in a fresh process; [] where OpenVINO cannot."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_bts.benchmarks.layers"],
        input=source.model_dump_json(),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(source.threads)},
        check=False,
    )
    kind = TypeAdapter(list[LayerTime])
    return kind.validate_json(done.stdout) if done.returncode == 0 else []


def layer_times(model: Any, threads: int, frames: int = _FRAMES) -> list[LayerTime]:
    """Run an ``openvino.Model`` of one input and count; the slowest node first."""
    import numpy as np

    from edge_bts.runtime._openvino import compile_model

    compiled = compile_model(model, threads, counters=True)
    request = compiled.create_infer_request()
    tensor = request.get_input_tensor()
    tensor.data[:] = np.random.default_rng(0).normal(size=tensor.shape)
    times: dict[str, list[float]] = defaultdict(list)
    kernels: dict[str, str] = {}
    for _ in range(frames):
        request.infer()
        for info in request.get_profiling_info():
            times[info.node_name].append(info.real_time.total_seconds() * 1e6)
            kernels[info.node_name] = info.exec_type
    medians = {name: float(np.median(values)) for name, values in times.items()}
    whole = sum(medians.values())
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        name = node.get_friendly_name()
        if not medians.get(name) or not node.get_output_size():
            continue
        facts = {key: str(value.astype(str)) for key, value in node.get_rt_info().items()}
        output = list(node.output(0).get_shape())
        convolves = facts["layerType"] == "Convolution"
        found.append(
            LayerTime(
                name=name,
                kind=facts["layerType"],
                kernel=kernels[name],
                output=output,
                us=medians[name],
                share=medians[name] / whole,
                macs=prod(node.input(1).get_shape()) * prod(output[2:]) if convolves else None,
                covers=[part for part in facts.get("originalLayersNames", "").split(",") if part],
            )
        )
    return sorted(found, key=lambda layer: -layer.us)


def _read(source: Source) -> Any:
    from edge_bts.benchmarks.foreign import read_foreign
    from edge_bts.bundle import open_bundle_folder
    from edge_bts.runtime import _openvino
    from edge_bts.runtime.opening import file_for, read_model

    if source.bundle is not None:
        bundle = open_bundle_folder(source.bundle, source.trust)
        return _openvino.read_model(
            read_model(bundle, file_for(bundle, "openvino", source.precision))
        )
    if source.foreign is not None:
        from edge_bts.benchmarks.foreign import fix_shape

        path = Path(source.foreign)
        model = _openvino.read_model(read_foreign(path))
        fix_shape(model, path.name, source.imgsz)
        return model
    return _openvino.read_model(Path(str(source.file)))


def main() -> None:
    """Count what standard input names, and print the layers as JSON."""
    from edge_bts.benchmarks.worker import Source

    source = Source.model_validate_json(sys.stdin.read())
    found = layer_times(_read(source), source.threads)
    print(json.dumps([layer.model_dump() for layer in found]))


if __name__ == "__main__":
    main()
