"""edge-bts-igtl against peers that it did not choose: pixels, times and matrices come back."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import libedge_bts as ebts
import numpy as np
import pytest
from igtl_node import PATIENCE_S, Node, Scanner, Viewer, image_message, message, running
from libedge_bts import Library, blobs
from native_build import compile_all, run, tool

from edge_bts.igtl import Body, crc64, image_body

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 480, 640
DIFFERENT, SENT = 10, 300


@pytest.fixture(scope="module")
def program(native_build: Path) -> Path:
    """The node."""
    return native_build / "runtime" / "apps" / "igtl" / "edge-bts-igtl"


@pytest.fixture(scope="module")
def key(maker: Path) -> Path:
    """The public key that signed the bundle."""
    return maker.with_suffix(".pub")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Frames with lesions and without."""
    return [*(blobs(HEIGHT, WIDTH, seed) for seed in range(DIFFERENT - 1)),
            np.zeros((HEIGHT, WIDTH), np.uint8)]  # fmt: skip


@pytest.fixture(scope="module")
def segment(library: Library, model: Any) -> Iterator[Any]:
    """``ebts_segment`` for one frame of any size: mask, probability, result."""
    status, session = library.session(model, max_width=WIDTH, max_height=HEIGHT)
    assert status == ebts.OK, library.error()

    def run_one(pixels: np.ndarray, kind: int = ebts.GRAY8, **fields: Any) -> Any:
        status, *rest = library.run(session, pixels, kind, **fields)
        assert status == ebts.OK, library.error()
        return rest

    yield run_one
    library.session_destroy(session)


@pytest.fixture(scope="module")
def masks(segment: Any, frames: list[np.ndarray]) -> list[np.ndarray]:
    """Their masks by the library."""
    found = [segment(frame)[0] for frame in frames]
    assert 3 <= sum(bool(mask.any()) for mask in found) < DIFFERENT
    return found


