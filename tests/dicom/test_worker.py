"""What the decoder makes of a file: every photometric interpretation and compression, to the pixel.

It runs in the process of the test here; test_reading.py runs it in its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from ultrasound import loop, region, save, tool, ultrasound

from edge_bts.dicom.worker import answer


def said(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The header of a file and its frames."""
    with path.open("rb") as stream:
        (_, head), *messages, (last, _) = answer(stream, decode=True)
    assert last == b"Z"
    header = json.loads(head)
    shape = (header["rows"], header["columns"]) + ((3,) if header["channels"] == 3 else ())
    found = [np.frombuffer(content, np.uint8).reshape(shape) for _, content in messages]
    return header, np.stack(found)


def frames(path: Path) -> np.ndarray:
    """All frames of a file."""
    return said(path)[1]


def colours() -> np.ndarray:
    """The loop in false colours, so that swapped or mixed channels show."""
    gray = loop()
    return np.stack([gray, 255 - gray, gray // 2], axis=-1)


def test_a_file_says_what_it_holds(cine: Path) -> None:
    """Size, rate, times, calibrated regions and whose it is."""
    header, pixels = said(cine)
    assert [header[name] for name in ("frames", "rows", "columns", "channels")] == [3, 90, 122, 1]
    assert header["fps"] == pytest.approx(25)
    assert header["times_s"] == pytest.approx([0, 0.04, 0.08])
    (box,) = header["regions"]
    assert [box[corner] for corner in ("x0", "y0", "x1", "y1")] == [10, 6, 109, 85]
    assert (box["delta_x"], box["units_y"]) == (0.02, 3)
    assert header["identity"]["PatientID"] == "PHANTOM-1"
    assert header["notes"] == []
    np.testing.assert_array_equal(pixels, loop())


@pytest.mark.parametrize(
    ("elements", "fps", "times"),
    [
        ({"FrameTime": None, "FrameTimeVector": [0.0, 20.0, 60.0]}, 25.0, [0, 0.02, 0.08]),
        ({"FrameTime": None, "CineRate": 50}, 50.0, [0, 0.02, 0.04]),
        ({"FrameTime": None, "RecommendedDisplayFrameRate": 10}, 10.0, [0, 0.1, 0.2]),
        ({"FrameTime": 0.0}, None, None),
        ({"FrameTime": None}, None, None),
    ],
)
def test_the_rate_comes_from_where_it_stands(
    tmp_path: Path, elements: dict[str, Any], fps: float | None, times: list[float] | None
) -> None:
    """Frame Time Vector, Frame Time, Cine Rate, Recommended Display Frame Rate, or nowhere."""
    header, _ = said(save(ultrasound(loop(), **elements), tmp_path / "a.dcm"))
    assert header["fps"] == pytest.approx(fps)
    assert header["times_s"] == pytest.approx(times)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 16])
def test_byte_orders(tmp_path: Path, syntax: str, bits: int) -> None:
    """Implicit and big-endian files hold the same frames, of either depth."""
    pixels = loop() if bits == 8 else loop().astype(np.uint16) * 257
    swapped = pixels.byteswap() if bits == 16 and syntax == ExplicitVRBigEndian else pixels
    made = ultrasound(swapped)
    if syntax == ExplicitVRBigEndian and bits == 8:
        made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(frames(save(made, tmp_path / "a.dcm")), loop())


def test_a_single_frame(tmp_path: Path) -> None:
    """A US Image is one frame, without a rate."""
    header, _ = said(save(ultrasound(loop()[:1]), tmp_path / "a.dcm"))
    assert [header[name] for name in ("frames", "fps", "times_s")] == [1, None, None]


