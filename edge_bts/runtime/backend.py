"""What every backend promises, and the function that opens one by name."""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import InputError

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendName",
    "IrBytes",
    "check_image",
    "library_version",
    "open_backend",
]

BackendName = Literal["openvino", "onnxruntime", "tensorrt", "torch"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

IrBytes = tuple[bytes, bytes]
"""An OpenVINO IR held in memory: the bytes of its ``.xml`` and of its ``.bin``."""


@runtime_checkable
class Backend(Protocol):
    """One network, ready to run. One thread at a time may call :meth:`infer`."""

    @property
    def name(self) -> BackendName:
        """Which library."""

    @property
    def precision(self) -> str:
        """Return ``fp32``, ``fp16`` or ``int8``: that of the network it was given."""

    @property
    def threads(self) -> int | None:
        """The number asked for; None leaves it to the library."""

    @property
    def version(self) -> str:
        """Version of the library."""

    @property
    def imgsz(self) -> int | None:
        """Side S of the square input, in pixels; None where any fits."""

    def infer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map one normalised image to the probability of lesion.

        Args:
            image: (1, 1, S, S) float32 in model geometry, normalised as the network was trained.

        Returns:
            A new array (1, 1, S, S) float32 in [0, 1].

        Raises:
            InputError: Another shape or dtype.
        """

    def describe(self) -> dict[str, Any]:
        """Say what runs in which arithmetic, as far as the library tells; JSON-able."""


def open_backend(
    kind: BackendName,
    source: Any,
    *,
    precision: str = "fp32",
    threads: int | None = None,
) -> Backend:
    """Open a network in the backend that ``kind`` names.

    Args:
        kind: Which library runs it.
        source: For ``onnxruntime`` an ONNX file or its bytes; for ``openvino`` an IR (path of the
            ``.xml``, or the pair of bytes) or a float ONNX (path or bytes); for ``tensorrt`` an
            :class:`~edge_bts.runtime._tensorrt.EngineSource`; for ``torch`` a module that returns
            logits.
        precision: What ``source`` holds; it is stated, not changed.
        threads: Threads inside one inference; None leaves it to the library. TensorRT takes None.

    Raises:
        InputError: Unknown backend, unreadable source, or a graph of another signature.
        EnvironmentMismatchError: The library is not installed; for ``tensorrt`` also: there is no
            engine for this device, or it does not reproduce a golden frame.
        IntegrityError: ``tensorrt``: the engine is not the file that was built.
    """
    if threads is not None and threads < 1:
        raise InputError(f"Expected at least 1 thread, but got {threads}; pass a number from 1.")
    if kind == "openvino":
        from edge_bts.runtime._openvino import OpenVinoBackend

        return OpenVinoBackend(source, precision=precision, threads=threads)
    if kind == "onnxruntime":
        from edge_bts.runtime._onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(source, precision=precision, threads=threads)
    if kind == "tensorrt":
        from edge_bts.runtime._tensorrt import TensorRtBackend

        return TensorRtBackend(source, precision=precision, threads=threads)
    if kind == "torch":
        from edge_bts.runtime._torch import TorchBackend

        return TorchBackend(source, precision=precision, threads=threads)
    raise InputError(f"Expected a backend among {', '.join(BACKENDS)}, but got {kind!r}.")


def library_version(kind: BackendName) -> str:
    """Return the version of the library behind a backend.

    Raises:
        EnvironmentMismatchError: It is not installed.
    """
    if kind == "openvino":
        from edge_bts.runtime import _openvino

        return _openvino.library_version()
    if kind == "onnxruntime":
        from edge_bts.runtime import _onnxruntime

        return _onnxruntime.library_version()
    from edge_bts.runtime._torch import import_torch

    return str(import_torch().__version__)


def check_image(image: NDArray[np.float32], imgsz: int | None) -> None:
    """Refuse what :meth:`Backend.infer` does not take."""
    square = image.ndim == 4 and image.shape[:2] == (1, 1) and image.shape[2] == image.shape[3]
    if image.dtype != np.float32 or not square or imgsz not in (None, image.shape[2]):
        side = imgsz or "S"
        raise InputError(
            f"Expected an image float32 (1, 1, {side}, {side}), but got {image.dtype} "
            f"{image.shape}; letterbox and normalise it first, or use Segmenter."
        )


def check_signature(inputs: list[tuple[str, Any]], outputs: list[tuple[str, Any]]) -> int:
    """Return the side S of a graph, or refuse it.

    Args:
        inputs: Name and shape of every input.
        outputs: The same of every output.

    Raises:
        InputError: It is not ``image`` (1, 1, S, S) to ``probability`` (1, 1, S, S).
    """
    shapes = [tuple(shape) for _, shape in (*inputs, *outputs)]
    side = shapes[0][-1] if shapes and shapes[0] else None
    names = ([name for name, _ in inputs], [name for name, _ in outputs])
    static = isinstance(side, int) and side > 0
    if names != (["image"], ["probability"]) or not static or set(shapes) != {(1, 1, side, side)}:
        raise InputError(
            "Expected a graph from image (1, 1, S, S) to probability (1, 1, S, S), but it has "
            f"inputs {inputs} and outputs {outputs}; export it with `edge-bts export`."
        )
    return int(side)  # type: ignore[arg-type]
