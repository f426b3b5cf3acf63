"""The C++ library through its Python binding: the masks of the NumPy reference, zero-copy, safe."""

from __future__ import annotations

import gc
import json
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from libedge_bts import blobs
from typer.testing import CliRunner

from edge_bts import geometry, runtime
from edge_bts.bundle import open_bundle_folder, write_bundle
from edge_bts.cli import app
from edge_bts.errors import EnvironmentMismatchError, InputError, IntegrityError, SelfTestError
from edge_bts.golden import GOLDEN_NAME, read_golden
from edge_bts.runtime import Health, Segmenter, Session, SessionResult, native
from edge_bts.signing import Trust, load_public_key, load_signing_key

MODELS = Path(__file__).parents[2] / "models"

pytestmark = pytest.mark.usefixtures("extension")


@pytest.fixture
def session(blob_bundle: Path, maker: Path) -> Iterator[Session]:
    """The bundle that marks bright patches, opened with its maker's key."""
    with runtime.open(blob_bundle, trust=maker.with_suffix(".pub"), threads=1) as session:
        yield session


@pytest.fixture
def in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference without a line of C++."""
    monkeypatch.setattr(geometry, "_native", None)


def check_against(want: runtime.Result, got: SessionResult) -> None:
    """Masks and whole numbers are equal, sums to their rounding."""
    assert (got.mask == want.mask).all()
    assert got.mask.dtype == np.uint8
    assert got.probability.dtype == np.float32
    assert np.abs(got.probability - want.probability).max() <= 1e-6
    assert got.presence == pytest.approx(want.presence, rel=1e-12)
    assert got.present == want.present == (Health.EMPTY not in (got.health or Health.OK))
    assert got.spacing_mm == want.spacing_mm
    assert got.components_found == len(got.components) == len(want.components)
    for mine, theirs in zip(got.components, want.components, strict=True):
        for field in fields(mine):
            a, b = getattr(mine, field.name), getattr(theirs, field.name)
            if field.name == "contour":
                assert a.dtype == b.dtype
                assert np.array_equal(a, b)
            elif b is None:
                assert a is None
            else:
                assert np.ravel(a).tolist() == pytest.approx(np.ravel(b).tolist(), rel=1e-12)


@pytest.mark.usefixtures("in_numpy")
def test_golden_frames_give_what_numpy_gives(
    session: Session, segmenter: Segmenter, blob_bundle: Path
) -> None:
    """Mask, probability, presence and measures of the golden frames are the reference's."""
    golden = read_golden((blob_bundle / GOLDEN_NAME).read_bytes(), segmenter.imgsz)
    for spacing in (None, 0.12):
        for frame in golden.frames:
            check_against(segmenter.segment(frame, spacing), session.segment(frame, spacing))


@pytest.mark.usefixtures("in_numpy")
def test_frames_of_other_sizes_give_what_numpy_gives(
    session: Session, segmenter: Segmenter
) -> None:
    """Ragged masks of many parts, in frames that change their size."""
    several = 0
    for seed, (height, width) in enumerate([(1, 1), (1, 90), (90, 1), (47, 49), (200, 150)] * 3):
        frame = blobs(height, width, seed)
        got = session.segment(frame, 0.1)
        check_against(segmenter.segment(frame, 0.1), got)
        assert (got.height, got.width) == (height, width)
        several += len(got.components) > 1
    assert several > 3


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.usefixtures("in_numpy")
def test_real_images_give_the_masks_of_numpy(real_data: Path) -> None:
    """200 images of BUSI through a released student: every mask is equal in source geometry."""
    key = MODELS / "release.pub"
    bundle = MODELS / "busi-default.ebts"
    trust = Trust((load_public_key(key).hex(),))
    reference = runtime.open_bundle(bundle, trust=trust, backend="openvino", threads=1)
    session = runtime.open(bundle, trust=key, threads=1)
    images = sorted(
        path
        for path in (real_data / "Dataset_BUSI_with_GT").rglob("*.png")
        if "_mask" not in path.stem
    )
    chosen = images[:: len(images) // 200][:200]
    found = 0
    for path in chosen:
        frame = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        got = session.segment(frame)
        check_against(reference.segment(frame), got)
        found += got.present
    assert len(chosen) == 200
    assert found > 100


def test_times_health_and_order_come_with_a_result(session: Session) -> None:
    """Stage times as the reference names them; sequence counts; the timestamp comes back."""
    frame = blobs(80, 90, 1)
    first, second = session.segment(frame), session.segment(frame, timestamp=2**64 - 1)
    assert list(first.times_ms) == ["preprocess", "inference", "postprocess"]
    assert all(value > 0 for value in first.times_ms.values())
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.timestamp, second.timestamp) == (0, 2**64 - 1)
    white = session.segment(np.full((60, 60), 255, np.uint8)).health
    assert white is not None
    assert white.words == ["saturated"]
    assert white.usable
    session.self_test()


