"""`edge-bts run` and `replay` on DICOM: regions, millimetres, records, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from bad_dicom import bad_files
from bright import bright_bundle
from typer.testing import CliRunner, Result
from ultrasound import objections, region, save, ultrasound

from edge_bts.cli import app, main
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.measure import components
from edge_bts.replay import stored_images
from edge_bts.runtime import open_bundle
from edge_bts.runtime.measurements import RunRecord
from edge_bts.signing import Trust

HEIGHT, WIDTH = 120, 240
LEFT, RIGHT = (
    region(10, 20, 109, 99),
    region(130, 20, 229, 99, PhysicalDeltaX=0.01, PhysicalDeltaY=0.01),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that finds what is bright."""
    return bright_bundle(tmp_path_factory.mktemp("bright"))


def panes(frames: int = 4) -> np.ndarray:
    """Two panes with a disc each that moves, and bright text of the machine outside them."""
    found = np.full((frames, HEIGHT, WIDTH), 30, np.uint8)
    for index, image in enumerate(found):
        cv2.circle(image, (45 + 5 * index, 60), 20, 240, -1)
        cv2.circle(image, (180, 55 + 3 * index), 12, 240, -1)
        image[2:12, 5:200] = 255
    return found


def run(bundle: Path, *arguments: object) -> Result:
    """The command on a bundle that nobody signed."""
    command = ["run", str(bundle), "--allow-unsigned", "--threads", "1"]
    return CliRunner().invoke(app, [*command, *map(str, arguments)])


def record_of(output: Path) -> RunRecord:
    """What a run put down."""
    return RunRecord.model_validate_json((output / "measurements.json").read_bytes())


