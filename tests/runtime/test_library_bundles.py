"""Bundles that libedge_bts refuses, and why: what Python refuses, for the same reason."""

from __future__ import annotations

import ctypes as c
import json
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import libedge_bts as ebts
import numpy as np
import pytest
from libedge_bts import Library, blobs
from native_build import run

from edge_bts.bundle import open_bundle_folder, write_bundle
from edge_bts.errors import EdgeBtsError
from edge_bts.golden import GOLDEN_NAME
from edge_bts.runtime import open_bundle
from edge_bts.signing import Trust, load_public_key, new_key

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(blob_bundle: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(blob_bundle, tmp_path / "copy.ebts"))


def change(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def refused_alike(library: Library, path: Path, maker: Path, **how: Any) -> int:
    """Open in C and in Python: both refuse for the same reason, or both open; the status."""
    keys = (c.c_char_p * 1)(str(maker.with_suffix(".pub")).encode())
    options = {"key_files": keys, "key_file_count": 1, "threads": 1, **how}
    status, model = library.open(path, **options)
    library.model_close(model)
    assert (status == ebts.OK) == (model.value is not None)
    public = load_public_key(maker.with_suffix(".pub")).hex()
    trust = Trust((public,), allow_unsigned=bool(how.get("allow_unsigned")))
    try:
        open_bundle(path, trust=trust, backend="openvino", threads=1)
        code = 0
    except EdgeBtsError as error:
        code = error.exit_code
    exits = {ebts.OK: 0, ebts.BUNDLE: 2, ebts.INTEGRITY: 7, ebts.INCOMPATIBLE: 3, ebts.SELF_TEST: 3}
    assert exits[status] == code, library.error()
    return int(status)


def test_one_changed_bit_is_refused(library: Library, copy: Path, maker: Path) -> None:
    """In any file, signature and manifest included, with and without allow_unsigned."""
    for path in sorted(copy.iterdir()):
        content = path.read_bytes()
        for at in {0, len(content) // 5, len(content) // 2, len(content) - 1}:
            change(path, at)
            for unsigned in (0, 1):
                status = refused_alike(library, copy, maker, allow_unsigned=unsigned)
                assert status == ebts.INTEGRITY, (path.name, at)
            path.write_bytes(content)
    assert refused_alike(library, copy, maker) == ebts.OK


def test_cut_and_longer_files_are_refused(library: Library, copy: Path, maker: Path) -> None:
    """Every file, cut to nothing, to half, by a byte, or longer by one."""
    for path in sorted(copy.iterdir()):
        content = path.read_bytes()
        for other in (b"", content[: len(content) // 2], content[:-1], content + b"\n"):
            path.write_bytes(other)
            assert refused_alike(library, copy, maker) == ebts.INTEGRITY, path.name
        path.write_bytes(content)


def test_a_folder_holds_what_is_listed(
    library: Library, copy: Path, maker: Path, tmp_path: Path
) -> None:
    """A file more or less, a link, a pipe, a folder: refused, and no bundle is no bundle."""
    (copy / "extra").write_bytes(b"")
    assert refused_alike(library, copy, maker) == ebts.INTEGRITY
    (copy / "extra").unlink()
    for name in ("golden.safetensors", "manifest.sig", "manifest.json", "model.openvino.bin"):
        kept = tmp_path / name
        shutil.move(copy / name, kept)
        missing = refused_alike(library, copy, maker)
        assert missing == ebts.INTEGRITY, name
        (copy / name).symlink_to(kept)
        assert refused_alike(library, copy, maker) == ebts.INTEGRITY, name
        (copy / name).unlink()
        (copy / name).mkdir()
        assert refused_alike(library, copy, maker) == ebts.INTEGRITY, name
        (copy / name).rmdir()
        shutil.move(kept, copy / name)
    assert refused_alike(library, copy, maker) == ebts.OK
    assert refused_alike(library, tmp_path / "nothing", maker) == ebts.BUNDLE
    assert refused_alike(library, tmp_path, maker) == ebts.BUNDLE


def test_whose_bundles_are_opened(
    library: Library, blob_bundle: Path, copy: Path, maker: Path, tmp_path: Path
) -> None:
    """By a trusted key, raw or in a file; by another one, or none, only where it is allowed."""
    new_key(tmp_path / "other")
    assert refused_alike(library, blob_bundle, tmp_path / "other") == ebts.INTEGRITY
    assert refused_alike(library, blob_bundle, tmp_path / "other", allow_unsigned=1) == ebts.OK
    assert library.open(blob_bundle)[0] == ebts.INTEGRITY
    raw = bytes(32) + load_public_key(maker.with_suffix(".pub"))
    status, model = library.open(blob_bundle, keys=raw, key_count=2)
    assert status == ebts.OK
    library.model_close(model)
    (copy / "manifest.sig").unlink()
    assert refused_alike(library, copy, maker) == ebts.INTEGRITY
    told: list[tuple[int, str]] = []
    log = ebts.Log(lambda _, level, text: told.append((level, text.decode())))
    assert refused_alike(library, copy, maker, allow_unsigned=1, log=log) == ebts.OK
    assert told[0][0] == 1
    assert "has no signature" in told[0][1]
    private = (c.c_char_p * 1)(str(maker.with_suffix(".key")).encode())
    status, _ = library.open(blob_bundle, key_files=private, key_file_count=1)
    assert status == ebts.ARGUMENT


FAULTS: list[tuple[dict[str, Any], int]] = [
    ({"schema_version": 2}, ebts.INCOMPATIBLE),
    ({"schema_version": None}, ebts.INCOMPATIBLE),
    ({"required_features": ["warp"]}, ebts.INCOMPATIBLE),
    ({"minimum_runtime": {"edge_bts": "99.0"}}, ebts.INCOMPATIBLE),
    ({"minimum_runtime": {"openvino": "9999"}}, ebts.INCOMPATIBLE),
    ({"minimum_runtime": {"openvino": "2020.1", "edge_bts": "0.0.9"}}, ebts.OK),
    ({"later_field": {"a": [1, 2]}}, ebts.OK),
    ({"name": ""}, ebts.BUNDLE),
    ({"threshold": 0}, ebts.BUNDLE),
    ({"threshold": 1}, ebts.BUNDLE),
    ({"threshold": [0.5]}, ebts.BUNDLE),
    ({"presence_threshold": 1.0}, ebts.BUNDLE),
    ({"presence_threshold": -0.1}, ebts.BUNDLE),
    ({"precision": "int4"}, ebts.BUNDLE),
    ({"geometry": {}}, ebts.BUNDLE),
    ({"geometry": {"imgsz": 31}}, ebts.BUNDLE),
    ({"geometry": {"imgsz": 4097}}, ebts.BUNDLE),
    ({"geometry": {"imgsz": 64}}, ebts.BUNDLE),
    ({"geometry": {"imgsz": 48.5}}, ebts.BUNDLE),
    ({"geometry": {"imgsz": 48, "letterbox": "nearest"}}, ebts.BUNDLE),
    ({"geometry": {"imgsz": 48, "pad": 1}}, ebts.BUNDLE),
    ({"normalisation": {"mean": 0.2, "std": 0}}, ebts.BUNDLE),
    ({"normalisation": {"mean": 0.2, "std": -1}}, ebts.BUNDLE),
    ({"normalisation": {"mean": 0.9, "std": 0.9}}, ebts.SELF_TEST),
    ({"models": {"openvino": "absent.xml"}}, ebts.BUNDLE),
    ({"models": {}}, ebts.BUNDLE),
    ({"files": {}}, ebts.BUNDLE),
]


@pytest.mark.parametrize(("fields", "status"), FAULTS)
def test_manifests_are_judged_as_in_python(
    library: Library, copy: Path, maker: Path, fields: dict[str, Any], status: int
) -> None:
    """The same fields are refused, with the status of Python's exit code."""
    path = copy / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    (copy / "manifest.sig").unlink()
    assert refused_alike(library, copy, maker, allow_unsigned=1) == status, library.error()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "-x", "", "manifest.json"]
)
def test_names_that_leave_the_folder_are_refused(
    library: Library, copy: Path, maker: Path, name: str
) -> None:
    """A manifest names files of its folder and nothing else."""
    path = copy / "manifest.json"
    record = json.loads(path.read_text())
    record["files"][name] = {"size": 1, "sha256": "0" * 64}
    path.write_text(json.dumps(record))
    (copy / "manifest.sig").unlink()
    assert refused_alike(library, copy, maker, allow_unsigned=1) == ebts.BUNDLE


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"a": 1, "a": 1}', b"{}", b"\xff", b"[" * 10000,
     b'{"schema_version": 1, "threshold": NaN}', b'{"schema_version": 1}', b"\0" * 50,
     b" " * ((1 << 20) + 1)],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(
    library: Library, copy: Path, maker: Path, content: bytes
) -> None:
    """Broken JSON, keys twice, depth, size."""
    (copy / "manifest.json").write_bytes(content)
    (copy / "manifest.sig").unlink()
    assert refused_alike(library, copy, maker, allow_unsigned=1) == ebts.BUNDLE