@pytest.fixture(scope="module")
def peer(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scanner and viewer that Debian's OpenIGTLink makes."""
    folder = tmp_path_factory.mktemp("igtl_peer")
    configured = subprocess.run(
        [tool("cmake"), "-S", repository / "tests" / "support" / "igtl_peer", "-B", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Expected OpenIGTLink" in configured.stderr:
        pytest.skip("missing: apt install libopenigtlink-dev (Debian, Ubuntu)")
    assert configured.returncode == 0, configured.stderr
    compile_all(folder)
    return folder / "igtl_peer"


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def pyigtl() -> Iterator[Any]:
    """The module; its server takes the signal handlers, which are given back."""
    module = pytest.importorskip("pyigtl", reason="pyigtl is not installed (edge-bts[dev])")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield module
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_300_frames_from_the_library_of_debian_come_back(
    peer: Path, program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray],
    masks: list[np.ndarray], tmp_path: Path,
) -> None:  # fmt: skip
    """At 30 fps all masks, or counted drops: pixel-exact, each with its time, matrix and flag."""
    stream, seen, port = tmp_path / "frames.raw", tmp_path / "masks.raw", free_port()
    stream.write_bytes(b"".join(frame.tobytes() for frame in frames))
    node = Node(program, blob_bundle, key, port)
    viewer = subprocess.Popen(
        [peer, "view", str(node.port), seen], stdout=subprocess.PIPE, text=True
    )
    node.wait_for("joined")
    size = [str(WIDTH), str(HEIGHT), "1"]
    scanner = subprocess.Popen(
        [peer, "serve", str(port), stream, *size, str(SENT), "30"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert viewer.stdout is not None
        lines, counts = [], {"segmented": 0, "dropped": 0}
        while counts["segmented"] + counts["dropped"] < SENT:
            lines.append(viewer.stdout.readline().split(maxsplit=4))
            if lines[-1][0] == "STRING":
                report = json.loads(lines[-1][4])
                counts = report["frames"]
    finally:
        viewer.terminate()
        viewer.wait()
        scanner.communicate("\n")
    left = node.wait_for(r"left after \d+ results, (\d+) dropped")
    unread = int(left.group(1))  # of results that the viewer was too slow for
    assert node.stop() == 0
    assert counts["received"] == SENT
    assert counts["bad"] == 0
    assert report["mm_per_pixel"] == pytest.approx(0.1)
    assert report["spacing_from"] == "matrix"
    found = [line for line in lines if line[0] == "IMAGE"]
    assert len(found) == counts["segmented"] - counts["superseded"] - unread
    pixels = np.fromfile(seen, np.uint8).reshape(len(found), HEIGHT, WIDTH)
    for line, mask in zip(found, pixels, strict=True):
        number = int(float(line[2]))
        assert line[1:3] == ["Mask", f"{number}.500000"]
        flag = "LPS" if number % 2 else "RAS"
        assert [line[3], *line[4].split()] == [
            "good", str(WIDTH), str(HEIGHT), "1", flag, "0.1", str(number)
        ]  # fmt: skip
        assert (mask == masks[number % DIFFERENT]).all()
    assert all(line[3] == "good" for line in lines if line[0] == "STRING")


@pytest.mark.parametrize("version", [1, 2])
def test_300_frames_from_pyigtl_come_back(
    pyigtl: Any, program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray],
    masks: list[np.ndarray], version: int,
) -> None:  # fmt: skip
    """In both versions: pixel-exact, with time, matrix, flag and, in version 2, metadata."""
    port = free_port()
    server = pyigtl.OpenIGTLinkServer(port=port)
    node = Node(program, blob_bundle, key, port, "--mm-per-pixel", "0.3")
    client = pyigtl.OpenIGTLinkClient(port=node.port)
    try:
        node.wait_for("joined")
        node.wait_for("connected")
        if version == 2:
            hello = pyigtl.StringMessage("hello", device_name="viewer")
            hello.header_version = 2
            client.send_message(hello, wait=True)
        for number in range(SENT):
            matrix = np.diag([1.0, 1.0, 1.0, 1.0])
            matrix[:3, 3] = number, -2.5, 7
            sent = pyigtl.ImageMessage(
                frames[number % DIFFERENT][None], matrix,
                "ras" if number % 2 else "lps", timestamp=number + 0.25, device_name="Image_Image",
            )  # fmt: skip
            sent.header_version = version
            sent.message_id = number
            sent.metadata = {"micronsPerPixel": "80"} if version == 2 else {}
            server.send_message(sent)
            got = client.wait_for_message("Mask", timeout=PATIENCE_S)
            assert got is not None, node.lines
            text = client.wait_for_message("EdgeBTS", timeout=PATIENCE_S).string
            assert got.timestamp == sent.timestamp
            assert got.world_coordinate_system == sent.world_coordinate_system
            assert got.ijk_to_world_matrix == pytest.approx(matrix, abs=1e-4)
            assert (got.image[0] == masks[number % DIFFERENT]).all()
            assert got.header_version in ((version,) if number else (1, 2))
            report = json.loads(text)
            if got.header_version == 2:
                assert json.loads(got.metadata["EdgeBTS"]) == report
                assert got.metadata["health"] == report["health"]
                assert got.message_id == number
            want = (0.08, "metadata") if version == 2 else (0.3, "option")
            assert (report["mm_per_pixel"], report["spacing_from"]) == want
        assert report["frames"] == {
            "received": SENT, "segmented": SENT, "dropped": 0, "superseded": 0, "bad": 0
        }  # fmt: skip
    finally:
        client.stop()
        server.stop()
        assert node.stop() == 0


def test_an_array_of_two_dimensions_from_pyigtl_is_refused_with_advice(
    pyigtl: Any, program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray]
) -> None:
    """Pyigtl sends it as one column of many slices; the log says what to do."""
    port = free_port()
    server = pyigtl.OpenIGTLinkServer(port=port)
    node = Node(program, blob_bundle, key, port)
    try:
        node.wait_for("connected")
        server.send_message(pyigtl.ImageMessage(frames[0], device_name="Image_Image"))
        node.wait_for(r"give it \(1, H, W\)")
    finally:
        server.stop()
        assert node.stop() == 0


def check_report(report: dict[str, Any], result: Any, mm: float | None) -> None:
    """The JSON says what the library measured."""
    parts = result.found
    assert report["mm_per_pixel"] == mm
    assert report["presence"] == result.presence
    assert ("EMPTY" in report["health"]) == bool(result.health & ebts.EMPTY)
    assert report["usable"]
    assert len(report["components"]) == len(parts)
    for told, part in zip(report["components"], parts, strict=True):
        assert told["area_px"] == part.area_px
        assert told["bbox"] == [part.bbox.x, part.bbox.y, part.bbox.width, part.bbox.height]
        assert told["centroid"] == list(part.centroid)
        assert told["longest_ends"] == [list(end) for end in part.longest_ends]
        for name in ("longest", "orthogonal"):
            assert told[f"{name}_px"] == getattr(part, f"{name}_px")
            assert told.get(f"{name}_mm") == (getattr(part, f"{name}_mm") if mm else None)
        assert told.get("area_mm2") == (part.area_mm2 if mm else None)


def test_the_report_is_what_the_library_measured(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray], segment: Any
) -> None:
    """Lengths in mm where the stream says how large a pixel is, else in pixels alone."""
    with running(program, blob_bundle, key) as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        for mm in (0.08, None):
            for frame in frames:
                scanner.send(image_message(frame, 5.5, version=2, spacing_mm=mm))
                _, report = viewer.result()
                assert report.report["device"] == "Image_Image"
                assert report.report["timestamp"] == 5.5
                _, _, result = segment(frame, mm_per_pixel=mm or 0)
                check_report(report.report, result, mm)


def test_every_kind_of_pixel_is_segmented_as_by_the_library(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray],
    masks: list[np.ndarray], segment: Any,
) -> None:  # fmt: skip
    """RGB, RGBA and 16 bits in both byte orders."""
    rng = np.random.default_rng(0)
    gray = next(frame for frame, mask in zip(frames, masks, strict=True) if mask.any())
    tint = rng.integers(-9, 10, (HEIGHT, WIDTH, 3))
    rgb = np.clip(gray[..., None] + tint, 0, 255).astype(np.uint8)
    rgba = np.dstack([rgb, rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)])
    deep = (gray.astype(np.uint16) << 8) + rng.integers(0, 256, (HEIGHT, WIDTH), np.uint16)

    def sixteen(order: int) -> bytes:
        body = image_body(gray, 1).content
        pixels = deep.astype(">u2" if order == 1 else "<u2").tobytes()
        content = body[:3] + bytes([5, order]) + body[5:72] + pixels
        return message(Body("IMAGE", 1, content, crc64(content)))

    kinds = [
        (image_message(rgb), rgb, ebts.RGB),
        (image_message(rgba), rgba, ebts.RGBA),
        (sixteen(1), deep, ebts.GRAY16),
        (sixteen(2), deep, ebts.GRAY16),
    ]
    with running(program, blob_bundle, key) as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        for sent, pixels, kind in kinds:
            scanner.send(sent)
            mask, _, _ = segment(pixels, kind)
            assert mask.any()
            assert (viewer.result()[0].pixels == mask).all()


