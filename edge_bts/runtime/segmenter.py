"""Frame in, mask out: geometry, one network, geometry back, and what is measured on the mask."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.errors import InputError
from edge_bts.measure import Component, components
from edge_bts.presence import presence
from edge_bts.runtime.backend import Backend

if TYPE_CHECKING:
    from edge_bts.runtime.native import Health

__all__ = ["FramePath", "Prediction", "Result", "Segmenter", "check_spacing", "to_gray"]


@dataclass(frozen=True)
class Prediction:
    """What the network says of one frame, before any threshold.

    Attributes:
        probability: float32 H x W in [0, 1], source geometry.
        presence: Score in [0, 1] that there is a lesion at all; see :mod:`edge_bts.presence`.
    """

    probability: NDArray[np.float32]
    presence: float


@dataclass(frozen=True)
class Result:
    """What one frame gave, in source geometry (the pixels that came in).

    Attributes:
        mask: uint8 H x W, 1 on lesion; empty where the presence threshold is not reached.
        probability: float32 H x W in [0, 1], whatever the presence.
        presence: Score in [0, 1] that there is a lesion at all; see :mod:`edge_bts.presence`.
        components: The connected parts of the mask, largest first.
        spacing_mm: Millimetres per pixel as given; None where unknown.
        times_ms: Milliseconds of ``preprocess`` (gray, letterbox, normalise), ``inference`` (the
            backend alone) and ``postprocess`` (presence, back to source, threshold, components).
        health: The C++ library's judgement of the result; None: nobody judged it.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.float32]
    presence: float
    components: tuple[Component, ...]
    spacing_mm: float | None
    times_ms: dict[str, float]
    health: Health | None = None

    @property
    def present(self) -> bool:
        """Whether any pixel of the mask is lesion."""
        return bool(self.components)

    @property
    def height(self) -> int:
        """Rows of the frame."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Columns of the frame."""
        return int(self.mask.shape[1])


class FramePath(Protocol):
    """What takes frames as they come: :class:`Segmenter`, or the C++ library's ``Session``."""

    notes: list[str]

    def segment(self, frame: NDArray[np.uint8], spacing_mm: float | None = None) -> Result:
        """Segment one frame and measure what was found."""

    def describe(self) -> dict[str, Any]:
        """Say what runs, JSON-able."""


