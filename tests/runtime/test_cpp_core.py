"""The C++ core builds alone, without Python, and passes its own tests under the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def tool(name: str) -> str:
    """The path of a program, or a skip that says what is missing."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    path = shutil.which(name, path=folders)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str | Path) -> str:
    """Run a command; its output is the message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(repository: Path, folder: Path, *definitions: str) -> Path:
    """Configure and build the tests with warnings as errors; returns the test program."""
    cmake = tool("cmake")
    tool("c++")
    configured = subprocess.run(
        [cmake, "-S", repository, "-B", folder, "-DEDGE_BTS_BUILD_TESTS=ON",
         "-DEDGE_BTS_WERROR=ON", *definitions],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Expected doctest" in configured.stderr:
        pytest.skip("doctest is not installed (Debian, Ubuntu: apt install doctest-dev)")
    assert configured.returncode == 0, configured.stderr
    run(cmake, "--build", folder, "--parallel", "2")
    return folder / "runtime" / "tests" / "edge_bts_tests"


def test_core_passes_under_address_and_undefined_sanitizers(
    repository: Path, tmp_path: Path
) -> None:
    """Without optimisation and with ASan and UBSan every C++ test passes."""
    program = build(
        repository, tmp_path, "-DCMAKE_BUILD_TYPE=Debug", "-DEDGE_BTS_SANITIZE=address,undefined"
    )
    assert "SUCCESS" in run(program)


def test_core_gives_the_pinned_bits_with_every_instruction_of_this_machine(
    repository: Path, tmp_path: Path
) -> None:
    """-O3 and -march=native, with the fused multiply-add they allow, change no bit."""
    program = build(
        repository,
        tmp_path,
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_CXX_FLAGS=-O3 -march=native",
    )
    assert "SUCCESS" in run(program)
