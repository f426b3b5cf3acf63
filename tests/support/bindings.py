"""The API of the real Python bindings of TensorRT and CUDA: names, numbers and signatures.

``python tests/support/bindings.py WHEELS`` writes one JSON record a wheel into tests/tensorrt/api.
WHEELS is a folder with wheels of tensorrt-cu12-bindings or tensorrt-cu13-bindings, cuda-bindings
and cuda-pathfinder, as ``pip download --no-deps`` leaves them. TensorRT's libraries are not needed:
its bindings are linked against a few C functions, and a library that defines these and returns
null lets them be imported. Nothing of TensorRT can be run that way; what it is can be asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

API = Path(__file__).resolve().parent.parent / "tensorrt" / "api"

# What createInferBuilder() and its kind expand to in NvInfer.h, NvInferRuntime.h, NvOnnxParser.h.
_SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")

CLASSES = (
    "Builder",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IProgressMonitor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
ENUMS = (
    "BuilderFlag",
    "DataType",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
)
CUDA_FUNCTIONS = (
    "cudaDriverGetVersion",
    "cudaFree",
    "cudaFreeHost",
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaGraphDestroy",
    "cudaGraphExecDestroy",
    "cudaGraphInstantiate",
    "cudaGraphLaunch",
    "cudaHostAlloc",
    "cudaMalloc",
    "cudaMemGetInfo",
    "cudaMemcpyAsync",
    "cudaRuntimeGetVersion",
    "cudaSetDevice",
    "cudaStreamBeginCapture",
    "cudaStreamCreateWithFlags",
    "cudaStreamDestroy",
    "cudaStreamEndCapture",
    "cudaStreamSynchronize",
)
CUDA_ENUMS = {
    "cudaError_t": (
        "cudaErrorInsufficientDriver",
        "cudaErrorInvalidValue",
        "cudaErrorMemoryAllocation",
        "cudaErrorStreamCaptureUnsupported",
        "cudaSuccess",
    ),
    "cudaMemcpyKind": ("cudaMemcpyDeviceToHost", "cudaMemcpyHostToDevice"),
    "cudaStreamCaptureMode": ("cudaStreamCaptureModeThreadLocal",),
}
CUDA_PROPERTIES = (
    "integrated",
    "major",
    "minor",
    "multiProcessorCount",
    "name",
    "totalGlobalMem",
)
CUDA_NUMBERS = ("cudaHostAllocDefault", "cudaStreamNonBlocking")


def parameters(signature: str) -> str:
    """Return the names in a signature without self, those with a default marked by ``=``.

    ``f(self: M.Builder, flags: int = 0) -> X`` gives ``flags=``.
    """
    inside = signature[signature.index("(") + 1 :]
    parts, depth, part = [], 0, ""
    for char in inside:
        if char == ")" and depth == 0:
            break
        depth += (char in "([<{") - (char in ")]>}")
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    found = []
    for text in (*parts, part):
        # Cython writes C types before a name, "unsigned int flags"; pybind11 after it, "a: int".
        head = text.split("=")[0].split(":")[0].split()
        if head and head[-1] != "self":
            found.append(head[-1] + ("=" if "=" in text else ""))
    return ", ".join(found)


def overloads(name: str, doc: str) -> list[str]:
    """Return the parameters of every overload that a docstring of pybind11 lists."""
    lines = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((?!\*args).*$", doc or "", re.MULTILINE)
    return [parameters(line) for line in lines]


def record_tensorrt(trt: Any) -> dict[str, Any]:
    """Return names, signatures and enum values of the module."""
    return {
        "version": trt.__version__,
        "classes": {name: _record_class(getattr(trt, name)) for name in CLASSES},
        "enums": {name: _record_enum(getattr(trt, name)) for name in ENUMS}
        | {"ILogger.Severity": _record_enum(trt.ILogger.Severity)},
    }


def record_cuda(runtime: Any, version: str) -> dict[str, Any]:
    """Return the same of cuda.bindings.runtime, for what edge-bts calls."""
    return {
        "version": version,
        "functions": {
            name: parameters(getattr(runtime, name).__doc__.splitlines()[0])
            for name in CUDA_FUNCTIONS
        },
        "enums": {
            name: {member: int(getattr(getattr(runtime, name), member)) for member in members}
            for name, members in CUDA_ENUMS.items()
        },
        "numbers": {name: int(getattr(runtime, name)) for name in CUDA_NUMBERS},
        "properties": [n for n in CUDA_PROPERTIES if hasattr(runtime.cudaDeviceProp, n)],
    }


def _record_class(kind: Any) -> dict[str, Any]:
    methods, properties = {}, {}
    for name in sorted(dir(kind)):
        if name.startswith("_") and name != "__init__":
            continue
        member = getattr(kind, name)
        if isinstance(member, property):
            properties[name] = "get" if member.fset is None else "get set"
        elif callable(member) and not isinstance(member, type):
            methods[name] = overloads(name, member.__doc__)
    return {"methods": methods, "properties": properties}


def _record_enum(kind: Any) -> dict[str, int]:
    return {name: int(value) for name, value in sorted(kind.__members__.items())}


def make_libraries(folder: Path, major: int) -> None:
    """Compile libraries whose every function returns null, under the names TensorRT has."""
    source = folder / "null.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _SYMBOLS))
    for library in _LIBRARIES:
        name = f"lib{library}.so.{major}"
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source],
            check=True,
            capture_output=True,
        )


def run_with_wheel(wheel: Path, others: list[Path], folder: Path, code: str) -> str:
    """Return what ``code`` prints in an interpreter that sees the wheels unpacked in ``folder``.

    The package ``tensorrt_bindings`` is importable as ``tensorrt`` too: in NVIDIA's distribution a
    second, empty wheel does that.
    """
    for path in (wheel, *others):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    if wheel.name.startswith("tensorrt"):
        make_libraries(folder, int(wheel.name.split("-")[1].split(".")[0]))
        alias = "import sys, tensorrt_bindings\nsys.modules[__name__] = tensorrt_bindings\n"
        (folder / "tensorrt.py").write_text(alias)
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    here = str(Path(__file__).parent)
    start = f"import sys; sys.path[:0] = [{str(folder)!r}, {here!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def record_of(wheel: Path, others: list[Path], folder: Path) -> dict[str, Any]:
    """Return the record of a wheel."""
    if wheel.name.startswith("tensorrt"):
        what = (
            "import json, tensorrt, bindings as b; print(json.dumps(b.record_tensorrt(tensorrt)))"
        )
    else:
        version = wheel.name.split("-")[1]
        what = (
            "import json, bindings as b; from cuda.bindings import runtime; "
            f"print(json.dumps(b.record_cuda(runtime, {version!r})))"
        )
    record: dict[str, Any] = json.loads(run_with_wheel(wheel, others, folder, what))
    return record


def recorded_name(wheel: Path) -> str:
    """Return the name of a wheel's record, ``tensorrt-10.3.0.json`` or ``cuda-13.4.4.json``."""
    name, version = wheel.name.split("-")[:2]
    return f"{name.split('_')[0]}-{version}.json"


def find_wheels(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the wheels that have a record, and those that they need."""
    found = sorted(folder.glob("tensorrt_cu*_bindings-*.whl")) + sorted(
        folder.glob("cuda_bindings-*.whl")
    )
    return found, sorted(folder.glob("cuda_pathfinder-*.whl"))


def main(folder: Path) -> None:
    """Write a record of every wheel in ``folder``."""
    import tempfile

    wheels, needed = find_wheels(folder)
    for wheel in wheels:
        with tempfile.TemporaryDirectory() as unpacked:
            record = record_of(wheel, needed, Path(unpacked))
        text = json.dumps(record, indent=1, sort_keys=True)
        (API / recorded_name(wheel)).write_text(f"{text}\n")
        print(recorded_name(wheel))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