@dataclass
class Segmenter:
    """A network with everything it needs to take frames as they come: the portable reference.

    Any backend runs the network, Python and NumPy (or the C++ geometry, to the same bits) do the
    rest. What a scanner runs is :func:`edge_bts.runtime.open`. One thread at a time may use it.

    Attributes:
        backend: What runs the network.
        imgsz: Side of the square that the network sees, in pixels.
        mean: Subtracted from ``v/255``.
        std: Divided by.
        threshold: At or above this probability a pixel is lesion; in (0, 1).
        presence_threshold: Below this presence score the mask is emptied; in [0, 1), 0 never is.
        name: Of the bundle or checkpoint.
        notes: What the caller should know, such as a fallback to another backend.
    """

    backend: Backend
    imgsz: int
    mean: float
    std: float
    threshold: float = 0.5
    presence_threshold: float = 0.0
    name: str = ""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise InputError(
                f"Expected a threshold between 0 and 1, but got {self.threshold}; "
                "0.5 is the middle."
            )
        if not 0.0 <= self.presence_threshold < 1.0:
            raise InputError(
                "Expected a presence threshold of at least 0 and below 1, but got "
                f"{self.presence_threshold}; 0 empties no mask."
            )
        if self.backend.imgsz not in (None, self.imgsz):
            raise InputError(
                f"Expected a network for {self.imgsz} pixels, but this one takes "
                f"{self.backend.imgsz}; the description and the network do not belong together."
            )

    @property
    def precision(self) -> str:
        """``fp32``, ``fp16`` or ``int8``."""
        return self.backend.precision

    def describe(self) -> dict[str, Any]:
        """Say what runs, JSON-able: name, backend, version, precision, threads, geometry."""
        return {
            "name": self.name,
            "backend": self.backend.name,
            "backend_version": self.backend.version,
            "precision": self.precision,
            "threads": self.backend.threads,
            "geometry": geometry.BACKEND,
            "imgsz": self.imgsz,
            "threshold": self.threshold,
            "presence_threshold": self.presence_threshold,
            "notes": list(self.notes),
            "details": self.backend.describe(),
        }

    def predict(self, frame: NDArray[np.uint8]) -> Prediction:
        """Return the probability of lesion for every pixel of the frame, and its presence score.

        Args:
            frame: uint8, H x W gray, or H x W x 3 (BGR) or x 4 (BGRA) as OpenCV reads them.

        Raises:
            InputError: Another dtype or shape.
        """
        gray = to_gray(frame)
        return self._back(self.backend.infer(self._prepare(gray)), gray)

    def segment(self, frame: NDArray[np.uint8], spacing_mm: float | None = None) -> Result:
        """Segment one frame and measure what was found.

        Args:
            frame: As for :meth:`predict`.
            spacing_mm: Millimetres per pixel of the frame, the same in both directions; None
                leaves all measures in pixels.

        Raises:
            InputError: Another dtype or shape, or a spacing that is not a positive number.
        """
        check_spacing(spacing_mm)
        started = time.perf_counter()
        gray = to_gray(frame)
        image = self._prepare(gray)
        prepared = time.perf_counter()
        output = self.backend.infer(image)
        inferred = time.perf_counter()
        found = self._back(output, gray)
        mask = geometry.threshold(found.probability, self.threshold)
        if found.presence < self.presence_threshold:
            mask[:] = 0
        parts = tuple(components(mask, spacing_mm))
        ended = time.perf_counter()
        times = {
            "preprocess": (prepared - started) * 1e3,
            "inference": (inferred - prepared) * 1e3,
            "postprocess": (ended - inferred) * 1e3,
        }
        return Result(mask, found.probability, found.presence, parts, spacing_mm, times)

    def _prepare(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        square = geometry.letterbox(gray, self.imgsz)
        return geometry.normalise(square, self.mean, self.std)[np.newaxis, np.newaxis]

    def _back(self, output: NDArray[np.float32], gray: NDArray[np.uint8]) -> Prediction:
        box = geometry.plan(gray.shape[0], gray.shape[1], self.imgsz)
        return Prediction(geometry.to_source(output[0, 0], box), presence(output[0, 0]))


def check_spacing(spacing_mm: float | None) -> None:
    """Refuse a spacing that is neither None nor a positive number.

    Raises:
        InputError: It is not.
    """
    if spacing_mm is not None and not (math.isfinite(spacing_mm) and spacing_mm > 0):
        raise InputError(
            f"Expected a spacing above 0 mm per pixel, but got {spacing_mm}; "
            "leave it out where it is unknown."
        )


def to_gray(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the frame as uint8 H x W: itself if it is gray, else the luma of BGR or BGRA.

    Equal channels, as gray images are often stored, come back as they are.

    Raises:
        InputError: Not a uint8 array of H x W, H x W x 3 or H x W x 4, or an empty one.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.size == 0:
        what = (
            f"{frame.dtype} {frame.shape}"
            if isinstance(frame, np.ndarray)
            else type(frame).__name__
        )
        raise InputError(
            f"Expected a frame uint8 H x W (or H x W x 3 BGR, x 4 BGRA), but got {what}; "
            "convert it first, e.g. with cv2.imread(path, cv2.IMREAD_GRAYSCALE)."
        )
    if frame.ndim == 2:
        return frame
    if frame.ndim == 3 and frame.shape[2] == 1:
        return frame[:, :, 0]
    if frame.ndim == 3 and frame.shape[2] in (3, 4):
        import cv2

        code = cv2.COLOR_BGR2GRAY if frame.shape[2] == 3 else cv2.COLOR_BGRA2GRAY
        return np.asarray(cv2.cvtColor(frame, code), np.uint8)
    raise InputError(
        f"Expected a frame H x W, H x W x 3 or H x W x 4, but got {frame.shape}; "
        "pass one frame at a time."
    )
