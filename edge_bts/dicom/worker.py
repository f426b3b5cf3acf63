"""The process that parses and decodes one DICOM file, under limits of its own.

``python -m edge_bts.dicom.worker describe|decode`` reads the file from standard input and answers
on standard output as :mod:`edge_bts.dicom.protocol` says.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from edge_bts.dicom.protocol import (
    FRAME_CPU_S,
    IDENTITY,
    LOSSY,
    MAX_FRAMES,
    MAX_HEADER,
    MAX_PIXELS,
    MAX_REGIONS,
    MAX_SIDE,
    MEMORY,
    MEND,
    MESSAGE,
    REGION,
    ULTRASOUND,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

__all__ = ["answer", "main"]

_J2K, _JPEG = b"\xff\x4f\xff\x51", b"\xff\xd8\xff"
_START = {  # of a frame, by transfer syntax; these are all compressed ones that are read
    "1.2.840.10008.1.2.5": b"",  # RLE
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _JPEG,
    "1.2.840.10008.1.2.4.70": _JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG,
    "1.2.840.10008.1.2.4.81": _JPEG,
    "1.2.840.10008.1.2.4.90": _J2K,
    "1.2.840.10008.1.2.4.91": _J2K,
    "1.2.840.10008.1.2.4.201": _J2K,
    "1.2.840.10008.1.2.4.202": _J2K,
    "1.2.840.10008.1.2.4.203": _J2K,
}
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_END = b"\xff\xd9"  # of JPEG and of JPEG 2000

_LUMA_FIRST = ("MONOCHROME1", "MONOCHROME2", "YBR_FULL", "YBR_FULL_422")
_COLOUR = ("RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL", "YBR_FULL_422")

_TAGS = [
    *IDENTITY, *LOSSY, "NumberOfFrames", "FrameTime", "FrameTimeVector", "CineRate",
    "RecommendedDisplayFrameRate", "SequenceOfUltrasoundRegions", "PixelSpacing",
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    *(f"{c}PaletteColorLookupTableDescriptor" for c in ("Red", "Green", "Blue")),
    *(f"{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip


class _RefusalError(Exception):
    """The file is refused: ``why``, as in "but its Rows are 0", and the mend."""

    def __init__(self, why: str, mend: str) -> None:
        super().__init__(why)
        self.why, self.mend = why, mend


def main() -> None:
    """Answer for the file on standard input."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),  # it writes no file
        (resource.RLIMIT_CORE, 0),
    ):
        _limit(kind, most, most)
    _allow_time()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not speak between the messages
    warnings.simplefilter("ignore")
    logging.disable()
    mend = MEND
    try:
        with os.fdopen(os.dup(0), "rb") as stream:
            for letter, content in answer(stream, decode=sys.argv[1] == "decode"):
                _send(answers, letter, content)
                _allow_time()
        return
    except _RefusalError as error:
        why, mend = error.why, error.mend
    except MemoryError:
        why = f"it asks for more than {MEMORY >> 20} MiB of memory"
    except RecursionError:
        why = "its sequences are nested too deep"
    except ImportError as error:
        why, mend = f"{error}", "run: pip install 'edge-bts[dicom]'"
    except Exception as error:  # whatever a parser makes of damaged bytes
        why = f"it cannot be read ({_said(error)})"
    _send(answers, b"E", json.dumps({"why": why, "mend": mend}).encode())


def _send(answers: BinaryIO, letter: bytes, content: bytes) -> None:
    answers.write(MESSAGE.pack(b"EBTS", letter, len(content)))
    answers.write(content)
    answers.flush()


def _allow_time() -> None:
    """Give the next step its seconds of processor time; the kernel ends what takes longer."""
    until = math.ceil(time.process_time()) + FRAME_CPU_S
    _limit(resource.RLIMIT_CPU, until, resource.RLIM_INFINITY)


def _limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit, or keep the one that the parent came with where that is lower."""
    given = resource.getrlimit(kind)[1]
    if given != resource.RLIM_INFINITY:
        soft, hard = min(soft, given), given if hard == resource.RLIM_INFINITY else min(hard, given)
    resource.setrlimit(kind, (soft, hard))


def answer(stream: BinaryIO, *, decode: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield letter and content of each message about a file, but for a refusal.

    Raises:
        Exception: The file is refused; :func:`main` makes a sentence of whatever it is.
    """
    dataset, syntax = _parse(stream)
    header = _describe(dataset, syntax)
    start, kind = _check_pixels(stream, dataset, header, syntax)
    content = json.dumps(header, allow_nan=False).encode()
    if len(content) > MAX_HEADER:
        _refuse(f"what it tells of itself takes {len(content)} bytes, above {MAX_HEADER}")
    yield b"H", content
    if decode:
        for frame in _frames(stream, start, dataset, header, syntax, pixel_vr=kind):
            yield b"F", frame.tobytes()
    yield b"Z", b""


