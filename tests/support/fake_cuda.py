"""``cuda.bindings.runtime`` without a GPU, made from the record of the real one.

It has the functions of the record and no other, takes the number of arguments that the record
gives, and returns tuples that begin with an error. Work on a stream is done when somebody waits
for the stream: who forgets to wait reads old memory.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ALIGNMENT = 256


@dataclass
class Gpu:
    """The board that the fake runtime shows; ``failing`` names functions that return an error."""

    name: bytes = b"Orin (nvgpu)"
    capability: tuple[int, int] = (8, 7)
    sm_count: int = 8
    memory: int = 8 << 30
    free: int = 4 << 30
    integrated: int = 1
    devices: int = 1
    driver: int = 12060
    failing: set[str] = field(default_factory=set)
    alignment: int = ALIGNMENT


class FakeRuntime(types.ModuleType):
    """The module; ``calls`` lists what was called, ``live`` what was made and not destroyed."""

    def __init__(self, record: dict[str, Any], gpu: Gpu) -> None:
        super().__init__("cuda.bindings.runtime")
        self.gpu = gpu
        self.calls: list[str] = []
        self.live: dict[int, Any] = {}
        self.queues: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self._next = 0x1000
        for name, members in record["enums"].items():
            setattr(self, name, enum.IntEnum(name, members))
        for name, number in record["numbers"].items():
            setattr(self, name, number)
        for name, parameters in record["functions"].items():
            setattr(self, name, self._function(name, parameters))

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """Put work on a stream, or into the graph that is captured from it."""
        assert stream in self.live, "work on a stream that does not exist"
        self.capturing.get(stream, self.queues[stream]).append(work)

    def _function(self, name: str, parameters: str) -> Callable[..., tuple[Any, ...]]:
        wanted = [p for p in parameters.split(", ") if p]
        done = getattr(self, f"_{name}")
        nothing = {"cudaGetDeviceCount": 1, "cudaMemGetInfo": 2}

        def call(*arguments: Any) -> tuple[Any, ...]:
            if len(arguments) != len(wanted):
                raise TypeError(f"{name}({parameters}) got {len(arguments)} arguments")
            self.calls.append(name)
            if name in self.gpu.failing:
                if name == "cudaStreamEndCapture":  # a capture that failed is over too
                    self.capturing.pop(int(arguments[0]))
                return (self.cudaError_t.cudaErrorInvalidValue, *[None] * nothing.get(name, 1))
            return done(*arguments)

        return call

    def _ok(self, *values: Any) -> tuple[Any, ...]:
        return (self.cudaError_t.cudaSuccess, *values)

    def _new(self, thing: Any) -> int:
        self._next += 0x10
        self.live[self._next] = thing
        return self._next

    def _memory(self, size: int) -> int:
        block = (ctypes.c_uint8 * (size + 2 * ALIGNMENT))()
        address = -(-ctypes.addressof(block) // ALIGNMENT) * ALIGNMENT
        address += self.gpu.alignment % ALIGNMENT
        self.live[address] = block
        return address

    def _gone(self, handle: int) -> tuple[Any, ...]:
        del self.live[int(handle)]
        return self._ok()

    def _cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if not self.gpu.driver:
            return self.cudaError_t.cudaErrorInsufficientDriver, None
        return self._ok(self.gpu.devices)

    def _cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._ok(self.gpu.driver)

    def _cudaRuntimeGetVersion(self) -> tuple[Any, ...]:
        return self._ok(12090)

    def _cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        assert device == 0
        return self._ok()

    def _cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        major, minor = self.gpu.capability
        found = types.SimpleNamespace(
            name=self.gpu.name,
            major=major,
            minor=minor,
            multiProcessorCount=self.gpu.sm_count,
            totalGlobalMem=self.gpu.memory,
            integrated=self.gpu.integrated,
        )
        return self._ok(found)

    def _cudaMemGetInfo(self) -> tuple[Any, ...]:
        return self._ok(self.gpu.free, self.gpu.memory)

    def _cudaGetErrorString(self, error: Any) -> tuple[Any, ...]:
        return self._ok(f"text of {error.name}".encode())

    def _cudaGetLastError(self) -> tuple[Any, ...]:
        return self._ok()

    def _cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._ok(self._memory(size))

    def _cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaHostAllocDefault
        return self._ok(self._memory(size))

    def _cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._gone(address)

    def _cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._gone(address)

    def _cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking
        stream = self._new("stream")
        self.queues[stream] = []
        return self._ok(stream)

    def _cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return self._gone(stream)

    def _cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert int(stream) not in self.capturing, "a stream that is captured cannot be waited for"
        queue = self.queues[int(stream)]
        while queue:
            queue.pop(0)()
        return self._ok()

    def _cudaMemcpyAsync(
        self, to: int, source: int, size: int, kind: Any, stream: int
    ) -> tuple[Any, ...]:
        assert kind in self.cudaMemcpyKind
        self.enqueue(int(stream), lambda: ctypes.memmove(to, source, size))
        return self._ok()

    def _cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any, ...]:
        assert mode == self.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.capturing[int(stream)] = []
        return self._ok()

    def _cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        return self._ok(self._new(self.capturing.pop(int(stream))))

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        return self._ok(self._new(list(self.live[graph])))

    def _cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        return self._gone(graph)

    def _cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        return self._gone(graph)

    def _cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        for work in self.live[graph]:
            self.enqueue(int(stream), work)
        return self._ok()
