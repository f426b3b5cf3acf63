"""libedge_bts through its C ABI: the results of Python, bit for bit, and every misuse refused."""

from __future__ import annotations

import ctypes as c
import threading
from pathlib import Path
from typing import Any

import cv2
import libedge_bts as ebts
import numpy as np
import pytest
from libedge_bts import MOST, Component, Frame, Library, Planes, Rect, Result, blobs
from native_build import run
from numpy.typing import NDArray

import edge_bts
from edge_bts.golden import GOLDEN_NAME, read_golden
from edge_bts.runtime import Segmenter
from edge_bts.signing import Trust, load_signing_key

pytestmark = pytest.mark.slow
Pixels = NDArray[np.uint8]


def check_components(found: list[Component], expected: Any) -> None:
    """Whole numbers are equal, others to the rounding of sums in another order."""
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        box = got.bbox
        assert got.area_px == want.area_px
        assert (box.x, box.y, box.width, box.height) == want.bbox
        assert (got.points == want.contour).all()
        assert got.points.shape == want.contour.shape
        assert tuple(map(tuple, got.longest_ends)) == want.longest_ends
        assert got.longest_px == want.longest_px
        assert got.orthogonal_px == pytest.approx(want.orthogonal_px, rel=1e-12)
        assert tuple(got.centroid) == pytest.approx(want.centroid, rel=1e-12)
        for name in ("area_mm2", "longest_mm", "orthogonal_mm"):
            assert getattr(got, name) == pytest.approx(getattr(want, name) or 0, rel=1e-12)


def check_against_python(
    library: Library, session: Any, segmenter: Segmenter, pixels: Pixels, spacing: float | None
) -> Result:
    """Both give the same for a gray frame; returns the result."""
    want = segmenter.segment(pixels, spacing)
    status, mask, probability, result = library.run(
        session, pixels, mm_per_pixel=spacing or 0, timestamp=2**63 + 5
    )
    assert status == ebts.OK, library.error()
    assert np.abs(probability - want.probability).max() <= 1e-6
    assert (mask == want.mask).all()
    assert result.presence == pytest.approx(want.presence, rel=1e-12)
    check_components(result.found, want.components)
    assert result.components_found == len(want.components)
    assert bool(result.health & ebts.EMPTY) == (not want.present)
    assert result.timestamp == 2**63 + 5
    assert (result.height, result.width) == pixels.shape
    return result


def test_golden_frames_give_what_python_gives(
    library: Library, session: Any, segmenter: Segmenter, blob_bundle: Path
) -> None:
    """Mask, probability and measures of the golden frames are Python's."""
    golden = read_golden((blob_bundle / GOLDEN_NAME).read_bytes(), segmenter.imgsz)
    for frame in golden.frames:
        check_against_python(library, session, segmenter, frame, 0.12)


def test_frames_of_every_size_give_what_python_gives(
    library: Library, session: Any, segmenter: Segmenter
) -> None:
    """One session, another size each frame, up to the largest: always Python's result."""
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (1, 200), (200, 1), (48, 48), (200, 200), (47, 49)]
    sizes += [tuple(rng.integers(2, MOST + 1, 2).tolist()) for _ in range(120)]
    several = silenced = 0
    for seed, (height, width) in enumerate(sizes):
        pixels = blobs(height, width, seed)
        spacing = None if seed % 3 == 0 else 0.05 + 0.01 * seed
        result = check_against_python(library, session, segmenter, pixels, spacing)
        several += result.component_count > 1
        found = segmenter.predict(pixels)
        sure = bool((found.probability >= segmenter.threshold).any())
        silenced += sure and found.presence < segmenter.presence_threshold
        assert bool(result.components) == (result.component_count > 0)
    assert several > 20, "the frames are too plain to prove anything"
    assert silenced > 3, "the presence threshold never emptied a mask"


def test_noise_gives_what_python_gives(
    library: Library, session: Any, segmenter: Segmenter
) -> None:
    """Masks of many ragged parts with holes have the same borders as OpenCV follows."""
    most = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 2, (40, 40), np.uint8) * 200
        pixels = cv2.resize(coarse, (150, 130), interpolation=cv2.INTER_NEAREST)
        result = check_against_python(library, session, segmenter, pixels, None)
        most = max(most, result.component_count)
    assert most > 10


