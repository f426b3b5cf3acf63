"""OpenIGTLink messages, as far as :mod:`edge_bts.replay` and :mod:`edge_bts.view` need them.

The twin of ``runtime/apps/igtl/codec.hpp``. Protocol 3: a message is a header of 58 bytes and a
body, all numbers big-endian; a body of header version 2 carries pairs of key and value.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import InputError

__all__ = [
    "HEADER_SIZE",
    "Body",
    "Header",
    "Image",
    "crc64",
    "image_body",
    "pack",
    "parse_header",
    "parse_image",
    "parse_string",
]

HEADER_SIZE = 58
_HEADER = struct.Struct(">H12s20sQQQ")
_EXTENDED = struct.Struct(">HHII")
_IMAGE = struct.Struct(">HBBBB3H12f6H")
_UINT8, _UINT16, _BIG_ENDIAN, _UTF8 = 3, 5, 1, 106
_LEAST_MM, _MOST_MM = 1e-4, 100.0  # what a spacing can be
_COORDINATES = {"RAS": 1, "LPS": 2}
_POLYNOMIAL = 0x42F0E1EBA9EA3693
_TOP = 1 << 63
_ALL = (1 << 64) - 1

_U64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Header:
    """The start of a message. ``timestamp`` is in units of 2**-32 s."""

    version: int
    type: str
    device: str
    timestamp: int
    body_size: int
    crc: int


@dataclass(frozen=True)
class Body:
    """What does not change from one sending to the next, and so is made before its time.

    Attributes:
        type: ``"IMAGE"``, ...
        version: Of the header it needs, 1 or 2.
        content: The bytes.
        crc: Their CRC-64.
    """

    type: str
    version: int
    content: bytes
    crc: int


@dataclass(frozen=True)
class Image:
    """What an IMAGE of one slice holds.

    Attributes:
        pixels: uint8 or uint16 H x W, or uint8 H x W x 3 (RGB) or x 4 (RGBA).
        spacing_mm: Of the metadata ``micronsPerPixel``, else of the matrix unless that is 1, which
            servers send that do not know; None: unknown.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    spacing_mm: float | None


def parse_header(data: bytes) -> Header:
    """Parse the 58 bytes of a header.

    Raises:
        InputError: The version is neither 1 nor 2: the stream is out of step.
    """
    version, kind, device, timestamp, size, crc = _HEADER.unpack(data)
    if version not in (1, 2):
        raise InputError(f"Expected an OpenIGTLink header of version 1 or 2, but got {version}.")
    return Header(version, _text(kind), _text(device), timestamp, size, crc)


def parse_image(header: Header, body: bytes) -> Image:
    """Take an IMAGE apart.

    Raises:
        InputError: Sizes that do not add up, a part of an image, more than one slice, or other
            pixels than :class:`Image` names.
    """
    content, metadata = _split(header, body)
    if len(content) < _IMAGE.size:
        raise InputError(
            f"Expected an IMAGE of {_IMAGE.size} bytes or more, but got {len(content)}."
        )
    version, channels, scalar, order, _, *rest = _IMAGE.unpack_from(content)
    size, matrix, part = rest[:3], rest[3:15], rest[15:]
    width, height, depth = size
    dtypes = {_UINT8: ("u1", "u1"), _UINT16: (">u2", "<u2")}
    dtype = dtypes.get(scalar, ("", ""))[order - 1] if order in (1, 2) else ""
    if version != 1 or not dtype or channels not in ((1, 3, 4) if dtype == "u1" else (1,)):
        raise InputError(
            "Expected uint8 pixels of 1, 3 or 4 components or uint16 of 1, but got scalar type "
            f"{scalar} of {channels} in byte order {order}, version {version}."
        )
    if depth != 1 or width == 1 or part != [0, 0, 0, *size]:
        raise InputError(
            "Expected a whole image of one slice and more than one column, but got "
            f"{width} x {height} x {depth} (pyigtl sends an array of two dimensions so: give it "
            "(1, H, W))."
        )
    pixels = np.frombuffer(content, dtype, offset=_IMAGE.size)
    if not pixels.size or pixels.size != width * height * channels:
        raise InputError(
            f"Expected {width} x {height} pixels of {channels} components, but got "
            f"{len(content) - _IMAGE.size} bytes."
        )
    shape = (height, width) if channels == 1 else (height, width, channels)
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).reshape(shape)
    return Image(native, _spacing_mm(metadata, matrix))