def test_golden_frames_that_are_none_are_refused(
    library: Library, blob_bundle: Path, maker: Path, tmp_path: Path
) -> None:
    """A header that reaches too far, lies on shapes, offsets or types, or has no tolerance."""
    bundle = open_bundle_folder(blob_bundle, Trust(allow_unsigned=True))
    good = bundle.read(GOLDEN_NAME)
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + size])

    def packed(**changes: Any) -> bytes:
        record = {name: {**header[name], **changes.get(name, {})} for name in header}
        text = json.dumps(record).encode()
        return len(text).to_bytes(8, "little") + text + good[8 + size :]

    cases = {
        "empty": b"",
        "short": good[:7],
        "long header": (2**64 - 1).to_bytes(8, "little") + good[8:],
        "header to the end": (len(good) - 8).to_bytes(8, "little") + good[8:],
        "cut": good[:-1],
        "longer": good + b"\0",
        "offset": packed(mask={"data_offsets": [0, 2**63]}),
        "backwards": packed(mask={"data_offsets": [100, 0]}),
        "negative": packed(mask={"data_offsets": [-1, 4607]}),
        "shape": packed(frames={"shape": [2**62, 48, 48]}),
        "no frame": packed(frames={"shape": [0, 48, 48]}),
        "side": packed(frames={"shape": [2, 48, 49]}),
        "type": packed(probability={"dtype": "F64"}),
        "tolerance": packed(__metadata__={"edge_bts": "{}"}),
        "nonsense": packed(__metadata__={"edge_bts": "["}),
    }
    fields = bundle.manifest.model_dump(exclude={"files"})
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    for name, content in cases.items():
        path = tmp_path / f"{name}.ebts"
        write_bundle(path, fields, {**files, GOLDEN_NAME: content})
        status = refused_alike(library, path, maker, allow_unsigned=1)
        assert status == ebts.BUNDLE, (name, library.error())
    write_bundle(tmp_path / "without.ebts", fields,
                 {name: files[name] for name in files if name != GOLDEN_NAME})  # fmt: skip
    status, model = library.open(tmp_path / "without.ebts", allow_unsigned=1)
    assert status == ebts.OK
    info = ebts.ModelInfo()
    library.model_describe(model, c.byref(info))
    assert (info.trusted, info.self_tested) == (0, 0)
    _, session = library.session(model, max_width=8, max_height=8)
    assert library.self_test(session) == ebts.BUNDLE
    library.session_destroy(session)
    library.model_close(model)