def test_colour_is_reduced_as_opencv_does(
    library: Library, session: Any, segmenter: Segmenter
) -> None:
    """Every order of channels gives the luma that Python gives for BGR; NV12 is gray."""
    pixels = np.dstack([blobs(90, 120, seed) for seed in (1, 2, 3)])  # B, G, R
    alpha = np.random.default_rng(0).integers(0, 256, (90, 120, 1)).astype(np.uint8)
    orders = {
        ebts.BGR: pixels,
        ebts.RGB: pixels[..., ::-1],
        ebts.BGRA: np.concatenate([pixels, alpha], 2),
        ebts.RGBA: np.concatenate([pixels[..., ::-1], alpha], 2),
        ebts.ARGB: np.concatenate([alpha, pixels[..., ::-1]], 2),
    }
    want = segmenter.segment(pixels)
    assert want.present
    for kind, array in orders.items():
        status, mask, probability, _ = library.run(session, np.ascontiguousarray(array), kind)
        assert status == ebts.OK
        assert (mask == want.mask).all(), kind
        assert np.abs(probability - want.probability).max() <= 1e-6
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    for kind in (ebts.GRAY8, ebts.NV12):
        assert (library.run(session, gray, kind)[1] == want.mask).all()


def test_deep_gray_is_scaled_by_its_white(
    library: Library, session: Any, segmenter: Segmenter
) -> None:
    """GRAY16 is 255 value / white, rounded; above white it is white."""
    rng = np.random.default_rng(5)
    for white in (0, 4095, 1023, 65535, 1):
        top = white or 65535
        deep = (blobs(80, 70, 9).astype(np.uint64) * top // 255).astype(np.uint16)
        deep[rng.random(deep.shape) < 0.02] = 65535
        level = np.minimum(deep.astype(np.int64), top)
        want = segmenter.segment(((255 * level + top // 2) // top).astype(np.uint8))
        status, mask, probability, _ = library.run(session, deep, ebts.GRAY16, gray16_white=white)
        assert status == ebts.OK
        assert (mask == want.mask).all()
        assert np.abs(probability - want.probability).max() <= 1e-6


def test_pitch_and_planes_stay_within_their_rows(
    library: Library, session: Any, segmenter: Segmenter
) -> None:
    """Rows with gaps are read and written as such, and the gaps stay as they were."""
    wide = np.full((60, 100), 255, np.uint8)
    pixels = wide[:, :75]
    pixels[:] = blobs(60, 75, 4)
    want = segmenter.segment(np.ascontiguousarray(pixels))
    mask = np.full((60, 90), 77, np.uint8)
    probability = np.full((60, 80), -7, np.float32)
    frame = Frame(data=wide.ctypes.data, pitch=100, width=75, height=60, format=ebts.GRAY8)
    planes = Planes(mask=mask.ctypes.data, mask_pitch=90,
                    probability=probability.ctypes.data, probability_pitch=320)  # fmt: skip
    result = Result()
    assert library.segment(session, c.byref(frame), c.byref(planes), c.byref(result)) == ebts.OK
    assert (mask[:, :75] == want.mask).all()
    assert (mask[:, 75:] == 77).all()
    assert np.abs(probability[:, :75] - want.probability).max() <= 1e-6
    assert (probability[:, 75:] == -7).all()
    alone = Result()
    assert library.segment(session, c.byref(frame), None, c.byref(alone)) == ebts.OK
    check_components(alone.found, want.components)


def test_a_region_is_a_frame_of_its_own(
    library: Library, session: Any, segmenter: Segmenter
) -> None:
    """What lies outside is 0; what lies inside is the result of the cut-out, moved."""
    pixels = blobs(150, 180, 8)
    x, y, width, height = 31, 17, 90, 101
    want = segmenter.segment(np.ascontiguousarray(pixels[y : y + height, x : x + width]))
    assert want.present
    status, mask, probability, result = library.run(session, pixels, roi=Rect(x, y, width, height))
    assert status == ebts.OK
    inside = np.s_[y : y + height, x : x + width]
    assert (mask[inside] == want.mask).all()
    assert np.abs(probability[inside] - want.probability).max() <= 1e-6
    mask[inside], probability[inside] = 0, 0
    assert not mask.any()
    assert not probability.any()
    for got, expected in zip(result.found, want.components, strict=True):
        assert (got.points == expected.contour + np.array([x, y])).all()
        assert (got.bbox.x, got.bbox.y) == (expected.bbox[0] + x, expected.bbox[1] + y)
        assert got.longest_px == expected.longest_px
        assert tuple(got.centroid) == pytest.approx(np.add(expected.centroid, (x, y)), rel=1e-12)


def test_a_short_list_has_the_largest(library: Library, model: Any, session: Any) -> None:
    """max_components cuts the list of components, and nothing else."""
    pixels = cv2.resize(
        np.random.default_rng(2).integers(0, 2, (30, 30), np.uint8) * 200,
        (150, 130),
        interpolation=cv2.INTER_NEAREST,
    )
    _, all_of_it, _, every = library.run(session, pixels)
    areas = [component.area_px for component in every.found]
    status, short = library.session(model, max_width=150, max_height=130, max_components=3)
    assert status == ebts.OK
    _, mask, _, result = library.run(short, pixels)
    assert len(areas) > 3
    assert [component.area_px for component in result.found] == areas[:3]
    assert result.components_found == len(areas)
    assert (mask == all_of_it).all()
    library.session_destroy(short)


def test_a_white_frame_is_saturated(library: Library, session: Any) -> None:
    """From half of the pixels at 255 on the health word says so."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:32] = 255
    assert library.run(session, pixels)[3].health & ebts.SATURATED
    pixels[0, 0] = 254
    assert not library.run(session, pixels)[3].health & ebts.SATURATED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"width": 0}, ebts.FRAME),
        ({"height": 0}, ebts.FRAME),
        ({"width": 201, "pitch": 0}, ebts.TOO_LARGE),
        ({"width": 20000, "height": 20000, "pitch": 0}, ebts.TOO_LARGE),
        ({"width": 2**32 - 1, "height": 2**32 - 1, "pitch": 0}, ebts.TOO_LARGE),
        ({"pitch": 63}, ebts.FRAME),
        ({"pitch": 2**63}, ebts.FRAME),
        ({"pitch": 2**64 - 1}, ebts.FRAME),
        ({"format": 0}, ebts.FRAME),
        ({"format": 9}, ebts.FRAME),
        ({"format": ebts.GRAY16, "pitch": 129}, ebts.FRAME),
        ({"format": ebts.GRAY16, "pitch": 127}, ebts.FRAME),
        ({"gray16_white": 65536}, ebts.FRAME),
        ({"mm_per_pixel": -0.1}, ebts.FRAME),
        ({"mm_per_pixel": float("nan")}, ebts.FRAME),
        ({"mm_per_pixel": float("inf")}, ebts.FRAME),
        ({"roi": Rect(0, 0, 65, 10)}, ebts.FRAME),
        ({"roi": Rect(60, 0, 5, 10)}, ebts.FRAME),
        ({"roi": Rect(-1, 0, 5, 10)}, ebts.FRAME),
        ({"roi": Rect(2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1)}, ebts.FRAME),
        ({"roi": Rect(1, 1, 0, 0)}, ebts.FRAME),
        ({"data": None}, ebts.ARGUMENT),
        ({"struct_size": 0}, ebts.ARGUMENT),
        ({"struct_size": 8}, ebts.ARGUMENT),
        ({"struct_size": 2**63}, ebts.ARGUMENT),
    ],
)
def test_a_frame_that_is_none_is_refused(
    library: Library, session: Any, fields: dict[str, Any], status: int
) -> None:
    """Code and sentence, nothing is written, and the session goes on."""
    pixels = blobs(64, 64, 1)
    frame = Frame(data=pixels.ctypes.data, width=64, height=64, format=ebts.GRAY8)
    for name, value in fields.items():
        setattr(frame, name, value)
    mask = np.full((64, 64), 77, np.uint8)
    planes = Planes(mask=mask.ctypes.data)
    result = Result(sequence=99)
    got = library.segment(session, c.byref(frame), c.byref(planes), c.byref(result))
    assert got == status
    assert library.error().startswith("Expected ")
    assert (mask == 77).all()
    assert result.sequence == 99
    assert library.run(session, pixels)[0] == ebts.OK


@pytest.mark.parametrize(
    "fields",
    [{"mask_pitch": 63}, {"mask_pitch": 2**64 - 1}, {"probability_pitch": 252},
     {"probability_pitch": 258}, {"probability": 2}],
)  # fmt: skip
def test_planes_that_cannot_be_are_refused(
    library: Library, session: Any, fields: dict[str, int]
) -> None:
    """A pitch below the row, an odd one, an address off its alignment."""
    pixels = blobs(64, 64, 1)
    frame = Frame(data=pixels.ctypes.data, width=64, height=64, format=ebts.GRAY8)
    room = np.zeros((64, 80), np.float32)
    planes = Planes(mask=room.ctypes.data, probability=room.ctypes.data)
    for name, value in fields.items():
        setattr(planes, name, value)
    status = library.segment(session, c.byref(frame), c.byref(planes), c.byref(Result()))
    assert status == ebts.PLANE
    assert not room.any()


def test_null_is_refused_everywhere(library: Library, model: Any, session: Any) -> None:
    """Every pointer that may not be NULL is an error of argument; freeing NULL is fine."""
    frame, result, out = Frame(), Result(), c.c_void_p(1)
    calls = [
        lambda: library.model_open(None, None, c.byref(out)),
        lambda: library.model_open(b"x", None, None),
        lambda: library.model_describe(None, c.byref(ebts.ModelInfo())),
        lambda: library.model_describe(model, None),
        lambda: library.session_create(None, c.byref(ebts.SessionOptions()), c.byref(out)),
        lambda: library.session_create(model, None, c.byref(out)),
        lambda: library.session_create(model, c.byref(ebts.SessionOptions()), None),
        lambda: library.self_test(None),
        lambda: library.segment(None, c.byref(frame), None, c.byref(result)),
        lambda: library.segment(session, None, None, c.byref(result)),
        lambda: library.segment(session, c.byref(frame), None, None),
        lambda: library.open(Path("x"), key_count=1)[0],
        lambda: library.open(Path("x"), key_file_count=1)[0],
    ]
    for number, call in enumerate(calls):
        assert call() == ebts.ARGUMENT, number
        assert "NULL" in library.error(), number
    assert out.value is None, "a failed call leaves a handle"
    library.model_close(None)
    library.session_destroy(None)


@pytest.mark.parametrize(
    "limits",
    [{}, {"max_width": 10}, {"max_width": 16385, "max_height": 1},
     {"max_width": 20000, "max_height": 20000},
     {"max_width": 8, "max_height": 8, "max_components": 65537}],
)  # fmt: skip
def test_sessions_out_of_range_are_refused(
    library: Library, model: Any, limits: dict[str, int]
) -> None:
    """The largest frame must be declared, within the limits of the geometry."""
    status, session = library.session(model, **limits)
    assert status == ebts.ARGUMENT
    assert session.value is None


def test_a_longer_struct_is_taken_if_its_new_fields_are_0(library: Library, model: Any) -> None:
    """A program of a later header runs as long as it asks for nothing that is not here."""

    class Later(ebts.SessionOptions):
        # What the library of today knows beyond the first header comes before what it does not.
        _fields_ = (("known", c.c_uint8 * 40), ("new", c.c_uint64))

    for new, status in ((0, ebts.OK), (1, ebts.ARGUMENT)):
        later = Later(max_width=8, max_height=8, new=new)
        session = c.c_void_p()
        assert library.session_create(model, c.byref(later), c.byref(session)) == status
        library.session_destroy(session)


def test_the_model_describes_itself(
    library: Library, model: Any, blob_bundle: Path, maker: Path
) -> None:
    """Names, hashes and thresholds are those of the manifest."""
    from edge_bts.bundle import open_bundle_folder

    bundle = open_bundle_folder(blob_bundle, Trust(allow_unsigned=True))
    info = ebts.ModelInfo()
    assert library.model_describe(model, c.byref(info)) == ebts.OK
    assert (info.name, info.precision, info.side) == (b"blob", b"fp32", 48)
    assert info.manifest_sha256.decode() == bundle.manifest_sha256
    assert info.signer.decode() == load_signing_key(maker.with_suffix(".key")).id
    assert (info.trusted, info.self_tested) == (1, 1)
    assert info.threshold == np.float32(0.4)
    assert info.presence_threshold == 0.8
    assert info.backend.startswith(b"openvino 2")
    assert library.version().decode() == edge_bts.__version__


def test_every_status_has_a_text_of_its_own(library: Library) -> None:
    """A few words each, and some for what is none."""
    codes = [0, 1, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 30, 31, 40, 90]
    texts = [library.status_text(code) for code in codes]
    assert len(set(texts)) == len(codes)
    assert library.status_text(55) == b"unknown status"


def test_sessions_outlive_their_model(
    library: Library, blob_bundle: Path, trusting: dict[str, Any]
) -> None:
    """Closing the model first changes nothing for its sessions; golden frames run again."""
    _, model = library.open(blob_bundle, **trusting)
    _, session = library.session(model, max_width=64, max_height=64)
    pixels = blobs(60, 60, 3)
    before = library.run(session, pixels)[1]
    library.model_close(model)
    assert (library.run(session, pixels)[1] == before).all()
    assert library.self_test(session) == ebts.OK
    assert library.run(session, pixels)[3].sequence == 3
    library.session_destroy(session)


def test_threads_with_sessions_of_their_own_share_a_model(
    library: Library, model: Any, segmenter: Segmenter
) -> None:
    """Four threads, each with its frames: every mask is the one of its frame."""
    frames = [blobs(70 + 10 * i, 90, i) for i in range(4)]
    wanted = [segmenter.segment(frame).mask for frame in frames]
    wrong: list[int] = []

    def work(number: int) -> None:
        _, session = library.session(model, max_width=MOST, max_height=MOST)
        for _ in range(50):
            status, mask, _, _ = library.run(session, frames[number])
            if status != ebts.OK or not (mask == wanted[number]).all():
                wrong.append(number)
        library.session_destroy(session)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_cpp_tests_pass_with_every_allocation_counted(native_build: Path) -> None:
    """Health, limits, memory and threads around a network of the test, optimised."""
    assert "SUCCESS" in run(native_build / "runtime" / "tests" / "edge_bts_runtime_tests")
