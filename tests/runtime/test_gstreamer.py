"""The GStreamer element edgebts, run by gst-launch-1.0 and gst-inspect-1.0 as users run it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import libedge_bts as ebts
import numpy as np
import pytest
from libedge_bts import Library, blobs
from native_build import compile_all, configure, run, tool

from edge_bts.data.phantom import simulate_cine

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 91, 121  # odd, so that rows are padded and chroma is rounded up
FRAMES = 3
AMBER = (255, 220, 80)

PIXELS = {
    "gray8": (ebts.GRAY8, ""),
    "nv12": (ebts.GRAY8, ""),  # luma is read as gray
    "i420": (ebts.GRAY8, ""),
    "rgb": (ebts.RGB, "rgb"),
    "bgr": (ebts.BGR, "bgr"),
    "rgba": (ebts.RGBA, "rgba"),
    "bgra": (ebts.BGRA, "bgra"),
    "rgbx": (ebts.RGBA, "rgba"),
    "bgrx": (ebts.BGRA, "bgra"),
    "argb": (ebts.ARGB, "argb"),
    "xrgb": (ebts.ARGB, "argb"),
}
"""Format of the element: that of the library, and the order of channels."""


def up(value: int, to: int) -> int:
    """Rounded up to a multiple."""
    return -(-value // to) * to


@dataclass(frozen=True)
class Layout:
    """How GStreamer lays out a frame of a format; ``stride`` is of the first plane."""

    form: str
    stride: int

    @classmethod
    def of(cls, form: str, width: int = WIDTH) -> Layout:
        """The default layout."""
        return cls(form, up(width * max(1, len(PIXELS[form][1])), 4))

    @property
    def chroma(self) -> int:
        """Bytes after the first plane; those of I420 and NV12 differ by their padding alone."""
        rows = up(HEIGHT, 2) // 2
        if self.form == "i420":
            return 2 * rows * up(up(WIDTH, 2) // 2, 4)
        return rows * self.stride if self.form == "nv12" else 0

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return self.stride * (up(HEIGHT, 2) if self.chroma else HEIGHT) + self.chroma

    def pack(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The bytes of a frame; what is not of the image is noise."""
        data = rng.integers(0, 256, self.size).astype(np.uint8)
        self.first(data)[:] = image
        return data

    def first(self, data: np.ndarray) -> np.ndarray:
        """The pixels of the first plane, H x W or H x W x C; a view."""
        channels = max(1, len(PIXELS[self.form][1]))
        rows = data[: self.stride * HEIGHT].reshape(HEIGHT, self.stride)
        image = rows[:, : WIDTH * channels].reshape(HEIGHT, WIDTH, channels)
        return image if channels > 1 else image[:, :, 0]


def images(form: str, count: int = FRAMES) -> list[np.ndarray]:
    """Frames with lesions; the last has none."""
    channels = max(1, len(PIXELS[form][1]))
    rng = np.random.default_rng(3)
    made = [blobs(HEIGHT, WIDTH, seed) for seed in range(count - 1)]
    made.append(np.zeros((HEIGHT, WIDTH), np.uint8))
    if channels == 1:
        return made
    tint = rng.integers(-20, 21, (count, 1, 1, channels))
    colour = np.clip(np.stack(made)[..., None] + tint, 0, 255).astype(np.uint8)
    return list(colour)


@pytest.fixture(scope="module")
def plugin(native_build: Path) -> Path:
    """The folder of the plugin."""
    folder = native_build / "runtime" / "gstreamer"
    if not (folder / "libgstedgebts.so").exists():
        pytest.skip("missing: apt install libgstreamer-plugins-base1.0-dev (Debian, Ubuntu)")
    for name in ("gst-launch-1.0", "gst-inspect-1.0"):
        if shutil.which(name) is None:
            pytest.skip("missing: apt install gstreamer1.0-tools (Debian, Ubuntu)")
    if subprocess.run(["gst-inspect-1.0", "--exists", "rawvideoparse"], check=False).returncode:
        pytest.skip("missing: apt install gstreamer1.0-plugins-base (Debian, Ubuntu)")
    return folder