def test_probability_is_sent_where_it_is_asked_for(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray], segment: Any
) -> None:
    """As 0 to 255 under its own name."""
    options = ("--send", "probability")
    with running(program, blob_bundle, key, *options) as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        scanner.send(image_message(frames[0]))
        image, _ = viewer.result()
        _, probability, _ = segment(frames[0])
        assert image.header.device == "Prediction"
        assert image.pixels.max() > 100
        assert np.abs(image.pixels - 255 * probability.clip(0, 1)).max() <= 0.5 + 1e-3


def test_a_result_past_its_deadline_is_empty_and_says_so(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray], masks: list[np.ndarray]
) -> None:
    """A viewer that draws whatever comes draws nothing; the report says LATE."""
    big = cv2.resize(frames[0], (1920, 1200), interpolation=cv2.INTER_NEAREST)
    options = ("--deadline-ms", "1")  # conversion and measures of 1920 x 1200 take longer
    with running(program, blob_bundle, key, *options) as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        scanner.send(image_message(big))
        image, report = viewer.result()
        assert masks[0].any()
        assert not image.pixels.any()
        assert "LATE" in report.report["health"]
        assert not report.report["usable"]
        assert report.report["components"] == []


def test_poses_travel_with_the_frames_after_them(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray]
) -> None:
    """TRANSFORMs of the scanner precede each result, bit for bit and with their own time."""
    content = np.arange(12, dtype=">f4").tobytes()
    pose = message(Body("TRANSFORM", 1, content, crc64(content)), 3.25, "ImageToReference")
    with running(program, blob_bundle, key) as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        scanner.send(pose)
        for time_s in (4.0, 5.0):
            scanner.send(image_message(frames[0], time_s))
            got = viewer.read()
            while got.header.type == "STATUS":
                got = viewer.read()
            assert (got.header.type, got.header.device) == ("TRANSFORM", "ImageToReference")
            assert got.header.timestamp == 3.25 * 2**32
            assert got.content == content
            assert viewer.result()[0].header.timestamp == time_s * 2**32


