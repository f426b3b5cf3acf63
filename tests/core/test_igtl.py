"""OpenIGTLink messages from Python: what other implementations read, and the same CRC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_bts.errors import InputError
from edge_bts.igtl import HEADER_SIZE, Body, crc64, image_body, pack, parse_header


def crc_by_definition(data: bytes) -> int:
    """Long division of polynomials in whole numbers."""
    rest = int.from_bytes(data, "big") << 64
    divisor = 1 << 64 | 0x42F0E1EBA9EA3693
    while (degree := rest.bit_length()) > 64:
        rest ^= divisor << (degree - 65)
    return rest


def test_the_crc_is_that_of_its_definition() -> None:
    """The check value of the catalogue of CRCs, and data of every length up to 200 bytes."""
    assert crc64(b"123456789") == 0x6C40DF5F0B497347
    data = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    for length in range(len(data) + 1):
        assert crc64(data[:length]) == crc_by_definition(data[:length])


@pytest.mark.parametrize("size", [1, 1000, 65535, 65537, 307272, 1000003])
def test_the_crc_of_an_image_is_that_of_crcmod(size: int) -> None:
    """An independent implementation gives the same for data as large as images."""
    crcmod = pytest.importorskip("crcmod", reason="crcmod comes with pyigtl (edge-bts[dev])")
    reference = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, rev=False, initCrc=0, xorOut=0)
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    assert crc64(data) == reference(data)
    zeros = bytes(size)
    assert crc64(zeros + data) == reference(data)
    assert crc64(data + zeros) == reference(data + zeros)


@pytest.fixture(scope="module")
def messages() -> Any:
    """The messages of pyigtl."""
    pytest.importorskip("pyigtl", reason="pyigtl is not installed (edge-bts[dev])")
    from pyigtl import messages

    return messages


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(5, 7), (480, 640), (6, 4, 3)])
@pytest.mark.parametrize("spacing", [None, 0.08])
def test_pyigtl_reads_our_images(
    messages: Any, version: int, shape: tuple[int, ...], spacing: float | None
) -> None:
    """Pixels, time, matrix, flag and metadata, in both versions."""
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    body = image_body(image, version, spacing_mm=spacing, coordinates="LPS")
    start = pack(body, "Image_Image", 1234.5)
    assert len(start) == HEADER_SIZE
    fields = messages.MessageBase.parse_header(start)
    assert fields["body_size"] == len(body.content)
    assert body.crc == messages.CRC64(body.content)
    read = messages.MessageBase.create_message(fields["message_type"])
    read.unpack(fields, body.content)
    assert (read.device_name, read.timestamp) == ("Image_Image", 1234.5)
    assert read.header_version == version
    assert (read.image[0] == image).all()
    scale = spacing or 1
    assert np.diag(read.ijk_to_world_matrix) == pytest.approx([scale, scale, 1, 1])
    assert read.world_coordinate_system == "lps"
    known = {"micronsPerPixel": "80"} if version == 2 and spacing else {}
    assert read.metadata == known


def test_we_read_the_headers_of_pyigtl(messages: Any) -> None:
    """Type, device, time, size and CRC."""
    sent = messages.StringMessage("hello", timestamp=2.25, device_name="viewer")
    data = sent.pack()
    header = parse_header(data[:HEADER_SIZE])
    assert (header.version, header.type, header.device) == (1, "STRING", "viewer")
    assert header.timestamp == 2.25 * 2**32
    assert header.body_size == len(data) - HEADER_SIZE
    assert header.crc == crc64(data[HEADER_SIZE:])


def test_a_header_of_another_version_is_refused() -> None:
    """The error names it."""
    with pytest.raises(InputError, match="version 1 or 2, but got 3"):
        parse_header(pack(Body("STATUS", 3, b"", 0), "x", 0))
