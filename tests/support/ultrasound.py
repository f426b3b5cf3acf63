"""DICOM ultrasound made of phantoms, as scanners write it, and the tools that judge DICOM."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from edge_bts.data.phantom import simulate_cine

ROWS, COLUMNS = 90, 122


@lru_cache
def loop(frames: int = 3) -> NDArray[np.uint8]:
    """Frames of a simulated sweep over a lesion, frames x 90 x 122."""
    sweep = simulate_cine(0, "malignant", frames, height=ROWS, width=COLUMNS)
    return np.stack([frame.image for frame in sweep])


def ultrasound(pixels: NDArray[Any], photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """Return a complete US Multi-frame object, of one frame a US Image, uncompressed.

    Args:
        pixels: frames x rows x columns, or x 3.
        photometric: What they are.
        **elements: Set after all others; None removes one.
    """
    many = len(pixels) > 1
    bits = pixels.dtype.itemsize * 8
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = UltrasoundMultiFrameImageStorage if many else UltrasoundImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(made, name, generate_uid())
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.Modality = "US"
    made.PatientName = "Phantom^Simulated"
    made.PatientID = "PHANTOM-1"
    made.PatientBirthDate = "19700101"
    made.PatientSex = "F"
    made.StudyDate, made.StudyTime, made.StudyID = "20260102", "030405", "7"
    made.AccessionNumber = "A-1"
    made.ReferringPhysicianName = ""
    made.Manufacturer, made.Laterality = "Phantoms", "L"
    made.SeriesNumber, made.InstanceNumber = 1, 1
    made.PatientOrientation = ""
    made.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = photometric
    made.Rows, made.Columns = pixels.shape[1:3]
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    if many:
        made.NumberOfFrames = len(pixels)
        made.FrameTime, made.FrameIncrementPointer = 40.0, 0x00181063
    made.SequenceOfUltrasoundRegions = [region()]
    made.LossyImageCompression = "00"
    content = pixels.tobytes()
    made.add_new("PixelData", "OB" if bits == 8 else "OW", content + b"\0" * (len(content) % 2))
    for name, value in elements.items():
        if value is None:
            del made[name]
        else:
            setattr(made, name, value)
    return made


def region(
    left: int = 10, top: int = 6, right: int = 109, bottom: int = 85, **elements: Any
) -> Dataset:
    """Return an ultrasound region, by default 2D tissue of 100 x 80 pixels of 0.2 mm."""
    made = Dataset()
    made.RegionSpatialFormat = made.RegionDataType = 1
    made.RegionFlags = 0
    made.RegionLocationMinX0, made.RegionLocationMinY0 = left, top
    made.RegionLocationMaxX1, made.RegionLocationMaxY1 = right, bottom
    made.PhysicalUnitsXDirection = made.PhysicalUnitsYDirection = 3
    made.PhysicalDeltaX = made.PhysicalDeltaY = 0.02
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def save(made: Dataset, path: Path) -> Path:
    """Write a file as DICOM part 10 asks."""
    made.save_as(path, enforce_file_format=True)
    return path


def tool(name: str, *arguments: object) -> str:
    """Run a program of dcmtk or dicom3tools; all that it said."""
    program = shutil.which(name)
    if program is None:
        package = "dicom3tools" if name == "dciodvfy" else "dcmtk"
        pytest.skip(f"{name} is not installed (Debian: {package})")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 or name == "dciodvfy", done.stderr
    return done.stdout + done.stderr


def objections(path: Path) -> list[str]:
    """What dciodvfy has against a file; that a DICOMDIR would want more is not against it."""
    said = tool("dciodvfy", path).splitlines()
    assert said, "dciodvfy names the kind of object it found"
    return [
        line for line in said if line.startswith(("Error", "Warning")) and "DICOMDIR" not in line
    ]
