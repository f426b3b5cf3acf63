"""A bundle is whole or absent, whenever its writer is killed and wherever the disk is full."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_bts import files as files_module
from edge_bts.bundle import open_bundle_folder, write_bundle
from edge_bts.errors import EdgeBtsError
from edge_bts.signing import Trust

ANY = Trust(allow_unsigned=True)

FIELDS: dict[str, Any] = {
    "name": "nano",
    "geometry": {"imgsz": 64},
    "normalisation": {"mean": 0.25, "std": 0.2},
    "threshold": 0.4,
    "precision": "int8",
    "models": {"onnxruntime": "file0"},
}
NAMES = [f"file{number}" for number in range(14)]

# Forks a writer for every moment, which kills itself before its k-th call to the file system. The
# interpreter tells of them by audit events; only those of the writing count.
KILLER = """
import os, signal, sys
from pathlib import Path
from edge_bts.bundle import open_bundle_folder, write_bundle
import edge_bts.errors
from edge_bts.signing import Trust
ANY = Trust(allow_unsigned=True)

fields, names = {fields!r}, {names!r}
root, replace = Path(sys.argv[1]), sys.argv[2] == "replace"

def content(version):
    return {{name: (version + name).encode() * 999 for name in names}}

def attempt(moment, folder):
    path = folder / "a.ebts"
    if replace:
        write_bundle(path, fields, content("old"))
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event.split(".")[0] in ("open", "os", "shutil", "tempfile", "ctypes"):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    write_bundle(path, fields, content("new"), force=replace)
    os._exit(0)

write_bundle(root / "warm.ebts", fields, content("warm"))  # imports what is imported late
write_bundle(root / "warm.ebts", fields, content("warm"), force=True)
seen = []
for moment in range(1, 500):
    folder = root / str(moment)
    folder.mkdir()
    child = os.fork()
    if child == 0:
        attempt(moment, folder)
    _, status = os.waitpid(child, 0)
    path = folder / "a.ebts"
    if not path.exists():
        state = "absent"
    else:
        bundle = open_bundle_folder(path, ANY)
        bundle.verify()
        assert sorted(p.name for p in path.iterdir()) == sorted([*names, "manifest.json"])
        state = bundle.read("file0")[:3].decode()
    seen.append(state)
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        break
print(*seen)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="exchanges folders in one step on Linux alone")
@pytest.mark.parametrize(("mode", "before"), [("fresh", "absent"), ("replace", "old")])
def test_a_killed_writer_leaves_a_bundle_whole_or_none(
    tmp_path: Path, mode: str, before: str
) -> None:
    """SIGKILL at each of its calls to the file system: first the old state, then the new one."""
    code = KILLER.format(fields=FIELDS, names=NAMES)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), mode],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split()
    assert len(seen) >= 30
    switch = seen.index("new")
    assert set(seen[:switch]) == {before}
    assert set(seen[switch:]) == {"new"}
    assert switch >= 25  # most moments lie before the last step


def full_after(calls: int) -> Callable[[Path, bytes], int]:
    """Return a ``write_bytes`` that writes half of a file at its ``calls``-th call."""
    made = 0

    def write(path: Path, content: bytes) -> int:
        nonlocal made
        made += 1
        with path.open("wb") as stream:
            if made == calls:
                stream.write(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return stream.write(content)

    return write


@pytest.mark.parametrize("replace", [False, True])
def test_a_full_disk_leaves_a_bundle_whole_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    """At each of the 15 files, the manifest included: an error of ours and nothing half-written."""
    path = tmp_path / "a.ebts"
    old = write_bundle(path, FIELDS, dict.fromkeys(NAMES, b"old")) if replace else None
    for number in range(1, len(NAMES) + 2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full_after(number))
            with pytest.raises(EdgeBtsError, match=r"Could not write .*: No space left.*Free some"):
                write_bundle(path, FIELDS, dict.fromkeys(NAMES, b"new"), force=replace)
        assert [each.name for each in tmp_path.iterdir()] == (["a.ebts"] if replace else [])
        if old is not None:
            assert open_bundle_folder(path, ANY).manifest_sha256 == old.manifest_sha256
            open_bundle_folder(path, ANY).verify()
    new = write_bundle(path, FIELDS, dict.fromkeys(NAMES, b"new"), force=replace)
    assert new.read("file0") == b"new"


def test_a_system_without_exchange_replaces_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names cannot be exchanged the result is the same, and a failed step is undone."""
    monkeypatch.setattr(files_module, "_exchange", lambda *_: False)
    path = tmp_path / "a.ebts"
    write_bundle(path, FIELDS, dict.fromkeys(NAMES, b"old"))
    renamed = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if Path(target) == path and "old-" not in self.name:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return renamed(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(EdgeBtsError, match="Permission denied"):
            write_bundle(path, FIELDS, dict.fromkeys(NAMES, b"new"), force=True)
    assert open_bundle_folder(path, ANY).read("file0") == b"old"
    assert write_bundle(path, FIELDS, dict.fromkeys(NAMES, b"new"), force=True).read("file0")
    assert open_bundle_folder(path, ANY).read("file0") == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.ebts"]
