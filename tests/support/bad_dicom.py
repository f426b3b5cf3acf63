"""Named DICOM files that are damaged, hostile or not for us; each shall end in one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG4HP41,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    MediaStorageDirectoryStorage,
    RLELossless,
    UltrasoundImageStorage,
)
from ultrasound import loop, region, ultrasound

__all__ = ["bad_files"]

Elements = dict[str, Any]


def encode(made: Dataset) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def plain(**elements: Any) -> bytes:
    """A cine loop with other elements."""
    return encode(ultrasound(loop(), **elements))


def packed(syntax: str) -> Dataset:
    """A cine loop that pydicom compressed."""
    made = ultrasound(loop())
    made.compress(UID(syntax), encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return made


def jpeg(images: list[bytes] | None = None, **elements: Any) -> Dataset:
    """A cine loop of JPEG files."""
    images = images or [cv2.imencode(".jpg", image)[1].tobytes() for image in loop()]
    made = ultrasound(loop(), **elements)
    made.PixelData = encapsulate(images)
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return made


def frames_of(made: Dataset) -> list[bytes]:
    """The compressed frames."""
    return list(generate_frames(made.PixelData, number_of_frames=int(made.NumberOfFrames)))


def with_frames(made: Dataset, frames: list[bytes]) -> bytes:
    """The file with these compressed frames."""
    made.PixelData = encapsulate(frames)
    return encode(made)


def relabelled(made: Dataset, syntax: str) -> bytes:
    """The same bytes of pixels under another transfer syntax; headers stay explicit."""
    content = encode(made)
    before, after = (str(uid).encode() for uid in (made.file_meta.TransferSyntaxUID, syntax))
    old = struct.pack("<H", len(before) + len(before) % 2) + before + b"\0" * (len(before) % 2)
    new = struct.pack("<H", len(after) + len(after) % 2) + after + b"\0" * (len(after) % 2)
    grown = struct.unpack("<I", content[140:144])[0] + len(new) - len(old)
    assert content.count(old) == 1
    return content[:140] + struct.pack("<I", grown) + content[144:].replace(old, new)


def element(content: bytes, tag: int) -> int:
    """Where an element of an explicit little-endian file starts."""
    return content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 300)


def patched(content: bytes, tag: int, at: int, new: bytes) -> bytes:
    """The file with bytes changed ``at`` so many after the start of an element."""
    start = element(content, tag) + at
    return content[:start] + new + content[start + len(new) :]


def nested(depth: int) -> bytes:
    """Sequences in sequences, as a private element in the place of the pixels."""
    content = plain()
    head = struct.pack("<HH2sHI", 0x0019, 0x1001, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    at = element(content, 0x00200010)
    return content[:at] + (head + item) * depth + content[at:]


def deflated(size: int) -> bytes:
    """A data set that inflates to ``size`` bytes and more."""
    content = plain()
    meta = 144 + struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(content[meta:]) + packer.flush(zlib.Z_FULL_FLUSH)
    body += (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * (size >> 20)
    whole = content[:meta] + body + packer.flush()
    old = str(ultrasound(loop()).file_meta.TransferSyntaxUID).encode() + b"\0"
    new = str(DeflatedExplicitVRLittleEndian).encode()
    new += b"\0" * (len(new) % 2)
    grown = struct.unpack("<I", whole[140:144])[0] + len(new) - len(old)
    start = whole.index(struct.pack("<H", len(old)) + old)
    return (
        whole[:140] + struct.pack("<I", grown) + whole[144:start]
        + struct.pack("<H", len(new)) + new + whole[start + 2 + len(old) :]
    )  # fmt: skip


def jpeg_claiming(height: int, width: int) -> bytes:
    """A JPEG whose own header promises another size."""
    content = cv2.imencode(".jpg", loop()[0])[1].tobytes()
    at = content.index(b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def j2k_claiming(height: int, width: int) -> bytes:
    """A JPEG 2000 frame whose own header promises another size."""
    content = frames_of(packed(JPEG2000Lossless))[0]
    at = content.index(b"\xff\x51")
    return content[: at + 6] + struct.pack(">II", width, height) + content[at + 14 :]


def rle_starting(frame: bytes, offset: int) -> bytes:
    """An RLE frame whose header says that its first segment starts there."""
    return frame[:4] + struct.pack("<I", offset) + frame[8:]


def bad_files() -> dict[str, Callable[[], bytes]]:
    """Return what makes each file, by its name."""
    files: dict[str, Callable[[], bytes]] = {}
    _truncated(files)
    _no_dicom(files)
    _missing(files)
    _sizes(files)
    _samples(files)
    _syntaxes(files)
    _compressed(files)
    _junk(files)
    return files


def _truncated(files: dict[str, Callable[[], bytes]]) -> None:
    content = plain()
    pixels = element(content, 0x7FE00010)
    places = {
        "in the preamble": 100,
        "after the preamble": 128,
        "after DICM": 132,
        "in the file meta": 200,
        "after the file meta": 144 + struct.unpack("<I", content[140:144])[0],
        "in the patient's name": element(content, 0x00100010) + 12,
        "in the head of an element": element(content, 0x00200010) + 3,
        "in the regions": element(content, 0x00186011) + 60,
        "in the rows": element(content, 0x00280010) + 9,
        "before the pixels": pixels,
        "in the head of the pixels": pixels + 7,
        "after the head of the pixels": pixels + 12,
        "in the first frame": pixels + 5000,
        "between two frames": pixels + 12 + loop()[0].size,
        "one byte short": pixels + 12 + loop().size - 1,
    }
    for name, at in places.items():
        files[f"truncated {name}"] = lambda at=at: content[:at]
    for syntax in (RLELossless, JPEG2000Lossless, JPEGBaseline8Bit):
        made = jpeg() if syntax == JPEGBaseline8Bit else packed(syntax)
        whole = encode(made)
        start = element(whole, 0x7FE00010)
        for name, at in {
            "in the offset table": start + 16,
            "in the first frame": start + 200,
            "before the end mark": len(whole) - 8,
        }.items():
            files[f"{UID(syntax).keyword} truncated {name}"] = lambda w=whole, at=at: w[:at]


def _no_dicom(files: dict[str, Callable[[], bytes]]) -> None:
    files["one byte"] = lambda: b"\0"
    files["text"] = lambda: b"not DICOM\n" * 100
    files["a PNG"] = lambda: cv2.imencode(".png", loop()[0])[1].tobytes()
    files["an ELF program"] = lambda: b"\x7fELF" + bytes(5000)
    files["zeros"] = lambda: bytes(10_000)
    files["noise after DICM"] = lambda: (
        bytes(128) + b"DICM" + np.random.default_rng(0).bytes(20_000)
    )
    files["ones after DICM"] = lambda: bytes(128) + b"DICM" + b"\xff" * 20_000
    files["CT"] = lambda: plain(SOPClassUID=CTImageStorage)
    files["DICOMDIR"] = lambda: plain(SOPClassUID=MediaStorageDirectoryStorage)
    files["a private class"] = lambda: plain(SOPClassUID="1.2.3.4")


def _missing(files: dict[str, Callable[[], bytes]]) -> None:
    for name in (
        "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel",
        "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation",
        "PixelData",
    ):  # fmt: skip
        files[f"without {name}"] = lambda name=name: plain(**{name: None})
    # The file meta holds the two that pydicom does not write a file without.
    files["without SOPClassUID"] = lambda: patched(plain(), 0x00080016, 2, b"\x17")
    files["without SOPInstanceUID"] = lambda: patched(plain(), 0x00080018, 2, b"\x19")
    files["without a transfer syntax"] = lambda: plain().replace(
        b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI"
    )
    files["without colours of its palette"] = lambda: encode(ultrasound(loop(), "PALETTE COLOR"))
    files["an identity of no UID"] = lambda: patched(plain(), 0x0020000D, 8, b"1..2/../..")


def _sizes(files: dict[str, Callable[[], bytes]]) -> None:
    for name, elements in {
        "no rows": {"Rows": 0},
        "no columns": {"Columns": 0},
        "65535 rows and columns": {"Rows": 65535, "Columns": 65535},
        "4097 rows": {"Rows": 4097},
        "no frames": {"NumberOfFrames": 0},
        "frames below zero": {"NumberOfFrames": -3},
        "a frame more than there is": {"NumberOfFrames": 4},
        "2147483647 frames": {"NumberOfFrames": 2147483647},
        "4096 x 4096 x 100000": {"Rows": 4096, "Columns": 4096, "NumberOfFrames": 100_000},
        "a US Image of three frames": {"SOPClassUID": UltrasoundImageStorage},
        "rows that are two numbers": {"Rows": [90, 90]},
        "1000 regions": {"SequenceOfUltrasoundRegions": [region()] * 1000},
    }.items():
        files[name] = lambda elements=elements: plain(**elements)
    files["frames that are no number"] = lambda: patched(plain(), 0x00280008, 8, b"x ")
    files["a length of pixels of 4 GB"] = lambda: patched(
        plain(), 0x7FE00010, 8, struct.pack("<I", 0xFFFFFFFE)
    )
    files["a length of a name of 60 KB"] = lambda: patched(plain(), 0x00100010, 6, b"\xfe\xff")
    files["a length of regions of 2 GB"] = lambda: patched(
        plain(), 0x00186011, 8, struct.pack("<I", 0x7FFFFFFE)
    )


def _samples(files: dict[str, Callable[[], bytes]]) -> None:
    for name, elements in {
        "no samples": {"SamplesPerPixel": 0},
        "gray of three samples": {"SamplesPerPixel": 3},
        "65535 samples": {"SamplesPerPixel": 65535},
        "RGB of one sample": {"PhotometricInterpretation": "RGB"},
        "a photometric interpretation of no standard": {"PhotometricInterpretation": "CMYKA"},
        "YBR_RCT without JPEG 2000": {
            "PhotometricInterpretation": "YBR_RCT", "SamplesPerPixel": 3, "PlanarConfiguration": 0,
        },
        "1 bit": {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0},
        "32 bits": {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
        "16 bits stored in 8": {"BitsStored": 16},
        "no bits": {"BitsStored": 0},
        "a representation of 2": {"PixelRepresentation": 2},
    }.items():  # fmt: skip
        files[name] = lambda elements=elements: plain(**elements)


def _syntaxes(files: dict[str, Callable[[], bytes]]) -> None:
    files["a transfer syntax of no standard"] = lambda: relabelled(ultrasound(loop()), "1.2.3")
    files["MPEG-4"] = lambda: relabelled(ultrasound(loop()), MPEG4HP41)
    files["explicit called implicit"] = lambda: relabelled(
        ultrasound(loop()), ImplicitVRLittleEndian
    )
    files["little endian called big"] = lambda: relabelled(ultrasound(loop()), ExplicitVRBigEndian)
    files["uncompressed called JPEG"] = lambda: relabelled(ultrasound(loop()), JPEGBaseline8Bit)
    files["JPEG called uncompressed"] = lambda: relabelled(jpeg(), "1.2.840.10008.1.2.1")
    files["JPEG called JPEG 2000"] = lambda: relabelled(jpeg(), JPEG2000Lossless)
    files["JPEG 2000 called JPEG"] = lambda: relabelled(packed(JPEG2000Lossless), JPEGBaseline8Bit)
    files["JPEG called RLE"] = lambda: relabelled(jpeg(), RLELossless)
    files["JPEG called lossless JPEG"] = lambda: relabelled(
        jpeg([b"\xff\xd8\xff\xd9"] * 3), JPEGLosslessSV1
    )
    files["deflated"] = lambda: deflated(0)
    files["deflated 4 GB"] = lambda: deflated(1 << 32)


def _compressed(files: dict[str, Callable[[], bytes]]) -> None:
    j2k = frames_of(packed(JPEG2000Lossless))
    jpg = frames_of(jpeg())
    rle = frames_of(packed(RLELossless))
    files["two of three frames"] = lambda: with_frames(jpeg(), jpg[:2])
    files["a frame cut and whole again"] = lambda: with_frames(
        packed(JPEG2000Lossless), [j2k[0], j2k[1][: len(j2k[1]) // 2], j2k[2]]
    )
    files["a compressed frame more than promised"] = lambda: encode(jpeg(NumberOfFrames=2))
    files["compressed frames without their number"] = lambda: encode(jpeg(NumberOfFrames=None))
    files["compressed frames whose number is none"] = lambda: patched(
        encode(jpeg()), 0x00280008, 8, b"x "
    )
    files["a JPEG without its end"] = lambda: with_frames(jpeg(), [*jpg[:2], jpg[2][:-900]])
    files["an empty frame"] = lambda: (
        (content := encode(jpeg()))[: (at := content.index(jpg[1])) - 4]
        + bytes(4)
        + content[at + len(jpg[1]) + len(jpg[1]) % 2 :]
    )
    files["noise in a JPEG"] = lambda: with_frames(
        jpeg(), [jpg[0], jpg[1][:30] + b"\x55\xff" * 99 + b"\xff\xd9", jpg[2]]
    )
    files["noise in a JPEG 2000"] = lambda: with_frames(
        packed(JPEG2000Lossless), [j2k[0][:60] + b"\xaa" * 400 + b"\xff\xd9", *j2k[1:]]
    )
    files["a JPEG of 65535 x 65535"] = lambda: encode(jpeg([jpeg_claiming(65535, 65535)] * 3))
    files["a JPEG of another size"] = lambda: encode(jpeg([jpeg_claiming(60, 122)] * 3))
    files["a JPEG 2000 of 2 billion pixels a side"] = lambda: with_frames(
        packed(JPEG2000Lossless), [j2k_claiming(2**31 - 1, 2**31 - 1)] * 3
    )
    files["a JPEG 2000 of another size"] = lambda: with_frames(
        packed(JPEG2000Lossless), [j2k_claiming(45, 122)] * 3
    )
    files["RLE that starts past its end"] = lambda: with_frames(
        packed(RLELossless), [rle_starting(rle[0], 1 << 30), *rle[1:]]
    )
    files["RLE of too few bytes"] = lambda: with_frames(
        packed(RLELossless), [rle[0][:80], *rle[1:]]
    )
    files["an item of 4 GB"] = lambda: patched(
        encode(jpeg()), 0x7FE00010, 16, struct.pack("<I", 0xFFFFFFF0)
    )
    files["no items among the frames"] = lambda: patched(
        encode(jpeg()), 0x7FE00010, 12, b"\x01\x02\x03\x04"
    )


def _junk(files: dict[str, Callable[[], bytes]]) -> None:
    files["sequences nested 5000 deep"] = lambda: nested(5000)
    files["a private element that swallows the rest"] = lambda: _private(0x7FFFFFFF)
    files["a private sequence without an end"] = lambda: _private(0xFFFFFFFF)
    files["junk where an element should be"] = lambda: (
        (content := plain())[: (at := element(content, 0x00200010))]
        + b"\xde\xad\xbe\xef" * 64
        + content[at:]
    )


def _private(length: int) -> bytes:
    content = plain()
    at = element(content, 0x00200010)
    head = struct.pack("<HH2sHI", 0x0019, 0x1001, b"SQ", 0, length)
    return content[:at] + head + content[at:]
