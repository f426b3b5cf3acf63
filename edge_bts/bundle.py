"""The bundle ``NAME.ebts``: the flat folder that travels from the workstation to the device.

``manifest.json`` describes the model and holds size and SHA-256 of every other file;
``manifest.sig`` is the signature of its bytes (:mod:`edge_bts.signing`). A reader trusts nothing
before it is checked, in this order: caps on sizes, signature, manifest, names and sizes of what
lies in the folder, the hash of the very buffer that is used. What follows when a network is opened
stands in :mod:`edge_bts.runtime.opening`.
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
from edge_bts.files import new_folder, sha256_bytes, sha256_file, write_bytes
from edge_bts.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    first_fault,
    is_flat,
    parse_manifest,
)
from edge_bts.signing import (
    SIGNATURE_BYTES,
    SIGNATURE_NAME,
    SigningKey,
    Trust,
    Verdict,
    find_trust,
)

__all__ = [
    "MAX_MANIFEST_BYTES",
    "SUFFIX",
    "Bundle",
    "Manifest",
    "check_output",
    "open_bundle_folder",
    "sign_bundle",
    "write_bundle",
]

SUFFIX = ".ebts"
MAX_MANIFEST_BYTES = 1 << 20
"""A manifest is a few kilobytes; more is not one of ours."""


class Bundle:
    """An opened bundle: manifest, names and sizes are checked, content is when it is read.

    Attributes:
        path: The folder.
        manifest: What it says of itself.
        manifest_sha256: SHA-256 of the manifest's bytes: the identity of the bundle.
        maker: Who signed it, and whether that is trusted.
    """

    def __init__(
        self, path: Path, manifest: Manifest, manifest_sha256: str, maker: Verdict
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self.maker = maker

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


def open_bundle_folder(path: str | Path, trust: Trust | None = None) -> Bundle:
    """Open a bundle: check signature, manifest, and what lies in the folder.

    Args:
        path: The folder ``NAME.ebts``.
        trust: Whose bundles are opened; None is :func:`edge_bts.signing.find_trust`.

    Raises:
        InputError: There is no bundle at ``path``, or its manifest, authentic or unsigned, is not
            one.
        IntegrityError: The signature is missing, damaged, wrong or by an unknown key (as ``trust``
            says), or the folder does not hold exactly the files that the manifest lists.
        EnvironmentMismatchError: It needs a newer edge-bts, or a feature that this one lacks.
    """
    path = Path(path)
    trust = find_trust() if trust is None else trust
    signature = _read_signature(path)
    content = _read_manifest(path, signed=signature is not None)
    maker = trust.check(content, signature, path)
    bundle = _parse(path, content, maker)
    _check_folder(bundle, signed=signature is not None)
    return bundle


def sign_bundle(path: str | Path, key: SigningKey, *, force: bool = False) -> Bundle:
    """Sign a bundle whose every file is what its manifest says.

    Args:
        path: The folder ``NAME.ebts``.
        key: The private key.
        force: Replace a signature, whoever made it.

    Raises:
        InputError: No bundle, a broken manifest, or it has a signature and ``force`` is false.
        IntegrityError: A file is not what the manifest says; nothing is signed then.
        EdgeBtsError: The system refused to write.
    """
    path = Path(path)
    target = path / SIGNATURE_NAME
    has_one = os.path.lexists(target)
    if has_one and not force:
        raise InputError(
            f"Expected {path} not to be signed, but it is; pass --force to replace the signature."
        )
    content = _read_manifest(path, signed=False)
    bundle = _parse(path, content, Verdict(key.id))
    _check_folder(bundle, signed=has_one)
    bundle.verify()
    write_bytes(target, key.sign(content))
    return bundle


def write_bundle(
    path: str | Path,
    manifest_fields: Mapping[str, Any],
    files: Mapping[str, bytes | Path],
    force: bool = False,
    key: SigningKey | None = None,
) -> Bundle:
    """Write a bundle whole or not at all; the same content gives the same bytes.

    Args:
        path: The folder to make, ``NAME.ebts``.
        manifest_fields: Fields of :class:`Manifest` but ``files``.
        files: Content by name: bytes, or a file to copy.
        force: Replace a bundle that stands there.
        key: Signs it; None writes a bundle without a signature.

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
        content = f"{text}\n".encode()
        (folder / MANIFEST_NAME).write_bytes(content)
        if key is not None:
            (folder / SIGNATURE_NAME).write_bytes(key.sign(content))
    trust = Trust(allow_unsigned=True) if key is None else Trust((key.public,))
    return open_bundle_folder(path, trust)


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


def _read_signature(path: Path) -> bytes | None:
    """Return what stands in the place of the signature; empty if that is no plain file."""
    target = path / SIGNATURE_NAME
    return _read_plain(target, SIGNATURE_BYTES) or b"" if os.path.lexists(target) else None


def _read_manifest(path: Path, *, signed: bool) -> bytes:
    # A signature says that there was a manifest once: what is wrong with it now is damage.
    error = IntegrityError if signed else InputError
    content = _read_plain(path / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    if content is None:
        raise error(
            f"Expected a bundle (folder NAME{SUFFIX} with {MANIFEST_NAME}) at {path}, but there is "
            "none; make one with `edge-bts export`."
        )
    if len(content) > MAX_MANIFEST_BYTES:
        raise error(
            f"Expected {path / MANIFEST_NAME} to have at most {MAX_MANIFEST_BYTES} bytes, but it "
            "has more; it is not a manifest of edge-bts."
        )
    return content


def _parse(path: Path, content: bytes, maker: Verdict) -> Bundle:
    manifest = parse_manifest(content, path / MANIFEST_NAME)
    return Bundle(path, manifest, sha256_bytes(content), maker)


def _check_folder(bundle: Bundle, *, signed: bool) -> None:
    """Refuse a folder that does not hold exactly what the manifest lists, as plain files.

    What is not listed is not covered by the signature, and a library might still pick it up.
    """
    files = bundle.manifest.files
    missing = {MANIFEST_NAME, *files} | ({SIGNATURE_NAME} if signed else set())

    def refuse(name: str, what: str) -> IntegrityError:
        return IntegrityError(
            f"Expected {bundle.path} to hold the files of its manifest and nothing else, but "
            f"{name} {what}; copy the bundle again from its source."
        )

    try:
        with os.scandir(bundle.path) as entries:
            for entry in entries:
                if entry.name not in missing:
                    raise refuse(repr(entry.name), "is not one of them")
                missing.remove(entry.name)
                if not entry.is_file(follow_symlinks=False):
                    raise refuse(entry.name, "is no plain file")
                size = entry.stat(follow_symlinks=False).st_size
                listed = files.get(entry.name)
                if listed is not None and size != listed.size:
                    raise refuse(entry.name, f"has {size} bytes and not {listed.size}")
    except OSError as error:
        raise InputError(
            f"Expected a bundle that can be read at {bundle.path}, but: {error.strerror}."
        ) from None
    if missing:
        raise refuse(min(missing), "is missing")


def _read_plain(path: Path, size: int) -> bytes | None:
    """Return up to ``size + 1`` bytes of a plain file, or None if it cannot be had.

    Links are not followed: what lies in the folder is what was signed. A pipe is opened without
    waiting and refused.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(size + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
