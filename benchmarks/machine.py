"""What a benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from edge_bts.benchmarks.device import Device
from edge_bts.benchmarks.result import Machine

__all__ = ["describe_machine", "load_average"]

_PACKAGES = (
    "edge-bts",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "onnxruntime",
    "torch",
    "tensorrt",
)
_VARIABLES = ("OMP_NUM_THREADS", "GLIBC_TUNABLES", "LD_PRELOAD", "ONEDNN_MAX_CPU_ISA", "KMP_")


def describe_machine(
    before: list[float], foreign_load: float, threads: int, device: Device
) -> Machine:
    """Describe this machine as it is at the end of a run.

    Args:
        before: The load averages at its start.
        foreign_load: The share of the machine that other processes used meanwhile.
        threads: What the workers were told.
        device: Governor, power mode and the like.
    """
    environment = {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)}
    return Machine(
        cpu=_cpu(),
        logical_cores=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=_versions(),
        environment=environment | {"OMP_NUM_THREADS": str(threads)},
        load_average_before=before,
        load_average_after=load_average(),
        foreign_load=foreign_load,
        device=device,
    )


def load_average() -> list[float]:
    """Return the mean number of running processes over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in psutil.getloadavg()]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
