"""The DICOM SEG, judged by dciodvfy and read back by dcmtk and highdicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from ultrasound import COLUMNS, ROWS, loop, objections, save, tool, ultrasound

from edge_bts.dicom.reading import Cine, open_cine
from edge_bts.dicom.seg import Segmentation

SEGMENTER = {"name": "busi-default", "precision": "int8"}


def masks(frames: int) -> np.ndarray:
    """Noise, an empty mask, a full one: no two alike, and 90 x 122 is no whole number of bytes."""
    assert ROWS * COLUMNS % 8
    found = np.random.default_rng(1).integers(0, 2, (frames, ROWS, COLUMNS)).astype(np.uint8)
    found[1:2], found[2:3] = 0, 1
    return found


def segment(source: Path, path: Path, pixels: np.ndarray) -> Cine:
    """Write the SEG of a source with these masks."""
    cine = open_cine(source)
    made = Segmentation(cine, SEGMENTER)
    for mask in pixels:
        made.add(mask)
    made.write(path)
    return cine


@pytest.fixture
def made(tmp_path: Path, frames: int) -> tuple[Path, Path, np.ndarray]:
    """A source, its SEG and the masks."""
    source = save(ultrasound(loop(5)[:frames]), tmp_path / "source.dcm")
    segment(source, tmp_path / "seg.dcm", masks(frames))
    return source, tmp_path / "seg.dcm", masks(frames)


@pytest.mark.parametrize("frames", [1, 5])
def test_dciodvfy_has_nothing_against_it(made: tuple[Path, Path, np.ndarray]) -> None:
    """Neither an error nor a warning, and none against the source that the tests make."""
    source, seg, _ = made
    assert objections(source) == []
    assert objections(seg) == []


@pytest.mark.parametrize("frames", [1, 5])
def test_dcmtk_draws_the_same_masks(made: tuple[Path, Path, np.ndarray], tmp_path: Path) -> None:
    """dcmj2pnm unpacks the bits of every frame to the same pixels."""
    _, seg, pixels = made
    tool("dcmj2pnm", "--all-frames", "+op", seg, tmp_path / "frame")
    drawn = [
        cv2.imread(str(tmp_path / f"frame.{number}.pgm"), cv2.IMREAD_UNCHANGED)
        for number in range(len(pixels))
    ]
    np.testing.assert_array_equal(np.stack(drawn) > 0, pixels > 0)


@pytest.mark.parametrize("frames", [1, 5])
def test_highdicom_finds_the_mask_of_each_frame(made: tuple[Path, Path, np.ndarray]) -> None:
    """By the instance and frame number of the source, to the pixel."""
    highdicom = pytest.importorskip("highdicom")
    source, path, pixels = made
    seg = highdicom.seg.segread(path)
    uid = pydicom.dcmread(source).SOPInstanceUID
    if len(pixels) == 1:
        found = seg.get_pixels_by_source_instance([uid], segment_numbers=[1])
    else:
        numbers = list(range(1, len(pixels) + 1))
        found = seg.get_pixels_by_source_frame(uid, numbers, segment_numbers=[1])
    np.testing.assert_array_equal(found[..., 0], pixels)
    assert seg.get_segment_description(1).algorithm_type.value == "AUTOMATIC"


def texts(dataset: Dataset) -> set[str]:
    """Every value of a data set and its sequences, as text."""
    found: set[str] = set()
    for element in dataset:
        if element.VR == "SQ":
            found |= {text for item in element.value for text in texts(item)}
        elif element.keyword != "PixelData":
            found.add(str(element.value))
    return found


PRIVATE: dict[str, Any] = {
    "PatientAddress": "Street 1",
    "PatientTelephoneNumbers": "0123",
    "PatientAge": "056Y",
    "PatientWeight": 61.5,
    "PatientComments": "afraid of needles",
    "OtherPatientIDs": "ID-2",
    "EthnicGroup": "none of yours",
    "InstitutionName": "St Elsewhere",
    "OperatorsName": "Night^Shift",
    "StudyDescription": "left breast lump",
    "SeriesDescription": "third try",
    "StationName": "US-3",
    "DeviceSerialNumber": "SN-9",
    "AdditionalPatientHistory": "mother",
    "ImageComments": "caliper",
}


def test_of_the_source_it_holds_patient_and_study_and_no_more(tmp_path: Path) -> None:
    """Types 1 and 2 of both modules, and the references; not one of fifteen other elements."""
    made = ultrasound(loop(), **PRIVATE, ReferringPhysicianName="Doctor^Who")
    made.private_block(0x0009, "VENDOR", create=True).add_new(1, "LO", "private words")
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientName = "Müller^Zoë"
    source = save(made, tmp_path / "source.dcm")
    segment(source, tmp_path / "seg.dcm", masks(3))
    seg, source_said = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(source)
    copied = (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    )  # fmt: skip
    for name in copied:
        assert seg[name].value == source_said[name].value, name
    values = texts(seg)
    leaked = {str(value) for value in PRIVATE.values()} | {"private words", "VENDOR"}
    assert not values & leaked
    shared = values & texts(source_said)
    allowed = {str(seg[name].value) for name in copied} | {
        str(source_said[name].value)
        for name in ("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    }
    # What is the same by chance: sizes, numbers, codes of no person.
    plain = {"", "1", "3", "90", "122", "0", "00", "MONOCHROME2", "['ORIGINAL', 'PRIMARY']"}
    assert shared <= allowed | plain


def test_what_was_lost_stays_lost(tmp_path: Path) -> None:
    """A SEG of an image that was once compressed with loss says so, as its source does."""
    pytest.importorskip("highdicom")
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 12.5,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    source = save(ultrasound(loop(), **lossy), tmp_path / "source.dcm")
    segment(source, tmp_path / "seg.dcm", masks(3))
    assert objections(tmp_path / "seg.dcm") == []
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert {name: seg[name].value for name in lossy} == lossy


def test_every_file_is_another_instance(tmp_path: Path) -> None:
    """Two runs over one source are two instances in two series of its study."""
    source = save(ultrasound(loop()), tmp_path / "source.dcm")
    for name in ("a.dcm", "b.dcm"):
        segment(source, tmp_path / name, masks(3))
    a, b = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert a.StudyInstanceUID == b.StudyInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.SeriesInstanceUID != b.SeriesInstanceUID
    assert a.PixelData == b.PixelData
