"""The C++ library ``libedge_bts`` from Python: the frame path that a scanner runs.

    from edge_bts import runtime
    with runtime.open("student.ebts", trust="maker.pub") as session:
        result = session.segment(frame, spacing_mm=0.1)

    with runtime.open_live("student.ebts", trust="maker.pub", deadline_ms=33) as live:
        live.submit(frame)  # the thread that has the frames
        result = live.poll(wait_ms=5)  # the thread that draws; None: nothing new

The same code as behind ``runtime/include/edge_bts/edge_bts.h``, which is the manual: loader,
geometry, OpenVINO and measures in C++, without the GIL. It gives the masks and measures of
:class:`~edge_bts.runtime.segmenter.Segmenter`, the portable reference, and judges each result by a
health word.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import IntFlag
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError, InputError, IntegrityError
from edge_bts.measure import Component
from edge_bts.runtime.segmenter import Result, check_spacing
from edge_bts.telemetry import import_openvino

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edge_bts.bundle import Bundle
    from edge_bts.signing import Trust

__all__ = [
    "Counts",
    "Frame",
    "Health",
    "LiveResult",
    "LiveSession",
    "Options",
    "PixelFormat",
    "Session",
    "SessionResult",
    "import_runtime",
    "open",
    "open_live",
    "open_session",
    "session_of",
]

PixelFormat = Literal["gray8", "gray16", "rgb", "bgr", "rgba", "bgra", "argb"]
_FORMATS: dict[PixelFormat, tuple[int, str, int]] = {  # ebts_format, dtype, channels
    "gray8": (1, "uint8", 1),
    "gray16": (2, "uint16", 1),
    "rgb": (3, "uint8", 3),
    "bgr": (4, "uint8", 3),
    "rgba": (5, "uint8", 4),
    "bgra": (6, "uint8", 4),
    "argb": (7, "uint8", 4),
}


_CPU, _PINNED, _CUDA, _MANAGED = 1, 3, 2, 13  # DLDeviceType


class Tensor(Protocol):
    """An array of another library, on the CPU or on a GPU, that exports itself by DLPack."""

    def __dlpack__(self, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...


Frame = NDArray[np.uint8] | NDArray[np.uint16] | Tensor
"""What is segmented: an array of NumPy, or a tensor of PyTorch, CuPy or JAX."""


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


class Options(TypedDict, total=False):
    """How a bundle is opened and what its session takes; each may be left out.

    Attributes:
        backend: ``auto`` (OpenVINO), ``openvino`` or ``tensorrt``.
        engine_folder: Where ``edge-bts build --cache`` left the engine, for ``tensorrt``; None:
            ``$EDGE_BTS_CACHE``, else the user's.
        threads: Threads inside one inference; None leaves it to the backend.
        pin_threads: Each of them stays on one CPU.
        cache_dir: Folder in which OpenVINO keeps what it compiled; None: none. Who can write there
            can change what runs.
        largest: Height and width of the largest frame that will come, 1 to 16384 each; 2048 x 2048
            if left out. Some tens of bytes a pixel are reserved; those that frames use become
            resident.
        max_components: Most components that a result lists, the largest first, 1 to 65536; 4096 if
            left out.
        deadline_ms: A frame that takes longer is ``Health.LATE``; None: none is.
        presence_keep: Hysteresis: once a frame came to the presence threshold, those that follow
            keep their mask down to this lower score; 0: every frame is on its own.
        memory: ``host``, or ``cuda``: all frames are tensors in the memory of the GPU, which does
            the geometry too. For ``tensorrt``.
    """

    backend: Literal["auto", "openvino", "tensorrt"]
    engine_folder: Path | None
    threads: int | None
    pin_threads: bool
    cache_dir: Path | None
    largest: tuple[int, int]
    max_components: int
    deadline_ms: float | None
    presence_keep: float
    memory: Literal["host", "cuda"]


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


@dataclass(frozen=True)
class LiveResult(SessionResult):
    """A result of a live session.

    Attributes:
        wait_ms: From ``submit`` until the session's thread began.
        age_ms: From ``submit`` until it was handed out.
        newer_frames: Submitted since; if not 0, the image on the screen is no longer its own.
    """

    wait_ms: float = 0.0
    age_ms: float = 0.0
    newer_frames: int = 0


@dataclass(frozen=True)
class Counts:
    """Where the frames of a session are: ``frames = results + errors + dropped + pending``.

    Attributes:
        frames: Those that came.
        results: Handed out.
        errors: Refused by the library, or the network failed on them. What this module refuses
            before (a wrong type or layout) never came.
        dropped: A newer one came before they were run, or fetched.
        pending: Wait, run or can be fetched.
    """

    frames: int
    results: int
    errors: int
    dropped: int
    pending: int


def open(
    bundle: str | Path,
    *,
    trust: str | Path | Iterable[str | Path] = (),
    allow_unsigned: bool = False,
    **options: Unpack[Options],
) -> Session:
    """Open a bundle in the C++ library.

    Args:
        bundle: The folder ``NAME.ebts``.
        trust: Public keys to believe, or folders of them, besides those that
            :func:`edge_bts.signing.find_trust` knows.
        allow_unsigned: Accept a bundle without a signature of a trusted key; ``notes`` say so.
        **options: Those of :class:`Options`.

    Raises:
        As :func:`open_session`.
    """
    from edge_bts.signing import find_trust

    return open_session(bundle, find_trust(trust, allow_unsigned=allow_unsigned), **options)


def open_live(
    bundle: str | Path,
    *,
    trust: str | Path | Iterable[str | Path] = (),
    allow_unsigned: bool = False,
    stale_ms: float | None = None,
    ready: Callable[[], object] | None = None,
    **options: Unpack[Options],
) -> LiveSession:
    """Open a bundle in the C++ library for a stream whose frames nobody waits for.

    Args:
        bundle: The folder ``NAME.ebts``.
        trust: As for :func:`open`.
        allow_unsigned: As for :func:`open`.
        stale_ms: A result that is older when it is fetched is ``Health.STALE``, and where frames
            come but no result for as long, ``poll`` raises; None: twice ``deadline_ms``, or never
            where that is None.
        ready: Called by the session's thread when ``poll`` has something; it may call everything of
            the session, ``close`` too. What it raises goes to ``sys.unraisablehook``.
        **options: Those of :class:`Options`; ``deadline_ms`` runs from ``submit`` on.

    Raises:
        As :func:`open_session`.
    """
    from edge_bts.signing import find_trust

    stale = _microseconds("stale_ms", stale_ms)
    model, limits, threads = _open_model(
        bundle, find_trust(trust, allow_unsigned=allow_unsigned), **options
    )
    return LiveSession(model, import_runtime().LiveSession(model, limits, stale, ready), threads)


def open_session(
    bundle: str | Path, trust: Trust | None = None, **options: Unpack[Options]
) -> Session:
    """Open a bundle in the C++ library; its loader takes every step of docs/bundle.md itself.

    Args:
        bundle: The folder ``NAME.ebts``.
        trust: Whose bundles are opened; None is :func:`edge_bts.signing.find_trust`.
        **options: Those of :class:`Options`.

    Raises:
        InputError: No bundle, a malformed one, or an option out of range.
        IntegrityError: Signature, key, hash or content of the folder.
        EnvironmentMismatchError: The library or the backend is not built or does not load here, is
            too old for the bundle, or takes no frames in that memory.
        SelfTestError: The machine computes other golden frames than export.
    """
    model, limits, threads = _open_model(bundle, trust, **options)
    return Session(model, import_runtime().Session(model, limits), threads)


def _open_model(
    bundle: str | Path,
    trust: Trust | None,
    *,
    backend: Literal["auto", "openvino", "tensorrt"] = "auto",
    engine_folder: Path | None = None,
    threads: int | None = None,
    pin_threads: bool = False,
    cache_dir: Path | None = None,
    largest: tuple[int, int] = (2048, 2048),
    max_components: int = 4096,
    deadline_ms: float | None = None,
    presence_keep: float = 0.0,
    memory: Literal["host", "cuda"] = "host",
) -> tuple[Any, Any, int | None]:
    """Return the model, the limits of its sessions, and the threads that were asked for."""
    from edge_bts.signing import find_trust
    from edge_bts.tensorrt.cache import cache_folder

    _check_options(threads, largest, max_components)
    if memory not in ("host", "cuda"):
        raise InputError(f"Expected the memory host or cuda, but got {memory!r}.")
    deadline = _microseconds("deadline_ms", deadline_ms)
    native = import_runtime()
    trust = find_trust() if trust is None else trust
    model = native.Model(
        str(bundle),
        bytes.fromhex("".join(trust.keys)),
        trust.allow_unsigned,
        threads or 0,
        pin_threads,
        str(cache_dir or ""),
        "" if backend == "auto" else backend,
        str(cache_folder(engine_folder)) if backend == "tensorrt" else "",
    )
    limits = native.Limits(
        *largest, max_components, deadline, float(presence_keep), memory == "cuda"
    )
    return model, limits, threads


def session_of(bundle: Bundle, **options: Unpack[Options]) -> Session:
    """Open the bundle of an opened folder, whose maker was judged then.

    Args:
        bundle: The folder.
        **options: Those of :class:`Options`.

    Raises:
        IntegrityError: The folder holds another bundle by now; others as :func:`open_session`.
    """
    from edge_bts.signing import Trust

    session = open_session(bundle.path, Trust(allow_unsigned=True), **options)
    if session.manifest_sha256 != bundle.manifest_sha256:
        raise IntegrityError(
            f"Expected the bundle that was opened at {bundle.path}, but another one lies there by "
            "now; run the command again."
        )
    return session


_Kind = TypeVar("_Kind", bound="_Opened")
_Outcome = TypeVar("_Outcome", bound=SessionResult)


class _Opened:
    """What both kinds of session have; :class:`Session` names the attributes."""

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

    def __enter__(self: _Kind) -> _Kind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back; results stay whole. Waits for calls that are in the session.

        Every later call but this one is an InputError.
        """
        self._session.close()

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

    def counts(self) -> Counts:
        """Say where the frames of this session are; any thread may ask at any time."""
        return Counts(*self._session.counts())

    def self_test(self) -> None:
        """Run the golden frame of the bundle again, e.g. once a minute.

        Raises:
            SelfTestError: It is not reproduced; do not use this session.
            InputError: The bundle has no golden frames, or the session was closed.
        """
        self._session.self_test()


