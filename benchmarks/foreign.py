"""Somebody else's network under the same protocol: its engine time, without its meaning.

The file, ONNX or OpenVINO IR, is only measured: nothing is known of its normalisation or classes.
An ONNX must hold all its data and use ONNX's own operators, an IR has its ``.bin`` beside it;
either is opened in a process of its own, so that what it makes a library do ends there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.onnx_wire import check_graph
from edge_bts.runtime.backend import IrBytes
from edge_bts.runtime.segmenter import to_gray

if TYPE_CHECKING:
    from edge_bts.benchmarks.complexity import Complexity

__all__ = [
    "FOREIGN_SUFFIXES",
    "Content",
    "Foreign",
    "count_foreign",
    "fix_shape",
    "foreign_bytes",
    "is_quantized",
    "read_foreign",
]

Content = bytes | IrBytes
"""An ONNX, or the two files of an IR."""
FOREIGN_SUFFIXES = (".onnx", ".xml")

_LARGEST = 2 << 30
"""Bytes of a file: protobuf's own limit for one message."""
_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def read_foreign(path: Path) -> Content:
    """Read a file that is not ours: an ONNX, or an IR ``.xml`` with the ``.bin`` beside it.

    Raises:
        InputError: It cannot be read, is neither, or is an ONNX that reaches beyond its own bytes.
    """
    if path.suffix == ".xml":
        return _read(path, "an OpenVINO IR"), _read(path.with_suffix(".bin"), "its weights")
    content = _read(path, "an ONNX file")
    try:
        check_graph(content, path.name, operators=None)
    except EdgeBtsError as error:
        what = str(error).partition(";")[0]
        raise InputError(f"{what}; export it in one file, with ONNX's own operators.") from None
    return content


def _read(path: Path, what: str) -> bytes:
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= _LARGEST else b""
    except FileNotFoundError:
        raise InputError(f"Expected {what} at {path}, but there is none; check the name.") from None
    except OSError as error:
        raise InputError(
            f"Expected {what} at {path}, but reading it failed: {error.strerror}."
        ) from None
    if not content:
        raise InputError(f"Expected {what} of up to 2 GiB at {path}, but it has {size} B.")
    return content


def foreign_bytes(content: Content) -> bytes:
    """Return all of it in one piece, for its size and its hash."""
    return content if isinstance(content, bytes) else b"".join(content)


def is_quantized(content: Content) -> bool:
    """Whether the graph holds INT8: Q/DQ in ONNX, FakeQuantize in an IR."""
    if isinstance(content, bytes):
        return b"QuantizeLinear" in content
    return b"FakeQuantize" in content[0]