def _refuse(why: str, mend: str = MEND) -> NoReturn:
    raise _RefusalError(why, mend)


def _parse(stream: BinaryIO) -> tuple[Dataset, UID]:
    """Read what is before the pixels, as far as it is used; the rest is skipped."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import UID

    try:
        dataset = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
    except InvalidDicomError:
        _refuse("it is no DICOM file (no DICM after 128 bytes)")
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    if not syntax:
        _refuse("it does not name its transfer syntax")
    if syntax not in _START and syntax not in _NATIVE:
        _refuse(
            f"its transfer syntax {_word(syntax.name)} is not read here",
            "convert it to Explicit VR Little Endian, e.g. with dcmconv or gdcmconv",
        )
    return dataset, syntax


def _describe(dataset: Dataset, syntax: UID) -> dict[str, Any]:
    notes: list[str] = []
    identity = {name: _text(dataset, name, notes) for name in (*IDENTITY, *LOSSY)}
    sop_class = identity["SOPClassUID"]
    if sop_class not in ULTRASOUND:
        what = f"its SOP class is {_word(sop_class)}" if sop_class else "it has no SOP class"
        _refuse(f"{what}, not US Image or US Multi-frame", "give an ultrasound image or cine loop")
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not identity[name]:
            _refuse(f"its {name} is missing or not valid")
    rows, columns = (_whole(dataset, name, 1, MAX_SIDE) for name in ("Rows", "Columns"))
    one = None if ULTRASOUND[sop_class] else 1
    frames = _whole(dataset, "NumberOfFrames", 1, MAX_FRAMES, default=one)
    if frames > 1 and not ULTRASOUND[sop_class]:
        _refuse(f"it is a US Image, of one frame, and promises {frames}")
    if rows * columns * frames > MAX_PIXELS:
        size = f"{rows} x {columns} x {frames} frames"
        _refuse(f"it promises {size}, above {MAX_PIXELS} pixels", "cut the loop")
    photometric = _check_samples(dataset, syntax)
    times, fps = _timing(dataset, frames, notes)
    return {
        "identity": identity,
        "rows": rows,
        "columns": columns,
        "frames": frames,
        "channels": 1 if photometric in _LUMA_FIRST else 3,
        "times_s": times,
        "fps": fps,
        "regions": _regions(dataset),
        "pixel_spacing": _numbers(dataset, "PixelSpacing")[:2],
        "notes": notes,
    }


def _word(text: object) -> str:
    """Return text of a file as it may stand in a sentence."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:160])


def _said(error: Exception) -> str:
    """Return the end of what a library says, where the reason stands."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {_word(lines[-1])}"


def _text(dataset: Dataset, name: str, notes: list[str]) -> str:
    """Return a text as the standard allows it to stand in the SEG, else nothing and a note."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    try:
        element = dataset[name]
    except KeyError:
        return ""
    try:
        text = str(element.value or "")
        validate_value(dictionary_VR(name), text, RAISE)
        valid = element.VM <= 1 and dictionary_VR(name) == element.VR
    except Exception:  # whatever comes of a value that cannot be decoded
        valid = False
    if not valid:
        notes.append(f"its {name} is not valid and is taken as empty")
    return text if valid else ""


def _whole(dataset: Dataset, name: str, low: int, high: int, default: int | None = None) -> int:
    if default is not None and name not in dataset:
        return default
    found = _numbers(dataset, name)
    if len(found) != 1 or found[0] != int(found[0]) or not low <= found[0] <= high:
        what = ", ".join(f"{number:.12g}" for number in found[:4]) or "missing or no number"
        _refuse(f"its {name} is {what}, not a whole number from {low} to {high}")
    return int(found[0])


