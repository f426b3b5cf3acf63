"""Image files to 8-bit gray arrays, with damaged files refused instead of half-decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_bts.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    U8 = npt.NDArray[np.uint8]

__all__ = ["IMAGE_SUFFIXES", "read_gray", "read_mask"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def read_gray(path: str | Path) -> U8:
    """Read an image file as 8-bit gray.

    Colour and palette become luma (ITU-R BT.601), an alpha channel is ignored, 1-bit becomes
    0/255 and 16-bit is scaled from 0..65535 to 0..255. Orientation tags are not applied.

    Args:
        path: PNG, JPEG, BMP or TIFF file.

    Returns:
        uint8, H x W.

    Raises:
        InputError: The file is missing, truncated, damaged or not an 8-bit or 16-bit image.
    """
    import cv2
    import numpy as np

    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected an image at {path}, but it cannot be read ({error.strerror or error}); "
            "restore the file."
        ) from error
    if problem := _damage(content):
        raise InputError(f"Expected a whole image in {path}, but {problem}; restore the file.")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # an empty buffer, or a header that promises more pixels than OpenCV allows
        image = None
    if image is None:
        raise InputError(
            f"Expected a PNG, JPEG, BMP or TIFF image in {path}, but it cannot be decoded; "
            "restore or convert the file."
        )
    return _to_gray(image, path)


def read_mask(path: str | Path) -> U8:
    """Read a mask file as 0/1.

    Accepted are 0/1 files and 0/255 files (in any storage of :func:`read_gray`); of the latter a
    pixel counts as lesion from 128 on, so the soft edges of a JPEG do no harm.

    Args:
        path: Mask file.

    Returns:
        uint8 with the values 0 and 1, H x W.

    Raises:
        InputError: As :func:`read_gray`, or the largest value is neither 0, 1 nor at least 128.
    """
    import numpy as np

    gray = read_gray(path)
    largest = int(gray.max())
    if 1 < largest < 128:
        raise InputError(
            f"Expected a mask of 0 and 255 (or 0 and 1) in {path}, but its largest gray value is "
            f"{largest}; write lesion pixels as 255."
        )
    return (gray >= min(128, max(largest, 1))).astype(np.uint8)


def _to_gray(image: npt.NDArray[Any], path: Path) -> U8:
    import cv2
    import numpy as np

    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(
            f"Expected an 8-bit or 16-bit image in {path}, but its pixels are {image.dtype}; "
            "convert it to 8-bit gray."
        )
    if image.ndim == 3:
        code = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}.get(image.shape[2])
        image = image[:, :, 0] if code is None else cv2.cvtColor(image, code)
    return np.ascontiguousarray(image, dtype=np.uint8)


def _damage(content: bytes) -> str | None:
    """Say what is wrong with a file that OpenCV may decode partly without a word."""
    if not content:
        return "the file is empty"
    if content.startswith(_PNG_SIGNATURE):
        return _png_damage(content)
    if content.startswith(_JPEG_SIGNATURE) and b"\xff\xd9" not in content[-4096:]:
        # Some writers append padding after the end marker, hence the window.
        return "the JPEG is truncated (no end marker)"
    if content.startswith(b"BM") and len(content) >= 6:
        (promised,) = struct.unpack("<I", content[2:6])
        if promised > len(content):
            return f"the BMP is truncated ({len(content)} of {promised} bytes)"
    return None


def _png_damage(content: bytes) -> str | None:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        end = position + 12 + length
        if end > len(content):
            break
        # Critical chunks start with a capital letter; a bad time stamp spoils no pixel.
        if kind[:1].isupper():
            (expected,) = struct.unpack(">I", content[end - 4 : end])
            if zlib.crc32(content[position + 4 : end - 4]) != expected:
                return f"the PNG is damaged (checksum of its {kind.decode('latin-1')} chunk)"
        if kind == b"IEND":
            return None
        position = end
    return "the PNG is truncated (no end chunk)"