def test_a_missed_deadline_is_said(blob_bundle: Path, maker: Path) -> None:
    """A microsecond is too short for any frame."""
    trust = maker.with_suffix(".pub")
    with runtime.open(blob_bundle, trust=trust, deadline_ms=0.001) as session:
        health = session.segment(blobs(300, 300, 1)).health
    assert health is not None
    assert Health.LATE in health
    assert not health.usable


def test_layouts_are_walked_without_a_copy(session: Session) -> None:
    """Gaps between rows, read-only memory, colour in any order and one row give the same mask."""
    gray = blobs(90, 120, 8)
    want = session.segment(gray).mask
    assert want.any()
    wide = np.full((90, 200), 255, np.uint8)
    wide[:, :120] = gray
    frozen = gray.copy()
    frozen.flags.writeable = False
    for frame in (wide[:, :120], frozen, gray[..., np.newaxis]):
        assert (session.segment(frame).mask == want).all()
    every_other = np.repeat(gray, 2, axis=0)[::2]
    assert every_other.strides[0] == 240
    assert (session.segment(every_other).mask == want).all()
    line = gray[40:41]
    assert (session.segment(line).mask == session.segment(np.ascontiguousarray(line)).mask).all()
    deep = gray.astype(np.uint16) * 16
    assert (session.segment(deep, white=4080).mask == want).all()
    colour = np.dstack([blobs(90, 120, seed) for seed in (1, 2, 3)])
    luma = session.segment(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)).mask
    assert luma.any()
    alpha = np.full((90, 120, 1), 9, np.uint8)
    rgb = np.ascontiguousarray(colour[..., ::-1])
    orders: dict[Any, np.ndarray] = {
        None: colour, "bgr": colour, "rgb": rgb, "rgba": np.concatenate([rgb, alpha], 2),
        "bgra": np.concatenate([colour, alpha], 2), "argb": np.concatenate([alpha, rgb], 2),
    }  # fmt: skip
    for pixels, frame in orders.items():
        assert (session.segment(frame, pixels=pixels).mask == luma).all(), pixels


def test_a_region_is_all_that_is_seen(session: Session) -> None:
    """Its mask is that of the crop; outside it nothing is found."""
    frame = blobs(100, 140, 8)
    mask = session.segment(frame, roi=(10, 20, 100, 70)).mask
    crop = session.segment(np.ascontiguousarray(frame[20:90, 10:110])).mask
    assert crop.any()
    assert (mask[20:90, 10:110] == crop).all()
    mask[20:90, 10:110] = 0
    assert not mask.any()


GRAY = np.zeros((8, 10), np.uint8)


