"""DICOM SEG of a cine loop or image: one segment, one binary frame for every frame of the source.

highdicom writes no SEG for ultrasound without a frame of reference, which is all of it. Modules
and macros are those of PS3.3 A.51; each frame names the source's frame in its derivation image.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_bts import __version__
from edge_bts.dicom.protocol import LOSSY, ULTRASOUND
from edge_bts.dicom.reading import Cine

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Segmentation"]

_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_NOTICE = "Research software, not a medical device"

# Type 1 and 2 of the modules Patient and General Study: the SEG belongs to the patient and study
# of its source. Nothing else of the source is copied.
_COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip


class Segmentation:
    """Takes the masks of a source one by one, packed to one bit a pixel, and writes them.

    Args:
        source: What was segmented.
        segmenter: ``describe()`` of what did it.
    """

    def __init__(self, source: Cine, segmenter: Mapping[str, Any]) -> None:
        self._source = source
        self._segmenter = segmenter
        self._packed = bytearray()
        self._rest: NDArray[np.uint8] = np.zeros(0, np.uint8)  # bits short of a byte
        self._frames = 0

    def add(self, mask: NDArray[np.uint8]) -> None:
        """Take the mask of the next frame: 0/1, rows x columns of the source."""
        bits = np.concatenate([self._rest, mask.ravel()])
        whole = len(bits) // 8 * 8
        # Frames follow each other without padding, the first pixel in the lowest bit.
        self._packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        self._rest = bits[whole:]
        self._frames += 1

    def write(self, path: Path) -> None:
        """Write the file; ``path`` lies in a folder that nobody reads yet."""
        dataset = self._modules()
        dataset.SharedFunctionalGroupsSequence = [
            _item(SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=1)])
        ]
        dataset.PerFrameFunctionalGroupsSequence = [
            self._frame(number) for number in range(1, self._frames + 1)
        ]
        self._packed += np.packbits(self._rest, bitorder="little").tobytes()
        dataset.add_new("PixelData", "OB", bytes(self._packed) + b"\0" * (len(self._packed) % 2))
        dataset.save_as(path, enforce_file_format=True)

    def _modules(self) -> Dataset:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        identity = self._source.identity
        lossy = {name: identity[name] for name in LOSSY if identity[name] or name == LOSSY[0]}
        now = datetime.datetime.now()
        dataset = _item(
            SpecificCharacterSet="ISO_IR 192",
            **{name: identity[name] for name in _COPIED},
            # Series
            Modality="SEG",
            SeriesInstanceUID=generate_uid(prefix=None),
            SeriesNumber=1,
            SeriesDescription="edge-bts segmentation",
            # Frame of reference: of no other image, as ultrasound has none; readers ask for it
            FrameOfReferenceUID=generate_uid(prefix=None),
            PositionReferenceIndicator="",
            # Equipment
            Manufacturer="edge-bts",
            ManufacturerModelName=str(self._segmenter["name"])[:64] or "unnamed",
            DeviceSerialNumber="none",
            SoftwareVersions=__version__,
            # Image
            SOPClassUID=_SEG,
            SOPInstanceUID=generate_uid(prefix=None),
            InstanceNumber=1,
            ContentDate=now.strftime("%Y%m%d"),
            ContentTime=now.strftime("%H%M%S"),
            ImageType=["DERIVED", "PRIMARY"],
            PatientOrientation="",
            **(lossy if lossy[LOSSY[0]] == "01" else {LOSSY[0]: "00"}),
            BurnedInAnnotation="NO",
            ContentLabel="LESION",
            ContentDescription=_NOTICE,
            ContentCreatorName="",
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            Rows=self._source.rows,
            Columns=self._source.columns,
            NumberOfFrames=self._frames,
            BitsAllocated=1,
            BitsStored=1,
            HighBit=0,
            PixelRepresentation=0,
            SegmentationType="BINARY",
            SegmentSequence=[self._segment()],
            # Dimensions and references
            ReferencedSeriesSequence=[
                _item(
                    SeriesInstanceUID=identity["SeriesInstanceUID"],
                    ReferencedInstanceSequence=[self._reference()],
                )
            ],
        )
        dimension = generate_uid(prefix=None)
        dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=dimension)]
        dataset.DimensionIndexSequence = [
            _item(
                DimensionOrganizationUID=dimension,
                DimensionIndexPointer=pointer,
                FunctionalGroupPointer=group,
            )
            for pointer, group in (
                (0x0062000B, 0x0062000A),  # Referenced Segment Number, Segment Identification
                (0x00209128, 0x00209111),  # Temporal Position Index, Frame Content
            )
        ]
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return dataset

    def _segment(self) -> Dataset:
        facts = self._segmenter
        return _item(
            SegmentNumber=1,
            SegmentLabel="Lesion",
            SegmentAlgorithmType="AUTOMATIC",
            SegmentAlgorithmName=f"edge-bts {facts['name']} {facts['precision']}"[:64],
            SegmentedPropertyCategoryCodeSequence=[
                _code("49755003", "SCT", "Morphologically Abnormal Structure")
            ],
            SegmentedPropertyTypeCodeSequence=[_code("52988006", "SCT", "Lesion")],
        )

    def _frame(self, number: int) -> Dataset:
        """Functional groups of one frame, counted from 1 as DICOM does."""
        purpose = _code("121322", "DCM", "Source Image for Image Processing Operation")
        source = self._reference()
        if ULTRASOUND[self._source.identity["SOPClassUID"]]:
            source.ReferencedFrameNumber = number
        source.SpatialLocationsPreserved = "YES"
        source.PurposeOfReferenceCodeSequence = [purpose]
        return _item(
            FrameContentSequence=[
                _item(DimensionIndexValues=[1, number], TemporalPositionIndex=number)
            ],
            DerivationImageSequence=[
                _item(
                    DerivationCodeSequence=[_code("113076", "DCM", "Segmentation")],
                    SourceImageSequence=[source],
                )
            ],
        )

    def _reference(self) -> Dataset:
        identity = self._source.identity
        return _item(
            ReferencedSOPClassUID=identity["SOPClassUID"],
            ReferencedSOPInstanceUID=identity["SOPInstanceUID"],
        )


def _item(**elements: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