def parse_string(header: Header, body: bytes) -> str:
    """Return the text of a STRING.

    Raises:
        InputError: It is longer than what came.
    """
    content, _ = _split(header, body)
    if len(content) < 4 or len(content) < 4 + (size := int.from_bytes(content[2:4], "big")):
        raise InputError(f"Expected a whole STRING, but got {len(content)} bytes.")
    return content[4 : 4 + size].decode("utf-8", "replace")


def _split(header: Header, body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return content and metadata of a body."""
    if header.version < 2:
        return body, {}
    sizes = _EXTENDED.unpack_from(body) if len(body) >= _EXTENDED.size else (0, 0, 0, 0)
    start, heads, texts, _ = sizes
    end = len(body) - heads - texts
    if start < _EXTENDED.size or end < start:
        raise InputError(
            f"Expected an extended header that fits its body, but got {sizes[:3]} in {len(body)} "
            "bytes."
        )
    pairs, at = {}, end + heads
    for index in range(int.from_bytes(body[end : end + 2], "big") if heads >= 2 else 0):
        head = end + 2 + 8 * index
        if head + 8 > end + heads:
            raise InputError("Expected as many heads of metadata as it counts, but they are cut.")
        key, _, value = struct.unpack_from(">HHI", body, head)
        if at + key + value > len(body):
            raise InputError("Expected metadata as long as its heads say, but it is cut.")
        name, text = body[at : at + key], body[at + key : at + key + value]
        pairs[name.decode("latin-1")] = text.decode("latin-1")
        at += key + value
    return body[start:end], pairs


def _spacing_mm(metadata: Mapping[str, str], matrix: Sequence[float]) -> float | None:
    with suppress(KeyError, ValueError):
        said = float(metadata["micronsPerPixel"]) / 1000
        if _LEAST_MM <= said <= _MOST_MM:
            return said
    across, down = math.hypot(*matrix[0:3]), math.hypot(*matrix[3:6])
    # Floats that were a rotation times a spacing: equal to some of their 24 bits.
    plausible = _LEAST_MM <= across <= _MOST_MM and math.isclose(across, down, rel_tol=1e-4)
    return across if plausible and not math.isclose(across, 1.0, rel_tol=1e-4) else None


def _text(padded: bytes) -> str:
    return padded.split(b"\0", 1)[0].decode("latin-1")


def pack(body: Body, device: str, time_s: float) -> bytes:
    """Return the header of a message; the body follows it.

    Args:
        body: What is sent.
        device: Name, at most 20 bytes.
        time_s: Timestamp in seconds, 0 to 2**32.
    """
    return _HEADER.pack(
        body.version,
        body.type.encode(),
        device.encode(),
        int(time_s * 2**32),
        len(body.content),
        body.crc,
    )


def image_body(
    image: NDArray[np.uint8],
    version: int,
    *,
    spacing_mm: float | None = None,
    coordinates: str = "RAS",
) -> Body:
    """Make the body of an IMAGE of one slice, centred at the origin.

    Args:
        image: uint8, H x W or H x W x C.
        version: Of the header, 1 or 2.
        spacing_mm: Of a pixel: in the matrix, and in version 2 as the metadata
            ``micronsPerPixel``; None: the matrix is that of 1 mm, as servers send that do not know.
        coordinates: ``"RAS"`` or ``"LPS"``.
    """
    height, width = image.shape[:2]
    components = image.shape[2] if image.ndim == 3 else 1
    scale = 1.0 if spacing_mm is None else spacing_mm
    axes = (scale, 0, 0, 0, scale, 0, 0, 0, 1)
    size = (width, height, 1)
    content = _IMAGE.pack(
        1, components, _UINT8, _BIG_ENDIAN, _COORDINATES[coordinates], *size, *axes, 0, 0, 0,
        0, 0, 0, *size,
    ) + np.ascontiguousarray(image).tobytes()  # fmt: skip
    if version >= 2:
        known = {} if spacing_mm is None else {"micronsPerPixel": f"{spacing_mm * 1000:.9g}"}
        content = _extended(content, known)
    return Body("IMAGE", version, content, crc64(content))


def _extended(content: bytes, metadata: Mapping[str, str]) -> bytes:
    pairs = [(key.encode(), value.encode()) for key, value in metadata.items()]
    heads = struct.pack(">H", len(pairs))
    heads += b"".join(struct.pack(">HHI", len(k), _UTF8, len(v)) for k, v in pairs)
    texts = b"".join(key + value for key, value in pairs)
    start = _EXTENDED.pack(_EXTENDED.size, len(heads), len(texts), 0)
    return start + content + heads + texts


def crc64(data: bytes) -> int:
    """Return the CRC-64 of ECMA-182 (highest bit first, from 0, not inverted).

    The bytes are cut into lanes that NumPy takes a step of 16 bits together; then neighbours are
    joined, as a CRC is linear: crc(a + b) = crc(a followed by zeros) ^ crc(b). Zeros in front of
    data change nothing, so lanes may be filled up there.
    """
    words = -(-len(data) // 2)
    lanes = 1 << max(0, int(math.log2(max(words, 1)) * 0.62))  # long data: more lanes than steps
    steps = -(-words // lanes)
    padded = bytes(lanes * steps * 2 - len(data)) + data
    columns = np.frombuffer(padded, ">u2").reshape(lanes, steps).T.astype(np.uint64, order="C")
    table = _table()
    crc = np.zeros(lanes, np.uint64)
    for column in columns:
        crc = (crc << np.uint64(16)) ^ table[(crc >> np.uint64(48)) ^ column]
    length = steps * 2
    while len(crc) > 1:
        crc = _followed_by_zeros(crc[0::2], length) ^ crc[1::2]
        length *= 2
    return int(crc[0])


@lru_cache(maxsize=1)
def _table() -> _U64:
    """The CRC of every 16-bit word."""
    crc: _U64 = np.arange(65536, dtype=np.uint64) << np.uint64(48)
    for _ in range(16):
        high = crc >> np.uint64(63)
        crc = (crc << np.uint64(1)) ^ (high * np.uint64(_POLYNOMIAL))
    return crc


def _followed_by_zeros(crc: _U64, count: int) -> _U64:
    """Return the CRCs of data to which ``count`` zero bytes are added."""
    out = np.zeros_like(crc)
    for index, table in enumerate(_zeros_tables(count)):
        out ^= table[(crc >> np.uint64(8 * index)) & np.uint64(255)]
    return out


@lru_cache(maxsize=256)
def _zeros_tables(count: int) -> _U64:
    """Entry [i, b]: the CRC whose byte i is b, ``count`` zero bytes later; 8 x 256."""
    factor = _power_of_x(8 * count)
    tables = np.zeros((8, 256), np.uint64)
    for index in range(8):
        for bit in range(8):
            image = np.uint64(_product(1 << (8 * index + bit), factor))
            tables[index, 1 << bit : 2 << bit] = tables[index, : 1 << bit] ^ image
    return tables


def _product(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2), modulo that of the CRC."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = ((a << 1) ^ _POLYNOMIAL if a & _TOP else a << 1) & _ALL
        b >>= 1
    return product


def _power_of_x(exponent: int) -> int:
    power, square = 1, 2
    while exponent:
        if exponent & 1:
            power = _product(power, square)
        square = _product(square, square)
        exponent >>= 1
    return power