class Session(_Opened):
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

    def segment(
        self,
        frame: Frame,
        spacing_mm: float | None = None,
        *,
        pixels: PixelFormat | None = None,
        white: int = 0,
        roi: Sequence[int] | None = None,
        sector: Sequence[tuple[int, int]] | None = None,
        timestamp: int = 0,
    ) -> SessionResult:
        """Segment one frame and measure what was found. The frame is not copied.

        Args:
            frame: uint8 or uint16, H x W gray; uint8, H x W x 3 or x 4; of NumPy or of any library
                that exports DLPack. Rows may have a gap between them (the pitch), pixels may not: a
                view of columns or channels is refused. One on a GPU needs ``memory="cuda"``, and
                is read as the work of the legacy default stream leaves it.
            spacing_mm: Millimetres per pixel, the same in both directions; None: unknown.
            pixels: What the values are; None: gray by dtype, BGR and BGRA as OpenCV reads them.
            white: Of uint16: the value of white, e.g. 4095; 0 stands for 65535.
            roi: Left, top, width, height of what the network sees; None: the whole frame.
            sector: In its place: the corners (x, y) of a polygon, 3 to 64, in order; a corner is
                the upper left of its pixel. The network sees its box, black around the polygon.
            timestamp: Handed back with the result, 0 to 2^64 - 1.

        Raises:
            InputError: Another dtype, shape or layout, a frame above ``largest`` or in other memory
                than the session's, a region outside the frame, a spacing that is not positive, or a
                session that was closed.
            EdgeBtsError: The network failed on the frame.
        """
        given = _given(frame, spacing_mm, pixels, white, roi, sector, timestamp)
        return _result(SessionResult, self._session.segment(*given))


