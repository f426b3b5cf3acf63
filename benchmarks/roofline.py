"""What the machine can do at most: its convolution rate and its memory, measured here.

``python -m edge_bts.benchmarks.roofline`` is the fresh process that measures; see
:func:`measure_peaks`. The rates are those of OpenVINO on layers that suit it best (3x3
convolutions of 256 channels, in a row), not those of a data sheet: what a network of small layers
is short of them is the network's, not the library's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Floor", "Peaks", "floor", "measure_peaks"]

_CHANNELS, _SIDE, _LAYERS = 256, 32, 4
_COPY_BYTES = 256 << 20


class Peaks(BaseModel):
    """Rates of this machine with the threads of the benchmark; None is unknown.

    Attributes:
        gmacs: 1e9 multiply-accumulates a second, by precision (``int8``, ``fp32``).
        gbytes: 1e9 bytes a second that a copy of what no cache holds reads and writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gmacs: dict[str, float] = {}
    gbytes: float | None = None


class Floor(BaseModel):
    """The least time of a network on this machine, and what was reached of it.

    Attributes:
        compute_ms: Its MACs at the rate of its precision.
        memory_ms: Its weights, read once, at the rate of the memory; None: unknown.
        share: Of the floor, the greater of the two, in the median engine time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    compute_ms: float
    memory_ms: float | None
    share: float


def floor(
    peaks: Peaks, precision: str, macs: int, weight_bytes: int, engine_ms: float
) -> Floor | None:
    """Return the floor of a row; None where the rate of its precision is not known."""
    rate = peaks.gmacs.get(precision)
    if rate is None:
        return None
    compute = macs / rate / 1e6
    memory = weight_bytes / peaks.gbytes / 1e6 if peaks.gbytes else None
    return Floor(
        compute_ms=compute, memory_ms=memory, share=max(compute, memory or 0.0) / engine_ms
    )


def measure_peaks(threads: int, seconds: float) -> Peaks:
    """Measure the peaks in a fresh process, about ``seconds`` for each.

    What cannot be measured, for want of OpenVINO or of memory, is left out.
    """
    command = [sys.executable, "-m", "edge_bts.benchmarks.roofline", str(threads), str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return Peaks.model_validate_json(done.stdout) if done.returncode == 0 else Peaks()


def _convolutions(precision: str, threads: int) -> tuple[Callable[[], None], float]:
    """Return what runs a row of convolutions, and their MACs.

    Raises:
        RuntimeError: The library computes them in another precision.
    """
    import numpy as np

    from edge_bts.runtime._openvino import compile_model
    from edge_bts.telemetry import import_openvino

    openvino = import_openvino()
    ops = openvino.opset13
    random = np.random.default_rng(0)
    shape = [1, _CHANNELS, _SIDE, _SIDE]

    def quantize(node: Any, low: float, high: float, levels: int) -> Any:
        if precision != "int8":
            return node
        ends = [np.float32(end).reshape(1, 1, 1, 1) for end in (low, high)]
        return ops.fake_quantize(node, *ends, *ends, levels)

    image = ops.parameter(shape, np.float32)
    node = image
    for _ in range(_LAYERS):
        weight = random.uniform(-1, 1, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32) / 256
        node = ops.convolution(
            quantize(node, -1.28, 1.27, 256),
            quantize(ops.constant(weight), -1 / 256, 1 / 256, 255),
            *([1, 1], [1, 1], [1, 1], [1, 1]),
        )
        node = ops.relu(node)
    compiled = compile_model(openvino.Model([node], [image]), threads)
    wanted = {"int8": ("i8", "u8"), "fp32": ("f32",)}[precision]
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        kind = str(info["layerType"].astype(str))
        found = str(info["runtimePrecision"].astype(str)).lower()
        if kind == "Convolution" and found not in wanted:
            raise RuntimeError(f"convolutions run in {found}")
    request = compiled.create_infer_request()
    request.get_input_tensor().data[:] = random.uniform(0, 1, shape)
    return request.infer, _LAYERS * _CHANNELS**2 * 9 * _SIDE**2


def _copy() -> tuple[Callable[[], None], float]:
    import numpy as np

    source = np.ones(_COPY_BYTES // 8)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source), 2 * _COPY_BYTES


def _rate(make: Callable[[], tuple[Callable[[], None], float]], seconds: float) -> float | None:
    """Return the work a nanosecond in the best run; None where it cannot run here."""
    try:
        run, work = make()
        run()
    except Exception as error:  # no library, no memory, no such precision: unknown
        print(error, file=sys.stderr)
        return None
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return work / best / 1e9


def main() -> None:
    """Measure, and print one line of JSON."""
    threads, seconds = int(sys.argv[1]), float(sys.argv[2])
    rates = {
        name: _rate(lambda name=name: _convolutions(name, threads), seconds)  # type: ignore[misc]
        for name in ("int8", "fp32")
    }
    known = {name: rate for name, rate in rates.items() if rate is not None}
    print(json.dumps({"gmacs": known, "gbytes": _rate(_copy, seconds)}))


if __name__ == "__main__":
    main()
