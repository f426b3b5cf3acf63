"""ONNX Runtime on the CPU: the reference executor of the exported ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime.backend import BackendName, check_image, check_signature

__all__ = ["OnnxRuntimeBackend", "open_session"]


class OnnxRuntimeBackend:
    """An ONNX graph, executed sequentially, with all graph optimisations unless told otherwise."""

    name: BackendName = "onnxruntime"

    def __init__(
        self,
        source: Path | str | bytes,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        optimize: bool = True,
    ) -> None:
        self.precision = precision
        self.threads = threads
        self.version = library_version()
        self._session = open_session(_check_file(source), threads, optimize=optimize)
        self.imgsz = check_signature(
            [(i.name, i.shape) for i in self._session.get_inputs()],
            [(o.name, o.shape) for o in self._session.get_outputs()],
        )

    def infer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (1, 1, S, S) float32 to probability of the same shape; see ``Backend.infer``."""
        check_image(image, self.imgsz)
        output: NDArray[np.float32] = self._session.run(["probability"], {"image": image})[0]
        return output

    def describe(self) -> dict[str, Any]:
        """Name the execution providers in use."""
        return {"providers": list(self._session.get_providers())}


def library_version() -> str:
    """Return the version of ONNX Runtime."""
    return str(_import().__version__)


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentMismatchError(
            f"Expected the package onnxruntime, but importing it failed ({error}); install it "
            "with `pip install onnxruntime`, or use --backend openvino."
        ) from None
    return onnxruntime


def open_session(graph: str | bytes, threads: int | None = None, *, optimize: bool = True) -> Any:
    """Return an ``onnxruntime.InferenceSession`` on the CPU, of any graph.

    Raises:
        InputError: ONNX Runtime refuses the graph.
        EnvironmentMismatchError: It is not installed.
    """
    runtime = _import()
    levels = runtime.GraphOptimizationLevel
    options = runtime.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; warnings go to the console of whoever calls us
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes it raises are private and share no base but this
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"Expected an ONNX file that ONNX Runtime reads, but it refused ({reason}); "
            "export it again."
        ) from None


def _check_file(source: Path | str | bytes) -> str | bytes:
    """Return bytes as they are and a path as text, if a file can be read there."""
    if isinstance(source, bytes):
        return source
    try:
        Path(source).open("rb").close()
    except OSError as error:
        raise InputError(
            f"Expected an ONNX file at {source}, but reading it failed: {error.strerror}."
        ) from None
    return str(source)
