"""The C++ core builds alone, without Python (under the sanitizers: `make sanitize`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from native_build import compile_all, configure, run, tool

pytestmark = pytest.mark.slow


def build(repository: Path, folder: Path, *definitions: str) -> Path:
    """Configure and build the tests with warnings as errors; returns the folder of programs."""
    configure(repository, folder, "-DEDGE_BTS_BUILD_TESTS=ON", "-DEDGE_BTS_WERROR=ON", *definitions)
    compile_all(folder)
    return folder / "runtime" / "tests"


def test_core_gives_the_pinned_bits_with_every_instruction_of_this_machine(
    repository: Path, tmp_path: Path
) -> None:
    """-O3 and -march=native, with the fused multiply-add they allow, change no bit."""
    programs = build(
        repository,
        tmp_path,
        "-DEDGE_BTS_BUILD_RUNTIME=OFF",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_CXX_FLAGS=-O3 -march=native",
    )
    assert "SUCCESS" in run(programs / "edge_bts_tests")


@pytest.mark.parametrize("asked", ["AUTO", "ON"])
def test_a_missing_library_is_named(repository: Path, tmp_path: Path, asked: str) -> None:
    """Without what libedge_bts needs, the core is configured alone, or refused if it was asked."""
    tool("c++")
    done = subprocess.run(
        [tool("cmake"), "-S", repository, "-B", tmp_path, f"-DEDGE_BTS_BUILD_RUNTIME={asked}",
         "-DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (asked == "AUTO")
    assert "nlohmann-json3-dev" in done.stdout + done.stderr
