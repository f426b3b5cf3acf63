from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bright import bright_bundle

from edge_bts.measure import components
from edge_bts.runtime import open_bundle
from edge_bts.runtime.measurements import CSV_FIELDS, RunRecord
from edge_bts.signing import Trust

UNSIGNED = Trust(allow_unsigned=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that finds what is bright."""
    return bright_bundle(tmp_path_factory.mktemp("bright"))


def disc(x: int = 90, height: int = 150, width: int = 200) -> np.ndarray:
    """A bright disc of radius 30 on a dark frame."""
    return cv2.circle(np.full((height, width), 30, np.uint8), (x, 70), 30, 240, -1)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process, on bundles that nobody signed."""
    command = [sys.executable, "-m", "edge_bts.cli", "run", "--allow-unsigned"]
    command += map(str, arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def write_video(path: Path, frames: int) -> None:
    """A disc that moves to the right, ten frames a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (200, 150))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG")
    for index in range(frames):
        writer.write(cv2.cvtColor(disc(60 + 10 * index), cv2.COLOR_GRAY2BGR))
    writer.release()


def test_images_folders_and_videos(bundle: Path, tmp_path: Path) -> None:
    """All kinds of input give masks, overlays and measures that agree with the library."""
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), disc())
    cv2.imwrite(str(folder / "dark.bmp"), np.zeros((40, 50), np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), disc(120))
    write_video(tmp_path / "sweep.avi", 5)
    output = tmp_path / "out"
    done = run(
        bundle, folder, tmp_path / "a.png", tmp_path / "sweep.avi", "-o", output,
        "--spacing", 0.1, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "openvino" in done.stderr
    assert "fp32, 1 thread" in done.stderr
    assert "Research software" in done.stderr
    assert "8 frames of 4 inputs" in done.stdout

    assert sorted(p.name for p in (output / "masks").iterdir()) == [
        *("a.png", "a_2.png", "dark.png", "sweep"),
    ]
    result = open_bundle(bundle, trust=UNSIGNED, threads=1).segment(disc(), spacing_mm=0.1)
    mask = cv2.imread(str(output / "masks" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, result.mask * 255)

    record = RunRecord.model_validate_json((output / "measurements.json").read_bytes())
    assert [source.kind for source in record.inputs] == ["image"] * 3 + ["video"]
    assert record.segmenter["backend"] == "openvino"
    (part,) = record.inputs[0].frames[0].components
    (expected,) = components(result.mask, 0.1)
    assert part.longest_mm == pytest.approx(expected.longest_mm)
    assert part.area_mm2 == pytest.approx(result.mask.sum() * 0.01)
    assert not record.inputs[1].frames[0].present
    cine = record.inputs[3]
    assert [frame.time_s for frame in cine.frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    lefts = [frame.components[0].bbox[0] for frame in cine.frames]
    assert lefts == sorted(lefts)
    assert lefts[-1] - lefts[0] == pytest.approx(40, abs=7)
    assert len(list((output / "masks" / "sweep").iterdir())) == 5

    with (output / "measurements.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == CSV_FIELDS
    assert len(rows) == 8
    dark = rows[1]
    assert (dark["present"], dark["component"], dark["area_px"]) == ("0", "0", "")

    video = cv2.VideoCapture(str(output / str(cine.overlay)))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    video.release()
    picture = cv2.imread(str(output / str(record.inputs[0].overlay)))
    assert picture.shape[1] >= 480
    assert (np.ptp(picture.astype(int), axis=2) > 60).sum() > 300  # something coloured is drawn


def test_json_and_options(bundle: Path, tmp_path: Path) -> None:
    """--json prints the record alone; backend, threshold and --no-overlay are obeyed."""
    pytest.importorskip("onnxruntime")
    cv2.imwrite(str(tmp_path / "a.png"), disc())
    done = run(
        bundle, tmp_path / "a.png", "-o", tmp_path / "out", "--json", "--no-overlay",
        "--backend", "onnxruntime", "--threshold", 0.9,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["segmenter"]["backend"] == "onnxruntime"
    assert record["segmenter"]["threshold"] == 0.9
    assert record["inputs"][0]["overlay"] is None
    assert not (tmp_path / "out" / "overlays").exists()
    frame = record["inputs"][0]["frames"][0]
    assert frame["area_mm2"] is None
    assert frame["components"][0]["longest_mm"] is None


def test_damaged_image_is_skipped_and_named(bundle: Path, tmp_path: Path) -> None:
    """One truncated file does not cost the others, but the exit code says it."""
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), disc())
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    done = run(bundle, tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "b.png" in done.stderr
    assert "Traceback" not in done.stderr
    record = RunRecord.model_validate_json((tmp_path / "out/measurements.json").read_bytes())
    assert [Path(source.input).name for source in record.inputs] == ["a.png", "c.png"]
    assert "truncated" in record.problems[0].reason


def _missing(tmp_path: Path) -> list[Any]:
    return [tmp_path / "absent.png"]


def _empty_folder(tmp_path: Path) -> list[Any]:
    (tmp_path / "empty").mkdir()
    return [tmp_path / "empty"]


def _empty_file(tmp_path: Path) -> list[Any]:
    (tmp_path / "empty.png").touch()
    return [tmp_path / "empty.png"]


def _unknown_kind(tmp_path: Path) -> list[Any]:
    (tmp_path / "notes.txt").write_text("text")
    return [tmp_path / "notes.txt"]


def _no_video(tmp_path: Path) -> list[Any]:
    (tmp_path / "cine.mp4").write_bytes(b"not a video" * 99)
    return [tmp_path / "cine.mp4"]


def _spacing(tmp_path: Path) -> list[Any]:
    return [tmp_path / "good.png", "--spacing", "-1"]


def _threshold(tmp_path: Path) -> list[Any]:
    return [tmp_path / "good.png", "--threshold", "1.5"]


def _backend(tmp_path: Path) -> list[Any]:
    return [tmp_path / "good.png", "--backend", "tensorflow"]


def _precision(tmp_path: Path) -> list[Any]:
    return [tmp_path / "good.png", "--precision", "int8"]


def _torch(tmp_path: Path) -> list[Any]:
    return [tmp_path / "good.png", "--backend", "torch"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (_missing, "nothing is there"),
        (_empty_folder, "holds none"),
        (_empty_file, "the file is empty"),
        (_unknown_kind, "one of the kinds"),
        (_no_video, "cannot be opened"),
        (_spacing, "spacing above 0"),
        (_threshold, "threshold between 0 and 1"),
        (_backend, "Expected --backend"),
        (_precision, "Expected a precision"),
        (_torch, "give the checkpoint instead"),
    ],
)
def test_bad_input_stops_before_anything_is_written(
    bundle: Path,
    tmp_path: Path,
    arguments: Any,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, one sentence, no output folder and no leftover beside it."""
    from edge_bts.cli import main

    cv2.imwrite(str(tmp_path / "good.png"), disc())
    inputs = arguments(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    command = [
        "edge-bts",
        "run",
        "--allow-unsigned",
        bundle,
        tmp_path / "good.png",
        *inputs,
        "-o",
        tmp_path / "out",
    ]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in command])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert sentence in " ".join(said.split())
    assert "Traceback" not in said
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_output_is_not_overwritten(bundle: Path, tmp_path: Path) -> None:
    """A second run needs --force, and --force replaces a run, never another folder."""
    cv2.imwrite(str(tmp_path / "a.png"), disc())
    output = tmp_path / "out"
    output.mkdir()  # an empty folder may be used
    assert run(bundle, tmp_path / "a.png", "-o", output).returncode == 0
    again = run(bundle, tmp_path / "a.png", "-o", output)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert run(bundle, tmp_path / "a.png", "-o", output, "--force").returncode == 0
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("precious")
    refused = run(bundle, tmp_path / "a.png", "-o", other, "--force")
    assert refused.returncode == 2
    assert (other / "chapter.tex").read_text() == "precious"
    inside = run(bundle, output / "masks", "-o", output, "--force")
    assert inside.returncode == 2
    assert "lies in" in inside.stderr


def test_tampered_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    """A file that is not what the manifest says ends with exit code 7."""
    import shutil

    copy = tmp_path / "copy.ebts"
    shutil.copytree(bundle, copy)
    content = bytearray((copy / "model.fp32.onnx").read_bytes())
    content[-1] ^= 1
    (copy / "model.fp32.onnx").write_bytes(content)
    cv2.imwrite(str(tmp_path / "a.png"), disc())
    done = run(copy, tmp_path / "a.png", "-o", tmp_path / "out")
    assert done.returncode == 7
    assert "copy the bundle again" in done.stderr


def test_fallback_is_said(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenVINO is missing, auto takes ONNX Runtime and the segmenter says why."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    segmenter = open_bundle(bundle, trust=UNSIGNED)
    assert segmenter.backend.name == "onnxruntime"
    assert "instead of OpenVINO" in " ".join(segmenter.notes)


def test_checkpoints_run_in_torch(tmp_path: Path) -> None:
    """A checkpoint is taken for a bundle: torch runs it."""
    pytest.importorskip("torch")
    from edge_bts.models import Checkpoint, ModelSpec, build_model, save_checkpoint

    spec = ModelSpec(name="simplified_unet", options={"base": 16})
    path = tmp_path / "student.safetensors"
    save_checkpoint(
        path,
        build_model(spec),
        Checkpoint(model=spec, role="student", category="all", imgsz=64, mean=0.2, std=0.2),
    )
    cv2.imwrite(str(tmp_path / "a.png"), disc())
    done = run(path, tmp_path / "a.png", "-o", tmp_path / "out", "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert "student: torch" in done.stderr
