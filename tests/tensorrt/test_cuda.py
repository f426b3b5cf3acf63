"""The two ways to CUDA, and what is said where neither works."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from fake_device import Machine

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt.cuda import CudaError, CudaPython, Gpu, PyCuda, open_cuda


@pytest.mark.usefixtures("machine")
def test_the_gpu_is_described() -> None:
    """Name, capability, SMs, memory and versions come from the runtime."""
    cuda = open_cuda()
    assert isinstance(cuda, CudaPython)
    assert cuda.gpu() == Gpu("Orin (nvgpu)", (8, 7), 8, 8192, True, "12.6", "12.9")
    assert cuda.free_memory() == 4 << 30


def test_copies_wait_for_the_stream(machine: Machine) -> None:
    """What goes in comes out, once somebody waited."""
    cuda = open_cuda()
    stream = cuda.new_stream()
    host, back = cuda.pinned_buffer(1000), cuda.pinned_buffer(1000)
    device = cuda.device_buffer(1000)
    host[:] = np.arange(1000, dtype=np.uint8)
    back[:] = 0
    cuda.copy_in(device, host, stream)
    cuda.copy_out(back, device, stream)
    assert not back.any()
    cuda.wait(stream)
    np.testing.assert_array_equal(back, host)
    cuda.close()
    assert machine.runtime.live == {}


def test_a_failed_capture_leaves_nothing(machine: Machine) -> None:
    """The capture is ended, its graph destroyed, the error cleared, and the stream still works."""
    cuda = open_cuda()
    stream = cuda.new_stream()
    before = dict(machine.runtime.live)

    def fail() -> None:
        raise CudaError("planted")

    assert cuda.graphs is not None
    with pytest.raises(CudaError, match="planted"):
        cuda.graphs.capture(fail, stream)
    assert machine.runtime.live == before
    assert machine.runtime.calls[-1] == "cudaGetLastError"
    cuda.wait(stream)


def test_a_failed_call_is_a_sentence(machine: Machine) -> None:
    """The function and CUDA's own text are named."""
    cuda = open_cuda()
    machine.gpu.failing = {"cudaMalloc"}
    with pytest.raises(CudaError, match=r"cudaMalloc .* text of cudaErrorInvalidValue"):
        cuda.device_buffer(16)


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ({"driver": 0}, "finds no driver and says: text of cudaErrorInsufficientDriver"),
        ({"devices": 0}, r"finds a driver for CUDA 12\.6 and says: no GPU is visible"),
    ],
)
def test_driver_and_gpu_are_told_apart(machine: Machine, gpu: dict[str, int], said: str) -> None:
    """The error says which of the two is missing, and what to do on a Jetson and elsewhere."""
    for name, value in gpu.items():
        setattr(machine.gpu, name, value)
    with pytest.raises(EnvironmentMismatchError, match=said) as caught:
        open_cuda()
    assert "JetPack" in str(caught.value)
    assert "nvidia-smi" in str(caught.value)


def test_without_any_package_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mend names the version for each CUDA."""
    for name in ("cuda", "cuda.bindings", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentMismatchError, match=r"cuda-python==12\.9.*JetPack 6"):
        open_cuda()


class FakePyCuda(types.ModuleType):
    """``pycuda.driver`` with the names that its sources bind (2026.1); it has no wheels to ask."""

    class Error(Exception):
        """Base of pycuda's errors."""

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, bytearray] = {}
        self.done: list[str] = []
        self.device_attribute = types.SimpleNamespace(MULTIPROCESSOR_COUNT=16, INTEGRATED=18)
        device = types.SimpleNamespace(
            name=lambda: "Orin",
            compute_capability=lambda: (8, 7),
            get_attribute=lambda which: {16: 8, 18: 1}[which],
            total_memory=lambda: 8 << 30,
        )
        self.Context = types.SimpleNamespace(get_device=lambda: device)

    def get_driver_version(self) -> int:
        return 12060

    def get_version(self) -> tuple[int, int, int]:
        return (12, 6, 0)

    def mem_get_info(self) -> tuple[int, int]:
        return 4 << 30, 8 << 30

    def Stream(self, _flags: int) -> Any:  # noqa: N802
        return types.SimpleNamespace(handle=77, synchronize=lambda: self.done.append("wait"))

    def mem_alloc(self, nbytes: int) -> Any:
        if nbytes > 1 << 20:
            raise self.Error("out of memory")
        self.memory[256] = bytearray(nbytes)
        driver = self

        class Allocation:
            def __int__(self) -> int:
                return 256

            def free(self) -> None:
                driver.memory.pop(256)

        return Allocation()

    def pagelocked_empty(self, shape: int, dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def memcpy_htod_async(self, dest: int, src: np.ndarray, _stream: Any) -> None:
        self.memory[dest][:] = src.tobytes()

    def memcpy_dtoh_async(self, dest: np.ndarray, src: int, _stream: Any) -> None:
        dest[:] = np.frombuffer(bytes(self.memory[src]), np.uint8)


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> FakePyCuda:
    """Only pycuda is installed."""
    driver = FakePyCuda()
    package = types.ModuleType("pycuda")
    package.VERSION_TEXT = "2026.1"  # type: ignore[attr-defined]
    package.driver = driver  # type: ignore[attr-defined]
    context = types.ModuleType("pycuda.autoprimaryctx")
    package.autoprimaryctx = context  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setitem(sys.modules, "pycuda.autoprimaryctx", context)
    return driver


def test_pycuda_serves_where_cuda_python_is_not(pycuda: FakePyCuda) -> None:
    """The same GPU and copies, through the names that pycuda documents; no graphs."""
    cuda = open_cuda()
    assert isinstance(cuda, PyCuda)
    assert cuda.name == "pycuda 2026.1"
    assert cuda.gpu() == Gpu("Orin", (8, 7), 8, 8192, True, "12.6", "12.6")
    assert cuda.graphs is None
    stream = cuda.new_stream()
    host, back = cuda.pinned_buffer(100), cuda.pinned_buffer(100)
    device = cuda.device_buffer(100)
    host[:] = 7
    cuda.copy_in(device, host, stream)
    cuda.copy_out(back, device, stream)
    cuda.wait(stream)
    assert (back == 7).all()
    assert pycuda.done == ["wait"]
    with pytest.raises(CudaError, match="pycuda says: out of memory"):
        cuda.device_buffer(1 << 30)
    cuda.close()
    assert pycuda.memory == {}


@pytest.mark.usefixtures("jetson")
def test_a_graph_with_pycuda_is_a_note(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no graph API: the engine runs without, and the user is told."""
    monkeypatch.setattr(CudaPython, "graphs", None)
    notes = build(cuda_graph=True).notes
    assert any("no CUDA graph" in note and "has none" in note for note in notes)
