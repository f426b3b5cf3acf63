"""``edge-bts key``, ``sign`` and ``inspect``: what a user types from key to trusted bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_bts.bundle import write_bundle
from edge_bts.cli import main

pytest.importorskip("cryptography")

FIELDS: dict[str, Any] = {
    "name": "nano",
    "geometry": {"imgsz": 64},
    "normalisation": {"mean": 0.25, "std": 0.2},
    "threshold": 0.4,
    "precision": "fp32",
    "models": {},
}
Ebts = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ebts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ebts:
    """Run the command line in a folder of its own: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGE_BTS_TRUSTED_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_bundle("nano.ebts", FIELDS, {"LICENSE": b"text"})

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edge-bts", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(stopped.value.code or 0), said.out, said.err

    return run


def test_from_key_to_trusted_bundle(ebts: Ebts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, signature, trust by option, variable and folder; each refusal before it with code 7."""
    code, out, _ = ebts("key", "new", "-o", "maker")
    assert (code, Path("maker.key").is_file()) == (0, True)
    identity = out.split()[0]
    for file in ("maker.key", "maker.pub"):
        assert ebts("key", "show", file) == (0, f"{identity}\n", "")
    code, _, error = ebts("inspect", "nano.ebts", "--trust", "maker.pub")
    assert (code, "no signature" in error) == (7, True)
    code, out, _ = ebts("sign", "nano.ebts", "--key", "maker.key")
    assert (code, f"signed by {identity}" in out) == (0, True)
    code, _, error = ebts("inspect", "nano.ebts")
    assert (code, identity in error, "--trust" in error) == (7, True, True)
    code, out, _ = ebts("inspect", "nano.ebts", "--allow-unsigned")
    assert (code, "not a trusted one" in out) == (0, True)
    code, out, _ = ebts("inspect", "nano.ebts", "--trust", "maker.pub", "--json")
    assert json.loads(out)["signature"] == f"by {identity}, a trusted key"
    monkeypatch.setenv("EDGE_BTS_TRUSTED_KEYS", "maker.pub")
    assert ebts("inspect", "nano.ebts")[0] == 0
    monkeypatch.delenv("EDGE_BTS_TRUSTED_KEYS")
    folder = Path("config/edge-bts/trusted")
    folder.mkdir(parents=True)
    Path("maker.pub").rename(folder / "maker.pub")
    assert ebts("inspect", "nano.ebts")[0] == 0
    content = bytearray(Path("nano.ebts/manifest.json").read_bytes())
    content[3] ^= 1
    Path("nano.ebts/manifest.json").write_bytes(content)
    code, _, error = ebts("inspect", "nano.ebts", "--allow-unsigned")
    assert (code, "changed" in error) == (7, True)


def test_nothing_is_replaced_without_force(ebts: Ebts) -> None:
    """A second key of that name and a second signature are refused with code 2."""
    assert ebts("key", "new", "-o", "maker")[0] == 0
    before = Path("maker.key").read_bytes()
    code, _, error = ebts("key", "new", "-o", "maker")
    assert (code, "--force" in error) == (2, True)
    assert Path("maker.key").read_bytes() == before
    assert ebts("sign", "nano.ebts", "--key", "maker.key")[0] == 0
    code, _, error = ebts("sign", "nano.ebts", "--key", "maker.key")
    assert (code, "--force" in error) == (2, True)
    assert ebts("sign", "nano.ebts", "--key", "maker.key", "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sign", "nano.ebts", "--key", "none.key"), "none.key"),
        (("sign", "nano.ebts", "--key", "nano.ebts/LICENSE"), "private key"),
        (("key", "show", "nano.ebts/LICENSE"), "public or private"),
        (("key", "show", "none"), "No such file"),
        (("inspect", "nano.ebts", "--trust", "none.pub"), "none.pub"),
        (("inspect", "nano.ebts", "--trust", "nano.ebts/LICENSE"), "public key"),
    ],
)
def test_what_is_no_key_ends_with_code_2(
    ebts: Ebts, arguments: tuple[str, ...], named: str
) -> None:
    """Missing and wrong files are one sentence."""
    code, _, error = ebts(*arguments)
    assert (code, named in error) == (2, True), error
