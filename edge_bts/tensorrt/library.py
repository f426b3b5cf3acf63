"""The Python package ``tensorrt``: imported late, refused with one sentence where it cannot serve.

Names of enums, never their numbers, are used: NVIDIA renumbered them from 10 to 11.
"""

from __future__ import annotations

import ctypes.util
from typing import Any

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt.plan import version_numbers

__all__ = ["MEND", "OLDEST", "import_tensorrt", "library_version", "make_logger"]

OLDEST = 10
"""First major version whose networks are strongly typed in the way that our ONNX is written for."""

MEND = (
    "on a Jetson run `sudo apt install nvidia-jetpack` and make the environment with "
    "`python3 -m venv --system-site-packages`; elsewhere install tensorrt for your CUDA (10.3 to "
    "11.x) as NVIDIA's installation guide says"
)


def import_tensorrt() -> Any:
    """Return the module ``tensorrt``.

    Raises:
        EnvironmentMismatchError: It is not installed, its library libnvinfer does not load, or it
            is older than 10.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":
            raise EnvironmentMismatchError(
                f"Expected TensorRT, but its package does not import ({error}); {MEND}."
            ) from None
        library = ctypes.util.find_library("nvinfer")
        found = f", though the library {library} is" if library else ", nor is libnvinfer"
        raise EnvironmentMismatchError(
            f"Expected TensorRT, but the Python package tensorrt is not installed{found}; {MEND}."
        ) from None
    except (ImportError, OSError) as error:
        raise EnvironmentMismatchError(
            "Expected TensorRT, but its package is installed and its library libnvinfer does not "
            f"load ({error}); {MEND}."
        ) from None
    version = str(getattr(tensorrt, "__version__", ""))
    numbers = version_numbers(version)
    if not numbers or numbers[0] < OLDEST:
        raise EnvironmentMismatchError(
            f"Expected TensorRT {OLDEST} or newer, but this is {version or 'an unknown one'}: "
            "JetPack 5 and TensorRT 8 have no strong typing and are not supported; use JetPack 6.1 "
            "or newer, or --backend openvino."
        )
    return tensorrt


def library_version(trt: Any) -> str:
    """Return the numbers of the version, ``10.13.3.9``; pip's packages add more to it."""
    return ".".join(str(number) for number in version_numbers(str(trt.__version__)))


def make_logger(trt: Any) -> Any:
    """Return a ``trt.ILogger`` that collects; keep it longer than what it is given to.

    Its ``messages`` is a list of (severity, text) for warnings and worse, in the order they came.
    TensorRT may log from several threads and must not meet an exception.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, msg: str) -> None:
            name = getattr(severity, "name", str(severity))
            if name in ("INTERNAL_ERROR", "ERROR", "WARNING"):
                self.messages.append((name, " ".join(msg.split())))

        def errors(self) -> str:
            """Return all errors in one line, or that there were none."""
            found = [text for name, text in self.messages if name != "WARNING"]
            return " | ".join(found) or "TensorRT logged no error"

        def warnings(self) -> list[str]:
            """Return the warnings, each once."""
            return list(dict.fromkeys(t for name, t in self.messages if name == "WARNING"))

    return Logger()
