"""The C++ library ``libedge_bts`` from Python: the frame path that a scanner runs.

    from edge_bts import runtime
    with runtime.open("student.ebts", trust="maker.pub") as session:
        result = session.segment(frame, spacing_mm=0.1)

The same code as behind ``runtime/include/edge_bts/edge_bts.h``, which is the manual: loader,
geometry, OpenVINO and measures in C++, without the GIL. It gives the masks and measures of
:class:`~edge_bts.runtime.segmenter.Segmenter`, the portable reference, and judges each result by a
health word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError, InputError, IntegrityError
from edge_bts.measure import Component
from edge_bts.runtime.segmenter import Result, check_spacing
from edge_bts.telemetry import import_openvino

if TYPE_CHECKING:
    from edge_bts.bundle import Bundle
    from edge_bts.signing import Trust

__all__ = [
    "Health",
    "PixelFormat",
    "Session",
    "SessionResult",
    "import_runtime",
    "open",
    "open_session",
    "session_of",
]

PixelFormat = Literal["gray8", "gray16", "rgb", "bgr", "rgba", "bgra", "argb"]
_FORMATS: dict[PixelFormat, tuple[int, type[np.generic], int]] = {  # ebts_format, dtype, channels
    "gray8": (1, np.uint8, 1),
    "gray16": (2, np.uint16, 1),
    "rgb": (3, np.uint8, 3),
    "bgr": (4, np.uint8, 3),
    "rgba": (5, np.uint8, 4),
    "bgra": (6, np.uint8, 4),
    "argb": (7, np.uint8, 4),
}


class Health(IntFlag):
    """The health word of a result, as ``edge_bts.h`` has it; 0 is OK."""

    OK = 0
    LATE = 1
    STALE = 2
    EMPTY = 4
    NAN = 8
    OUT_OF_RANGE = 16
    SATURATED = 32

    @property
    def words(self) -> list[str]:
        """The names of what it says, in small letters; empty if all is well."""
        return [word.name.lower() for word in Health if word & self and word.name]

    @property
    def usable(self) -> bool:
        """Whether what was found may be drawn: in time, and a segmentation at all."""
        return not self & (Health.LATE | Health.STALE | Health.NAN | Health.OUT_OF_RANGE)


@dataclass(frozen=True)
class SessionResult(Result):
    """A result with what the library says beyond the reference; all of it is Python's to keep.

    Attributes:
        components_found: How many components there are; ``components`` lists at most
            ``max_components`` of them.
        timestamp: That of the frame.
        sequence: Of the frame in its session, from 1.
    """

    components_found: int = 0
    timestamp: int = 0
    sequence: int = 0


def open(
    bundle: str | Path,
    *,
    trust: str | Path | Iterable[str | Path] = (),
    allow_unsigned: bool = False,
    **options: Any,
) -> Session:
    """Open a bundle in the C++ library.

    Args:
        bundle: The folder ``NAME.ebts``.
        trust: Public keys to believe, or folders of them, besides those that
            :func:`edge_bts.signing.find_trust` knows.
        allow_unsigned: Accept a bundle without a signature of a trusted key; ``notes`` say so.
        **options: As for :func:`open_session`, which also names the errors.
    """
    from edge_bts.signing import find_trust

    return open_session(bundle, find_trust(trust, allow_unsigned=allow_unsigned), **options)


def open_session(
    bundle: str | Path,
    trust: Trust | None = None,
    *,
    threads: int | None = None,
    largest: tuple[int, int] = (2048, 2048),
    max_components: int = 4096,
    deadline_ms: float | None = None,
) -> Session:
    """Open a bundle in the C++ library; its loader takes every step of docs/bundle.md itself.

    Args:
        bundle: The folder ``NAME.ebts``.
        trust: Whose bundles are opened; None is :func:`edge_bts.signing.find_trust`.
        threads: Threads inside one inference; None leaves it to OpenVINO.
        largest: Height and width of the largest frame that will come, 1 to 16384 each. Some tens
            of bytes a pixel are reserved; those that frames use become resident.
        max_components: Most components that a result lists, the largest first, 1 to 65536.
        deadline_ms: A frame that takes longer is ``Health.LATE``; None: none is.

    Raises:
        InputError: No bundle, a malformed one, or an option out of range.
        IntegrityError: Signature, key, hash or content of the folder.
        EnvironmentMismatchError: The library is not built or does not load here, or is too old for
            the bundle.
        SelfTestError: The machine computes other golden frames than export.
    """
    from edge_bts.signing import find_trust

    _check_options(threads, largest, max_components, deadline_ms)
    native = import_runtime()
    trust = find_trust() if trust is None else trust
    model = native.Model(
        str(bundle), bytes.fromhex("".join(trust.keys)), trust.allow_unsigned, threads or 0
    )
    deadline = 0 if deadline_ms is None else max(1, round(deadline_ms * 1e3))
    return Session(model, native.Session(model, *largest, max_components, deadline), threads)


def session_of(bundle: Bundle, **options: Any) -> Session:
    """Open the bundle of an opened folder, whose maker was judged then.

    Args:
        bundle: The folder.
        **options: As for :func:`open_session`, which also names further errors.

    Raises:
        IntegrityError: The folder holds another bundle by now.
    """
    from edge_bts.signing import Trust

    session = open_session(bundle.path, Trust(allow_unsigned=True), **options)
    if session.manifest_sha256 != bundle.manifest_sha256:
        raise IntegrityError(
            f"Expected the bundle that was opened at {bundle.path}, but another one lies there by "
            "now; run the command again."
        )
    return session


class Session:
    """A bundle, opened for one stream of frames. Threads that share it take turns.

    Attributes:
        name: Of the network.
        imgsz: Side of the square that the network sees, in pixels.
        precision: ``fp32``, ``fp16`` or ``int8``.
        threshold: At or above this probability a pixel is lesion.
        presence_threshold: Below this presence score the mask is emptied; 0 never is.
        manifest_sha256: Identity of the bundle.
        notes: What the caller should know, such as a doubt about the bundle's maker.
    """

    def __init__(self, model: Any, session: Any, threads: int | None) -> None:
        facts = model.describe()
        self.name: str = facts["name"]
        self.imgsz: int = facts["side"]
        self.precision: str = facts["precision"]
        self.threshold: float = facts["threshold"]
        self.presence_threshold: float = facts["presence_threshold"]
        self.manifest_sha256: str = facts["manifest_sha256"]
        self.notes: list[str] = model.warnings
        self._facts = facts
        self._threads = threads
        self._session = session

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back; results stay whole. Further frames are refused."""
        self._session = None

    def describe(self) -> dict[str, Any]:
        """Say what runs, JSON-able, in the words of ``Segmenter.describe``."""
        return {
            "name": self.name,
            "backend": "native",
            "backend_version": f"{import_runtime().__version__} ({self._facts['backend']})",
            "precision": self.precision,
            "threads": self._threads,
            "geometry": "native",
            "imgsz": self.imgsz,
            "threshold": self.threshold,
            "presence_threshold": self.presence_threshold,
            "notes": list(self.notes),
            "details": {name: self._facts[name] for name in ("signer", "trusted", "self_tested")},
        }

    def segment(
        self,
        frame: NDArray[np.uint8] | NDArray[np.uint16],
        spacing_mm: float | None = None,
        *,
        pixels: PixelFormat | None = None,
        white: int = 0,
        roi: Sequence[int] | None = None,
        timestamp: int = 0,
    ) -> SessionResult:
        """Segment one frame and measure what was found. The frame is not copied.

        Args:
            frame: uint8 or uint16, H x W gray; uint8, H x W x 3 or x 4. Rows may have a gap between
                them (the pitch), pixels may not: a view of columns or channels is refused.
            spacing_mm: Millimetres per pixel, the same in both directions; None: unknown.
            pixels: What the values are; None: gray by dtype, BGR and BGRA as OpenCV reads them.
            white: Of uint16: the value of white, e.g. 4095; 0 stands for 65535.
            roi: Left, top, width, height of what the network sees; None: the whole frame.
            timestamp: Handed back with the result, 0 to 2^64 - 1.

        Raises:
            InputError: Another dtype, shape or layout, a frame above ``largest``, a region outside
                the frame, a spacing that is not positive, or a session that was closed.
            EdgeBtsError: The network failed on the frame.
        """
        check_spacing(spacing_mm)
        code = _check_frame(frame, pixels)
        _check_numbers(white, roi, timestamp)
        mask, probability, presence, parts, health, found, stamp, sequence, *times = (
            self._open().segment(frame, code, white, spacing_mm or 0.0, list(roi or ()), timestamp)
        )
        return SessionResult(
            mask=mask,
            probability=probability,
            presence=presence,
            components=tuple(Component(*part) for part in parts),
            spacing_mm=spacing_mm,
            times_ms=dict(zip(("preprocess", "inference", "postprocess"), times, strict=True)),
            health=Health(health),
            components_found=found,
            timestamp=stamp,
            sequence=sequence,
        )

    def self_test(self) -> None:
        """Run the golden frame of the bundle again, e.g. once a minute.

        Raises:
            SelfTestError: It is not reproduced; do not use this session.
            InputError: The bundle has no golden frames, or the session was closed.
        """
        self._open().self_test()

    def _open(self) -> Any:
        if self._session is None:
            raise InputError(
                f"Expected an open session of {self.name}, but it was closed; open the bundle "
                "again."
            )
        return self._session