@pytest.mark.parametrize(
    ("frame", "options", "sentence"),
    [
        (GRAY.astype(np.float32), {}, "got float32"),
        (GRAY.astype(np.int8), {}, "got int8"),
        (GRAY.astype(">u2"), {}, "byte order"),
        (GRAY.astype(bool), {}, "got bool"),
        (GRAY[0], {}, r"got uint8 \(10,\)"),
        (np.zeros((8, 10, 2), np.uint8), {}, r"\(8, 10, 2\)"),
        (np.zeros((8, 10, 3), np.uint16), {}, "got uint16"),
        (np.zeros((2, 8, 10, 3), np.uint8), {}, r"\(2, 8, 10, 3\)"),
        (np.zeros((0, 10), np.uint8), {}, r"\(0, 10\)"),
        (GRAY.tolist(), {}, "got list"),
        (GRAY, {"pixels": "rgb"}, "as 'rgb'"),
        (GRAY, {"pixels": "nv21"}, "as 'nv21'"),
        (GRAY, {"pixels": "gray16"}, "as 'gray16'"),
        (GRAY[:, ::2], {}, "strides"),
        (GRAY[:, ::-1], {}, "strides"),
        (GRAY[::-1], {}, "strides"),
        (GRAY.T, {}, "strides"),
        (np.broadcast_to(GRAY[:1], (8, 10)), {}, "strides"),
        (np.zeros((8, 10, 4), np.uint8)[..., :3], {}, "strides"),
        (np.zeros(8 * 21, np.uint8).reshape(8, 21)[:, :20].view(np.uint16), {}, "strides"),
        (np.zeros(161, np.uint8)[1:].view(np.uint16).reshape(8, 10), {}, "strides"),
        (np.zeros((2049, 1), np.uint8), {}, "at most 2048 x 2048"),
        (GRAY, {"spacing_mm": -1.0}, "spacing"),
        (GRAY, {"spacing_mm": float("nan")}, "spacing"),
        (GRAY, {"white": 65536}, "white"),
        (GRAY, {"timestamp": -1}, "timestamp"),
        (GRAY, {"timestamp": 2**64}, "timestamp"),
        (GRAY, {"roi": (0, 0, 0, 0)}, "roi"),
        (GRAY, {"roi": (0, 0, 11, 8)}, "roi"),
        (GRAY, {"roi": (-1, 0, 5, 5)}, "roi"),
        (GRAY, {"roi": (0, 0, 2**40, 5)}, "roi"),
        (GRAY, {"roi": (1, 2)}, "roi"),
    ],
)
def test_what_is_no_frame_is_refused(
    session: Session, frame: Any, options: dict[str, Any], sentence: str
) -> None:
    """One sentence and exit code 2, and the session goes on."""
    with pytest.raises(InputError, match=sentence) as caught:
        session.segment(frame, **options)
    assert caught.value.exit_code == 2
    assert session.segment(GRAY).mask.shape == GRAY.shape


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"largest": (0, 8)}, {"largest": (8, 16385)}, {"max_components": 0},
     {"max_components": 65537}, {"deadline_ms": 0.0}, {"deadline_ms": 1e9}],
)  # fmt: skip
def test_options_out_of_range_are_refused(
    blob_bundle: Path, maker: Path, options: dict[str, Any]
) -> None:
    """Before the bundle is looked at."""
    with pytest.raises(InputError, match="Expected"):
        runtime.open(blob_bundle, trust=maker.with_suffix(".pub"), **options)


def test_a_short_list_says_how_many_there_are(
    blob_bundle: Path, maker: Path, session: Session
) -> None:
    """max_components cuts the list and nothing else."""
    frame = blobs(200, 150, 4)
    every = session.segment(frame)
    assert len(every.components) > 1
    trust = maker.with_suffix(".pub")
    with runtime.open(blob_bundle, trust=trust, threads=1, max_components=1) as short:
        cut = short.segment(frame)
    assert [part.area_px for part in cut.components] == [every.components[0].area_px]
    assert cut.components_found == len(every.components)
    assert (cut.mask == every.mask).all()


def test_results_outlive_frames_and_sessions(blob_bundle: Path, maker: Path) -> None:
    """Arrays own their memory: neither the next frame nor the end of the session touches them."""
    session = runtime.open(blob_bundle, trust=maker.with_suffix(".pub"), threads=1)
    result = session.segment(blobs(120, 110, 8))
    contours = [part.contour for part in result.components]
    arrays = [result.mask, result.probability, *contours]
    kept = [array.copy() for array in arrays]
    assert contours
    for seed in range(20):
        session.segment(blobs(120, 110, seed))
    session.close()
    del session
    gc.collect()
    ballast = [np.full(120 * 110, 7, np.uint8) for _ in range(50)]
    assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))
    assert all(array.flags.writeable for array in arrays)
    del ballast


def test_a_closed_session_takes_no_frames(session: Session) -> None:
    """Closing twice is fine; a frame afterwards is one sentence."""
    session.close()
    session.close()
    for use in (lambda: session.segment(GRAY), session.self_test):
        with pytest.raises(InputError, match="closed"):
            use()


