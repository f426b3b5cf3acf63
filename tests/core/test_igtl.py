"""OpenIGTLink messages from Python: what other implementations read, and the same CRC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_bts.errors import InputError
from edge_bts.igtl import (
    HEADER_SIZE,
    Body,
    Header,
    crc64,
    image_body,
    pack,
    parse_header,
    parse_image,
    parse_string,
)


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


def taken_apart(data: bytes) -> tuple[Header, bytes]:
    """Header and body of a message."""
    return parse_header(data[:HEADER_SIZE]), data[HEADER_SIZE:]


@pytest.mark.parametrize("metadata", [{}, {"micronsPerPixel": "81.5", "x": "y"}])
@pytest.mark.parametrize(("shape", "dtype"), [((1, 5, 7), "u1"), ((1, 4, 6, 3), "u1"),
                                              ((1, 4, 6, 4), "u1"), ((1, 5, 7), "u2")])  # fmt: skip
def test_we_read_the_images_of_pyigtl(
    messages: Any, shape: tuple[int, ...], dtype: str, metadata: dict[str, str]
) -> None:
    """Pixels in this machine's byte order; spacing of the metadata, then of the matrix."""
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(2).integers(0, most, shape, dtype)
    matrix = np.diag([0.2, 0.2, 1.0, 1.0])
    sent = messages.ImageMessage(pixels, device_name="x", ijk_to_world_matrix=matrix)
    if metadata:
        sent.metadata.update(metadata)
        sent.header_version = 2
    image = parse_image(*taken_apart(sent.pack()))
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.pixels.dtype.isnative
    assert (image.pixels == pixels[0]).all()
    assert image.spacing_mm == pytest.approx(0.0815 if metadata else 0.2)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("spacing", [None, 0.08])
def test_we_read_our_own_images(version: int, spacing: float | None) -> None:
    """A matrix of 1 mm says nothing, as servers send it that do not know."""
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    body = image_body(pixels, version, spacing_mm=spacing)
    image = parse_image(*taken_apart(pack(body, "x", 0) + body.content))
    assert (image.pixels == pixels).all()
    assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))


@pytest.mark.parametrize("said", ["0", "-5", "nan", "inf", "many", "", "1e9"])
def test_a_spacing_that_cannot_be_is_not_believed(messages: Any, said: str) -> None:
    """Nor is a matrix whose columns differ."""
    sent = messages.ImageMessage(np.zeros((1, 4, 6), np.uint8), device_name="x")
    sent.metadata["micronsPerPixel"] = said
    sent.header_version = 2
    assert parse_image(*taken_apart(sent.pack())).spacing_mm is None
    sent.ijk_to_world_matrix = np.diag([0.2, 0.3, 1.0, 1.0])
    assert parse_image(*taken_apart(sent.pack())).spacing_mm is None


def test_what_is_no_image_of_one_slice_is_refused(messages: Any) -> None:
    """With what was expected."""
    for pixels in (np.zeros((2, 4, 6), np.uint8), np.zeros((4, 6), np.uint8)):
        with pytest.raises(InputError, match="one slice"):
            parse_image(*taken_apart(messages.ImageMessage(pixels, device_name="x").pack()))
    for pixels in (np.zeros((1, 4, 6), np.float32), np.zeros((1, 4, 6, 3), np.uint16)):
        with pytest.raises(InputError, match="uint8 pixels of 1, 3 or 4"):
            parse_image(*taken_apart(messages.ImageMessage(pixels, device_name="x").pack()))


def test_the_text_of_a_string_is_read(messages: Any) -> None:
    """In both versions, and only if all of it came."""
    sent = messages.StringMessage("hello", device_name="x")
    header, body = taken_apart(sent.pack())
    assert parse_string(header, body) == "hello"
    with pytest.raises(InputError, match="whole STRING"):
        parse_string(header, body[:-1])
    with pytest.raises(InputError, match="whole STRING"):
        parse_string(header, b"")


def test_bytes_that_are_no_message_end_in_a_sentence(messages: Any) -> None:
    """10,000 messages that were cut, changed or made longer: a result or an InputError."""
    random = np.random.default_rng(3)
    whole = []
    for version in (1, 2):
        image = image_body(np.zeros((5, 7), np.uint8), version, spacing_mm=0.1)
        whole.append((Header(version, "IMAGE", "x", 0, 0, 0), image.content))
        text = messages.StringMessage("hello", device_name="x")
        text.metadata["a"] = "b"
        text.header_version = version
        whole.append(taken_apart(text.pack()))
    refused = 0
    for _ in range(10_000):
        header, body = whole[random.integers(len(whole))]
        changed = bytearray(
            body[: random.integers(len(body) + 1)] if random.random() < 0.3 else body
        )
        for _ in range(random.integers(3)):
            if changed:
                changed[random.integers(min(len(changed), 100))] = random.integers(256)
        changed += bytes(random.integers(0, 3))
        try:
            (parse_image if header.type == "IMAGE" else parse_string)(header, bytes(changed))
        except InputError:
            refused += 1
    assert 1_000 < refused < 10_000
