"""CUDA, as little of it as one inference needs, by cuda-python or by pycuda.

cuda-python is what NVIDIA's own samples use since TensorRT 10.14; pycuda is for devices that have
it already. It has no CUDA graphs.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError

__all__ = ["ALIGNMENT", "Cuda", "CudaError", "CudaPython", "Gpu", "Graphs", "PyCuda", "open_cuda"]

ALIGNMENT = 256
"""What TensorRT asks of an address, in bytes (NvInferRuntime.h, setTensorAddress)."""

_DRIVER_MEND = (
    "on a Jetson the driver is part of L4T (flash a JetPack), in a container start it with the "
    "NVIDIA runtime; elsewhere install NVIDIA's driver and check it with `nvidia-smi`"
)


class CudaError(EnvironmentMismatchError):
    """A CUDA call failed."""


@dataclass(frozen=True)
class Gpu:
    """The device that runs.

    Attributes:
        name: As the driver gives it.
        compute_capability: (major, minor).
        sm_count: Streaming multiprocessors.
        memory_mib: Of the device; shared with the CPU where ``integrated``.
        integrated: Whether CPU and GPU share one memory.
        driver: CUDA version that the driver supports, e.g. ``12.6``.
        runtime: CUDA version of the Python package's runtime.
    """

    name: str
    compute_capability: tuple[int, int]
    sm_count: int
    memory_mib: int
    integrated: bool
    driver: str
    runtime: str


class Graphs(Protocol):
    """CUDA graphs: what was enqueued once, launched at once."""

    def capture(self, work: Callable[[], None], stream: int) -> Any:
        """Return a CUDA graph of what ``work`` enqueues; on an error nothing stays behind."""

    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a graph."""


class Cuda(Protocol):
    """Device 0 of what ``CUDA_VISIBLE_DEVICES`` shows; what was made is freed by :meth:`close`."""

    @property
    def name(self) -> str:
        """Package and its version."""

    @property
    def graphs(self) -> Graphs | None:
        """CUDA graphs; None where the package has none."""

    def gpu(self) -> Gpu:
        """Describe the device."""

    def free_memory(self) -> int:
        """Return the free device memory in bytes."""

    def new_stream(self) -> int:
        """Return the handle of a new stream that does not wait for the default stream."""

    def device_buffer(self, nbytes: int) -> int:
        """Return the address of new device memory."""

    def pinned_buffer(self, nbytes: int) -> NDArray[np.uint8]:
        """Return new page-locked host memory."""

    def copy_in(self, to: int, source: NDArray[np.uint8], stream: int) -> None:
        """Enqueue a copy from page-locked memory to the device."""

    def copy_out(self, to: NDArray[np.uint8], source: int, stream: int) -> None:
        """Enqueue a copy from the device to page-locked memory."""

    def wait(self, stream: int) -> None:
        """Wait until all that was enqueued is done."""

    def close(self) -> None:
        """Free everything, last made first."""