def test_the_gil_is_released(blob_bundle: Path, maker: Path) -> None:
    """While a thread is in the library another one runs, though no thread is made to give way."""
    trust = maker.with_suffix(".pub")
    session = runtime.open(blob_bundle, trust=trust, threads=1, largest=(4096, 4096))
    frame = blobs(4096, 4096, 0)
    session.segment(frame)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        assert any(_seen_inside(lambda: session.segment(frame)) for _ in range(20))
        # The same look at what keeps the GIL never sees its inside: the test can fail.
        assert not any(_seen_inside(lambda: sorted(range(100_000))) for _ in range(20))
    finally:
        sys.setswitchinterval(interval)


def _seen_inside(work: Callable[[], object]) -> bool:
    """Whether this thread runs between the begin and the end of ``work`` in another one."""
    events: list[str] = []

    def call() -> None:
        events.append("in")
        work()
        events.append("out")

    thread = threading.Thread(target=call)
    thread.start()
    seen = events == ["in"]
    thread.join()
    return seen


def test_threads_take_turns_in_a_session(session: Session) -> None:
    """Four threads, one session: each gets the result of its own frame, and none is refused."""
    frames = [blobs(70 + 10 * i, 90, i) for i in range(4)]
    wanted = [session.segment(frame) for frame in frames]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            got = session.segment(frames[number])
            same = (got.mask == wanted[number].mask).all() and all(
                np.array_equal(a.contour, b.contour)
                for a, b in zip(got.components, wanted[number].components, strict=True)
            )
            if not same:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert session.segment(frames[0]).sequence == 4 + 200 + 1


def test_a_bundle_is_refused_without_its_key(
    blob_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 7, said by the library's own loader; allow_unsigned opens it with a note."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGE_BTS_TRUSTED_KEYS", raising=False)
    with pytest.raises(IntegrityError, match="trusted key") as caught:
        runtime.open(blob_bundle)
    assert caught.value.exit_code == 7
    (note,) = runtime.open(blob_bundle, allow_unsigned=True).notes
    assert "anybody may have made it" in note


def test_faults_have_the_classes_of_the_package(
    blob_bundle: Path, maker: Path, tmp_path: Path
) -> None:
    """No bundle 2, a changed file 7, golden frames that this machine does not compute 3."""
    trust = maker.with_suffix(".pub")
    with pytest.raises(InputError, match="Expected a bundle"):
        runtime.open(tmp_path / "none.ebts", trust=trust)
    copy = Path(shutil.copytree(blob_bundle, tmp_path / "copy.ebts"))
    weights = copy / "model.openvino.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(IntegrityError, match=r"model\.openvino\.bin"):
        runtime.open(copy, trust=trust)
    with pytest.raises(SelfTestError, match="golden frame") as caught:
        runtime.open(_with_other_answers(blob_bundle, maker, tmp_path), trust=trust)
    assert caught.value.exit_code == 3


def _with_other_answers(bundle: Path, maker: Path, folder: Path) -> Path:
    """The bundle, signed, with golden frames that promise more than its network computes."""
    from safetensors.numpy import load, save

    opened = open_bundle_folder(bundle, Trust(allow_unsigned=True))
    files: dict[str, bytes | Path] = {name: opened.read(name) for name in opened.manifest.files}
    content = opened.read(GOLDEN_NAME)
    length = int.from_bytes(content[:8], "little")
    tensors = load(content)
    tensors["probability"] = np.clip(tensors["probability"] + np.float32(0.1), 0, 1)
    files[GOLDEN_NAME] = save(tensors, json.loads(content[8 : 8 + length])["__metadata__"])
    manifest = opened.manifest.model_dump(mode="json", exclude={"files"})
    key = load_signing_key(maker.with_suffix(".key"))
    return write_bundle(folder / "other.ebts", manifest, files, key=key).path


def test_a_bundle_that_was_exchanged_is_not_run(blob_bundle: Path, tmp_path: Path) -> None:
    """What was opened and judged is what runs, or nothing."""
    path = Path(shutil.copytree(blob_bundle, tmp_path / "blob.ebts"))
    opened = open_bundle_folder(path, Trust(allow_unsigned=True))
    assert native.session_of(opened).manifest_sha256 == opened.manifest_sha256
    manifest = opened.manifest.model_dump(mode="json", exclude={"files"})
    files: dict[str, bytes | Path] = {name: opened.read(name) for name in opened.manifest.files}
    write_bundle(path, {**manifest, "version": "another"}, files, force=True)
    with pytest.raises(IntegrityError, match="another one lies there"):
        native.session_of(opened)


def test_the_words_are_those_of_the_header(repository: Path) -> None:
    """Bits of the health word and numbers of formats are the header's, none is left out."""
    header = (repository / "runtime" / "include" / "edge_bts" / "edge_bts.h").read_text()
    bits = dict(re.findall(r"EBTS_HEALTH_(\w+) = (\d+)", header))
    assert bits.keys() >= {"OK", "LATE", "EMPTY", "NAN", "OUT_OF_RANGE", "SATURATED"}
    (sum_,) = re.findall(r"EBTS_HEALTH_UNUSABLE = ([^}]+)", header)
    unusable = re.findall(r"EBTS_HEALTH_(\w+)", sum_)
    for name, value in bits.items():
        assert int(value) == Health[name]
        assert Health[name].usable == (name not in unusable)
    enum = header.split("typedef enum ebts_format {")[1].split("}")[0]
    formats = {name.lower(): int(code) for name, code in re.findall(r"EBTS_(\w+) = (\d+)", enum)}
    assert formats.pop("nv12") == 8  # a plane of gray, so that Python needs no name for it
    assert formats == {name: code for name, (code, _, _) in native._FORMATS.items()}
    assert set(formats) == set(get_args(native.PixelFormat))


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [("libsodium (Debian, Ubuntu: libsodium-dev)", "were missing: libsodium"), ("", "openvino")],
)
def test_an_absent_runtime_says_why(
    monkeypatch: pytest.MonkeyPatch, blob_bundle: Path, missing: str, sentence: str
) -> None:
    """Exit code 3: what the build lacked, or what does not load; doctor repeats it as a note."""
    _native = pytest.importorskip("edge_bts._native")
    from edge_bts.cli._doctor_checks import _runtime

    monkeypatch.setitem(sys.modules, "edge_bts._runtime", None)
    monkeypatch.setattr(_native, "runtime_missing", missing)
    with pytest.raises(EnvironmentMismatchError, match=sentence) as caught:
        runtime.open(blob_bundle, allow_unsigned=True)
    assert caught.value.exit_code == 3
    check = _runtime()
    assert (check.state, check.detail) == ("note", str(caught.value))


