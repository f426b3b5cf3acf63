"""IR version and opset of an ONNX file, read without the package onnx, which a device lacks.

Field numbers of onnx.proto3: ``ModelProto.ir_version`` 1, ``ModelProto.opset_import`` 8;
``OperatorSetIdProto.domain`` 1, ``OperatorSetIdProto.version`` 2.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["read_onnx_head"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_onnx_head(model: bytes) -> tuple[int | None, int | None]:
    """Return (IR version, opset of the standard domain); None for what is not there.

    Bytes that are no ONNX give (None, None).
    """
    ir = opset = None
    try:
        for field, value in _fields(memoryview(model)):
            if field == 1 and isinstance(value, int):
                ir = value
            elif field == 8 and not isinstance(value, int):
                entry = dict(_fields(value))
                domain = entry.get(1, b"")
                version = entry.get(2)
                if not isinstance(domain, int) and bytes(domain) in (b"", b"ai.onnx"):
                    opset = version if isinstance(version, int) else None
    except (IndexError, ValueError):
        return None, None
    return ir, opset


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (number, value) of every field; nested messages as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("no protobuf")
        if at + size > len(data):
            raise ValueError("cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