def open_cuda() -> Cuda:
    """Open the first GPU by cuda-python, else by pycuda.

    Raises:
        EnvironmentMismatchError: Neither package is here, no driver, or no GPU.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        reason = error
    else:
        return CudaPython(runtime)
    try:
        import pycuda.driver
    except ImportError:
        raise EnvironmentMismatchError(
            f"Expected cuda-python, but cuda.bindings.runtime does not import ({reason}), nor does "
            "pycuda; run `pip install 'cuda-python==12.9.*'` with CUDA 12 (JetPack 6) or "
            "`pip install 'cuda-python==13.*'` with CUDA 13 (JetPack 7)."
        ) from None
    return PyCuda(pycuda.driver)


class CudaPython:
    """:class:`Cuda` by ``cuda.bindings.runtime`` of cuda-python 12.9 and 13.x."""

    def __init__(self, runtime: Any) -> None:
        from importlib import metadata

        self._runtime = runtime
        self._undo: list[Callable[[], None]] = []
        try:
            self.name = f"cuda-python {metadata.version('cuda-bindings')}"
        except metadata.PackageNotFoundError:
            self.name = "cuda-python"
        error, count = runtime.cudaGetDeviceCount()
        if not _ok(runtime, error) or not count:
            _, driver = runtime.cudaDriverGetVersion()
            reason = "no GPU is visible" if _ok(runtime, error) else _text(runtime, error)
            found = f"a driver for CUDA {_dotted(driver)}" if driver else "no driver"
            raise EnvironmentMismatchError(
                f"Expected a GPU with a CUDA driver, but {self.name} finds {found} and says: "
                f"{reason}; {_DRIVER_MEND}."
            )
        self._call("cudaSetDevice", 0)

    @property
    def graphs(self) -> Graphs:
        """This package has them."""
        return self

    def gpu(self) -> Gpu:
        """Describe the device; see :class:`Cuda`."""
        found = self._call("cudaGetDeviceProperties", 0)
        name = found.name.decode(errors="replace") if isinstance(found.name, bytes) else found.name
        return Gpu(
            name=str(name).strip("\0 "),
            compute_capability=(int(found.major), int(found.minor)),
            sm_count=int(found.multiProcessorCount),
            memory_mib=int(found.totalGlobalMem) >> 20,
            integrated=bool(found.integrated),
            driver=_dotted(self._call("cudaDriverGetVersion")),
            runtime=_dotted(self._call("cudaRuntimeGetVersion")),
        )

    def free_memory(self) -> int:
        """Return the free device memory in bytes."""
        return int(self._call("cudaMemGetInfo")[0])

    def new_stream(self) -> int:
        """Return the handle of a new stream; see :class:`Cuda`."""
        stream = self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)
        self._undo.append(lambda: self._call("cudaStreamDestroy", stream))
        return int(stream)

    def device_buffer(self, nbytes: int) -> int:
        """Return the address of new device memory."""
        address = int(self._call("cudaMalloc", nbytes))
        self._undo.append(lambda: self._call("cudaFree", address))
        return address

    def pinned_buffer(self, nbytes: int) -> NDArray[np.uint8]:
        """Return new page-locked host memory."""
        address = int(self._call("cudaHostAlloc", nbytes, self._runtime.cudaHostAllocDefault))
        self._undo.append(lambda: self._call("cudaFreeHost", address))
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))

    def copy_in(self, to: int, source: NDArray[np.uint8], stream: int) -> None:
        """Enqueue a copy from page-locked memory to the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", to, source.ctypes.data, source.nbytes, kind, stream)

    def copy_out(self, to: NDArray[np.uint8], source: int, stream: int) -> None:
        """Enqueue a copy from the device to page-locked memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", to.ctypes.data, source, to.nbytes, kind, stream)

    def wait(self, stream: int) -> None:
        """Wait until all that was enqueued is done."""
        self._call("cudaStreamSynchronize", stream)

    def capture(self, work: Callable[[], None], stream: int) -> Any:
        """Return a CUDA graph of what ``work`` enqueues; see :class:`Graphs`."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # The capture must end, or the stream is of no more use; its error must not show up
            # in a later call.
            _, graph = self._runtime.cudaStreamEndCapture(stream)
            if graph is not None and int(graph):
                self._runtime.cudaGraphDestroy(graph)
            self._runtime.cudaGetLastError()
            raise
        try:
            graph = self._call("cudaStreamEndCapture", stream)
        except CudaError:
            self._runtime.cudaGetLastError()
            raise
        try:
            made = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._runtime.cudaGraphDestroy(graph)
            self._runtime.cudaGetLastError()
        self._undo.append(lambda: self._call("cudaGraphExecDestroy", made))
        return made

    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def close(self) -> None:
        """Free everything, last made first."""
        _undo(self._undo)

    def _call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the runtime; every one returns a tuple that begins with an error."""
        error, *rest = getattr(self._runtime, function)(*arguments)
        if not _ok(self._runtime, error):
            raise CudaError(
                f"Expected {function} to succeed, but CUDA says: {_text(self._runtime, error)}; "
                "close other programs on the GPU and see `edge-bts doctor`."
            )
        return rest[0] if len(rest) == 1 else tuple(rest)


class PyCuda:
    """:class:`Cuda` by ``pycuda.driver``, in the context that other libraries use too."""

    graphs = None

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        try:
            # The primary context: pycuda's own one would clash with torch and with TensorRT.
            import pycuda.autoprimaryctx
        except Exception as error:  # pycuda's classes share no base
            raise EnvironmentMismatchError(
                f"Expected a GPU with a CUDA driver, but pycuda opens none ({error}); "
                f"{_DRIVER_MEND}."
            ) from None
        import pycuda

        self.name = f"pycuda {pycuda.VERSION_TEXT}"
        self._undo: list[Callable[[], None]] = []
        self._kept: dict[int, Any] = {}

    def gpu(self) -> Gpu:
        """Describe the device; see :class:`Cuda`."""
        device = self._driver.Context.get_device()
        kinds = self._driver.device_attribute
        major, minor = device.compute_capability()
        return Gpu(
            name=str(device.name()),
            compute_capability=(int(major), int(minor)),
            sm_count=int(device.get_attribute(kinds.MULTIPROCESSOR_COUNT)),
            memory_mib=int(device.total_memory()) >> 20,
            integrated=bool(device.get_attribute(kinds.INTEGRATED)),
            driver=_dotted(self._driver.get_driver_version()),
            runtime=".".join(map(str, self._driver.get_version()[:2])),
        )

    def free_memory(self) -> int:
        """Return the free device memory in bytes."""
        return int(self._driver.mem_get_info()[0])

    def new_stream(self) -> int:
        """Return the handle of a new stream; see :class:`Cuda`."""
        stream = self._driver.Stream(1)  # CU_STREAM_NON_BLOCKING
        self._kept[int(stream.handle)] = stream
        return int(stream.handle)

    def device_buffer(self, nbytes: int) -> int:
        """Return the address of new device memory."""
        memory = self._do(lambda: self._driver.mem_alloc(nbytes))
        self._undo.append(lambda: self._do(memory.free))
        return int(memory)

    def pinned_buffer(self, nbytes: int) -> NDArray[np.uint8]:
        """Return new page-locked host memory."""
        array: NDArray[np.uint8] = self._do(lambda: self._driver.pagelocked_empty(nbytes, np.uint8))
        return array

    def copy_in(self, to: int, source: NDArray[np.uint8], stream: int) -> None:
        """Enqueue a copy from page-locked memory to the device."""
        self._do(lambda: self._driver.memcpy_htod_async(to, source, self._kept[stream]))

    def copy_out(self, to: NDArray[np.uint8], source: int, stream: int) -> None:
        """Enqueue a copy from the device to page-locked memory."""
        self._do(lambda: self._driver.memcpy_dtoh_async(to, source, self._kept[stream]))

    def wait(self, stream: int) -> None:
        """Wait until all that was enqueued is done."""
        self._do(self._kept[stream].synchronize)

    def close(self) -> None:
        """Free everything, last made first."""
        _undo(self._undo)
        self._kept.clear()

    def _do(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except self._driver.Error as error:
            raise CudaError(
                f"Expected a CUDA call to succeed, but pycuda says: {error}; close other programs "
                "on the GPU and see `edge-bts doctor`."
            ) from None


def _undo(steps: list[Callable[[], None]]) -> None:
    while steps:
        with contextlib.suppress(CudaError):  # after a fault of the GPU nothing can be freed
            steps.pop()()


def _ok(runtime: Any, error: Any) -> bool:
    return bool(error == runtime.cudaError_t.cudaSuccess)


def _text(runtime: Any, error: Any) -> str:
    _, text = runtime.cudaGetErrorString(error)
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