def test_run_takes_the_library_as_a_backend(blob_bundle: Path, maker: Path, tmp_path: Path) -> None:
    """The masks of --backend openvino, and the health word of every frame in the record."""
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "blobs.png"), blobs(120, 150, 8))
    cv2.imwrite(str(images / "dark.png"), np.zeros((40, 50), np.uint8))
    records = {}
    for backend in ("native", "openvino"):
        output = tmp_path / backend
        done = _run(blob_bundle, images, output, maker, "--backend", backend)
        assert done.exit_code == 0, done.output
        records[backend] = json.loads((output / "measurements.json").read_text())
    for name in ("blobs.png", "dark.png"):
        masks = [(tmp_path / kind / "masks" / name).read_bytes() for kind in records]
        assert masks[0] == masks[1]
    assert records["native"]["segmenter"]["backend"] == "native"
    health = [source["frames"][0]["health"] for source in records["native"]["inputs"]]
    assert health == [[], ["empty"]]
    assert {source["frames"][0]["health"] for source in records["openvino"]["inputs"]} == {None}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--threshold", "0.7"], "no --threshold with --backend native"),
        (["--presence-threshold", "0"], "no --presence-threshold"),
        (["--precision", "int8"], "Expected --precision fp32"),
    ],
)
def test_run_keeps_to_what_was_signed(
    blob_bundle: Path, maker: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    """Other thresholds and precisions are the reference's business."""
    cv2.imwrite(str(tmp_path / "a.png"), blobs(60, 60, 1))
    done = _run(
        blob_bundle, tmp_path / "a.png", tmp_path / "out", maker, "--backend", "native", *options
    )
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)
    assert not (tmp_path / "out").exists()


def _run(bundle: Path, inputs: Path, output: Path, maker: Path, *options: str) -> Any:
    command = ["run", bundle, inputs, "-o", output, "--trust", maker.with_suffix(".pub"), *options]
    return CliRunner().invoke(app, [str(part) for part in command])
