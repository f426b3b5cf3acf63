"""What the process that decodes DICOM and the one that asks it agree on.

Answers are messages: ``EBTS``, a letter, the length, and so many bytes of content.

- ``H``: what the file holds, as JSON; first, unless the file is refused.
- ``F``: the next frame (of ``decode`` alone), uint8, rows x columns x channels as ``H`` says.
- ``Z``: the end.
- ``E``: the file is refused, as JSON with ``why`` and ``mend``; nothing follows.
"""

from __future__ import annotations

import struct

__all__ = [
    "ANSWER_S",
    "FRAME_CPU_S",
    "IDENTITY",
    "LOSSY",
    "MAX_FRAMES",
    "MAX_HEADER",
    "MAX_PIXELS",
    "MAX_REGIONS",
    "MAX_SIDE",
    "MEMORY",
    "MEND",
    "MESSAGE",
    "REGION",
    "ULTRASOUND",
]

MAX_SIDE = 4096
"""Rows, and columns."""

MAX_FRAMES = 100_000
"""Frames of a cine loop."""

MAX_PIXELS = 1 << 32
"""Rows x columns x frames: 1.5 minutes of 1920 x 1080 at 25 frames a second, 7.8 of 640 x 480."""

MAX_REGIONS = 64
"""Items of Sequence of Ultrasound Regions."""

MAX_HEADER = 1 << 20
"""Bytes of what the worker tells of a file before its frames."""

MEMORY = 1 << 30
"""Address space of the worker in bytes; Python with pydicom takes a sixth of it."""

FRAME_CPU_S = 10
"""Seconds of processor time for the header, and for each frame."""

ANSWER_S = 30.0
"""Seconds until an answer must be here whole, whatever the worker waits for."""

MEND = "restore the file or export it again"
"""What helps a damaged file."""

MESSAGE = struct.Struct(">4scI")
"""The head of a message."""

IDENTITY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID",
)  # fmt: skip
"""What is told of patient, study and instance: types 1 and 2 of their modules, and no more."""

LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
"""What an image made from one that lost something by compression must say too."""

ULTRASOUND = {
    "1.2.840.10008.5.1.4.1.1.6.1": False,  # US Image
    "1.2.840.10008.5.1.4.1.1.6": False,  # its retired form
    "1.2.840.10008.5.1.4.1.1.3.1": True,  # US Multi-frame
    "1.2.840.10008.5.1.4.1.1.3": True,
}
"""SOP classes that are read, and whether their frames have numbers."""

REGION = {
    "format": "RegionSpatialFormat",
    "data": "RegionDataType",
    "units_x": "PhysicalUnitsXDirection",
    "units_y": "PhysicalUnitsYDirection",
    "delta_x": "PhysicalDeltaX",
    "delta_y": "PhysicalDeltaY",
    "x0": "RegionLocationMinX0",
    "y0": "RegionLocationMinY0",
    "x1": "RegionLocationMaxX1",
    "y1": "RegionLocationMaxY1",
}
"""What is told of each ultrasound region: key and keyword of the item."""
