"""The bundle ``NAME.ebts``: the flat folder that travels from the workstation to the device.

``manifest.json`` describes the model and holds size and SHA-256 of every other file. A reader
trusts nothing before it is checked: sizes are capped before bytes are read, and what is hashed is
the very buffer that is used.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_bts.errors import InputError, IntegrityError
from edge_bts.files import new_folder, sha256_bytes, sha256_file
from edge_bts.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    first_fault,
    is_flat,
    parse_manifest,
)

__all__ = [
    "MAX_MANIFEST_BYTES",
    "SUFFIX",
    "Bundle",
    "Manifest",
    "check_output",
    "open_bundle_folder",
    "write_bundle",
]

SUFFIX = ".ebts"
MAX_MANIFEST_BYTES = 1 << 20
"""A manifest is a few kilobytes; more is not one of ours."""


class Bundle:
    """An opened bundle: its manifest is checked, its files are when they are read.

    Attributes:
        path: The folder.
        manifest: What it says of itself.
        manifest_sha256: SHA-256 of the manifest's bytes: the identity of the bundle.
    """

    def __init__(self, path: Path, manifest: Manifest, manifest_sha256: str) -> None:
        self.path = path
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256

    def __repr__(self) -> str:
        """Name the folder, the model and its precision."""
        return f"Bundle({self.path.name}: {self.manifest.name}, {self.manifest.precision})"

    def read(self, name: str) -> bytes:
        """Return the content of a file; the bytes returned are the bytes that were hashed.

        Raises:
            InputError: The manifest does not list ``name``.
            IntegrityError: The file is missing, no plain file, or not what the manifest says.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise InputError(
                f"Expected one of {', '.join(sorted(self.manifest.files))} in {self.path}, "
                f"but got {name!r}."
            )
        content = _read_plain(self.path / name, entry.size)
        if content is None or len(content) != entry.size or sha256_bytes(content) != entry.sha256:
            what = "missing or no plain file" if content is None else "not what the manifest says"
            raise IntegrityError(
                f"Expected {name} in {self.path} to have {entry.size} bytes and SHA-256 "
                f"{entry.sha256[:12]}, but it is {what}; copy the bundle again from its source."
            )
        return content

    def verify(self) -> None:
        """Read and hash every file.

        Raises:
            IntegrityError: Names the first that is not what the manifest says.
        """
        for name in sorted(self.manifest.files):
            self.read(name)


def open_bundle_folder(path: str | Path) -> Bundle:
    """Open a bundle: read and check its manifest.

    Raises:
        InputError: There is no bundle at ``path``, or its manifest is not one.
        EnvironmentMismatchError: It needs a newer edge-bts, or a feature that this one lacks.
    """
    path = Path(path)
    content = _read_plain(path / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    if content is None:
        raise InputError(
            f"Expected a bundle (folder NAME{SUFFIX} with {MANIFEST_NAME}) at {path}, but there is "
            "none; make one with `edge-bts export`."
        )
    if len(content) > MAX_MANIFEST_BYTES:
        raise InputError(
            f"Expected {path / MANIFEST_NAME} to have at most {MAX_MANIFEST_BYTES} bytes, but it "
            "has more; it is not a manifest of edge-bts."
        )
    return Bundle(path, parse_manifest(content, path / MANIFEST_NAME), sha256_bytes(content))


def write_bundle(
    path: str | Path,
    manifest_fields: Mapping[str, Any],
    files: Mapping[str, bytes | Path],
    force: bool = False,
) -> Bundle:
    """Write a bundle whole or not at all; the same content gives the same bytes.

    Args:
        path: The folder to make, ``NAME.ebts``.
        manifest_fields: Fields of :class:`Manifest` but ``files``.
        files: Content by name: bytes, or a file to copy.
        force: Replace a bundle that stands there.

    Raises:
        InputError: Another suffix; the folder exists without ``force`` or is no bundle; a field
            or a name that a manifest may not have.
        EdgeBtsError: The system refused to write.
    """
    path = check_output(path, force=force)
    with new_folder(path, force=force) as folder:
        entries = {name: _store(folder, name, files[name]) for name in sorted(files)}
        try:
            manifest = Manifest.model_validate({**manifest_fields, "files": entries})
        except ValidationError as error:
            raise InputError(f"Expected fields of a manifest, but {first_fault(error)}.") from None
        text = json.dumps(
            manifest.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False
        )
        (folder / MANIFEST_NAME).write_bytes(f"{text}\n".encode())
    return open_bundle_folder(path)


def check_output(path: str | Path, *, force: bool) -> Path:
    """Return ``path`` if a bundle may be written there.

    Raises:
        InputError: Another suffix, something stands there, or ``force`` would remove what is not
            a bundle.
    """
    path = Path(path)
    if path.suffix != SUFFIX or not path.stem:
        raise InputError(f"Expected the output to be named NAME{SUFFIX}, but got {path.name!r}.")
    if path.exists():
        if not force:
            raise InputError(
                f"Expected {path} not to exist, but it does; remove it or pass --force."
            )
        if not path.is_dir() or (any(path.iterdir()) and not (path / MANIFEST_NAME).is_file()):
            raise InputError(
                f"Expected --force to replace a bundle, but {path} is something else; "
                "choose another name."
            )
    return path


def _store(folder: Path, name: str, content: bytes | Path) -> FileEntry:
    if not is_flat(name):
        raise InputError(f"Expected the plain name of a file, but got {name!r}.")
    target = folder / name
    target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return FileEntry(size=target.stat().st_size, sha256=sha256_file(target))


def _read_plain(path: Path, size: int) -> bytes | None:
    """Return up to ``size + 1`` bytes of a plain file, or None if it is missing or another thing.

    Links are not followed: what lies in the folder is what was signed. A pipe is opened without
    waiting and refused.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return stream.read(size + 1)
