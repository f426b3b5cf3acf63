"""A plan made ready to run: engine, context, buffers, stream and, if wanted, a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt.cache import Port
from edge_bts.tensorrt.cuda import ALIGNMENT, Cuda, CudaError
from edge_bts.tensorrt.library import make_logger

__all__ = ["Execution"]

INPUT, OUTPUT = "image", "probability"


class Execution:
    """One engine, one context, one stream; one thread at a time may call :meth:`infer`.

    The plan is run as native code by TensorRT: give it only what :func:`read_engine` returned or
    what was built a moment ago.

    Attributes:
        ports: Inputs and outputs as the engine tells them.
        graph: Whether inferences are launched as a CUDA graph.
        notes: What the caller should know: warnings of TensorRT, a graph that could not be had.

    Raises:
        EnvironmentMismatchError: TensorRT takes no such engine, its inputs and outputs are not
            ours, or the GPU has no memory for it.
    """

    def __init__(
        self, trt: Any, cuda: Cuda, plan: bytes, imgsz: int, *, mend: str, graph: bool = False
    ) -> None:
        self._trt, self._cuda, self._mend = trt, cuda, mend
        self.graph = False
        self.notes: list[str] = []
        # Each must outlive the next: logger, runtime, engine, context.
        self._logger = make_logger(trt)
        self._runtime = make_runtime(trt, self._logger)
        self._context: Any = None
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EnvironmentMismatchError(
                "Expected TensorRT to take the engine, but it refused "
                f"({self._logger.errors()}); {mend}."
            )
        self.ports = [self._port(index) for index in range(self._engine.num_io_tensors)]
        self._check_ports(imgsz)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EnvironmentMismatchError(
                "Expected TensorRT to make an execution context, but it refused "
                f"({self._logger.errors()}); the GPU is short of memory: close other programs."
            )
        self._shape = (1, 1, imgsz, imgsz)
        self._launch: Callable[[], None] | None = None
        try:
            self._allocate()
            if graph:
                self._capture()
        except BaseException:
            self.close()
            raise
        self.notes += [f"TensorRT: {text}" for text in self._logger.warnings()]

    def infer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (1, 1, S, S) float32 to a new array of probabilities of the same shape."""
        self._host_in.view(np.float32)[:] = image.reshape(-1)
        if self._launch is not None:
            self._launch()
        else:
            self._enqueue()
        self._cuda.wait(self._stream)
        output: NDArray[np.float32] = self._host_out.view(np.float32).reshape(self._shape).copy()
        return output

    def inspect(self) -> str:
        """Return what the engine inspector tells of every layer, as JSON text."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """Give back what was taken on the GPU; not usable afterwards."""
        for array in ("_host_in", "_host_out"):  # over memory that will be gone
            self.__dict__.pop(array, None)
        self._cuda.close()
        self._launch = self._context = self._engine = self._runtime = None

    def _port(self, index: int) -> Port:
        engine, name = self._engine, self._engine.get_tensor_name(index)
        return Port(
            name=name,
            mode=engine.get_tensor_mode(name).name,
            dtype=engine.get_tensor_dtype(name).name,
            shape=list(engine.get_tensor_shape(name)),
            format=engine.get_tensor_format(name).name,
        )

    def _check_ports(self, imgsz: int) -> None:
        common = {"dtype": "FLOAT", "shape": [1, 1, imgsz, imgsz], "format": "LINEAR"}
        expected = [
            Port.model_validate({"name": INPUT, "mode": "INPUT", **common}),
            Port.model_validate({"name": OUTPUT, "mode": "OUTPUT", **common}),
        ]
        if sorted(self.ports, key=lambda port: port.name) != expected:
            came = ", ".join(
                f"{p.mode} {p.name} {p.dtype} {tuple(p.shape)} {p.format}" for p in self.ports
            )
            raise EnvironmentMismatchError(
                f"Expected an engine from {INPUT} to {OUTPUT}, both FLOAT (1, 1, {imgsz}, {imgsz}) "
                f"LINEAR, but it has {came or 'none'}; {self._mend}."
            )

    def _allocate(self) -> None:
        nbytes = 4 * int(np.prod(self._shape))
        self._stream = self._cuda.new_stream()
        self._host_in = self._cuda.pinned_buffer(nbytes)
        self._host_out = self._cuda.pinned_buffer(nbytes)
        self._device_in = self._cuda.device_buffer(nbytes)
        self._device_out = self._cuda.device_buffer(nbytes)
        for name, address in ((INPUT, self._device_in), (OUTPUT, self._device_out)):
            if address % ALIGNMENT or not self._context.set_tensor_address(name, address):
                raise EnvironmentMismatchError(
                    f"Expected TensorRT to take the address {address:#x} for {name}, a multiple of "
                    f"{ALIGNMENT}, but it refused ({self._logger.errors()}); {self._mend}."
                )

    def _enqueue(self) -> None:
        self._cuda.copy_in(self._device_in, self._host_in, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise CudaError(
                "Expected TensorRT to run the engine, but it refused "
                f"({self._logger.errors()}); {self._mend}."
            )
        self._cuda.copy_out(self._host_out, self._device_out, self._stream)

    def _capture(self) -> None:
        """Record one inference, copies included; addresses and shapes never change afterwards."""
        graphs = self._cuda.graphs
        if graphs is None:
            self._no_graph(f"{self._cuda.name} has none; run `pip install cuda-python`")
            return
        self._host_in[:] = 0
        self._enqueue()  # what TensorRT sets up at the first run must not be recorded
        self._cuda.wait(self._stream)
        try:
            graph = graphs.capture(self._enqueue, self._stream)
        except CudaError as error:
            self._no_graph(str(error))
            return
        self._launch = lambda: graphs.launch(graph, self._stream)
        self.graph = True

    def _no_graph(self, reason: str) -> None:
        self.notes.append(f"no CUDA graph, the engine is enqueued each time: {reason}")


def make_runtime(trt: Any, logger: Any) -> Any:
    """Return a ``trt.Runtime``.

    Raises:
        EnvironmentMismatchError: TensorRT makes none: mostly CUDA does not start.
    """
    try:
        return trt.Runtime(logger)
    except (TypeError, RuntimeError) as error:  # pybind11: the factory returned nullptr
        raise EnvironmentMismatchError(
            f"Expected TensorRT to start, but it does not ({logger.errors()}; {error}); check GPU "
            "and driver with `edge-bts doctor`."
        ) from None