def import_runtime() -> Any:
    """Return the extension module.

    Raises:
        EnvironmentMismatchError: It was not built, or does not load here; the sentence says why.
    """
    name = "edge_bts._runtime"
    with suppress(ImportError):
        return import_module(name)
    try:
        # The wheel of OpenVINO may lie elsewhere on sys.path than beside ours, where the module
        # looks: once loaded, it is found by its name.
        import_openvino()
        return import_module(name)
    except ImportError as error:
        why, mend = _absence(error)
    raise EnvironmentMismatchError(f"Expected the C++ runtime, but {why}; {mend}.")


def _absence(error: ImportError) -> tuple[str, str]:
    """Say why the extension is not here, and the mend."""
    again = "install edge-bts again (`pip install --force-reinstall --no-deps .`)"
    elsewhere = "or use --backend openvino"
    try:
        from edge_bts import _native
    except ImportError:
        return "edge-bts was installed without its C++ part", f"{again} with a C++ compiler"
    if _native.runtime_missing:
        return (
            f"it was not built, as these were missing: {_native.runtime_missing}",
            f"install them, then {again}, {elsewhere}",
        )
    return (
        f"it does not load ({error})",
        f"it needs libsodium (Debian, Ubuntu: libsodium23) and openvino {_native.openvino}, with "
        f"which it was built: install these, or {again}, {elsewhere}",
    )


