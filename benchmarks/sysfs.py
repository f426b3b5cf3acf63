"""Files of one value, as kernels show them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["numbers", "read_number", "read_text"]


def read_text(path: Path) -> str:
    """Return what the file says; "" where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def read_number(path: Path) -> float | None:
    """Return the number in the file; None where there is none, or it may not be read."""
    try:
        return float(read_text(path))
    except ValueError:
        return None


def numbers(paths: Iterable[Path]) -> list[float]:
    """Return the numbers of those files that have one."""
    return [value for path in paths if (value := read_number(path)) is not None]
