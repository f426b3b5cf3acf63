"""OpenVINO and NNCF without telemetry: nothing that runs here reports over the network."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["import_openvino", "no_telemetry"]


def no_telemetry() -> None:
    """Keep NNCF and OpenVINO from reporting their use over the network.

    Both send events unless a consent file forbids it. They fall back to stubs where the package
    ``openvino_telemetry`` is not installed, so this makes it look so; call before their import.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def import_openvino() -> Any:
    """Return the module ``openvino``, imported without telemetry.

    Raises:
        ImportError: It is not installed, or does not load.
    """
    no_telemetry()
    import openvino

    return openvino
