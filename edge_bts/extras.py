"""Packages that the base install does without."""

from __future__ import annotations

import importlib.util

from edge_bts.errors import EnvironmentMismatchError

__all__ = ["DICOM_PACKAGES", "need_extra"]

DICOM_PACKAGES = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "rle")
"""The modules of the extra ``[dicom]``."""


def need_extra(extra: str, *packages: str) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        EnvironmentMismatchError: Names the first that is not, and the command that mends it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise EnvironmentMismatchError(
                f"Expected the package {package}, but it is not installed; "
                f"run: pip install 'edge-bts[{extra}]'"
            )