class LiveSession(_Opened):
    """A bundle, opened for a stream whose frames nobody waits for: the newest comes first.

    One thread submits, another polls; where several do, they take turns. Attributes are those of
    :class:`Session`.
    """

    def __init__(self, model: Any, session: Any, threads: int | None) -> None:
        super().__init__(model, session, threads)
        _running.add(self)

    def submit(
        self,
        frame: Frame,
        spacing_mm: float | None = None,
        *,
        pixels: PixelFormat | None = None,
        white: int = 0,
        roi: Sequence[int] | None = None,
        sector: Sequence[tuple[int, int]] | None = None,
        timestamp: int = 0,
    ) -> None:
        """Hand in a frame and return; the array is the caller's again. As ``Session.segment``.

        A frame that waits is dropped when a newer one comes, and so is a result that nobody
        fetched; :meth:`counts` says how many.
        """
        self._session.submit(*_given(frame, spacing_mm, pixels, white, roi, sector, timestamp))

    def poll(self, wait_ms: float = 0.0) -> LiveResult | None:
        """Return the newest result, once; None where no frame was finished since the last call.

        Args:
            wait_ms: How long to wait for one if there is none yet.

        Raises:
            EdgeBtsError: The network failed on the newest frame: what is drawn is no longer right.
            StalledError: The same, because no result came for ``stale_ms``; told at once, and then
                after ``wait_ms``, until one comes.
            InputError: The session was closed, also while this waited.
        """
        outcome = self._session.poll(_microseconds("wait_ms", wait_ms or None))
        return None if outcome is None else _result(LiveResult, outcome)