class Launcher:
    """Runs pipelines in which ``edgebts`` stands for the element with bundle and key."""

    def __init__(self, plugin: Path, bundle: Path, key: Path, scratch: Path) -> None:
        self._element = f"edgebts bundle={bundle} trust={key} deadline-us=0"
        self.env = {
            "GST_PLUGIN_PATH": str(plugin),
            "GST_REGISTRY": str(scratch / "registry.bin"),
            "GST_DEBUG_NO_COLOR": "1",
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
        }

    def command(self, pipeline: str) -> str:
        """The pipeline with the element's options; those that follow it win."""
        return pipeline.replace("edgebts", self._element, 1)

    def try_(self, pipeline: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run it by gst-launch-1.0, with all messages printed."""
        return subprocess.run(
            [tool("gst-launch-1.0"), "-m", *self.command(pipeline).split()],
            capture_output=True, text=True, check=False, env={**self.env, **env}, timeout=120,
        )  # fmt: skip

    def __call__(self, pipeline: str, **env: str) -> list[str]:
        """The same; what it says of each frame."""
        done = self.try_(pipeline, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ERROR" not in done.stderr
        return results(done.stdout)


def results(printed: str) -> list[str]:
    """The element messages that were printed."""
    lines = re.findall(r"\(element\): (EdgeBtsResult, .*);", printed)
    return [line.replace("\\", "") for line in lines]


def field(said: str, name: str) -> str:
    """A value of a printed structure, the first of that name."""
    found = re.search(rf'(?<![\w-]){name}=\(\w+\)(?:"([^"]*)"|([^,;]*))', said)
    assert found, f"no {name} in {said}"
    return found[1] or found[2]


@pytest.fixture(scope="module")
def launch(
    plugin: Path, blob_bundle: Path, maker: Path, tmp_path_factory: pytest.TempPathFactory
) -> Launcher:
    """Runs pipelines."""
    return Launcher(plugin, blob_bundle, maker.with_suffix(".pub"), tmp_path_factory.mktemp("gst"))


@pytest.fixture(scope="module")
def segment(library: Library, model: Any) -> Iterator[Any]:
    """``ebts_segment``: mask and result of one frame of any size."""
    status, session = library.session(model, max_width=640, max_height=480)
    assert status == ebts.OK, library.error()

    def one(pixels: np.ndarray, kind: int = ebts.GRAY8, **fields: Any) -> Any:
        status, mask, _, result = library.run(session, np.ascontiguousarray(pixels), kind, **fields)
        assert status == ebts.OK, library.error()
        return mask, result

    yield one
    library.session_destroy(session)


@pytest.fixture(scope="module")
def probe(plugin: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built programs of the tests."""
    assert plugin.is_dir()  # where GStreamer is missing, there was a skip
    folder = tmp_path_factory.mktemp("gst_probe")
    source = repository / "tests" / "support" / "gst_probe"
    configure(source, folder, f"-DEDGE_BTS_INCLUDE={repository / 'runtime' / 'include'}")
    compile_all(folder)
    return folder


def stored(folder: Path, layout: Layout, frames: Sequence[np.ndarray]) -> tuple[Path, np.ndarray]:
    """A file of raw frames, and its bytes."""
    rng = np.random.default_rng(9)
    data = np.concatenate([layout.pack(frame, rng) for frame in frames])
    path = folder / "in.raw"
    path.write_bytes(data.tobytes())
    return path, data


def source(path: Path, layout: Layout, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The part of a pipeline that reads it."""
    parse = f"rawvideoparse format={layout.form} width={width} height={height} framerate=30/1"
    return f"filesrc location={path} ! {parse}"


def border(mask: np.ndarray) -> np.ndarray:
    """Lesion pixels with a neighbour that is none, by morphology."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray((mask == 1) & (inner == 0))


def test_gst_inspect_knows_the_element(launch: Launcher) -> None:
    """It lists every property and format, and says what the element is for."""
    said = run(tool("gst-inspect-1.0"), "edgebts", env=launch.env)
    assert "research software, not a medical device" in said
    for name in ("bundle", "trust", "allow-unsigned", "threads", "overlay", "deadline-us",
                 "mm-per-pixel", "presence-keep", "post-messages", "qos"):  # fmt: skip
        assert re.search(rf"^  {name} +:", said, re.MULTILINE), name
    for form in PIXELS:
        assert f"(string){form.upper().replace('X', 'x')}" in said
    assert "Apache 2.0" in said


@pytest.mark.parametrize("form", PIXELS)
def test_the_mask_is_that_of_the_library(
    form: str, launch: Launcher, segment: Any, tmp_path: Path
) -> None:
    """overlay=mask gives ebts_segment's mask in every format, and writes nothing beside it."""
    kind, order = PIXELS[form]
    layout = Layout.of(form)
    frames = images(form)
    path, data = stored(tmp_path, layout, frames)
    out = tmp_path / "out.raw"
    said = launch(f"{source(path, layout)} ! edgebts overlay=mask ! filesink location={out}")
    assert len(said) == FRAMES
    drawn = np.frombuffer(out.read_bytes(), np.uint8)
    want = data.copy()
    lesions = 0
    for index, frame in enumerate(frames):
        mask, result = segment(frame, kind)
        lesions += int(mask.sum())
        here = want[index * layout.size : (index + 1) * layout.size]
        shown = layout.first(here)
        if order:
            colour = [order.index(channel) for channel in "rgb"]
            shown[:, :, colour] = 255 * mask[:, :, None]
        else:
            shown[:] = 255 * mask
        if layout.chroma:
            chroma_planes(layout, here)[:] = 128
        assert field(said[index], "sequence") == str(index + 1)
        assert float(field(said[index], "presence")) == pytest.approx(result.presence, abs=1e-12)
    assert lesions > 0
    np.testing.assert_array_equal(drawn, want)


def chroma_planes(layout: Layout, data: np.ndarray) -> np.ndarray:
    """The chroma samples of a frame, without the padding of their rows; a view."""
    rest = data[layout.stride * up(HEIGHT, 2) :]
    half = up(WIDTH, 2) // 2
    if layout.form == "nv12":
        return rest.reshape(-1, layout.stride)[:, : 2 * half]
    return rest.reshape(-1, up(half, 4))[:, :half]


@pytest.mark.parametrize("form", ["gray8", "i420", "bgra"])
def test_the_outline_is_the_border_of_the_mask(
    form: str, launch: Launcher, segment: Any, tmp_path: Path
) -> None:
    """By default the mask's border is drawn on the frame, and every other byte stays."""
    kind, order = PIXELS[form]
    layout = Layout.of(form)
    frames = images(form)
    path, data = stored(tmp_path, layout, frames)
    out = tmp_path / "out.raw"
    launch(f"{source(path, layout)} ! edgebts ! filesink location={out}")
    want = data.copy()
    for index, frame in enumerate(frames):
        edge = border(segment(frame, kind)[0])
        shown = layout.first(want[index * layout.size : (index + 1) * layout.size])
        shown[edge] = 255 if not order else [dict(zip("rgb", AMBER, strict=True)).get(c, 0)
                                             for c in order]  # fmt: skip
        if order:  # alpha stays
            shown[edge, order.index("a")] = frame[edge, order.index("a")]
    np.testing.assert_array_equal(np.frombuffer(out.read_bytes(), np.uint8), want)
    assert (want != data).any()


def test_no_overlay_changes_no_byte_and_measures_all_the_same(
    launch: Launcher, segment: Any, tmp_path: Path
) -> None:
    """overlay=none passes frames as they came; messages carry the library's measures, in mm too."""
    layout = Layout.of("gray8")
    frames = images("gray8", 6)
    path, data = stored(tmp_path, layout, frames)
    out = tmp_path / "out.raw"
    said = launch(
        f"{source(path, layout)} ! edgebts overlay=none mm-per-pixel=0.1 ! filesink location={out}"
    )
    assert out.read_bytes() == data.tobytes()
    assert len(said) == len(frames)
    for index, (frame, line) in enumerate(zip(frames, said, strict=True)):
        _, result = segment(frame, mm_per_pixel=0.1)
        parts = line.split("component,")[1:]
        assert len(parts) == result.component_count
        for part, one in zip(parts, result.found, strict=True):
            assert int(field(part, "area-px")) == one.area_px
            assert int(field(part, "x")) == one.bbox.x
            assert int(field(part, "height")) == one.bbox.height
            assert float(field(part, "centroid-y")) == pytest.approx(one.centroid[1], abs=1e-12)
            assert float(field(part, "longest-px")) == pytest.approx(one.longest_px, abs=1e-12)
            assert float(field(part, "longest-x2")) == one.longest_ends[1][0]
            assert float(field(part, "area-mm2")) == pytest.approx(one.area_mm2, abs=1e-12)
            assert float(field(part, "orthogonal-mm")) == pytest.approx(one.orthogonal_mm, abs=1e-9)
        assert field(line, "pts") == str(index * 33_333_333)  # as rawvideoparse counts
        words = "OK" if result.component_count else "EMPTY"
        assert field(line, "health") == words
        assert field(line, "usable") == "true"


def test_a_phantom_sweep_comes_out_as_the_library_sees_it(
    launch: Launcher, segment: Any, tmp_path: Path
) -> None:
    """Frames of a simulated cine, in strides far wider than they are, with a meta that says so."""
    sweep = simulate_cine(4, "benign", 5, height=HEIGHT, width=WIDTH)
    layout = Layout("gray8", 160)
    path, data = stored(tmp_path, layout, [frame.image for frame in sweep])
    strides = f'plane-strides="<{layout.stride}>" plane-offsets="<0>" frame-size={layout.size}'
    out = tmp_path / "out.raw"
    launch(f"{source(path, layout)} {strides} ! edgebts overlay=mask ! filesink location={out}")
    want = data.copy()
    for index, frame in enumerate(sweep):
        shown = layout.first(want[index * layout.size : (index + 1) * layout.size])
        shown[:] = 255 * segment(frame.image)[0]
    np.testing.assert_array_equal(np.frombuffer(out.read_bytes(), np.uint8), want)


def test_the_meta_says_what_the_message_says(
    launch: Launcher, probe: Path, segment: Any, tmp_path: Path
) -> None:
    """The result stays with its frame through a conversion; who resizes the frame drops it."""
    layout = Layout("gray8", 160)
    frames = images("gray8")
    path, _ = stored(tmp_path, layout, frames)
    strides = f'plane-strides="<{layout.stride}>" plane-offsets="<0>" frame-size={layout.size}'
    start = f"{source(path, layout)} {strides} ! edgebts overlay=none"

    def arrived(rest: str) -> list[str]:
        command = launch.command(f"{start} ! {rest}fakesink name=sink")
        lines = run(probe / "gst_probe", command, env=launch.env).splitlines()
        assert lines[0].startswith("latency 0 0 ")  # not live: nothing is added
        return [line.replace("\\", "") for line in lines[1:]]

    direct = arrived("")
    assert [line.split()[1] for line in direct] == ["160"] * FRAMES
    for line, frame in zip(direct, frames, strict=True):
        _, result = segment(frame)
        assert float(field(line, "presence")) == pytest.approx(result.presence, abs=1e-12)
        assert line.count("component,") == result.component_count
    converted = arrived("videoconvert ! video/x-raw,format=RGBA ! ")
    times = r"(\w+-ms)=\(double\)[\d.e-]+"
    same = [re.sub(times, r"\1", line.split(" ", 2)[2]) for line in direct]
    assert [re.sub(times, r"\1", line.split(" ", 2)[2]) for line in converted] == same
    resized = arrived("videoscale ! video/x-raw,width=64,height=48 ! ")
    assert [line.split(" ", 2)[2] for line in resized] == ["-"] * FRAMES


def test_caps_that_change_in_the_stream_change_the_session(
    launch: Launcher, segment: Any, tmp_path: Path
) -> None:
    """A source that changes size and format goes on, and each frame has the mask of its own."""
    small = blobs(48, 64, 2)
    colour = cv2.merge([blobs(120, 160, 3 + seed) for seed in range(3)])
    (tmp_path / "small.raw").write_bytes(small.tobytes())
    (tmp_path / "colour.raw").write_bytes(colour.tobytes())
    out = tmp_path / "out.raw"
    first = source(tmp_path / "small.raw", Layout.of("gray8"), 64, 48)
    second = source(tmp_path / "colour.raw", Layout.of("bgr"), 160, 120)
    said = launch(
        f"concat name=c ! edgebts overlay=mask ! filesink location={out} {first} ! c. {second} ! c."
    )
    assert [(field(line, "width"), field(line, "height")) for line in said] == [
        ("64", "48"),
        ("160", "120"),
    ]
    assert [field(line, "sequence") for line in said] == ["1", "1"]
    mask, _ = segment(colour, ebts.BGR)
    want = [255 * segment(small)[0], 255 * np.repeat(mask[:, :, None], 3, axis=2)]
    drawn = np.frombuffer(out.read_bytes(), np.uint8)
    np.testing.assert_array_equal(drawn, np.concatenate([part.ravel() for part in want]))


def test_nothing_of_an_unusable_result_is_drawn(
    launch: Launcher, probe: Path, tmp_path: Path
) -> None:
    """Late, stale, out of range, failed: the frame goes on with its word and without a mask.

    A library in place of ours says so, as a test can neither slow nor break OpenVINO.
    """
    frames = [np.full((HEIGHT, WIDTH), 9, np.uint8)] * 9
    layout = Layout.of("gray8")
    path, data = stored(tmp_path, layout, frames)
    stand_in = str(probe / "libstand_in.so")
    words = ["OK", "LATE", "FAILED", "FAILED", "STALE", "OUT_OF_RANGE", "NAN", "SATURATED", "OK"]
    usable = [word in ("OK", "SATURATED") for word in words]
    out = tmp_path / "out.raw"
    start = source(path, layout)
    done = launch.try_(
        f"{start} ! edgebts overlay=mask ! filesink location={out}", LD_PRELOAD=stand_in
    )
    assert done.returncode == 0, done.stderr
    said = results(done.stdout)
    assert [field(line, "health") for line in said] == words
    assert [field(line, "usable") == "true" for line in said] == usable
    assert ["component," in line for line in said] == usable
    assert "it is a stand-in." in field(said[2], "error")
    assert done.stdout.count("WARNING: from element") == 1  # one for the two failures in a row
    drawn = np.frombuffer(out.read_bytes(), np.uint8).reshape(len(frames), -1)
    shown = [np.unique(layout.first(frame)).tolist() for frame in drawn]
    assert shown == [[255] if good else [0] for good in usable]
    launch(f"{start} ! edgebts ! filesink location={out}", LD_PRELOAD=stand_in)
    outlined = np.frombuffer(out.read_bytes(), np.uint8).reshape(len(frames), -1)
    assert [(a != b).any() for a, b in zip(outlined, data.reshape(9, -1), strict=True)] == usable


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ('bundle=""', "Expected the property bundle, a folder NAME.ebts, but it is not set."),
        ("bundle=/nowhere.ebts", "Expected a bundle that can be read at /nowhere.ebts"),
        ('trust=""', "which is not a trusted one"),
        ("trust={other}", "which is not a trusted one"),
        ("trust=/no.pub", "/no.pub"),
        ("bundle={broken}", "model.openvino.bin"),
    ],
)
def test_what_cannot_be_opened_is_an_error_of_one_sentence(
    options: str, sentence: str, launch: Launcher, blob_bundle: Path, tmp_path: Path
) -> None:
    """No bundle, another maker's, a file that was changed: the pipeline does not start."""
    from edge_bts.signing import new_key

    new_key(tmp_path / "other")
    broken = tmp_path / "broken.ebts"
    shutil.copytree(blob_bundle, broken)
    weights = broken / "model.openvino.bin"
    changed = bytearray(weights.read_bytes())
    changed[0] ^= 1
    weights.write_bytes(changed)
    given = options.format(other=tmp_path / "other.pub", broken=broken)
    done = launch.try_(f"videotestsrc num-buffers=1 ! edgebts {given} ! fakesink")
    assert done.returncode != 0
    (line,) = re.findall(r"ERROR: from element .*?: (Expected .*)", done.stderr)
    assert sentence in line
    assert line.endswith(".")
    assert not results(done.stdout)