def test_a_broken_network_is_refused(
    library: Library, blob_bundle: Path, maker: Path, tmp_path: Path
) -> None:
    """What OpenVINO does not read, or of another signature, is no bundle of ours."""
    bundle = open_bundle_folder(blob_bundle, Trust(allow_unsigned=True))
    fields = bundle.manifest.model_dump(exclude={"files"})
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    topology = files["model.openvino.xml"]
    for name, content in {
        "cut": topology[: len(topology) // 2],
        "empty": b"",
        "other": topology.replace(b'"image"', b'"frame"'),
    }.items():
        path = tmp_path / f"{name}.ebts"
        write_bundle(path, fields, {**files, "model.openvino.xml": content})
        assert refused_alike(library, path, maker, allow_unsigned=1) == ebts.BUNDLE, name


def test_what_was_compiled_is_kept_and_never_trusted(
    library: Library, blob_bundle: Path, trusting: dict[str, Any], tmp_path: Path
) -> None:
    """With a cache_dir the compiled network is kept by manifest; a damaged one is made anew."""
    cache = tmp_path / "not" / "there yet"
    options = {**trusting, "pin_threads": 1, "cache_dir": str(cache).encode()}
    for left in (1.0, 1.0, 0.5, 0.0, 1.0):  # how much of the file is left for the next opening
        status, model = library.open(blob_bundle, **options)
        assert status == ebts.OK, library.error()
        library.model_close(model)
        (kept,) = cache.iterdir()
        assert kept.name == sha256((blob_bundle / "manifest.json").read_bytes()).hexdigest()
        (blob,) = kept.iterdir()
        blob.chmod(0o600)
        content = blob.read_bytes()
        blob.write_bytes(content[: int(left * len(content))])
    file = tmp_path / "file"
    file.touch()
    status, model = library.open(blob_bundle, **{**options, "cache_dir": str(file).encode()})
    assert status == ebts.ARGUMENT
    assert "cache_dir" in library.error()
    assert not model


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_or_told(
    library: Library, blob_bundle: Path, maker: Path, tmp_path: Path, weight: float
) -> None:
    """A golden frame refuses them; without one every frame says so and has an empty mask."""
    bundle = open_bundle_folder(blob_bundle, Trust(allow_unsigned=True))
    fields = bundle.manifest.model_dump(exclude={"files"})
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    slope = np.float32(2.5).tobytes()
    assert files["model.openvino.bin"].count(slope) == 1
    files["model.openvino.bin"] = files["model.openvino.bin"].replace(
        slope, np.float32(weight).tobytes()
    )
    write_bundle(tmp_path / "golden.ebts", fields, files)
    status = refused_alike(library, tmp_path / "golden.ebts", maker, allow_unsigned=1)
    assert status == ebts.SELF_TEST, library.error()
    if not np.isnan(weight):
        return  # a sigmoid makes probabilities of infinity: the golden frame alone can tell
    del files[GOLDEN_NAME]
    write_bundle(tmp_path / "without.ebts", fields, files)
    status, model = library.open(tmp_path / "without.ebts", allow_unsigned=1)
    assert status == ebts.OK
    _, session = library.session(model, max_width=64, max_height=64)
    for seed in range(3):
        status, mask, _, result = library.run(session, blobs(64, 64, seed))
        assert status == ebts.OK
        assert result.health & ebts.NAN
        assert result.health & ebts.EMPTY
        assert not mask.any()
    library.session_destroy(session)
    library.model_close(model)


def test_what_happens_to_the_folder_after_opening_changes_nothing(
    library: Library, copy: Path, trusting: dict[str, Any]
) -> None:
    """Files that are overwritten, cut in place or removed: what was hashed is what runs."""
    status, model = library.open(copy, **trusting)
    assert status == ebts.OK
    _, session = library.session(model, max_width=64, max_height=64)
    frame = blobs(64, 64, 3)
    want = library.run(session, frame)[1]
    assert want.any()
    for path in copy.iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    assert library.open(copy, **trusting)[0] == ebts.INTEGRITY  # it has been changed indeed
    _, later = library.session(model, max_width=64, max_height=64)
    for path in copy.iterdir():
        os.truncate(path, 0)
    shutil.rmtree(copy)
    for opened in (session, later):
        assert library.self_test(opened) == ebts.OK
        assert (library.run(opened, frame)[1] == want).all()
        library.session_destroy(opened)
    library.model_close(model)


_OPEN = """
import ctypes, sys
from pathlib import Path
from libedge_bts import Library
core, library, bundle = sys.argv[1:]
ctypes.CDLL(core, mode=ctypes.RTLD_GLOBAL)
library = Library(Path(library))
print(library.open(Path(bundle), allow_unsigned=1)[0], library.error())
"""


def test_openvino_without_its_plugin_is_a_sentence(
    native_build: Path, blob_bundle: Path, tmp_path: Path
) -> None:
    """An installation that lost the CPU's plugin refuses; with it back, the same one opens."""
    import openvino

    for path in (Path(openvino.__file__).parent / "libs").iterdir():
        if path.name.startswith("libopenvino.so"):  # it looks for plugins beside itself
            core = Path(shutil.copy(path, tmp_path))
        else:
            (tmp_path / path.name).symlink_to(path)
    (plugin,) = tmp_path.glob("libopenvino_*_cpu_plugin.so")
    where = plugin.readlink()
    plugin.unlink()

    def opened() -> tuple[int, str]:
        library = str(native_build / "runtime" / "libedge_bts.so")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        output = run(sys.executable, "-c", _OPEN, core, library, blob_bundle, env=environment)
        status, sentence = output.split(" ", 1)
        return int(status), sentence

    status, sentence = opened()
    assert status == ebts.INCOMPATIBLE, sentence
    assert "compile the network for this CPU" in sentence
    plugin.symlink_to(where)
    assert opened()[0] == ebts.OK