# A thread that calls Python must have ended when Python does.
_running: weakref.WeakSet[LiveSession] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for session in list(_running):
        session.close()


def _given(
    frame: Frame,
    spacing_mm: float | None,
    pixels: PixelFormat | None,
    white: int,
    roi: Sequence[int] | None,
    sector: Sequence[tuple[int, int]] | None,
    timestamp: int,
) -> tuple[Any, ...]:
    """Check what describes a frame, and return it as the extension takes it."""
    check_spacing(spacing_mm)
    array, layout = _look_at(frame)
    code = _check_layout(layout, pixels)
    _check_numbers(white, roi, timestamp)
    corners = _check_sector(sector)
    return array, code, white, spacing_mm or 0.0, list(roi or ()), corners, timestamp


def _result(kind: type[_Outcome], outcome: tuple[Any, ...]) -> _Outcome:
    """Make a result of what the extension gives; its end is what ``kind`` has beyond the other."""
    mask, probability, presence, parts, health, found, stamp, sequence, *rest = outcome
    preprocess, inference, postprocess, spacing_mm, *live = rest
    own = [field.name for field in fields(kind)][len(fields(SessionResult)) :]
    return kind(
        mask=mask,
        probability=probability,
        presence=presence,
        components=tuple(Component(*part) for part in parts),
        spacing_mm=spacing_mm,
        times_ms={
            "preprocess": preprocess, "inference": inference, "postprocess": postprocess
        },
        health=Health(health),
        components_found=found,
        timestamp=stamp,
        sequence=sequence,
        **dict(zip(own, live, strict=False)),
    )  # fmt: skip


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