def test_only_the_device_that_is_asked_for_is_segmented(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray]
) -> None:
    """Images of another are passed over, and are neither received nor bad."""
    with running(program, blob_bundle, key, "--device", "Image_Image") as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        other = message(image_body(frames[0], 1), 1.0, "Doppler")
        scanner.send(other + image_message(frames[0], 2.0))
        image, report = viewer.result()
        assert image.header.timestamp == 2 * 2**32
        assert report.report["frames"]["received"] == 1
        assert report.report["frames"]["bad"] == 0


def test_a_flood_keeps_the_newest_and_counts_the_rest(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray]
) -> None:
    """The last frame is segmented, and every other is seen or counted."""
    bodies = [image_body(frame, 1) for frame in frames]
    with running(program, blob_bundle, key) as (node, scanner):
        viewer = Viewer(node.port)
        node.wait_for("joined")
        for number in range(1, 1001):
            scanner.send(message(bodies[number % DIFFERENT], number))
        last, times = 0.0, []
        while last < 1000:
            image, report = viewer.result()
            last = image.header.timestamp / 2**32
            times.append(last)
        assert times == sorted(set(times))
        counts = report.report["frames"]
        assert counts["received"] == 1000
        assert counts["dropped"] == 1000 - counts["segmented"] > 0
        viewer.close()
        left = node.wait_for(r"left after (\d+) results, (\d+) dropped")
        assert int(left.group(1)) == len(times)
        told = len(times) + int(left.group(2)) + counts["superseded"]
        assert told == counts["segmented"]


def test_silence_is_told(program: Path, blob_bundle: Path, key: Path) -> None:
    """Without images a STATUS says whether the server is there."""
    with running(program, blob_bundle, key) as (node, scanner):
        viewer = Viewer(node.port)
        got = viewer.read()
        assert got.header.type == "STATUS"
        assert struct.unpack(">H", got.content[:2]) == (7,)
        assert b"no image for a second" in got.content
        scanner.end()
        while struct.unpack(">H", viewer.read().content[:2]) != (13,):
            pass


def test_with_header_2_the_server_is_asked_for_it(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray]
) -> None:
    """It gets a STATUS of version 2 at once, and every client version 2."""
    with running(program, blob_bundle, key, "--header", "2") as (node, scanner):
        assert scanner.socket is not None
        hello = scanner.socket.recv(1000)
        assert hello[:8] == b"\0\2STATUS"
        viewer = Viewer(node.port)
        node.wait_for("joined")
        scanner.send(image_message(frames[0]))
        image, _ = viewer.result()
        assert image.header.version == 2
        assert set(image.metadata) == {"health", "EdgeBTS"}


