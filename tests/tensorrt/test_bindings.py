"""The real bindings of TensorRT and CUDA, where their wheels can be had.

``EDGE_BTS_BINDINGS`` names a folder with the wheels, e.g. as left by::

    pip download --no-deps -d FOLDER tensorrt-cu12-bindings==10.3.0 cuda-bindings==12.9.10 \
        cuda-pathfinder
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from bindings import API, find_wheels, parameters, record_of, recorded_name, run_with_wheel

_FOLDER = os.environ.get("EDGE_BTS_BINDINGS", "")
_WHEELS, _NEEDED = find_wheels(Path(_FOLDER)) if _FOLDER else ([], [])
_TENSORRT = [wheel for wheel in _WHEELS if wheel.name.startswith("tensorrt")]
_CUDA = [wheel for wheel in _WHEELS if wheel.name.startswith("cuda")]

needs_wheels = pytest.mark.skipif(
    not _WHEELS or shutil.which("cc") is None,
    reason="no wheels of the bindings (set EDGE_BTS_BINDINGS to their folder), or no C compiler",
)


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("create_network(self: t.Builder, flags: int = 0) -> t.X", "flags="),
        ("f(self: t.X, a: Dict[str, int], b: Callable[[int], str] = None) -> None", "a, b="),
        ("f(self: t.X) -> int", ""),
        ("cudaHostAlloc(size_t size, unsigned int flags)", "size, flags"),
        ("cudaMemcpyAsync(dst, src, size_t count, kind: cudaMemcpyKind, stream)",
         "dst, src, count, kind, stream"),
    ],
)  # fmt: skip
def test_signatures_are_read_from_docstrings(signature: str, names: str) -> None:
    """Those of pybind11 and of Cython."""
    assert parameters(signature) == names


def test_records_are_there() -> None:
    """Of the three versions of TensorRT and the two of CUDA that the fakes are made from."""
    names = {path.name for path in API.glob("*.json")}
    assert names == {
        "tensorrt-10.3.0.json",
        "tensorrt-10.13.3.9.post1.json",
        "tensorrt-11.4.0.106.json",
        "cuda-12.9.10.json",
        "cuda-13.4.4.json",
    }


@needs_wheels
@pytest.mark.parametrize("wheel", _WHEELS, ids=recorded_name)
def test_records_are_what_the_wheels_hold(wheel: Path, tmp_path: Path) -> None:
    """Names, signatures and numbers in the repository are those of the real package."""
    stored = json.loads((API / recorded_name(wheel)).read_text())
    assert record_of(wheel, _NEEDED, tmp_path) == stored


@needs_wheels
@pytest.mark.parametrize("wheel", _TENSORRT, ids=recorded_name)
def test_our_logger_and_monitor_are_taken_by_pybind11(wheel: Path, tmp_path: Path) -> None:
    """Both can be made from the real base classes; without TensorRT itself nothing starts."""
    code = """
from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt.library import import_tensorrt, library_version, make_logger
from edge_bts.tensorrt.progress import make_monitor
from edge_bts.tensorrt.compiling import _strongly_typed, compile_onnx
from edge_bts.tensorrt.execution import make_runtime

trt = import_tensorrt()
print(library_version(trt))
logger = make_logger(trt)
assert isinstance(logger, trt.ILogger)
logger.log(trt.ILogger.Severity.ERROR, "an  error")
logger.log(trt.ILogger.Severity.VERBOSE, "chatter")
assert logger.messages == [("ERROR", "an error")], logger.messages

class Report:
    def step(self, phase, step):
        raise KeyboardInterrupt

monitor = make_monitor(trt, Report())
assert isinstance(monitor, trt.IProgressMonitor)
assert monitor.step_complete("phase", 1) is False
assert isinstance(monitor.stopped, KeyboardInterrupt)
print(_strongly_typed(trt))
for start in (lambda: make_runtime(trt, logger), lambda: compile_onnx(
    trt, b"", level=3, workspace_mib=1, tf32=True, timing_cache=None, report=Report())):
    try:
        start()
    except EnvironmentMismatchError as error:
        print(error)
"""
    version, flag, runtime, builder = run_with_wheel(wheel, [], tmp_path, code).splitlines()
    assert wheel.name.split("-")[1].startswith(version)
    assert flag == ("1" if version.startswith("11.") else "2")
    assert "factory function returned nullptr" in runtime
    assert "makes no Builder" in builder


@needs_wheels
@pytest.mark.parametrize("wheel", _CUDA, ids=recorded_name)
def test_cuda_takes_numbers_for_pointers_and_streams(wheel: Path, tmp_path: Path) -> None:
    """Every call that we make is a legal one: it returns an error, never raises TypeError."""
    code = """
from types import SimpleNamespace

from cuda.bindings import runtime
import numpy as np
from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt.cuda import CudaError, CudaPython, open_cuda

try:
    open_cuda()
except EnvironmentMismatchError as error:
    print(error)
else:
    print("a GPU is here")
cuda = object.__new__(CudaPython)
cuda._runtime, cuda._undo = runtime, []
memory = np.zeros(16, np.uint8)
for call in (
    cuda.gpu,
    cuda.free_memory,
    cuda.new_stream,
    lambda: cuda.device_buffer(16),
    lambda: cuda.pinned_buffer(16),
    lambda: cuda._call("cudaSetDevice", 0),
):
    try:
        call()
    except CudaError as error:
        print(error)
# On a machine with a GPU these would act on memory that is not there.
if runtime.cudaGetDeviceCount()[0] != runtime.cudaError_t.cudaSuccess:
    for call in (
        lambda: cuda.copy_in(256, memory, 16),
        lambda: cuda.copy_out(memory, 256, 16),
        lambda: cuda.wait(16),
        lambda: cuda.capture(lambda: None, 16),
        lambda: cuda.launch(16, 16),
        lambda: cuda._call("cudaFree", 256),
        lambda: cuda._call("cudaFreeHost", 256),
    ):
        try:
            call()
        except CudaError as error:
            print(error)
print("done")
"""
    lines = run_with_wheel(wheel, _NEEDED, tmp_path, code).splitlines()
    assert lines[-1] == "done"
    if lines[0] != "a GPU is here":
        assert "finds no driver" in lines[0] or "CUDA" in lines[0]
        assert len(lines) == 15