def test_inverse_gray(tmp_path: Path) -> None:
    """MONOCHROME1 has white at 0."""
    path = save(ultrasound(255 - loop(), "MONOCHROME1"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(frames(path), loop())


@pytest.mark.parametrize("stored", [10, 12, 16])
def test_deep_gray(tmp_path: Path, stored: int) -> None:
    """The range of the stored bits becomes 0..255, rounded; signed values start at their lowest."""
    white = (1 << stored) - 1
    values = np.random.default_rng(0).integers(0, white + 1, (2, 20, 30)).astype(np.uint16)
    values[0, 0, :2] = 0, white
    expected = np.floor(values / white * 255 + 0.5).astype(np.uint8)
    made = ultrasound(values, BitsStored=stored, HighBit=stored - 1)
    np.testing.assert_array_equal(frames(save(made, tmp_path / "u.dcm")), expected)
    signed = (values.astype(np.int32) - (1 << (stored - 1))).astype(np.int16)
    made = ultrasound(signed, BitsStored=stored, HighBit=stored - 1, PixelRepresentation=1)
    np.testing.assert_array_equal(frames(save(made, tmp_path / "s.dcm")), expected)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour(tmp_path: Path, planar: int) -> None:
    """RGB by pixel or by plane."""
    pixels = colours() if planar == 0 else colours().transpose(0, 3, 1, 2)
    made = ultrasound(colours(), "RGB", PlanarConfiguration=planar, PixelData=pixels.tobytes())
    np.testing.assert_array_equal(frames(save(made, tmp_path / "a.dcm")), colours())


def test_of_ybr_the_luma_is_taken(tmp_path: Path) -> None:
    """Y is what an image in gray would be; of YBR_FULL_422 it is not subsampled."""
    luma, other = loop(), np.full_like(loop(), 77)
    made = ultrasound(np.stack([luma, other, other], axis=-1), "YBR_FULL")
    np.testing.assert_array_equal(frames(save(made, tmp_path / "full.dcm")), luma)
    pairs = np.empty((*luma.shape[:2], luma.shape[2] // 2, 4), np.uint8)  # Y1 Y2 CB CR
    pairs[..., 0], pairs[..., 1] = luma[..., 0::2], luma[..., 1::2]
    pairs[..., 2:] = 77
    made = ultrasound(colours(), "YBR_FULL_422", PixelData=pairs.tobytes())
    np.testing.assert_array_equal(frames(save(made, tmp_path / "422.dcm")), luma)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(tmp_path: Path, bits: int) -> None:
    """Each index becomes its colour; of entries of 16 bits the high byte."""
    indices = loop()
    made = ultrasound(indices, "PALETTE COLOR")
    tables = [np.arange(256) * factor % 256 for factor in (1, 3, 5)]
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        entries = table.astype(np.uint8) if bits == 8 else table.astype("<u2") * 256 + 17
        setattr(made, f"{name}PaletteColorLookupTableData", entries.tobytes())
    expected = np.stack([table[indices] for table in tables], axis=-1)
    np.testing.assert_array_equal(frames(save(made, tmp_path / "a.dcm")), expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("colour", [False, True])
def test_pydicom_compresses(tmp_path: Path, syntax: str, colour: bool) -> None:
    """RLE and JPEG 2000 without loss, gray and colour, come back to the pixel."""
    pixels = colours() if colour else loop()
    made = ultrasound(pixels, "RGB" if colour else "MONOCHROME2")
    made.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    np.testing.assert_array_equal(frames(save(made, tmp_path / "a.dcm")), pixels)


@pytest.mark.parametrize(
    ("program", "option"),
    [
        ("dcmcrle", ""),
        ("dcmcjpeg", "+e1"),  # JPEG lossless, process 14, first-order
        ("dcmcjpeg", "+el"),  # the same with the predictor chosen
        ("dcmcjpls", "+el"),
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_dcmtk_compresses(tmp_path: Path, program: str, option: str, colour: bool) -> None:
    """What dcmtk compressed without loss comes back to the pixel."""
    pixels = colours() if colour else loop()
    plain = save(ultrasound(pixels, "RGB" if colour else "MONOCHROME2"), tmp_path / "plain.dcm")
    packed = tmp_path / "packed.dcm"
    tool(program, *filter(None, [option]), plain, packed)
    np.testing.assert_array_equal(frames(packed), pixels)


def test_baseline_jpeg(tmp_path: Path) -> None:
    """The luma of a colour JPEG is near that of the image, and exact where OpenCV decodes it."""
    content = [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in colours()]
    made = ultrasound(colours(), "YBR_FULL_422", PixelData=encapsulate(content))
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made["PixelData"].is_undefined_length = True
    found = frames(save(made, tmp_path / "a.dcm"))
    wanted = [cv2.imdecode(np.frombuffer(c, np.uint8), cv2.IMREAD_GRAYSCALE) for c in content]
    assert np.abs(found.astype(int) - np.stack(wanted)).max() <= 1  # their inverse DCTs round apart


def test_frames_in_several_fragments(tmp_path: Path) -> None:
    """With an offset table a frame may be cut into pieces."""
    whole = ultrasound(loop())
    whole.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    parts = list(generate_frames(whole.PixelData, number_of_frames=3))
    whole.PixelData = encapsulate(parts, fragments_per_frame=2)
    np.testing.assert_array_equal(frames(save(whole, tmp_path / "a.dcm")), loop())


def test_what_is_not_used_does_no_harm(tmp_path: Path) -> None:
    """Private elements, a program in the preamble, bytes after the pixels: the frames are read."""
    made = ultrasound(loop(), Manufacturer="\N{SNOWMAN}" * 3)
    made.SpecificCharacterSet = "ISO_IR 192"
    block = made.private_block(0x0019, "JUNK", create=True)
    block.add_new(0x01, "UN", b"\xff" * 10_000)
    block.add_new(0x02, "SQ", [region()])
    block.add_new(0x03, "OB", b"")
    path = save(made, tmp_path / "a.dcm")
    path.write_bytes(b"\x7fELF".ljust(128, b"\x90") + path.read_bytes()[128:] + b"\0" * 64)
    np.testing.assert_array_equal(frames(path), loop())


def test_an_invalid_name_is_left_out_and_said(tmp_path: Path) -> None:
    """Text that the standard does not allow is not carried on; what identifies frames must be."""
    made = ultrasound(loop(), PatientBirthDate=None)
    made.add_new("PatientBirthDate", "LO", "in spring")
    header, _ = said(save(made, tmp_path / "a.dcm"))
    assert header["identity"]["PatientBirthDate"] == ""
    assert "PatientBirthDate is not valid" in header["notes"][0]