def count_foreign(path: Path, imgsz: int) -> Complexity | None:
    """Count a file that was read before, in a process of its own; None where OpenVINO cannot."""
    from edge_bts.benchmarks.complexity import Complexity

    command = [sys.executable, "-m", "edge_bts.benchmarks.foreign", str(path), str(imgsz)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return None
    return Complexity.model_validate_json(done.stdout) if done.returncode == 0 else None


class Foreign:
    """A network with one image in; what it answers first is taken for its probability.

    Args:
        content: As :func:`read_foreign` returned it.
        name: Of the file.
        backend: ``onnxruntime`` or ``openvino``; an IR is for the latter.
        threads: Inside one inference.
        imgsz: Side of the input where the file leaves it open, pixels.
    """

    def __init__(self, content: Content, name: str, backend: str, threads: int, imgsz: int) -> None:
        self._name = name
        open_it = _open_openvino if backend == "openvino" else _open_onnxruntime
        self._infer, self._shape, self._dtype, self.version = open_it(content, name, threads, imgsz)
        self.imgsz = self._shape[2]

    def segment(self, frame: NDArray[np.uint8]) -> Foreign:
        """Run one frame; the times are in :attr:`times_ms`.

        ``preprocess`` is the letterbox of our own students, repeated over the channels,
        ``postprocess`` the way back of the last channel and a threshold, where the answer is a map
        of the input's size; components are not measured.
        """
        started = time.perf_counter()
        gray = to_gray(frame)
        square = geometry.normalise(geometry.letterbox(gray, self.imgsz), 0.25, 0.2)
        image = np.ascontiguousarray(np.broadcast_to(square, self._shape), self._dtype)
        prepared = time.perf_counter()
        output = self._infer(image)
        inferred = time.perf_counter()
        if output.ndim == 4 and output.shape[2:] == self._shape[2:]:
            last = np.ascontiguousarray(output[0, -1], np.float32)
            box = geometry.plan(gray.shape[0], gray.shape[1], self.imgsz)
            geometry.threshold(geometry.to_source(last, box), 0.5)
        ended = time.perf_counter()
        self.times_ms = {
            "preprocess": (prepared - started) * 1e3,
            "inference": (inferred - prepared) * 1e3,
            "postprocess": (ended - inferred) * 1e3,
        }
        return self

    def describe(self) -> dict[str, Any]:
        """Say what runs and what it takes, by the names of a segmenter."""
        takes = {"input": list(self._shape), "dtype": np.dtype(self._dtype).name}
        return {"backend_version": self.version, "imgsz": self.imgsz, "details": takes}


def _open_onnxruntime(content: Content, name: str, threads: int, imgsz: int) -> Any:
    from edge_bts.runtime._onnxruntime import library_version, open_session

    if not isinstance(content, bytes):
        raise InputError(f"Expected an ONNX for ONNX Runtime, but {name} is an OpenVINO IR.")
    session = open_session(content, threads)
    inputs = session.get_inputs()
    shape = _check(name, [list(port.shape) for port in inputs], imgsz)
    if inputs[0].type not in _KINDS:
        raise InputError(f"Expected {name} to take floats, but it takes {inputs[0].type}.")
    first, answer = inputs[0].name, session.get_outputs()[0].name

    def infer(image: NDArray[Any]) -> NDArray[Any]:
        output: NDArray[Any] = session.run([answer], {first: image})[0]
        return output

    return infer, shape, _KINDS[inputs[0].type], library_version()


def _open_openvino(content: Content, name: str, threads: int, imgsz: int) -> Any:
    from edge_bts.runtime._openvino import compile_model, library_version, read_model

    model = read_model(content)
    shape = fix_shape(model, name, imgsz)
    dtype = model.inputs[0].get_element_type().to_dtype()
    if dtype not in _KINDS.values():
        raise InputError(f"Expected {name} to take floats, but it takes {np.dtype(dtype)}.")
    request = compile_model(model, threads).create_infer_request()
    tensor = request.get_input_tensor().data

    def infer(image: NDArray[Any]) -> NDArray[Any]:
        np.copyto(tensor, image)
        request.infer()
        output: NDArray[Any] = request.get_output_tensor(0).data.copy()
        return output

    return infer, shape, dtype, library_version()


def fix_shape(model: Any, name: str, imgsz: int) -> tuple[int, int, int, int]:
    """Close what an ``openvino.Model`` leaves open, and return its input's shape.

    Raises:
        InputError: It does not take one image.
    """
    sizes = [
        [d.get_length() if d.is_static else -1 for d in port.get_partial_shape()]
        for port in model.inputs
        if port.get_partial_shape().rank.is_static
    ]
    shape = _check(name, sizes, imgsz)
    model.reshape(list(shape))
    return shape


def _check(name: str, shapes: list[list[Any]], imgsz: int) -> tuple[int, int, int, int]:
    """Return the shape to run; an open batch is one frame, an open side ``imgsz``."""
    known = [[d if isinstance(d, int) and d > 0 else 0 for d in shape] for shape in shapes]
    if len(known) == 1 and len(known[0]) == 4:
        batch, channels, height, width = known[0]
        side = height or width or imgsz
        whole = (batch or 1, channels or 1, side, width or side)
        if whole[0] == 1 and whole[1] in (1, 3) and whole[2] == whole[3]:
            return whole
    raise InputError(
        f"Expected {name} to take one image (1, 1 or 3, S, S), but it takes {shapes}; "
        "export it with that input."
    )


def main() -> None:
    """Count the layers of a file and print them as JSON."""
    from edge_bts.benchmarks.complexity import of_openvino
    from edge_bts.runtime._openvino import read_model

    path = Path(sys.argv[1])
    model = read_model(read_foreign(path))
    fix_shape(model, path.name, int(sys.argv[2]))
    print(of_openvino(model).model_dump_json())


if __name__ == "__main__":
    main()
