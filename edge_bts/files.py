"""Files written whole or not at all, and the hashes that name them."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_bts.errors import EdgeBtsError, InputError

__all__ = [
    "atomic_path",
    "canonical_json",
    "is_leftover",
    "new_folder",
    "refuse_existing",
    "sha256_bytes",
    "sha256_file",
    "write_bytes",
    "write_json",
    "write_secret",
    "write_text",
]


def refuse_existing(path: Path, force: bool) -> None:
    """Raise InputError where ``path`` exists and ``force`` is off."""
    if path.exists() and not force:
        raise InputError(f"Expected {path} not to exist, but it does; choose another or --force.")


@contextlib.contextmanager
def atomic_path(
    path: str | Path, *, suffix: str | None = None, mode: int | None = None
) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it there when the block ends well.

    The reader of ``path`` sees the old file or the new file, never a part: the temporary file
    is flushed to the disk before the rename. On any exception, a full disk included, it is
    removed and ``path`` is as it was.

    Args:
        path: Where the file shall be; its folder is created.
        suffix: Ending of the temporary name where a writer decides by it; default that of ``path``.
        mode: Permissions of the file; default what the umask leaves. Until the end it is the
            owner's alone.

    Raises:
        EdgeBtsError: The system refused to write (disk full, no permission).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent,
            prefix=f".{path.name}.",
            suffix=path.suffix if suffix is None else suffix,
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        temporary.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> EdgeBtsError:
    return EdgeBtsError(
        f"Could not write {path}: {error.strerror or error}. "
        "Free some space or choose another folder; nothing was left half-written."
    )


# The names that atomic_path gives: a dot, the file's name, what mkstemp draws, the suffix.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.[^.]+)?")


def is_leftover(path: Path) -> bool:
    """Say whether ``path`` is the unfinished file of a process that was killed while it wrote."""
    return path.is_file() and _TEMPORARY.fullmatch(path.name) is not None


def _umask() -> int:
    # There is no call that only reads it; it is set back at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_secret(path: str | Path, content: bytes, *, force: bool = False) -> None:
    """Write ``content`` to a file that only its owner can read (mode 0600), from its first byte.

    Args:
        path: The file; its folder is created.
        content: The secret.
        force: Replace what stands there. Without it the file is created exclusively: of two
            processes that write at once, one fails.

    Raises:
        InputError: ``path`` exists and ``force`` is false.
        EdgeBtsError: The system refused to write.
    """
    path = Path(path)
    if not force:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise InputError(
                f"Expected {path} not to exist, but it does; choose another name or pass --force."
            ) from None
        except OSError as error:
            raise _refused(path, error) from error
    try:
        with atomic_path(path, mode=0o600) as temporary:
            temporary.write_bytes(content)
    except BaseException:
        if not force:
            path.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def canonical_json(content: Any) -> bytes:
    """Return the one spelling of ``content`` that is hashed: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def new_folder(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that becomes ``path`` when the block ends well.

    A process killed on the way leaves ``path`` as it was or as it shall be, and perhaps a hidden
    folder beside it. Only where the system cannot exchange two names in one step (others than
    Linux, some network disks) is there a moment without either when a folder is replaced.

    Args:
        path: The folder to make.
        force: Replace what stands there; without it an existing ``path`` is an error.

    Raises:
        InputError: ``path`` exists and ``force`` is false.
        EdgeBtsError: The system refused to write.
    """
    path = Path(path)
    if path.exists() and not force:
        raise InputError(f"Expected {path} not to exist, but it does; remove it or pass --force.")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        if not path.exists():
            temporary.rename(path)
        elif not _exchange(temporary, path):
            old = path.with_name(f".{path.name}.old-{os.getpid()}")
            path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                old.rename(path)
                raise
            _remove(old)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        if temporary is not None and temporary.exists():
            _remove(temporary)


def _exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    try:
        function = ctypes.CDLL(None).renameat2  # glibc 2.28
    except AttributeError:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = (os.fsencode(first.absolute()), os.fsencode(second.absolute()))
    return bool(function(here, names[0], here, names[1], exchange) == 0)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
