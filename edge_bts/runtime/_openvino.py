"""OpenVINO on the CPU: the backend of the device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime.backend import BackendName, IrBytes, check_image, check_signature
from edge_bts.telemetry import import_openvino

__all__ = ["OpenVinoBackend", "compile_model", "read_model"]


class OpenVinoBackend:
    """An IR, or a float ONNX graph, compiled for one frame at a time.

    Outside INT8 layers it computes in float32: on CPUs with bfloat16 the library would choose
    that by itself. Input and output live in two arrays that the library reads and writes in place.
    """

    name: BackendName = "openvino"

    def __init__(
        self,
        source: Path | str | bytes | IrBytes,
        *,
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        openvino = _import()
        self.precision = precision
        self.threads = threads
        self.version = library_version()
        model = read_model(source)
        self.imgsz = check_signature(
            [(p.any_name, _shape(p)) for p in model.inputs],
            [(p.any_name, _shape(p)) for p in model.outputs],
        )
        self._compiled = compile_model(model, threads)
        self._request = self._compiled.create_infer_request()
        shape = (1, 1, self.imgsz, self.imgsz)
        self._input = np.zeros(shape, np.float32)
        self._output = np.zeros(shape, np.float32)
        self._request.set_input_tensor(openvino.Tensor(self._input, shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(self._output, shared_memory=True))

    def infer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (1, 1, S, S) float32 to probability of the same shape; see ``Backend.infer``."""
        check_image(image, self.imgsz)
        np.copyto(self._input, image)
        self._request.infer()
        output: NDArray[np.float32] = self._output.copy()
        return output

    def describe(self) -> dict[str, Any]:
        """Count the convolutions by the arithmetic they were compiled to, e.g. ``{"i8": 40}``."""
        kinds: Counter[str] = Counter()
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if str(info["layerType"].astype(str)) == "Convolution":
                kinds[str(info["runtimePrecision"].astype(str)).lower()] += 1
        return {"convolutions": dict(kinds)}


def library_version() -> str:
    """Return the version of OpenVINO, without its build."""
    return str(_import().__version__).split("-")[0]


def _import() -> Any:
    try:
        return import_openvino()
    except ImportError as error:
        raise EnvironmentMismatchError(
            f"Expected the package openvino, but importing it failed ({error}); install it with "
            "`pip install openvino`, or use --backend onnxruntime."
        ) from None


def _options(threads: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "PERFORMANCE_HINT_NUM_REQUESTS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def compile_model(model: Any, threads: int | None = None, *, counters: bool = False) -> Any:
    """Compile an ``openvino.Model`` for the CPU, as :class:`OpenVinoBackend` runs it.

    ``counters`` lets its requests tell the time of each layer, which slows them down.
    """
    options = _options(threads) | ({"PERF_COUNT": True} if counters else {})
    return _import().Core().compile_model(model, "CPU", options)


def read_model(source: Path | str | bytes | IrBytes) -> Any:
    """Read an ``openvino.Model``; bytes are used as they are: what was hashed is what runs.

    Raises:
        InputError: Not an IR nor a float ONNX.
        EnvironmentMismatchError: OpenVINO is not installed.
    """
    if _is_quantized_onnx(source):
        # Its CPU plugin computes Concat of signed INT8 wrongly, without a word.
        raise InputError(
            "Expected an IR or a float ONNX for OpenVINO, but got an ONNX with QuantizeLinear, "
            "which its CPU plugin computes wrongly; pass the .xml that was exported beside it."
        )
    parts = source if isinstance(source, tuple) else (source,)
    try:
        return _import().Core().read_model(*parts)
    except RuntimeError as error:
        raise InputError(
            f"Expected a model that OpenVINO reads, but it refused ({_last_line(error)}); "
            "export it again."
        ) from None


def _is_quantized_onnx(source: Path | str | bytes | IrBytes) -> bool:
    mark = b"QuantizeLinear"
    if isinstance(source, tuple):
        return False
    if isinstance(source, bytes):
        return mark in source and not source.lstrip().startswith(b"<")
    path = Path(source)
    try:
        if path.suffix == ".xml":
            path.with_suffix(".bin").open("rb").close()
            return False
        with path.open("rb") as stream:
            end = b""
            # In blocks: the whole file in memory would be the peak of the process.
            while block := stream.read(1 << 20):
                if mark in end + block:
                    return True
                end = block[1 - len(mark) :]
    except OSError as error:
        raise InputError(
            f"Expected a model at {path}, but reading {error.filename} failed: {error.strerror}."
        ) from None
    return False


def _shape(port: Any) -> tuple[int, ...]:
    partial = port.get_partial_shape()
    return tuple(d.get_length() if d.is_static else -1 for d in partial)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
