"""Building the C++ part with CMake, out of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def tool(name: str) -> str:
    """The path of a program, or a skip that says what is missing."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    path = shutil.which(name, path=folders)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a command; its output is the message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def configure(source: Path, folder: Path, *definitions: str) -> None:
    """Configure a build; what is not installed is a skip."""
    tool("c++")
    configured = subprocess.run(
        [tool("cmake"), "-S", source, "-B", folder, f"-DEDGE_BTS_PYTHON={sys.executable}",
         *definitions],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Expected doctest" in configured.stderr:
        pytest.skip("doctest is not installed (Debian, Ubuntu: apt install doctest-dev)")
    if "Expected what libedge_bts needs" in configured.stderr:
        pytest.skip("missing: apt install libsodium-dev nlohmann-json3-dev (Debian, Ubuntu)")
    assert configured.returncode == 0, configured.stderr


def compile_all(folder: Path) -> None:
    """Build what was configured."""
    run(tool("cmake"), "--build", folder, "--parallel", "2")