def _numbers(dataset: Dataset, name: str) -> list[float]:
    """Return the numbers of an element, none where one of them is none."""
    try:
        value = dataset[name].value
        values = [value] if isinstance(value, (int, float, str, bytes)) else list(value or ())
        found = [float(number) for number in values]
    except (KeyError, TypeError, ValueError, ArithmeticError, NotImplementedError):
        return []
    return found if all(math.isfinite(number) for number in found) else []


def _check_samples(dataset: Dataset, syntax: UID) -> str:
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    gray = photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if not gray and photometric not in _COLOUR:
        _refuse(f"its photometric interpretation is {_word(photometric) or 'missing'}")
    samples = _whole(dataset, "SamplesPerPixel", 1, 4)
    allocated = _whole(dataset, "BitsAllocated", 1, 64)
    stored = _whole(dataset, "BitsStored", 1, 64)
    signed = _whole(dataset, "PixelRepresentation", 0, 1)
    if photometric in ("YBR_RCT", "YBR_ICT") and _START.get(syntax) != _J2K:
        _refuse(f"it is {photometric}, of JPEG 2000, in another transfer syntax")
    if samples != (1 if gray else 3):
        _refuse(f"it is {photometric} with {samples} samples a pixel")
    if allocated not in ((8, 16) if gray else (8,)) or stored > allocated:
        _refuse(f"it is {photometric} with {stored} of {allocated} bits a sample")
    if (signed or stored != allocated) and not photometric.startswith("MONOCHROME"):
        kind = "signed" if signed else "unsigned"
        _refuse(f"it is {photometric} with {kind} samples of {stored} in {allocated} bits")
    return photometric


def _timing(
    dataset: Dataset, frames: int, notes: list[str]
) -> tuple[list[float] | None, float | None]:
    """Return when each frame was taken, in seconds from the first, and the mean rate."""
    if frames == 1:
        return None, None
    steps = _numbers(dataset, "FrameTimeVector")
    lasts = sum(steps[1:]) / 1e3
    fits = len(steps) == frames and min(steps) >= 0
    if fits and lasts > 0 and _plausible(rate := (frames - 1) / lasts):
        return [total / 1e3 for total in accumulate([0.0, *steps[1:]])], rate
    if steps:
        notes.append("its Frame Time Vector does not fit its frames and is not used")
    step_ms = _numbers(dataset, "FrameTime")
    rates = [1e3 / step_ms[0]] if len(step_ms) == 1 and step_ms[0] > 0 else []
    rates += _numbers(dataset, "CineRate") + _numbers(dataset, "RecommendedDisplayFrameRate")
    fps = next(filter(_plausible, rates), None)
    return (None if fps is None else [k / fps for k in range(frames)]), fps


def _plausible(rate: float) -> bool:
    return 0.01 <= rate <= 1000


def _regions(dataset: Dataset) -> list[dict[str, float | None]]:
    """Return the numbers of the ultrasound regions as they stand; whoever uses them judges."""
    try:
        items = list(dataset["SequenceOfUltrasoundRegions"].value or ())
    except (KeyError, TypeError):
        return []
    if len(items) > MAX_REGIONS:
        _refuse(f"it has {len(items)} ultrasound regions, above {MAX_REGIONS}")
    found = []
    for item in items:
        numbers = {key: _numbers(item, name) for key, name in REGION.items()}
        found.append({key: n[0] if len(n) == 1 else None for key, n in numbers.items()})
    return found


def _check_pixels(
    stream: BinaryIO, dataset: Dataset, header: dict[str, Any], syntax: UID
) -> tuple[int, str | None]:
    """Say where the value of Pixel Data starts, and its VR if it is explicit.

    One that is not as the header promises is refused.
    """
    start = stream.tell()
    little = syntax != "1.2.840.10008.1.2.2"
    order = "<" if little else ">"
    head = stream.read(12)
    implicit = syntax == "1.2.840.10008.1.2"
    if len(head) < 12 or struct.unpack(order + "HH", head[:4]) != (0x7FE0, 0x0010):
        _refuse("it ends before its pixels or has none")
    length = struct.unpack(order + "I", head[4:8] if implicit else head[8:12])[0]
    start += 8 if implicit else 12
    kind = None if implicit else head[4:6].decode("ascii", "replace")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    if syntax in _START:
        if length != 0xFFFFFFFF:
            _refuse("its pixels are not encapsulated, as its transfer syntax says")
        _check_fragments(stream, size, header["frames"], _START[syntax])
        return start, kind
    pixels = header["rows"] * header["columns"] * header["frames"]
    bits = int(dataset.BitsAllocated) * int(dataset.SamplesPerPixel)
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        if header["columns"] % 2:
            _refuse(f"it is YBR_FULL_422 with {header['columns']} columns, an odd number")
        bits = 16
    wanted = pixels * bits // 8
    if length not in (wanted, wanted + wanted % 2):
        came = "encapsulated" if length == 0xFFFFFFFF else f"{length} bytes"
        _refuse(f"its pixels are {came}, not {wanted} bytes as its header promises")
    if size - start < wanted:
        _refuse(f"it is truncated ({size - start} of {wanted} bytes of pixels)")
    return start, kind