def _check_options(threads: int | None, largest: tuple[int, int], max_components: int) -> None:
    """Refuse what the library's unsigned integers could not even hold."""
    if threads is not None and threads < 1:
        raise InputError(f"Expected at least 1 thread, but got {threads}; pass a number from 1.")
    if len(largest) != 2 or not all(1 <= side <= 16384 for side in largest):
        raise InputError(
            f"Expected the largest frame as (height, width), 1 to 16384 each, but got {largest}."
        )
    if not 1 <= max_components <= 65536:
        raise InputError(f"Expected max_components from 1 to 65536, but got {max_components}.")


def _microseconds(name: str, milliseconds: float | None) -> int:
    """Return a time as the library counts it; None is its 0."""
    if milliseconds is None:
        return 0
    if not 0 < milliseconds < 4e6:
        raise InputError(f"Expected {name} above 0 ms, but got {milliseconds}; None is none.")
    return max(1, round(milliseconds * 1e3))


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


def _check_sector(sector: Sequence[tuple[int, int]] | None) -> list[int]:
    """Return the numbers of a polygon; how many corners and where the library judges."""
    if sector is None:
        return []
    corners = [int(number) for corner in sector for number in corner]
    if len(corners) < 6 or any(len(corner) != 2 for corner in sector):
        raise InputError(f"Expected a sector of 3 to 64 corners (x, y), but got {sector!r}.")
    if not all(0 <= number < 1 << 31 for number in corners):
        raise InputError(f"Expected the corners of the sector within the frame, but got {sector}.")
    return corners


class _Layout(NamedTuple):
    dtype: str
    itemsize: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    aligned: bool


def _look_at(frame: Any) -> tuple[Any, _Layout]:
    """Return a frame as the extension takes it, and how it lies in memory; nothing is copied."""
    if not isinstance(frame, np.ndarray):
        device = frame.__dlpack_device__()[0] if hasattr(frame, "__dlpack_device__") else 0
        try:
            if device in (_CUDA, _MANAGED):
                bits, shape, strides, address = import_runtime().layout(frame)
                size = max(1, bits // 8)
                dtype = f"uint{bits}" if bits else "what is no unsigned integer"
                aligned = address % size == 0
                return frame, _Layout(dtype, size, tuple(shape), tuple(strides), aligned)
            if device not in (_CPU, _PINNED):
                raise TypeError("that is none, or on another device")
            frame = np.from_dlpack(frame)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                "Expected a frame as a NumPy array or a DLPack tensor of the CPU or of CUDA, but "
                f"got {type(frame).__name__}: {error}; convert it first."
            ) from None
    array: NDArray[Any] = frame
    return array, _Layout(
        array.dtype.name if array.dtype.isnative else str(array.dtype),
        array.itemsize,
        array.shape,
        array.strides,
        array.flags.aligned,
    )


def _check_layout(frame: _Layout, pixels: PixelFormat | None) -> int:
    """Return the ``ebts_format`` of an array that the library can walk by one pitch."""
    ndim = len(frame.shape)
    channels = 1 if ndim == 2 else frame.shape[2] if ndim == 3 else 0
    if pixels is None:
        default: dict[tuple[str, int], PixelFormat] = {
            ("uint8", 1): "gray8", ("uint16", 1): "gray16", ("uint8", 3): "bgr",
            ("uint8", 4): "bgra",
        }  # fmt: skip
        pixels = default.get((frame.dtype, channels))
    code, dtype, count = _FORMATS.get(pixels or "gray8", (0, "", 0))
    if pixels is None or frame.dtype != dtype or channels != count or 0 in frame.shape:
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
    odd = (height > 1 and frame.strides[0] % frame.itemsize) or not frame.aligned
    if apart or overlapping or odd:
        raise InputError(
            "Expected a frame whose pixels follow each other in rows, each row after the one "
            f"before, but got strides {frame.strides} for {frame.dtype} {frame.shape}; pass a "
            "contiguous copy (np.ascontiguousarray, tensor.contiguous)."
        )
    return code
