"""Live sessions, sectors, hysteresis and DLPack through the Python binding of the C++ library."""

from __future__ import annotations

import ctypes as c
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libedge_bts import GRAY8, MOST, OK, Frame, Library, Planes, Result, blobs
from numpy.lib.stride_tricks import as_strided

from edge_bts import runtime
from edge_bts.errors import EnvironmentMismatchError, InputError, StalledError
from edge_bts.runtime import Health, LiveResult, LiveSession, Segmenter, Session, native

pytestmark = pytest.mark.usefixtures("extension")

WAIT = 60_000.0
"""Milliseconds that no test reaches where all is well."""


@pytest.fixture
def key(maker: Path) -> dict[str, Any]:
    """What opens the bundle of the tests."""
    return {"trust": maker.with_suffix(".pub"), "threads": 1}


@pytest.fixture
def session(blob_bundle: Path, key: dict[str, Any]) -> Iterator[Session]:
    """The bundle that marks bright patches."""
    with runtime.open(blob_bundle, **key) as session:
        yield session


@pytest.fixture
def live(blob_bundle: Path, key: dict[str, Any]) -> Iterator[LiveSession]:
    """The same, live."""
    with runtime.open_live(blob_bundle, **key) as live:
        yield live


def take(live: LiveSession) -> LiveResult:
    """The next result."""
    result = live.poll(WAIT)
    assert result is not None
    return result


def check_same(got: runtime.SessionResult, want: runtime.SessionResult) -> None:
    """All that is of the frame and not of the time."""
    assert (got.mask == want.mask).all()
    assert (got.probability == want.probability).all()
    assert got.presence == want.presence
    assert got.health == want.health
    assert got.spacing_mm == want.spacing_mm
    assert got.timestamp == want.timestamp
    assert got.components_found == want.components_found
    for mine, theirs in zip(got.components, want.components, strict=True):
        assert mine.area_px == theirs.area_px
        assert mine.area_mm2 == theirs.area_mm2
        assert np.array_equal(mine.contour, theirs.contour)


def test_a_live_session_gives_what_a_session_gives(live: LiveSession, session: Session) -> None:
    """Frames of changing size, with and without spacing: the same result, once each."""
    for number, (height, width) in enumerate([(70, 90), (150, 40), (30, 200), (64, 64)], 1):
        frame = blobs(height, width, number)
        spacing = 0.1 if number % 2 else None
        live.submit(frame, spacing, timestamp=number)
        got = take(live)
        check_same(got, session.segment(frame, spacing, timestamp=number))
        assert got.sequence == number
        assert got.newer_frames == 0
        assert 0 <= got.wait_ms <= got.age_ms
        assert live.poll() is None
    assert live.counts() == runtime.Counts(4, 4, 0, 0, 0)


def test_a_live_session_gives_what_the_c_abi_gives(
    live: LiveSession, library: Library, model: Any
) -> None:
    """The mask, sequence and presence that ctypes gets of ebts_segment."""
    status, session = library.session(model, max_width=MOST, max_height=MOST)
    assert status == OK
    frame = blobs(90, 120, 5)
    mask = np.zeros_like(frame)
    result = Result()
    planes = c.byref(_planes(mask))
    assert library.segment(session, c.byref(_frame(frame)), planes, c.byref(result)) == OK
    live.submit(frame)
    got = take(live)
    assert (got.mask == mask).all()
    assert (got.presence, got.sequence) == (result.presence, result.sequence)
    assert [part.area_px for part in got.components] == [part.area_px for part in result.found]
    library.session_destroy(session)


def _frame(pixels: np.ndarray) -> Frame:
    height, width = pixels.shape
    return Frame(data=pixels.ctypes.data, width=width, height=height, format=GRAY8)


def _planes(mask: np.ndarray) -> Any:
    return Planes(mask=mask.ctypes.data)


def test_a_submitted_array_is_the_callers_again(live: LiveSession, session: Session) -> None:
    """What is written into it afterwards is in no result."""
    frame = blobs(80, 80, 3)
    want = session.segment(frame)
    given = frame.copy()
    live.submit(given)
    given[:] = 0
    check_same(take(live), want)


