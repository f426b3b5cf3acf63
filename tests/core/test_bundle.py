"""Bundles: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_bts.bundle import MAX_MANIFEST_BYTES, open_bundle_folder, write_bundle
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError, IntegrityError
from edge_bts.manifest import Gate
from edge_bts.signing import Trust

FIELDS: dict[str, Any] = {
    "name": "nano",
    "geometry": {"imgsz": 64},
    "normalisation": {"mean": 0.25, "std": 0.2},
    "threshold": 0.4,
    "precision": "int8",
    "models": {"onnxruntime": "model.onnx"},
}
UNSIGNED = Trust(allow_unsigned=True)
FILES: dict[str, bytes | Path] = {"model.onnx": b"graph", "LICENSE": b"text"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle on disk."""
    return write_bundle(tmp_path / "nano.ebts", FIELDS, FILES).path


def rewrite(bundle: Path, **changes: Any) -> None:
    """Change fields of a manifest on disk."""
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_content_survives_the_way_to_disk_and_back(bundle: Path) -> None:
    """Files and manifest fields are read as they were written."""
    opened = open_bundle_folder(bundle, UNSIGNED)
    assert opened.read("model.onnx") == b"graph"
    manifest = opened.manifest
    assert (manifest.imgsz, manifest.mean, manifest.std) == (64, 0.25, 0.2)
    assert "not a medical device" in manifest.intended_use
    opened.verify()


def test_same_content_gives_the_same_identity(tmp_path: Path) -> None:
    """Two writes of one content have one manifest hash; another content has another."""
    first, second, other = (
        write_bundle(tmp_path / f"{name}.ebts", FIELDS, {**FILES, "LICENSE": text})
        for name, text in (("a", b"x"), ("b", b"x"), ("c", b"y"))
    )
    assert first.manifest_sha256 == second.manifest_sha256 != other.manifest_sha256


def test_a_file_may_be_given_by_path(tmp_path: Path) -> None:
    """A path among the files is copied."""
    source = tmp_path / "weights"
    source.write_bytes(b"12345")
    opened = write_bundle(tmp_path / "nano.ebts", FIELDS, {"model.onnx": source})
    assert opened.read("model.onnx") == b"12345"


@pytest.mark.parametrize("content", [b"grapH", b"grap", b"graph!", b""])
def test_a_changed_file_is_refused_by_name(bundle: Path, content: bytes) -> None:
    """One other byte, a cut or a longer file raise the error of exit code 7."""
    (bundle / "model.onnx").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.onnx") as caught:
        open_bundle_folder(bundle, UNSIGNED).read("model.onnx")
    assert caught.value.exit_code == 7


def test_a_missing_file_a_link_and_a_pipe_are_refused(bundle: Path, tmp_path: Path) -> None:
    """Only a plain file counts, even if a link leads to the right bytes."""
    path = bundle / "model.onnx"
    (tmp_path / "elsewhere").write_bytes(b"graph")
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        open_bundle_folder(bundle, UNSIGNED).verify()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError):
        open_bundle_folder(bundle, UNSIGNED).verify()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError):
        open_bundle_folder(bundle, UNSIGNED).verify()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "-x", "", "manifest.json"]
)
def test_names_that_leave_the_folder_are_refused(bundle: Path, name: str, tmp_path: Path) -> None:
    """Neither a manifest nor a writer may name anything but a file in the folder."""
    entry = json.loads((bundle / "manifest.json").read_text())["files"]["model.onnx"]
    rewrite(bundle, files={"model.onnx": entry, name: entry})
    with pytest.raises(InputError, match="plain name"):
        open_bundle_folder(bundle, UNSIGNED)
    with pytest.raises(InputError, match="plain name"):
        write_bundle(tmp_path / "other.ebts", FIELDS, {**FILES, name: b"x"})
    assert not (tmp_path / "other.ebts").exists()


def test_a_name_outside_the_manifest_is_refused(bundle: Path) -> None:
    """What the manifest does not list cannot be read."""
    with pytest.raises(InputError, match="extra"):
        open_bundle_folder(bundle, UNSIGNED).read("extra")


def test_a_folder_holds_what_is_listed_and_nothing_else(bundle: Path) -> None:
    """A file more, another name, a link, a sub-folder: exit code 7, before anything is read."""
    licence = bundle / "LICENSE"
    for name in ("extra", "model.xml", ".hidden", "manifest.json.bak"):
        (bundle / name).write_bytes(b"x")
        with pytest.raises(IntegrityError, match=name):
            open_bundle_folder(bundle, UNSIGNED)
        (bundle / name).unlink()
    (bundle / "folder").mkdir()
    with pytest.raises(IntegrityError, match="folder"):
        open_bundle_folder(bundle, UNSIGNED)
    (bundle / "folder").rmdir()
    licence.rename(bundle / "LICENCE")
    with pytest.raises(IntegrityError, match="LICENCE"):
        open_bundle_folder(bundle, UNSIGNED)
    (bundle / "LICENCE").rename(bundle.parent / "text")
    with pytest.raises(IntegrityError, match="LICENSE is missing"):
        open_bundle_folder(bundle, UNSIGNED)
    licence.symlink_to(bundle.parent / "text")
    with pytest.raises(IntegrityError, match="LICENSE is no plain file"):
        open_bundle_folder(bundle, UNSIGNED)
    licence.unlink()
    licence.mkdir()
    with pytest.raises(IntegrityError, match="LICENSE is no plain file"):
        open_bundle_folder(bundle, UNSIGNED)