def masks_of(output: Path, name: str) -> np.ndarray:
    """The masks of a loop, 0 and 1."""
    files = sorted((output / "masks" / name).iterdir())
    return np.stack([cv2.imread(str(file), cv2.IMREAD_UNCHANGED) // 255 for file in files])


def test_a_cine_loop_of_two_panes(bundle: Path, tmp_path: Path) -> None:
    """Each pane is segmented for itself and measured by its own spacing; the text outside is not.

    Masks, measures, CSV and SEG say the same.
    """
    pixels = panes()
    made = ultrasound(
        pixels, SequenceOfUltrasoundRegions=[LEFT, RIGHT, region(0, 0, 5, 5, RegionDataType=2)]
    )
    source = save(made, tmp_path / "cine.dcm")
    done = run(bundle, source, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    (said,) = record_of(tmp_path / "out").inputs
    masks = masks_of(tmp_path / "out", "cine")

    segmenter = open_bundle(bundle, trust=Trust(allow_unsigned=True), threads=1)
    expected = np.zeros_like(masks)
    for index, image in enumerate(pixels):
        parts = []
        for box, spacing in ((np.s_[20:100, 10:110], 0.2), (np.s_[20:100, 130:230], 0.1)):
            crop = np.ascontiguousarray(image[box])
            expected[index][box] = segmenter.segment(crop).mask
            alone = np.zeros((HEIGHT, WIDTH), np.uint8)
            alone[box] = expected[index][box]
            parts += components(alone, spacing)
        found = said.frames[index].components
        assert [(p.bbox, p.area_px) for p in found] == [(p.bbox, p.area_px) for p in parts]
        for name in ("area_mm2", "longest_mm", "orthogonal_mm", "longest_px"):
            assert [getattr(p, name) for p in found] == pytest.approx(
                [getattr(p, name) for p in parts]
            )
    np.testing.assert_array_equal(masks, expected)
    assert masks.sum() > 1000

    assert (said.kind, said.spacing_mm, said.spacing_source) == ("dicom", None, "region")
    assert [(r.left, r.width, round(r.spacing_mm or 0, 9)) for r in said.regions] == [
        (10, 100, 0.2), (130, 100, 0.1),
    ]  # fmt: skip
    assert [frame.time_s for frame in said.frames] == pytest.approx([0, 0.04, 0.08, 0.12])
    with (tmp_path / "out" / "measurements.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["component"] for row in rows] == ["1", "2"] * 4
    assert {row["spacing_source"] for row in rows} == {"region"}
    assert float(rows[0]["area_mm2"]) == pytest.approx(
        said.frames[0].components[0].area_mm2, abs=1e-3
    )

    seg_path = tmp_path / "out" / str(said.segmentation)
    seg = pydicom.dcmread(seg_path)
    np.testing.assert_array_equal(seg.pixel_array, masks)
    assert [
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for group in seg.PerFrameFunctionalGroupsSequence
    ] == [1, 2, 3, 4]
    assert objections(seg_path) == []


def test_one_region_gives_millimetres_and_the_option_goes_first(
    bundle: Path, tmp_path: Path
) -> None:
    """And says where they came from; a frame without a calibrated region has pixels."""
    calibrated = ultrasound(panes(1), SequenceOfUltrasoundRegions=[LEFT])
    save(calibrated, tmp_path / "a.dcm")
    save(ultrasound(panes(1), SequenceOfUltrasoundRegions=None), tmp_path / "b.dcm")
    assert run(bundle, tmp_path, "-o", tmp_path / "own").exit_code == 0
    own, without = record_of(tmp_path / "own").inputs
    assert (own.spacing_source, own.masks) == ("region", "masks/a.png")
    assert own.spacing_mm == pytest.approx(0.2)
    assert own.frames[0].area_mm2 == pytest.approx(own.frames[0].area_px * 0.04)
    assert (without.spacing_source, without.spacing_mm) == (None, None)
    assert "no 2D tissue region" in without.notes[0]
    assert without.frames[0].area_px > own.frames[0].area_px  # the text is bright
    assert run(bundle, tmp_path, "-o", tmp_path / "given", "--spacing", 0.5).exit_code == 0
    given, whole = record_of(tmp_path / "given").inputs
    assert (given.spacing_source, given.spacing_mm) == ("option", 0.5)
    assert (whole.spacing_source, whole.spacing_mm) == ("option", 0.5)
    assert given.frames[0].area_px == own.frames[0].area_px


def test_colour_is_segmented_by_its_luma(bundle: Path, tmp_path: Path) -> None:
    """Gray stored as RGB gives the masks of gray, with a file name that says nothing."""
    gray = save(ultrasound(panes(2), SequenceOfUltrasoundRegions=[LEFT]), tmp_path / "gray.dcm")
    pixels = np.repeat(panes(2)[..., np.newaxis], 3, axis=-1)
    made = ultrasound(pixels, "RGB", SequenceOfUltrasoundRegions=[LEFT])
    colour = save(made, tmp_path / "IM_0001")
    assert run(bundle, gray, colour, "-o", tmp_path / "out", "--no-overlay").exit_code == 0
    np.testing.assert_array_equal(
        masks_of(tmp_path / "out", "IM_0001"), masks_of(tmp_path / "out", "gray")
    )


def test_the_cpp_library_adds_its_health_word(repository: Path, tmp_path: Path) -> None:
    """The same masks from libedge_bts, and a health in JSON and CSV."""
    from edge_bts.runtime.native import import_runtime

    try:
        import_runtime()
    except EnvironmentMismatchError as error:
        pytest.skip(str(error))
    models = repository / "models"
    made = ultrasound(panes(2), SequenceOfUltrasoundRegions=[LEFT, RIGHT])
    source = save(made, tmp_path / "a.dcm")
    command = ["run", models / "busi-nano.ebts", source, "--trust", models / "release.pub"]
    for backend in ("native", "openvino"):
        arguments = [*command, "--threads", 1, "-o", tmp_path / backend, "--backend", backend]
        assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
    np.testing.assert_array_equal(
        masks_of(tmp_path / "native", "a"), masks_of(tmp_path / "openvino", "a")
    )
    native, reference = (record_of(tmp_path / b).inputs[0] for b in ("native", "openvino"))
    assert all(frame.health is not None for frame in native.frames)
    assert all(frame.health is None for frame in reference.frames)
    with (tmp_path / "native" / "measurements.csv").open(newline="") as stream:
        words = {row["health"] for row in csv.DictReader(stream)}
    assert words == {" ".join(frame.health or []) or "ok" for frame in native.frames}


def test_a_file_that_cannot_be_opened_stops_before_anything_is_written(
    bundle: Path, tmp_path: Path
) -> None:
    """As other inputs do; the sentence names the file."""
    save(ultrasound(panes()), tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(content[: len(content) // 2])
    done = run(bundle, tmp_path, "-o", tmp_path / "out")
    assert isinstance(done.exception, InputError)
    assert "b.dcm, but it is truncated" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_frame_that_cannot_be_decoded_costs_its_file_alone(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is skipped and named, exit code 2, and leaves no half of its masks."""
    save(ultrasound(panes(2)), tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(bad_files()["noise in a JPEG"]())  # in its second frame
    command = ["edge-bts", "run", bundle, tmp_path, "-o", tmp_path / "out", "--allow-unsigned"]
    monkeypatch.setattr("sys.argv", list(map(str, command)))
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert f"skipped {tmp_path / 'b.dcm'}" in capsys.readouterr().err
    record = record_of(tmp_path / "out")
    assert [Path(source.input).name for source in record.inputs] == ["a.dcm"]
    assert "cannot be decoded" in record.problems[0].reason
    left = {p.stem for folder in ("masks", "overlays", "segmentations")
            for p in (tmp_path / "out" / folder).iterdir()}  # fmt: skip
    assert left == {"a"}


def test_without_the_extra_it_is_one_sentence(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For run and replay, with the mend, and exit code 3; doctor names it."""
    from edge_bts.cli import _doctor_checks
    from edge_bts.cli._doctor_checks import Check

    source = save(ultrasound(panes(1)), tmp_path / "a.dcm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "rle" else name)
    done = run(bundle, source, "-o", tmp_path / "out")
    assert isinstance(done.exception, EnvironmentMismatchError)
    assert "pip install 'edge-bts[dicom]'" in str(done.exception)
    with pytest.raises(EnvironmentMismatchError):
        stored_images([source], None, repeat=False)
    base = [Check("base", "numpy", "ok", "2.0")]
    found = {check.name: check for check in _doctor_checks._commands(base)}
    assert found["run, replay of DICOM"].mend == "pip install 'edge-bts[dicom]'"
    assert found["run, replay, eval, inspect, compare, key, sign"].state == "ok"


@pytest.mark.parametrize(
    ("regions", "spacing", "sent"),
    [
        ([LEFT], None, 0.2),
        ([LEFT], 0.5, 0.5),
        ([region(0, 0, 50, 50), RIGHT], None, 0.1),  # the largest
        ([region(10, 20, 109, 99, PhysicalUnitsXDirection=4)], None, None),
    ],
)
def test_replay_sends_the_tissue_at_its_rate(
    tmp_path: Path, regions: list[Any], spacing: float | None, sent: float | None
) -> None:
    """The largest region alone, with its spacing and the loop's frame rate."""
    made = ultrasound(panes(), SequenceOfUltrasoundRegions=regions)
    stills = list(stored_images([save(made, tmp_path / "a.dcm")], spacing, repeat=False))
    left = 130 if len(regions) == 2 else 10
    np.testing.assert_array_equal(
        np.stack([still.image for still in stills]), panes()[:, 20:100, left : left + 100]
    )
    assert [still.fps for still in stills] == [25.0] * 4
    assert [still.spacing_mm for still in stills] == [pytest.approx(sent)] * 4
