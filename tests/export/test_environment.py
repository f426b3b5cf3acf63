"""What surrounds NNCF and OpenVINO: nothing is sent, and no stale lock stops a build."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_bts.export import environment


@pytest.mark.parametrize("inherited", [False, True])
def test_a_stale_lock_is_removed(
    inherited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that an aborted build left in our cache is gone before the extension is loaded.

    In a process that was started by one of ours, and has inherited the folder's name, too.
    """
    folder = tmp_path / "edge-bts" / "torch_extensions"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(folder))
    if not inherited:
        monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stale = folder / "nncf" / "ext" / "lock"
    stale.parent.mkdir(parents=True)
    stale.touch()
    seen: list[bool] = []
    monkeypatch.setattr(environment, "_load", lambda: seen.append(stale.exists()))
    environment.need_extension()
    assert seen == [False]
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)


def test_a_folder_of_the_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TORCH_EXTENSIONS_DIR is set, another program may be building: no lock is touched."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / "lock").touch()
    monkeypatch.setattr(environment, "_load", lambda: None)
    environment.need_extension()
    assert (tmp_path / "lock").exists()
    assert os.environ["NNCF_EXTENSION_LOAD_TIMEOUT"]
