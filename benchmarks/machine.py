"""What a benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path

import psutil

from edge_bts.benchmarks.device import Device
from edge_bts.benchmarks.result import Machine

__all__ = ["describe_machine", "installed_bytes", "load_average"]

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
        installed_bytes=installed_bytes(),
        environment=environment | {"OMP_NUM_THREADS": str(threads)},
        load_average_before=before,
        load_average_after=load_average(),
        foreign_load=foreign_load,
        device=device,
    )


def installed_bytes(package: str = "edge-bts") -> dict[str, int]:
    """Return the bytes on disk of a package and of all that it needs, extras apart, by name.

    Compiled Python (``.pyc``) is not counted. A package that is installed for editing has its
    files elsewhere: it is left out, and so is what is not installed or does not list its files.
    """
    found: dict[str, int] = {}
    seen, due = set(), [package]
    while due:
        name = re.sub(r"[-_.]+", "-", due.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another Python or system
        for requirement in distribution.requires or ():
            word = re.match(r"[\w.-]+", requirement)
            if word is not None and not re.search(r"\bextra\b", requirement.partition(";")[2]):
                due.append(word[0])
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            continue
        files = (Path(str(file.locate())) for file in distribution.files or ())
        sizes = [f.stat().st_size for f in files if f.suffix != ".pyc" and f.is_file()]
        if sizes:
            found[name] = sum(sizes)
    return dict(sorted(found.items()))


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
