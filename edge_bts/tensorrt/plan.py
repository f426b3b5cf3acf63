"""What the first bytes of a TensorRT plan say, read without TensorRT.

Layout as NVIDIA's trtexec reads it (``--getPlanVersionOnly``, sampleEngines.cpp of TensorRT
v10.3.0 and v11.1): two little-endian uint32, tag and serialisation version; bytes 24 to 27 are
major, minor, patch and build.
"""

from __future__ import annotations

import re
import struct

__all__ = ["HEAD_BYTES", "has_plan_tag", "plan_version", "same_version", "version_numbers"]

HEAD_BYTES = 28
_TAG = 0x74727466
_KNOWN_SERIALISATION = 0

Version = tuple[int, ...]


def has_plan_tag(plan: bytes) -> bool:
    """Say whether ``plan`` is long enough for a head and begins with TensorRT's tag."""
    return len(plan) >= HEAD_BYTES and struct.unpack_from("<I", plan)[0] == _TAG


def plan_version(plan: bytes) -> Version | None:
    """Return (major, minor, patch, build) of the TensorRT that built ``plan``.

    Args:
        plan: Bytes for which :func:`has_plan_tag` holds; the first 28 are read.

    Returns:
        None where the serialisation version is not the one whose layout is known: cannot tell.
    """
    if struct.unpack_from("<I", plan, 4)[0] != _KNOWN_SERIALISATION:
        return None
    return tuple(plan[24:HEAD_BYTES])


def version_numbers(text: str) -> Version:
    """Return the leading numbers of a version: ``10.13.3.9.post1`` gives (10, 13, 3, 9)."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def same_version(plan: Version, library: Version) -> bool:
    """Compare as many numbers as both give: packages of JetPack leave the build number out.

    The build number in a plan is one byte, so it is compared modulo 256.
    """
    pairs = list(zip(plan, library, strict=False))
    return bool(pairs) and all(a == b % 256 for a, b in pairs)
