"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from edge_bts import files
from edge_bts.errors import EdgeBtsError, InputError


def content(folder: Path) -> list[str]:
    """Every name in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def no_space(*_: object) -> None:
    """What the system says when the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_appears_with_its_content(tmp_path: Path) -> None:
    """The file stands in a folder made for it, with the permissions of an ordinary file."""
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "é")
    assert path.read_bytes() == "é".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert content(path.parent) == ["a.txt"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    """An exception or Ctrl-C in the middle changes nothing and leaves no temporary file."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(interruption), files.atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise interruption
    assert path.read_bytes() == b"old"
    assert content(tmp_path) == ["a.bin"]


def test_a_full_disk_is_one_sentence_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and what to do; the old content stands."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(EdgeBtsError, match=r"Could not write .*a\.bin: No space left.*Free some"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert content(tmp_path) == ["a.bin"]


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    """Nobody sees the folder before all of its files are in it."""
    path = tmp_path / "runs" / "a"
    with files.new_folder(path) as temporary:
        (temporary / "one").write_text("1")
        assert not path.exists()
    assert (path / "one").read_text() == "1"
    assert content(path.parent) == ["a"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    """With force, too, the old folder stays until the new one is whole."""
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(interruption), files.new_folder(path, force=True) as temporary:  # noqa: PT012
        (temporary / "new").touch()
        raise interruption
    assert content(path) == ["old"]
    assert content(tmp_path) == ["a"]


def test_a_folder_is_replaced_only_by_force(tmp_path: Path) -> None:
    """Nothing is overwritten silently; --force is named in the refusal."""
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(InputError, match="--force"), files.new_folder(path):
        pass
    with files.new_folder(path, force=True) as temporary:
        (temporary / "new").touch()
    assert content(path) == ["new"]
    assert content(tmp_path) == ["a"]


def test_json_is_stable_and_has_no_nan(tmp_path: Path) -> None:
    """Keys are sorted, so equal contents are equal files; NaN is not JSON and is refused."""
    files.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, "é"]})
    files.write_json(tmp_path / "b.json", {"a": [1.5, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert files.canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "c.json", {"a": float("nan")})
    assert not (tmp_path / "c.json").exists()


def test_hashes_are_sha256(tmp_path: Path) -> None:
    """The hash of a file is that of its bytes, also beyond one block of reading."""
    raw = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(raw)
    expected = hashlib.sha256(raw).hexdigest()
    assert files.sha256_file(tmp_path / "a") == files.sha256_bytes(raw) == expected
    assert files.sha256_bytes(b"").startswith("e3b0c44298fc1c149afb")  # FIPS 180-4


@pytest.mark.parametrize("name", ["resume.pt", "config.json", "noending"])
def test_a_temporary_file_is_known_as_one(tmp_path: Path, name: str) -> None:
    """What a killed writer leaves is recognised; the file itself and other dot files are not."""
    with files.atomic_path(tmp_path / name) as temporary:
        assert files.is_leftover(temporary)
    assert not files.is_leftover(tmp_path / name)
    (tmp_path / ".gitignore").touch()
    assert not files.is_leftover(tmp_path / ".gitignore")


def test_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 0600 under any umask; what stands there stays, unless it shall be replaced."""
    path = tmp_path / "new" / "a.key"
    mask = os.umask(0)
    try:
        files.write_secret(path, b"one")
        with pytest.raises(InputError, match="--force"):
            files.write_secret(path, b"two")
        assert path.read_bytes() == b"one"
        files.write_secret(path, b"two", force=True)
    finally:
        os.umask(mask)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert content(path.parent) == ["a.key"]


def test_a_secret_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves no empty key in the way, and an old one as it was."""
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(EdgeBtsError, match="No space"):
        files.write_secret(tmp_path / "a.key", b"one")
    assert content(tmp_path) == []
    (tmp_path / "a.key").write_bytes(b"old")
    with pytest.raises(EdgeBtsError, match="No space"):
        files.write_secret(tmp_path / "a.key", b"one", force=True)
    assert (tmp_path / "a.key").read_bytes() == b"old"