def test_an_unsigned_bundle_is_opened_where_that_is_said(launch: Launcher) -> None:
    """allow-unsigned opens what the key did not sign, with a warning on the bus."""
    done = launch.try_(
        'videotestsrc num-buffers=1 ! edgebts trust="" allow-unsigned=true ! fakesink'
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING: from element" in done.stdout
    assert len(results(done.stdout)) == 1


def test_a_frame_that_is_too_large_is_an_error_of_one_sentence(launch: Launcher) -> None:
    """Caps above what the library takes end the stream with what it says."""
    caps = "video/x-raw,format=GRAY8,width=16400,height=16"
    done = launch.try_(f"videotestsrc num-buffers=1 ! {caps} ! edgebts ! fakesink")
    assert done.returncode != 0
    # A source that is refused may try again.
    (line,) = set(re.findall(r"ERROR: from element .*:edgebts0: (.*)", done.stderr))
    assert re.fullmatch(r"Expected .*16384.*16400.*\.", line)


def test_buffers_that_are_no_frame_are_an_error_of_one_sentence(
    launch: Launcher, probe: Path, tmp_path: Path
) -> None:
    """Too few bytes, and a meta that contradicts the caps: nothing is read beyond what is there."""
    (tmp_path / "short.raw").write_bytes(bytes(100))
    caps = f"video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate=30/1"
    short = f"filesrc location={tmp_path / 'short.raw'} ! {caps} ! edgebts ! fakesink"
    lying = f"videotestsrc num-buffers=1 ! {caps} ! identity name=liar ! edgebts ! fakesink"
    for pipeline, sentence in (
        (short, "Expected a frame of 121 x 91, but the buffer cannot be read as one."),
        (lying, "Expected a frame of 121 x 91 as in the caps, but its meta says 300 x 200."),
    ):
        done = subprocess.run(
            [probe / "gst_probe", launch.command(pipeline)],
            capture_output=True, text=True, check=False, env=launch.env,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"gst_probe: {sentence}"


def test_presence_keep_holds_a_mask_that_has_come(
    launch: Launcher, segment: Any, tmp_path: Path
) -> None:
    """A frame whose presence has fallen below the threshold keeps its mask, down to that score."""
    strong, weak = blobs(HEIGHT, WIDTH, 1), blobs(HEIGHT, WIDTH, 0)
    scores = [segment(frame)[1].presence for frame in (strong, weak)]
    assert scores[1] < 0.8 <= scores[0]  # the threshold of the bundle
    layout = Layout.of("gray8")
    path, _ = stored(tmp_path, layout, [weak, strong, weak])
    for keep, words in ((0.0, ["EMPTY", "OK", "EMPTY"]), (scores[1], ["EMPTY", "OK", "OK"])):
        said = launch(f"{source(path, layout)} ! edgebts presence-keep={keep!r} ! fakesink")
        assert [field(line, "health") for line in said] == words


def test_messages_can_be_left_out(launch: Launcher) -> None:
    """post-messages=false posts none."""
    assert launch("videotestsrc num-buffers=2 ! edgebts post-messages=false ! fakesink") == []


def test_live_latency_is_the_deadline(launch: Launcher, probe: Path) -> None:
    """A live pipeline adds one frame period to its source's, or what deadline-us says."""
    live = "videotestsrc is-live=true num-buffers=2 ! video/x-raw,format=GRAY8,framerate=50/1"

    def told(element: str) -> tuple[int, int, int]:
        command = f"{live} ! {element} fakesink name=sink"
        said = run(probe / "gst_probe", launch.command(command), env=launch.env)
        _, on, least, most = said.split("\n", 1)[0].split()
        return int(on), int(least), int(most)

    live_alone, least, most = told("")
    assert live_alone == 1
    for option, added in (("0", 0), ("-1", 20_000_000), ("7000", 7_000_000)):
        bounded = most if most == 2**64 - 1 else most + added
        assert told(f"edgebts deadline-us={option} !") == (1, least + added, bounded)


def test_frames_that_come_too_late_for_the_sink_are_not_segmented(launch: Launcher) -> None:
    """Under overload the element drops by QoS, and tells how many: no frame is lost uncounted."""
    done = launch.try_(
        "videotestsrc num-buffers=24 ! video/x-raw,format=GRAY8,framerate=60/1 ! edgebts"
        " ! identity sleep-time=60000 ! fakesink sync=true qos=true"
    )
    assert done.returncode == 0, done.stderr
    dropped = re.findall(r'"edgebts0" \(qos\): .* dropped=\(guint64\)(\d+);', done.stdout)
    assert dropped
    assert len(results(done.stdout)) + int(dropped[-1]) == 24


def test_the_latency_tracer_sees_every_frame(launch: Launcher) -> None:
    """GStreamer's own tracer tells the time of the element for each frame."""
    done = launch.try_(
        "videotestsrc num-buffers=5 ! edgebts ! fakesink",
        GST_TRACERS="latency(flags=element)",
        GST_DEBUG="GST_TRACER:7",
    )
    assert done.returncode == 0
    assert len(re.findall(r"element-latency, .*element=\(string\)edgebts0", done.stderr)) == 5


def test_it_is_installed_and_packed_as_a_part_of_its_own(
    native_build: Path, launch: Launcher, tmp_path: Path
) -> None:
    """Where library and element were installed, and in the two packages, the element loads."""
    prefix = tmp_path / "prefix"
    for part in ("runtime", "gstreamer"):
        run(tool("cmake"), "--install", native_build, "--prefix", prefix, "--component", part)
    (installed,) = prefix.rglob("libgstedgebts.so")
    assert installed.parent.name == "gstreamer-1.0"

    def inspect(folder: Path) -> str:
        env = {**launch.env, "GST_PLUGIN_PATH": str(folder), "GST_REGISTRY": str(tmp_path / "r")}
        return run(tool("gst-inspect-1.0"), "edgebts", env=env)

    assert str(installed) in inspect(installed.parent)
    unpack = tool("dpkg-deb")
    run(tool("cpack"), "-G", "DEB", "--config", native_build / "CPackConfig.cmake", "-B", tmp_path)
    (package,) = tmp_path.glob("gstreamer1.0-edge-bts_*.deb")
    for deb in (package, *tmp_path.glob("libedge-bts_*.deb")):
        run(unpack, "-x", deb, tmp_path / "root")
    (packed,) = (tmp_path / "root").rglob("libgstedgebts.so")
    assert str(packed) in inspect(packed.parent)
    needs = run(unpack, "-f", package, "Depends")
    assert "libedge-bts" in needs
    assert "libgstreamer1.0-0" in needs
