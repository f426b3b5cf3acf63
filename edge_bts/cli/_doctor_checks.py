"""The checks of ``edge-bts doctor``; each looks at one thing and says how to mend it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from edge_bts.extras import DICOM_PACKAGES
from edge_bts.telemetry import import_openvino

__all__ = ["Check", "run_checks"]

# Distribution to module where the two differ.
_MODULES = {"opencv-python-headless": "cv2"}

# What makes INT8 fast; without one of them it still runs, about as fast as FP32.
_INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
_OTHER_FLAGS = ("avx512f", "avx2", "fma", "sse4_1", "asimd", "sve", "bf16", "avx512_bf16")


@dataclass(frozen=True)
class Check:
    """One line of the report; ``missing`` means that `run` or `bench` cannot work."""

    group: str
    name: str
    state: Literal["ok", "note", "missing"]
    detail: str
    mend: str = ""


def run_checks() -> list[Check]:
    """Look at everything; no check raises."""
    found = [*_system(), *_base(), _geometry(), *_backends(), _runtime(), *_tensorrt()]
    return [*found, *_commands(found), *_extras()]


def _system() -> Iterator[Check]:
    python = f"Python {platform.python_version()} ({platform.python_implementation()})"
    yield Check("system", "platform", "ok", f"{platform.platform()}, {python}")
    yield Check("system", "processor", "ok", f"{_processor()}, {os.cpu_count()} cores")
    flags = _cpu_flags()
    int8 = [flag for flag in _INT8_FLAGS if flag in flags]
    found = " ".join([*int8, *(flag for flag in _OTHER_FLAGS if flag in flags)])
    if flags and not int8:
        detail = f"{found}; none of {' '.join(_INT8_FLAGS)}: INT8 will gain little speed here"
        yield Check("system", "instructions", "note", detail)
    else:
        yield Check("system", "instructions", "ok", found or "not known on this platform")

    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    if governor in ("", "performance"):
        yield Check("system", "frequency governor", "ok", governor or "unknown: not readable here")
    else:
        detail = f"{governor}: the clock follows the load, so times of single frames vary"
        mend = "sudo cpupower frequency-set -g performance, before you measure"
        yield Check("system", "frequency governor", "note", detail, mend)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _processor() -> str:
    """The board where the firmware names it (Jetson), else the processor."""
    board = _read("/proc/device-tree/model").strip("\0 \n")
    name = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return board or (name.group(1) if name else platform.processor() or platform.machine())


def _cpu_flags() -> set[str]:
    """x86 calls the line "flags", ARM calls it "Features"."""
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return set(line.group(1).split()) if line else set()


def _requirements() -> dict[str, list[str]] | None:
    """Names of the required distributions by extra ("" is the base), from the metadata."""
    try:
        lines = metadata.requires("edge-bts") or []
    except metadata.PackageNotFoundError:
        return None
    groups: dict[str, list[str]] = {}
    for line in lines:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and "python_version" not in line:
            groups.setdefault(extra.group(1) if extra else "", []).append(name.group())
    return groups


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _base() -> Iterator[Check]:
    groups = _requirements()
    if groups is None:
        yield Check("base", "edge-bts", "missing", "runs from its sources", "run pip install -e .")
        return
    yield Check("base", "edge-bts", "ok", f"{_version('edge-bts')} in {Path(__file__).parents[1]}")
    for name in groups.get("", []):
        yield _importable("base", name, _MODULES.get(name, name))


def _importable(group: str, distribution: str, module: str) -> Check:
    version = _version(distribution)
    try:
        found = importlib.import_module(module)
    except Exception as error:
        # Anything may come out of a broken binary package; the reason belongs in the report.
        reason = f"version {version} does not import: {error}" if version else "not installed"
        return Check(group, distribution, "missing", reason, f"run pip install {distribution}")
    return Check(group, distribution, "ok", version or str(getattr(found, "__version__", "found")))


def _geometry() -> Check:
    try:
        from edge_bts import _native
    except (ImportError, OSError) as error:
        return Check(
            "geometry",
            "C++ core",
            "note",
            f"not built, NumPy computes the same bits more slowly: {error}",
            "install a C++17 compiler, then edge-bts again",
        )
    if (version := _version("edge-bts")) and _native.__version__ != version:
        detail = f"is of version {_native.__version__}, the package of {version}"
        return Check("geometry", "C++ core", "note", detail, "run pip install again")
    return Check("geometry", "C++ core", "ok", f"{_native.__version__}, {_native.compiler}")


def _backends() -> list[Check]:
    openvino, onnxruntime = _openvino(), _onnxruntime()
    if openvino.state == "ok" or onnxruntime.state == "ok":
        return [openvino, onnxruntime]
    missing = "nothing can run a bundle"
    return [
        openvino,
        onnxruntime,
        Check("backend", "any", "missing", missing, "run pip install openvino"),
    ]


def _openvino() -> Check:
    try:
        devices = ", ".join(import_openvino().Core().available_devices)
    except Exception as error:
        return Check("backend", "openvino", "note", f"does not load: {error}")
    return Check("backend", "openvino", "ok", f"{_version('openvino')}, devices {devices}")


def _onnxruntime() -> Check:
    try:
        import onnxruntime

        providers = ", ".join(onnxruntime.get_available_providers())
    except ImportError:
        mend = "pip install 'edge-bts[export]'"
        return Check("backend", "onnxruntime", "note", "not installed, not needed to run", mend)
    except Exception as error:
        return Check("backend", "onnxruntime", "note", f"does not load: {error}")
    return Check("backend", "onnxruntime", "ok", f"{onnxruntime.__version__}, {providers}")


def _runtime() -> Check:
    try:
        from edge_bts.runtime.native import import_runtime

        native = import_runtime()
    except Exception as error:  # the base may be what is missing
        return Check("backend", "native", "note", str(error))
    backends = native.backends.replace(" ", ", ")
    return Check("backend", "native", "ok", f"libedge_bts {native.__version__} with {backends}")


def _tensorrt() -> Iterator[Check]:
    """What `edge-bts build` needs; none of it is needed to run on the CPU."""
    from edge_bts.errors import EnvironmentMismatchError
    from edge_bts.tensorrt import jetpack
    from edge_bts.tensorrt.cuda import open_cuda
    from edge_bts.tensorrt.library import import_tensorrt, library_version

    if (version := jetpack.l4t()) is not None:
        mode = jetpack.power_mode() or "unknown"
        detail = f"{jetpack.jetpack(version)} (L4T {version}), power mode {mode}"
        yield Check("tensorrt", "JetPack", "ok", detail)
    try:
        found = library_version(import_tensorrt())
    except EnvironmentMismatchError as error:
        yield Check("tensorrt", "TensorRT", "note", str(error))
    else:
        yield Check("tensorrt", "TensorRT", "ok", found)
    try:
        cuda = open_cuda()
        gpu = cuda.gpu()
    except EnvironmentMismatchError as error:
        yield Check("tensorrt", "CUDA", "note", str(error))
    else:
        capability = "{}.{}".format(*gpu.compute_capability)
        detail = (
            f"{gpu.name}, compute capability {capability}, {gpu.sm_count} SMs, driver for CUDA "
            f"{gpu.driver}, {cuda.name} with CUDA {gpu.runtime}"
        )
        yield Check("tensorrt", "CUDA", "ok", detail)


# What each command needs beyond the base: an extra of edge-bts and its modules.
_TRAIN = ("torch", "lightning_fabric", "kornia", "tensorboard", "matplotlib")
_COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "run, replay, eval, inspect, compare, key, sign": ("", ()),
    "view": ("view", ("starlette", "uvicorn", "websockets")),
    "run, replay of DICOM": ("dicom", DICOM_PACKAGES),
    "verify": ("export", ("onnxruntime", "onnx")),
    "bench": ("bench", ("torch", "onnxruntime", "matplotlib")),
    "train, distill, study": ("train", _TRAIN),
    "export": ("train,export", ("nncf", "onnx", "onnxruntime", *_TRAIN)),
}
# What a command still does without them.
_WITHOUT = {
    "verify": "compares what OpenVINO runs; other forms and the search for a tensor are left out",
    "bench": "measures the bundle; rows of torch and ONNX Runtime, and the plot, are left out",
}


def _commands(before: list[Check]) -> Iterator[Check]:
    """What can be done here, in the words of the command line."""
    base = [check.name for check in before if check.state == "missing"]
    for command, (extra, modules) in _COMMANDS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        if base:
            yield Check("command", command, "note", f"not before {', '.join(base)} is mended")
        elif not absent:
            yield Check("command", command, "ok", "ready")
        else:
            without = _WITHOUT.get(command, "cannot run")
            detail = f"{without}: {', '.join(absent)} not installed"
            yield Check("command", command, "note", detail, f"pip install 'edge-bts[{extra}]'")
    device = [c.name for c in before if c.group == "tensorrt" and c.state == "note"]
    if device:
        detail = f"cannot run: {' and '.join(device)} as said above"
        yield Check("command", "build", "note", detail)
    else:
        yield Check("command", "build", "ok", "ready")


def _extras() -> Iterator[Check]:
    for extra, names in sorted((_requirements() or {}).items()):
        if extra in ("", "dev"):
            continue
        versions = {name: _version(name) for name in dict.fromkeys(names)}
        absent = [name for name, version in versions.items() if version is None]
        found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        if absent:
            detail = f"without {', '.join(absent)}"
            yield Check("extra", extra, "note", detail, f"pip install 'edge-bts[{extra}]'")
        else:
            yield Check("extra", extra, "ok", found)
