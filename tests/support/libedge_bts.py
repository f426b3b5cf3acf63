"""The C ABI through ctypes, as a program in another language sees it.

The structs are those of the first header: they stand for every program that was built with it.
"""

from __future__ import annotations

import ctypes as c
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

OK, ARGUMENT, FRAME, TOO_LARGE, PLANE, BUSY = 0, 10, 11, 12, 13, 14
BUNDLE, INTEGRITY, INCOMPATIBLE, SELF_TEST = 20, 21, 22, 23
BACKEND, MEMORY, INTERNAL = 30, 40, 90
CLOSED, STALLED, NOTHING_NEW = 15, 31, 1
GRAY8, GRAY16, RGB, BGR, RGBA, BGRA, ARGB, NV12 = range(1, 9)
MOST = 200
"""Pixels on the longer side of the largest frame of the tests."""

LATE, STALE, EMPTY, NAN, OUT_OF_RANGE, SATURATED = 1, 2, 4, 8, 16, 32

Log = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_char_p)


class Sized(c.Structure):
    """A struct that says how long it is."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(c.sizeof(type(self)), **fields)


class ModelOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("keys", c.c_char_p), ("key_count", c.c_size_t),
        ("key_files", c.POINTER(c.c_char_p)), ("key_file_count", c.c_size_t),
        ("allow_unsigned", c.c_uint32), ("threads", c.c_uint32), ("log", Log),
        ("log_user", c.c_void_p), ("backend", c.c_char_p), ("engine_folder", c.c_char_p),
    ]  # fmt: skip


class CachedModelOptions(ModelOptions):
    _fields_ = (("pin_threads", c.c_uint32), ("cache_dir", c.c_char_p))


class ModelInfo(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("name", c.c_char_p), ("version", c.c_char_p),
        ("precision", c.c_char_p), ("backend", c.c_char_p), ("signer", c.c_char_p),
        ("manifest_sha256", c.c_char_p), ("trusted", c.c_uint32), ("self_tested", c.c_uint32),
        ("side", c.c_uint32), ("threshold", c.c_float), ("presence_threshold", c.c_double),
    ]  # fmt: skip


class SessionOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("max_width", c.c_uint32), ("max_height", c.c_uint32),
        ("max_components", c.c_uint32), ("deadline_us", c.c_uint32),
    ]  # fmt: skip


class Rect(c.Structure):
    _fields_ = [(name, c.c_int32) for name in ("x", "y", "width", "height")]


class Frame(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("data", c.c_void_p), ("pitch", c.c_size_t),
        ("width", c.c_uint32), ("height", c.c_uint32), ("format", c.c_uint32),
        ("gray16_white", c.c_uint32), ("mm_per_pixel", c.c_double), ("timestamp", c.c_uint64),
        ("roi", Rect),
    ]  # fmt: skip


class Planes(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("mask", c.c_void_p), ("mask_pitch", c.c_size_t),
        ("probability", c.c_void_p), ("probability_pitch", c.c_size_t),
    ]  # fmt: skip


class Component(c.Structure):
    _fields_ = [
        ("area_px", c.c_uint32), ("bbox", Rect), ("area_mm2", c.c_double),
        ("centroid", c.c_double * 2), ("longest_px", c.c_double), ("longest_mm", c.c_double),
        ("longest_ends", c.c_double * 2 * 2), ("orthogonal_px", c.c_double),
        ("orthogonal_mm", c.c_double), ("contour", c.POINTER(c.c_int32)),
        ("contour_count", c.c_size_t),
    ]  # fmt: skip

    @property
    def points(self) -> np.ndarray:
        """The contour, int32 (N, 2); a copy."""
        return np.ctypeslib.as_array(self.contour, (self.contour_count, 2)).copy()


class Result(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("health", c.c_uint32), ("component_count", c.c_uint32),
        ("components_found", c.c_uint32), ("width", c.c_uint32), ("height", c.c_uint32),
        ("components", c.POINTER(c.POINTER(Component))),
        ("presence", c.c_double), ("timestamp", c.c_uint64), ("sequence", c.c_uint64),
        ("preprocess_ms", c.c_double), ("inference_ms", c.c_double),
        ("postprocess_ms", c.c_double),
    ]  # fmt: skip

    @property
    def found(self) -> list[Component]:
        """The components; valid as long as those of the result."""
        return [self.components[i].contents for i in range(self.component_count)]


class Library:
    """The functions of the library, typed."""

    def __init__(self, path: Path) -> None:
        self._dll = c.CDLL(str(path))
        status = c.c_int
        pointer = c.c_void_p
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "version": (c.c_char_p, []),
            "status_text": (c.c_char_p, [status]),
            "last_error": (c.c_char_p, []),
            "model_open": (status, [c.c_char_p, pointer, pointer]),
            "model_close": (None, [pointer]),
            "model_describe": (status, [pointer, pointer]),
            "session_create": (status, [pointer, pointer, pointer]),
            "session_destroy": (None, [pointer]),
            "self_test": (status, [pointer]),
            "segment": (status, [pointer, pointer, pointer, pointer]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._dll, f"ebts_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        """For type checkers: the functions are set above."""
        raise AttributeError(name)

    def error(self) -> str:
        """What the last failed call of this thread said."""
        return str(self.last_error().decode())

    def open(self, path: Path, **options: Any) -> tuple[int, Any]:
        """Return status and model handle."""
        model = c.c_void_p()
        kind = CachedModelOptions if "cache_dir" in options else ModelOptions
        status = self.model_open(str(path).encode(), c.byref(kind(**options)), c.byref(model))
        return status, model

    def session(self, model: Any, **options: Any) -> tuple[int, Any]:
        """Return status and session handle."""
        session = c.c_void_p()
        status = self.session_create(model, c.byref(SessionOptions(**options)), c.byref(session))
        return status, session

    def run(
        self, session: Any, pixels: np.ndarray, kind: int = GRAY8, **fields: Any
    ) -> tuple[int, np.ndarray, np.ndarray, Result]:
        """Segment an array (H, W) or (H, W, C), its row stride being the pitch.

        Returns status, mask, probability and result.
        """
        height, width = pixels.shape[:2]
        frame = Frame(data=pixels.ctypes.data, pitch=pixels.strides[0], width=width,
                      height=height, format=kind, **fields)  # fmt: skip
        mask = np.full((height, width), 77, np.uint8)
        probability = np.full((height, width), -7, np.float32)
        planes = Planes(mask=mask.ctypes.data, probability=probability.ctypes.data)
        result = Result()
        status = self.segment(session, c.byref(frame), c.byref(planes), c.byref(result))
        return status, mask, probability, result


def blobs(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Noise and bright patches, so that masks have several ragged components."""
    rng = np.random.default_rng(seed)
    canvas = rng.integers(0, 90, (height, width)).astype(np.uint8)
    for _ in range(rng.integers(1, 7)):
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        axes = int(rng.integers(1, 3 + width // 5)), int(rng.integers(1, 3 + height // 5))
        shade = int(rng.integers(90, 256))
        cv2.ellipse(canvas, centre, axes, float(rng.integers(0, 180)), 0, 360, shade, -1)
    return canvas
