"""Which Jetson this is: L4T from its own file, JetPack from a table. Unknown stays unknown."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

__all__ = ["board", "cuda_toolkit", "jetpack", "l4t", "power_mode"]

UNKNOWN = "unknown"

# NVIDIA's release pages; an L4T that is not here is reported as unknown, never guessed.
_JETPACK = {
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")


def l4t(root: Path = Path("/")) -> str | None:
    """Return the version of Linux for Tegra, e.g. ``36.4.3``; None: no Jetson."""
    try:
        text = (root / "etc/nv_tegra_release").read_text(errors="replace")
    except OSError:
        return None
    found = _RELEASE.match(text)
    return f"{found.group(1)}.{found.group(2)}" if found else UNKNOWN


def jetpack(version: str) -> str:
    """Return the JetPack that ships this L4T, or ``unknown``."""
    return _JETPACK.get(version if version.count(".") > 1 else f"{version}.0", UNKNOWN)


def board(root: Path = Path("/")) -> str | None:
    """Return the name that the firmware gives the board; None where it gives none."""
    try:
        text = (root / "proc/device-tree/model").read_text(errors="replace")
    except OSError:
        return None
    return text.strip("\0 \n") or None


def cuda_toolkit(root: Path = Path("/")) -> str | None:
    """Return the version of the toolkit in ``/usr/local/cuda``; None where it says none."""
    try:
        found = json.loads((root / "usr/local/cuda/version.json").read_bytes())["cuda"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found)


def power_mode() -> str | None:
    """Return the power mode that nvpmodel reports, e.g. ``MAXN``; None where it reports none."""
    try:
        done = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found.group(1) if found else None