def _check_fragments(stream: BinaryIO, size: int, frames: int, begins: bytes) -> None:
    """Walk the items of encapsulated pixels: whole to the end, no fewer than frames, of the kind.

    Decoders fill up what is cut off in the middle of a frame, so both ends of each are looked at.
    """
    fragments: list[tuple[int, int]] = []
    while True:
        head = stream.read(8)
        if len(head) < 8:
            _refuse("it is truncated (its pixels have no end)")
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000):
            _refuse("its encapsulated pixels are damaged")
        fragments.append((stream.tell(), stream.tell() + length))
        if stream.seek(length, os.SEEK_CUR) > size:
            _refuse("it is truncated (within a frame)")
    del fragments[:1]  # the offset table
    if len(fragments) < frames:
        _refuse(f"it holds {len(fragments)} of {frames} frames")
    if not begins:
        return
    whole = fragments if len(fragments) == frames else [(fragments[0][0], fragments[-1][1])]
    for number, (start, end) in enumerate(whole):
        stream.seek(start)
        if not stream.read(min(len(begins), end - start)).startswith(begins):
            _refuse("its frames are not compressed as its transfer syntax says")
        stream.seek(max(start, end - 64))
        if _END not in stream.read(end - stream.tell()):  # padding may follow
            _refuse(f"its frame {number} has no end")


def _frames(
    stream: BinaryIO,
    start: int,
    dataset: Dataset,
    header: dict[str, Any],
    syntax: UID,
    **options: Any,
) -> Iterator[NDArray[np.uint8]]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    options |= as_pixel_options(dataset, transfer_syntax_uid=syntax, pixel_keyword="PixelData")
    decode = get_decoder(syntax).iter_array

    def arrays() -> Iterator[NDArray[Any]]:
        stream.seek(start)
        if syntax in _START:
            found = decode(stream, raw=True, decoding_plugin="pylibjpeg", **options)
            yield from (pixels for pixels, _ in found)
            return
        for index in range(header["frames"]):  # pydicom 3.0.2 loses count of YBR_FULL_422 itself
            yield next(decode(stream, raw=True, indices=[index], **options))[0]

    shape = (header["rows"], header["columns"])
    found = arrays()
    for index in range(header["frames"]):
        try:
            pixels = next(found)
        except StopIteration:
            _refuse(f"{index} of {header['frames']} frames could be decoded")
        except (MemoryError, ImportError):
            raise
        except Exception as error:
            _refuse(f"its frame {index} cannot be decoded ({_said(error)})")
        if pixels.shape[:2] != shape:
            _refuse(f"its frame {index} is {pixels.shape[0]} x {pixels.shape[1]}, not {shape}")
        yield _to_bytes(pixels, dataset, header["channels"])
    if next(found, None) is not None:
        _refuse(f"it holds more than the {header['frames']} frames that it promises")


def _to_bytes(pixels: NDArray[Any], dataset: Dataset, channels: int) -> NDArray[np.uint8]:
    """Return gray with black at 0, or RGB. Of YBR it is Y, the luma of BT.601 as it was stored."""
    import numpy as np

    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(pixels, dataset)[..., :3]
        return (colours >> 8 if colours.dtype.itemsize == 2 else colours).astype(np.uint8)
    if pixels.ndim == 3:
        return np.asarray(pixels if channels == 3 else pixels[..., 0], np.uint8)
    bits = int(dataset.BitsStored)
    white = (1 << bits) - 1
    values = pixels.astype(np.int32) + ((1 << (bits - 1)) if dataset.PixelRepresentation else 0)
    gray = (np.clip(values, 0, white).astype(np.uint32) * 255 + white // 2) // white
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    return (255 - gray if inverse else gray).astype(np.uint8)


if __name__ == "__main__":
    main()
