"""What runs on GPUs in C++: built where the compiler or the headers are, run on what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from native_build import configure, run, tool

pytestmark = pytest.mark.slow

_ROOTS = [Path(root) for root in os.environ.get("TENSORRT_ROOT", "").split(os.pathsep) if root]


@pytest.fixture(scope="module")
def kernels(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the CUDA kernels, for every GPU from Ampere on; the folder of programs."""
    tool("nvcc")
    folder = tmp_path_factory.mktemp("cuda")
    configure(
        repository,
        folder,
        "-DEDGE_BTS_BUILD_TESTS=ON",
        "-DEDGE_BTS_WERROR=ON",
        "-DEDGE_BTS_BUILD_RUNTIME=OFF",
        "-DEDGE_BTS_CUDA=ON",
        "-DCMAKE_CUDA_ARCHITECTURES=80-virtual",
    )
    run(tool("cmake"), "--build", folder, "--parallel", "2")
    return folder / "runtime" / "tests"


def test_kernels_give_the_bits_of_the_core_when_their_threads_take_turns(kernels: Path) -> None:
    """Compiled as C++, a kernel's arithmetic and bounds are those of the core; no GPU is needed."""
    program = kernels / "edge_bts_cuda_emulated_tests"
    assert "SUCCESS" in run(program, "-tce=so they do*,the largest*")


def test_kernels_give_the_bits_of_the_core_on_a_gpu(kernels: Path) -> None:
    """Every size, region, pitch and format; compiled without a warning of nvcc."""
    output = run(kernels / "edge_bts_cuda_tests")
    assert "SUCCESS" in output
    if "Skipped: no CUDA device" in output:
        pytest.skip("compiled; no CUDA device to run on")


@pytest.mark.parametrize("root", _ROOTS, ids=lambda root: root.name)
@pytest.mark.skipif(not _ROOTS, reason="no headers of TensorRT; set TENSORRT_ROOT to their folders")
def test_tensorrt_backend_passes_against_fakes(
    root: Path, repository: Path, tmp_path: Path
) -> None:
    """Built for the headers in ``root/include``: check order, refusals, graphs, streams, leaks."""
    configure(
        repository,
        tmp_path,
        "-DEDGE_BTS_BUILD_TESTS=ON",
        "-DEDGE_BTS_WERROR=ON",
        "-DEDGE_BTS_BUILD_RUNTIME=ON",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DEDGE_BTS_SANITIZE=address,undefined",
        f"-DTENSORRT_ROOT={root}",
    )
    target = "edge_bts_tensorrt_tests"
    run(tool("cmake"), "--build", tmp_path, "--parallel", "2", "--target", target)
    assert "SUCCESS" in run(tmp_path / "runtime" / "tests" / target)