def test_frames_are_all_accounted_for(live: LiveSession) -> None:
    """Two threads, one that submits as fast as it can: results, errors and drops add up."""
    frames = [blobs(60 + i, 90 - i, i) for i in range(8)]
    too_large = np.zeros((3000, 10), np.uint8)
    seen: list[int] = []
    done = threading.Event()

    def draw() -> None:
        while not done.is_set() or live.counts().pending:
            if (result := live.poll(1.0)) is not None:
                seen.append(result.sequence)
                assert result.mask.shape == frames[(result.timestamp) % 8].shape

    thread = threading.Thread(target=draw)
    thread.start()
    for number in range(400):
        if number % 50 == 7:
            with pytest.raises(InputError, match="at most 2048"):
                live.submit(too_large)
        else:
            live.submit(frames[number % 8], timestamp=number)
    done.set()
    thread.join()
    counts = live.counts()
    assert counts.frames == 400
    assert counts.errors == 8
    assert counts.results == len(seen) > 0
    assert counts.frames == counts.results + counts.errors + counts.dropped
    assert seen == sorted(set(seen))


def test_ready_may_poll_and_close(blob_bundle: Path, key: dict[str, Any]) -> None:
    """It is called by a thread of the session, after each frame, and everything may be called."""
    got: list[tuple[int, LiveResult | None]] = []
    closed = threading.Event()

    def ready() -> None:
        got.append((threading.get_ident(), live.poll()))
        if len(got) == 2:
            live.close()
            closed.set()

    live = runtime.open_live(blob_bundle, **key, ready=ready)
    frame = blobs(50, 50, 0)
    live.submit(frame)
    while not got:
        closed.wait(0.001)
    live.submit(frame)
    assert closed.wait(60)
    assert all(thread != threading.get_ident() for thread, _ in got)
    assert [result.sequence for _, result in got if result is not None] == [1, 2]
    with pytest.raises(InputError, match="closed"):
        live.submit(frame)