def test_a_linked_manifest_is_no_bundle(bundle: Path) -> None:
    """The manifest itself must be a plain file of the folder."""
    (bundle / "manifest.json").rename(bundle.parent / "manifest.json")
    (bundle / "manifest.json").symlink_to(bundle.parent / "manifest.json")
    with pytest.raises(InputError):
        open_bundle_folder(bundle, UNSIGNED)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"schema_version": 2}, EnvironmentMismatchError),
        ({"required_features": ["video"]}, EnvironmentMismatchError),
        ({"minimum_runtime": {"edge_bts": "99.1"}}, EnvironmentMismatchError),
        ({"minimum_runtime": {"edge_bts": "9" * 9999}}, EnvironmentMismatchError),
        ({"threshold": 1.5}, InputError),
        ({"normalisation": {"mean": 0, "std": 0}}, InputError),
        ({"models": {"openvino": "none.xml"}}, InputError),
        ({"files": {"model.onnx": {"size": 1 << 40, "sha256": "0" * 64}}}, InputError),
        ({"precision": "int4"}, InputError),
    ],
)
def test_a_manifest_that_asks_for_what_we_lack_is_refused(
    bundle: Path, changes: dict[str, Any], error: type[EdgeBtsError]
) -> None:
    """Unknown schema, feature or version: environment; impossible values: input."""
    rewrite(bundle, **changes)
    with pytest.raises(error):
        open_bundle_folder(bundle, UNSIGNED)


def test_fields_of_a_later_version_are_ignored(bundle: Path) -> None:
    """What is not a required feature may be unknown."""
    rewrite(bundle, energy_mj=3)
    assert open_bundle_folder(bundle, UNSIGNED).manifest.name == "nano"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": 1, "schema_version": 1}',
        b'{"schema_version": NaN}',
        b" " * (MAX_MANIFEST_BYTES + 1),
    ],
)
def test_a_broken_manifest_is_one_sentence(bundle: Path, content: bytes) -> None:
    """Bytes that are no manifest raise InputError, never another exception."""
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(InputError):
        open_bundle_folder(bundle, UNSIGNED)


def test_no_bundle_is_an_input_error(tmp_path: Path) -> None:
    """A folder without manifest and a missing folder say what to do."""
    for path in (tmp_path, tmp_path / "none.ebts"):
        with pytest.raises(InputError, match="edge-bts export"):
            open_bundle_folder(path, UNSIGNED)


def test_writing_replaces_only_bundles_and_only_by_request(bundle: Path, tmp_path: Path) -> None:
    """Without force nothing is replaced; with force nothing but a bundle is."""
    with pytest.raises(InputError, match="--force"):
        write_bundle(bundle, FIELDS, FILES)
    assert write_bundle(bundle, FIELDS, {"model.onnx": b"new"}, force=True).read("model.onnx")
    assert not (bundle / "LICENSE").exists()
    holiday = tmp_path / "holiday.ebts"
    holiday.mkdir()
    (holiday / "photo").write_bytes(b"x")
    with pytest.raises(InputError, match="something else"):
        write_bundle(holiday, FIELDS, FILES, force=True)
    assert (holiday / "photo").exists()
    with pytest.raises(InputError, match=r"\.ebts"):
        write_bundle(tmp_path / "nano", FIELDS, FILES)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A field that a manifest may not have ends the write before the folder appears."""
    with pytest.raises(InputError, match="threshold"):
        write_bundle(tmp_path / "nano.ebts", {**FIELDS, "threshold": 0}, FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_gate_has_one_limit_and_a_verdict_or_a_reason() -> None:
    """Values at a limit pass; a gate without a value must say why it was not judged."""
    assert not Gate(value=0.5, at_least=0.5).failed
    assert Gate(value=0.49, at_least=0.5).failed
    assert not Gate(value=0.5, at_most=0.5).failed
    assert Gate(value=0.51, at_most=0.5).failed
    unjudged = Gate(value=9.0, at_most=0.5, n=3, judged=False, reason="3 images")
    assert not unjudged.failed
    assert str(unjudged) == "9.0000 (at most 0.5, n=3): not judged, 3 images"
    # As bundles of before had them.
    assert not Gate.model_validate({"value": 0.99, "at_least": 0.98}).failed
    for wrong in (
        {"value": 1.0},
        {"value": 1.0, "at_least": 0.0, "at_most": 2.0},
        {"value": None, "at_least": 0.0},
        {"value": 1.0, "at_least": 0.0, "judged": False},
        {"value": 1.0, "at_least": 0.0, "reason": "why"},
    ):
        with pytest.raises(ValueError, match="a gate"):
            Gate.model_validate(wrong)