def _check_options(
    threads: int | None,
    largest: tuple[int, int],
    max_components: int,
    deadline_ms: float | None,
) -> None:
    """Refuse what the library's unsigned integers could not even hold."""
    if threads is not None and threads < 1:
        raise InputError(f"Expected at least 1 thread, but got {threads}; pass a number from 1.")
    if len(largest) != 2 or not all(1 <= side <= 16384 for side in largest):
        raise InputError(
            f"Expected the largest frame as (height, width), 1 to 16384 each, but got {largest}."
        )
    if not 1 <= max_components <= 65536:
        raise InputError(f"Expected max_components from 1 to 65536, but got {max_components}.")
    if deadline_ms is not None and not 0 < deadline_ms < 4e6:
        raise InputError(f"Expected a deadline above 0 ms, but got {deadline_ms}; None is none.")


def _check_numbers(white: int, roi: Sequence[int] | None, timestamp: int) -> None:
    if not 0 <= white <= 65535:
        raise InputError(f"Expected white from 0 to 65535, but got {white}; 0 stands for 65535.")
    if not 0 <= timestamp < 1 << 64:
        raise InputError(f"Expected a timestamp from 0 to 2^64 - 1, but got {timestamp}.")
    # Whether it lies in the frame the library says.
    if roi is not None and not (len(roi) == 4 and any(roi) and all(0 <= n < 1 << 31 for n in roi)):
        raise InputError(
            f"Expected a roi (left, top, width, height) with pixels, but got {tuple(roi)}; leave "
            "it out for the whole frame."
        )


def _check_frame(frame: NDArray[Any], pixels: PixelFormat | None) -> int:
    """Return the ``ebts_format`` of an array whose layout the library can walk by one pitch."""
    if not isinstance(frame, np.ndarray):
        raise InputError(f"Expected a frame as a NumPy array, but got {type(frame).__name__}.")
    channels = 1 if frame.ndim == 2 else frame.shape[2] if frame.ndim == 3 else 0
    if pixels is None:
        default: dict[tuple[str, int], PixelFormat] = {
            ("uint8", 1): "gray8", ("uint16", 1): "gray16", ("uint8", 3): "bgr",
            ("uint8", 4): "bgra",
        }  # fmt: skip
        pixels = default.get((frame.dtype.name, channels))
    code, dtype, count = _FORMATS.get(pixels or "gray8", (0, np.uint8, 0))
    if pixels is None or not code or frame.dtype != dtype or channels != count or not frame.size:
        what = f"{frame.dtype} {frame.shape}" + (f" as {pixels!r}" if pixels else "")
        raise InputError(
            "Expected a frame uint8 or uint16 H x W, or uint8 H x W x 3 (bgr, rgb) or x 4 (bgra, "
            f"rgba, argb), in this machine's byte order, but got {what}; convert it first."
        )
    pixel = frame.itemsize * count
    height, width = frame.shape[:2]
    apart = (width > 1 and frame.strides[1] != pixel) or (
        count > 1 and frame.strides[2] != frame.itemsize
    )
    overlapping = height > 1 and frame.strides[0] < width * pixel
    odd = (height > 1 and frame.strides[0] % frame.itemsize) or not frame.flags.aligned
    if apart or overlapping or odd:
        raise InputError(
            "Expected a frame whose pixels follow each other in rows, each row after the one "
            f"before, but got strides {frame.strides} for {frame.dtype} {frame.shape}; pass "
            "np.ascontiguousarray(frame)."
        )
    return code
