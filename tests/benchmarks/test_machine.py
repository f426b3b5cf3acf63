"""What a result says of the machine, from installations made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_bts.benchmarks.machine import installed_bytes


def install(
    site: Path, name: str, size: int, requires: tuple[str, ...] = (), editable: bool = False
) -> None:
    """Install a package of one file, as pip would."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    module = f"{name.replace('-', '_')}.py"
    (site / module).write_bytes(b"#" * size)
    (site / f"{module}c").write_bytes(b"#" * 999)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires)]))
    (info / "RECORD").write_text(f"{module},,\n{module}c,,\nabsent.py,,\n")
    if editable:
        url = {"url": "file:///here", "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(url))


@pytest.mark.parametrize("editable", [False, True])
def test_installed_is_what_a_device_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editable: bool
) -> None:
    """Needs of needs count once, in a circle too; extras, bytecode and what is absent do not."""
    needs = ("made-up-b>=1", 'made_up.c ; python_version > "3"', 'made-up-e; extra == "train"')
    install(tmp_path, "made-up-a", 100, (*needs, "made-up-absent"), editable)
    install(tmp_path, "made-up-b", 20, ("made-up-c[fast]<9",))
    install(tmp_path, "made-up-c", 3, ("made-up-a",))
    install(tmp_path, "made-up-e", 5000)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {} if editable else {"made-up-a": 100}
    assert installed_bytes("made_up.a") == own | {"made-up-b": 20, "made-up-c": 3}


def test_nothing_installed_is_nothing() -> None:
    """A package that is not here has no size, rather than zero."""
    assert installed_bytes("made-up-nowhere") == {}