def test_what_ready_raises_stops_nothing(
    blob_bundle: Path, key: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to sys.unraisablehook, and frames go on."""
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(what.exc_value))

    def ready() -> None:
        raise LookupError("of the caller")

    with runtime.open_live(blob_bundle, **key, ready=ready) as live:
        for _ in range(2):
            live.submit(blobs(50, 50, 0))
            take(live)
    assert {str(error) for error in told} == {"of the caller"}


def test_closing_ends_the_call_that_waits(live: LiveSession) -> None:
    """A thread in poll gets the sentence; so does every later call, and closing twice is fine."""
    error: list[Exception] = []

    def wait() -> None:
        try:
            live.poll(WAIT)
        except InputError as caught:
            error.append(caught)

    thread = threading.Thread(target=wait)
    thread.start()
    live.close()
    thread.join(60)
    assert not thread.is_alive()
    assert len(error) == 1
    live.close()
    for use in (lambda: live.poll(), lambda: live.submit(blobs(9, 9, 0)), live.counts):
        with pytest.raises(InputError, match=r"closed|destroyed"):
            use()


def test_python_ends_with_a_session_that_nobody_closed(blob_bundle: Path, maker: Path) -> None:
    """Also where its thread calls Python all the time."""
    program = f"""
import numpy as np
from edge_bts import runtime
live = runtime.open_live({str(blob_bundle)!r}, trust={str(maker.with_suffix(".pub"))!r},
                         ready=lambda: live.submit(frame))
frame = np.full((200, 200), 90, np.uint8)
live.submit(frame)
while live.counts().results + live.counts().dropped < 20:
    pass
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_the_gil_is_released_while_poll_waits(live: LiveSession) -> None:
    """A result that this thread's own frame gives can come while another one waits for it."""
    got: list[LiveResult | None] = []
    thread = threading.Thread(target=lambda: got.append(live.poll(WAIT)))
    thread.start()
    live.submit(blobs(60, 60, 1))  # would never be reached if the wait kept the GIL
    thread.join(60)
    assert [result is None for result in got] == [False]


def test_late_and_stale_results_say_so(blob_bundle: Path, key: dict[str, Any]) -> None:
    """A microsecond is too short for any frame, and for any result that is fetched."""
    with runtime.open_live(blob_bundle, **key, deadline_ms=0.001, stale_ms=60_000) as live:
        live.submit(blobs(64, 64, 1))
        health = take(live).health
        assert health is not None
        assert health & (Health.LATE | Health.STALE) == Health.LATE
        assert not health.usable
    with runtime.open_live(blob_bundle, **key, stale_ms=0.001) as live:
        live.submit(blobs(64, 64, 1))
        while (result := _unless_stalled(live)) is None:
            pass
        assert result.health is not None
        assert result.health & (Health.LATE | Health.STALE) == Health.STALE


def _unless_stalled(live: LiveSession) -> LiveResult | None:
    try:
        return live.poll()
    except StalledError:
        return None


def test_a_stall_is_told(blob_bundle: Path, key: dict[str, Any]) -> None:
    """While the largest of frames runs, a microsecond is over; then its result ends the stall."""
    side = 4096
    options = {**key, "largest": (side, side), "stale_ms": 0.001}
    with runtime.open_live(blob_bundle, **options) as live:
        live.submit(np.full((side, side), 99, np.uint8))
        with pytest.raises(StalledError, match="hide what is drawn"):
            live.poll(WAIT)
        while _unless_stalled(live) is None:
            pass
        assert live.counts().results == 1


def test_a_sector_is_all_that_is_seen(session: Session, live: LiveSession) -> None:
    """A rectangle is the region of that rectangle; of a fan nothing is found outside."""
    frame = blobs(100, 120, 4)
    box = session.segment(frame, roi=(10, 20, 60, 50))
    as_sector = session.segment(frame, sector=[(10, 20), (70, 20), (70, 70), (10, 70)])
    assert (as_sector.mask == box.mask).all()
    assert (as_sector.probability == box.probability).all()

    fan = [(50, 0), (70, 0), (119, 90), (60, 100), (0, 90)]
    got = session.segment(frame, sector=fan)
    outside = np.array(
        [[not _is_inside(fan, x + 0.5, y + 0.5) for x in range(120)] for y in range(100)]
    )
    assert not got.mask[outside].any()
    assert not got.probability[outside].any()
    assert got.mask.any()
    live.submit(frame, sector=fan)
    check_same(take(live), got)


def _is_inside(polygon: list[tuple[int, int]], x: float, y: float) -> bool:
    """By how often a line to the left crosses the outline; a centre on it is right of it."""
    inside = False
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (ay > y) != (by > y):
            crossing = Fraction(ax) + (Fraction(y) - ay) * (bx - ax) / (by - ay)
            inside ^= Fraction(x) >= crossing
    return inside


@pytest.mark.parametrize(
    ("sector", "sentence"),
    [
        ([(0, 0), (9, 9)], "3 to 64 corners"),
        ([(0, 0), (9, 9), (1, 2, 3)], "3 to 64 corners"),
        ([(0, 0), (9, 9), (-1, 3)], "within the frame"),
        ([(0, 0), (9, 9), (200, 3)], "within the frame"),
        ([(0, 0), (0, 9), (0, 5)], "holds no centre"),
        ([(0, 0)] * 65, "3 to 64 corners"),
    ],
)
def test_a_sector_that_is_none_is_refused(
    session: Session, sector: list[tuple[int, ...]], sentence: str
) -> None:
    """By the library or before it, in one sentence."""
    with pytest.raises(InputError, match=sentence):
        session.segment(blobs(50, 50, 0), sector=sector)  # type: ignore[arg-type]


def test_presence_keeps_what_has_shown(blob_bundle: Path, key: dict[str, Any]) -> None:
    """A score between the two thresholds shows a mask after a frame that reached the upper one."""
    bright, faint = np.full((64, 64), 20, np.uint8), np.full((64, 64), 20, np.uint8)
    bright[20:40, 20:40] = 250
    levels = range(120, 250)
    with runtime.open(blob_bundle, **key) as plain:
        keep = plain.presence_threshold / 2
        for level in levels:
            faint[20:40, 20:40] = level
            got = plain.segment(faint)
            if keep < got.presence < plain.presence_threshold and (got.probability > 0.45).any():
                break
        else:
            raise AssertionError("no level between the thresholds")
        assert not got.present
    with runtime.open(blob_bundle, **key, presence_keep=keep) as kept:
        assert not kept.segment(faint).present
        assert kept.segment(bright).present
        assert kept.segment(faint).present
    with pytest.raises(InputError, match="presence_keep"):
        runtime.open(blob_bundle, **key, presence_keep=0.99)


def test_pinned_threads_and_a_cache_change_no_result(
    blob_bundle: Path, key: dict[str, Any], session: Session, tmp_path: Path
) -> None:
    """The compiled network is in the folder; the mask is the same from it, and pinned."""
    frame = blobs(90, 90, 2)
    want = session.segment(frame)
    for _ in range(2):
        with runtime.open(blob_bundle, **key, pin_threads=True, cache_dir=tmp_path) as other:
            check_same(other.segment(frame), want)
    assert any(tmp_path.rglob("*.blob"))


def test_the_backend_is_named_and_one_that_is_not_built_refused(
    blob_bundle: Path, key: dict[str, Any]
) -> None:
    """OpenVINO unless another is asked for; describe and doctor say which it is."""
    from edge_bts.cli._doctor_checks import _runtime

    for backend in ("auto", "openvino"):
        with runtime.open(blob_bundle, **key, backend=backend) as session:
            assert "(openvino 20" in session.describe()["backend_version"]
    built = native.import_runtime().backends.split()
    assert "openvino" in built
    assert all(name in _runtime().detail for name in built)
    if "tensorrt" not in built:
        with pytest.raises(EnvironmentMismatchError, match="built without it"):
            runtime.open(blob_bundle, **key, backend="tensorrt")
    with pytest.raises(InputError, match="Expected the backend openvino or tensorrt"):
        runtime.open(blob_bundle, **key, backend="cuda")


class Exporter:
    """An array that is known by DLPack alone, on whatever device it says."""

    def __init__(self, array: np.ndarray, device: int = 1) -> None:
        self._array, self._device = array, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device, 0

    def __dlpack__(self, **_: Any) -> Any:
        capsule = self._array.__dlpack__()
        get = c.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = c.c_void_p, [c.py_object, c.c_char_p]
        managed = get(capsule, b"dltensor")
        # struct DLTensor {void* data; DLDevice device; ...}, at the head of what is managed
        c.c_int32.from_address(managed + 8).value = self._device
        return capsule


def test_tensors_of_other_libraries_are_taken_by_dlpack(
    session: Session, live: LiveSession
) -> None:
    """PyTorch's, and whatever exports itself: with a pitch, 16 bits, colour; nothing is copied."""
    torch = pytest.importorskip("torch")
    frame = blobs(70, 90, 3)
    want = session.segment(frame)
    wide = np.zeros((70, 128), np.uint8)
    wide[:, :90] = frame
    for tensor in (torch.from_numpy(frame), torch.from_numpy(wide)[:, :90], Exporter(frame)):
        check_same(session.segment(tensor), want)
        live.submit(tensor)
        check_same(take(live), want)
    colour = torch.from_numpy(frame)[:, :, None].repeat(1, 1, 3)
    check_same(session.segment(colour), want)
    deep = Exporter(frame.astype(np.uint16) * 257)
    check_same(session.segment(deep), want)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda frame: Exporter(frame[:, ::2]), "pixels follow each other"),
        (lambda frame: Exporter(frame.T), "pixels follow each other"),
        (lambda frame: Exporter(as_strided(frame, (9, 90), (0, 1))), "pixels follow each other"),
        (lambda frame: Exporter(frame.astype(np.float32)), "got float32"),
        (lambda frame: Exporter(frame[None]), "got uint8"),
        (lambda frame: Exporter(frame[:0]), "got uint8"),
        (lambda frame: Exporter(frame, device=4), "got Exporter: that is none, or on another"),
        (lambda frame: frame.tolist(), "got list"),
        (lambda frame: Exporter(frame[:, ::2], device=2), "pixels follow each other"),
        (lambda frame: Exporter(frame.astype(np.float32), device=2), "no unsigned integer"),
    ],
)
def test_tensors_that_are_no_frame_are_refused(
    session: Session, live: LiveSession, make: Any, sentence: str
) -> None:
    """Strides are checked as those of arrays, on every device."""
    for use in (session.segment, live.submit):
        with pytest.raises(InputError, match=sentence):
            use(make(blobs(70, 90, 3)))
    assert live.counts().frames == 0


@pytest.mark.parametrize("device", [2, 13])
def test_tensors_of_a_gpu_are_refused_where_the_session_takes_none(
    session: Session, live: LiveSession, blob_bundle: Path, key: dict[str, Any], device: int
) -> None:
    """The library says so of the frame, and of a session for them in OpenVINO; no byte is read."""
    tensor = Exporter(blobs(70, 90, 3), device)
    for use in (session.segment, live.submit):
        with pytest.raises(InputError, match="its memory is EBTS_MEMORY_CUDA"):
            use(tensor)
    assert live.counts().errors == 1
    for how in (runtime.open, runtime.open_live):
        with pytest.raises(EnvironmentMismatchError, match="is open in openvino"):
            how(blob_bundle, **key, memory="cuda")
    with pytest.raises(InputError, match="host or cuda"):
        runtime.open(blob_bundle, **key, memory="metal")


def test_live_frames_are_the_references(live: LiveSession, segmenter: Segmenter) -> None:
    """The masks of Python's own frame path."""
    for seed in range(10):
        frame = blobs(50 + 11 * seed, 170 - 9 * seed, seed)
        live.submit(frame)
        assert (take(live).mask == segmenter.segment(frame).mask).all()