def test_replay_plays_to_the_node(
    program: Path, blob_bundle: Path, key: Path, frames: list[np.ndarray],
    masks: list[np.ndarray], tmp_path: Path,
) -> None:  # fmt: skip
    """A folder of images goes through `edge-bts replay` and the node, and comes back as masks."""
    for number, frame in enumerate(frames):
        assert cv2.imwrite(str(tmp_path / f"{number:02}.png"), frame)
    replay = subprocess.Popen(
        [sys.executable, "-m", "edge_bts.cli", "replay", tmp_path, "--port", "0", "--fps", "20",
         "--frames", "40", "--spacing", "0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert replay.stderr is not None
    port = int(replay.stderr.readline().split("127.0.0.1:")[1].split(",")[0])
    viewer_first = Scanner()  # holds the node back until the viewer is there
    viewer_first.end()
    node = Node(program, blob_bundle, key, port)
    viewer = Viewer(node.port)
    try:
        seen = 0
        while True:
            image, report = viewer.result()
            counts = report.report["frames"]
            assert any((image.pixels == mask).all() for mask in masks)
            assert report.report["spacing_from"] == "matrix"
            seen += 1
            if counts["segmented"] + counts["dropped"] == 40:
                break
        assert seen > 0
        out, _ = replay.communicate(timeout=PATIENCE_S)
        assert out.startswith("40 frames in ")
        assert replay.returncode == 0
    finally:
        replay.kill()
        assert node.stop() == 0


def test_the_benchmark_loses_nothing_uncounted(program: Path, blob_bundle: Path, key: Path) -> None:
    """Every frame that was played is seen, or counted as dropped or superseded."""
    from edge_bts.benchmarks.pipeline import measure

    result = measure(program, blob_bundle, key, fps=60, seconds=1, height=64, width=64)
    counts = result["frames"]
    assert result["sent"] == counts["received"] + result["held"] == 120
    assert result["seen"] == counts["segmented"] - counts["superseded"] - result["unread"]
    assert counts["segmented"] + counts["dropped"] == counts["received"]
    latency = result["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_the_viewer_of_the_guide_prints_results(
    pyigtl: Any, repository: Path, program: Path, blob_bundle: Path, key: Path,
    frames: list[np.ndarray],
) -> None:  # fmt: skip
    """The Python of docs/pipeline.md runs as it stands there, against another port."""
    assert pyigtl
    guide = (repository / "docs" / "pipeline.md").read_text()
    code = textwrap.dedent(guide.split("```python\n", 1)[1].split("```", 1)[0])
    with running(program, blob_bundle, key) as (node, scanner):
        code = code.replace("18945", str(node.port))
        viewer = subprocess.Popen(
            [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True
        )
        try:
            node.wait_for("joined")
            scanner.send(image_message(frames[0], 5.0))
            assert viewer.stdout is not None
            said = viewer.stdout.readline()
            assert said.startswith(f"5.0 (1, {HEIGHT}, {WIDTH}) OK {{'received': 1,"), said
        finally:
            viewer.kill()
            viewer.wait()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Expected a bundle"),
        (["BUNDLE"], 7, "trust"),
        (["nowhere.ebts", "--trust", "KEY"], 2, "nowhere.ebts"),
        (["BUNDLE", "--trust", "nothing.pub"], 2, "nothing.pub"),
        (["BUNDLE", "--trust", "KEY", "--serve", "here"], 2, "HOST:PORT"),
        (["BUNDLE", "--trust", "KEY", "--serve", "192.0.2.1:0"], 3, "--serve"),
        (["BUNDLE", "--frobnicate"], 2, "--frobnicate"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    program: Path, blob_bundle: Path, key: Path, arguments: list[str], code: int, said: str
) -> None:
    """With the exit codes of edge-bts and nothing on standard output."""
    places = {"BUNDLE": str(blob_bundle), "KEY": str(key)}
    done = subprocess.run(
        [program, *(places.get(word, word) for word in arguments)],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert not done.stdout
    assert done.stderr.count("\n") == 1


def test_the_installed_node_runs(native_build: Path, tmp_path: Path) -> None:
    """It finds its library beside itself."""
    run(tool("cmake"), "--install", native_build, "--prefix", tmp_path, "--component", "runtime")
    assert run(tmp_path / "bin" / "edge-bts-igtl", "--version").strip()
    assert "--trust KEY.pub" in run(tmp_path / "bin" / "edge-bts-igtl", "--help")


def test_the_cpp_tests_of_the_node_pass(native_build: Path) -> None:
    """Codec, newest frame, spacing, clients and source, optimised."""
    assert "SUCCESS" in run(native_build / "runtime" / "tests" / "edge_bts_igtl_tests")
