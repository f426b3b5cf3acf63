"""The machine and GPU that an engine is built on and tied to."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt import jetpack
from edge_bts.tensorrt.cuda import Cuda, open_cuda
from edge_bts.tensorrt.library import import_tensorrt

__all__ = ["Device", "free_mib", "open_device", "read_device"]


class Device(BaseModel):
    """What a sidecar says of the device; what cannot be read is None.

    Attributes:
        gpu: Name that the driver gives.
        compute_capability: E.g. ``8.7``.
        sm_count: Streaming multiprocessors: boards of one capability differ by it.
        memory_mib: Of the GPU, shared with the CPU where ``integrated``.
        integrated: Whether CPU and GPU share one memory.
        cuda_driver: CUDA version that the driver supports.
        cuda_runtime: CUDA version of the Python package.
        cuda_toolkit: Of the toolkit in ``/usr/local/cuda``.
        cuda_package: Package and version through which CUDA is called.
        machine: E.g. ``aarch64``.
        system: Operating system and kernel.
        board: Name that the firmware gives.
        l4t: Linux for Tegra; None on what is no Jetson.
        jetpack: By a table from ``l4t``; ``unknown`` where the table lacks it.
        power_mode: Of nvpmodel.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    gpu: str
    compute_capability: str
    sm_count: int
    memory_mib: int
    integrated: bool
    cuda_driver: str
    cuda_runtime: str
    cuda_toolkit: str | None
    cuda_package: str
    machine: str
    system: str
    board: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: str | None

    @property
    def sm(self) -> str:
        """``sm87``, as file names say it."""
        return "sm" + self.compute_capability.replace(".", "")

    def differs_from(self, other: Device) -> list[str]:
        """Name what ties an engine to a device and is not the same here, e.g. ``SM count 8``."""
        ties = {"machine": "machine", "compute_capability": "compute capability"}
        ties |= {"gpu": "GPU", "sm_count": "SM count"}
        return [
            f"{name} {getattr(other, field)} (here {getattr(self, field)})"
            for field, name in ties.items()
            if getattr(self, field) != getattr(other, field)
        ]


def free_mib(cuda: Cuda, device: Device) -> int:
    """Return the memory that a build can have, in MiB.

    Where CPU and GPU share one memory, cudaMemGetInfo gives what the system calls free; what the
    kernel can take back from cached files counts here too (CUDA for Tegra Application Note).
    """
    free = cuda.free_memory()
    if device.integrated:
        import psutil

        free = max(free, psutil.virtual_memory().available)
    return free >> 20


def open_device() -> tuple[Any, Cuda, Device]:
    """Import TensorRT, open the GPU and describe it.

    Raises:
        EnvironmentMismatchError: Something is missing; everything that is, is named at once.
    """
    faults: list[EnvironmentMismatchError] = []

    def attempt(open_it: Callable[[], Any]) -> Any:
        try:
            return open_it()
        except EnvironmentMismatchError as error:
            faults.append(error)

    trt, cuda = attempt(import_tensorrt), attempt(open_cuda)
    if faults:
        raise EnvironmentMismatchError(" ".join(map(str, faults)))
    return trt, cuda, read_device(cuda)


def read_device(cuda: Cuda) -> Device:
    """Describe the device that ``cuda`` opened and the machine around it."""
    gpu = cuda.gpu()
    tegra = jetpack.l4t()
    return Device(
        gpu=gpu.name,
        compute_capability="{}.{}".format(*gpu.compute_capability),
        sm_count=gpu.sm_count,
        memory_mib=gpu.memory_mib,
        integrated=gpu.integrated,
        cuda_driver=gpu.driver,
        cuda_runtime=gpu.runtime,
        cuda_toolkit=jetpack.cuda_toolkit(),
        cuda_package=cuda.name,
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        board=jetpack.board(),
        l4t=tegra,
        jetpack=None if tegra is None else jetpack.jetpack(tegra),
        power_mode=jetpack.power_mode(),
    )
