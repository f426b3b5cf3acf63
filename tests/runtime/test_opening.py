"""Opening a bundle: the order of checks, the bytes that run, and the golden frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_bts
from edge_bts import geometry
from edge_bts.bundle import Bundle, open_bundle_folder, write_bundle
from edge_bts.errors import (
    EdgeBtsError,
    EnvironmentMismatchError,
    InputError,
    IntegrityError,
    SelfTestError,
)
from edge_bts.golden import read_golden
from edge_bts.runtime import open_backend, open_bundle, opening
from edge_bts.signing import SigningKey, Trust, load_signing_key, new_key

SIDE = 32
BACKENDS = ("openvino", "onnxruntime")
FIELDS: dict[str, Any] = {
    "name": "tiny",
    "precision": "fp16",
    "geometry": {"imgsz": SIDE},
    "normalisation": {"mean": 0.5, "std": 0.25},
    "threshold": 0.5,
    "models": {
        "onnxruntime": "model.onnx",
        "openvino": "model.openvino.xml",
        "reference": "model.fp32.onnx",
    },
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Private and public key file."""
    pytest.importorskip("cryptography")
    return new_key(tmp_path_factory.mktemp("keys") / "maker")


@pytest.fixture(scope="module")
def key(pair: tuple[Path, Path]) -> SigningKey:
    """The private key."""
    return load_signing_key(pair[0])


@pytest.fixture(scope="module")
def trust(key: SigningKey) -> Trust:
    """Whoever knows the maker."""
    return Trust((key.public,))


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """An image of noise."""
    return np.random.default_rng(3).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tiny_onnx: Path, tiny_ir: Path, frame: np.ndarray) -> dict[str, bytes | Path]:
    """The tiny network in every form, with one golden frame."""
    pytest.importorskip("onnxruntime")
    content = tiny_onnx.read_bytes()
    return {
        "model.onnx": content,
        "model.fp32.onnx": content,
        "model.openvino.xml": tiny_ir,
        "model.openvino.bin": tiny_ir.with_suffix(".bin"),
        "golden.safetensors": golden_of(content, frame),
    }


def golden_of(content: bytes, frame: np.ndarray, shift: float = 0.0) -> bytes:
    """Golden frames as the export writes them, the expectation moved by ``shift``."""
    pytest.importorskip("torch")
    from edge_bts.export.golden import Golden, pack_golden

    infer = open_backend("onnxruntime", content, threads=1).infer

    def normalise(image: np.ndarray) -> np.ndarray:
        return geometry.normalise(image, 0.5, 0.25)

    golden = Golden(frame[None], np.zeros_like(frame)[None])
    return pack_golden(golden, lambda image: infer(image) + np.float32(shift), [], normalise, 0.5)


@pytest.fixture
def bundle(tmp_path: Path, files: dict[str, bytes | Path], key: SigningKey) -> Path:
    """All of it, signed."""
    return write_bundle(tmp_path / "tiny.ebts", FIELDS, files, key=key).path


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signed_bundle_opens_without_a_note(
    bundle: Path, pair: tuple[Path, Path], backend: str, frame: np.ndarray, tiny_onnx: Path
) -> None:
    """Given the public key, the front door leaves nothing to say, and the network runs."""
    model = edge_bts.open(bundle, trust=pair[1], backend=backend, threads=1)
    assert model.notes == []
    image = geometry.normalise(frame, 0.5, 0.25)[None, None]
    expected = open_backend("onnxruntime", tiny_onnx, threads=1).infer(image)[0, 0]
    np.testing.assert_allclose(model.predict(frame).probability, expected, atol=1e-5)


def test_unsigned_bundles_take_a_word(
    tmp_path: Path, files: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by default; with allow_unsigned the segmenter's notes tell the doubt."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGE_BTS_TRUSTED_KEYS", raising=False)
    path = write_bundle(tmp_path / "tiny.ebts", FIELDS, files).path
    with pytest.raises(IntegrityError, match="no signature"):
        edge_bts.open(path)
    (note,) = edge_bts.open(path, allow_unsigned=True, threads=1).notes
    assert "no signature" in note


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bytes_that_were_hashed_are_those_that_run(
    bundle: Path,
    trust: Trust,
    backend: Any,
    frame: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every file is exchanged as soon as it was read: the network is still the signed one."""
    expected = open_bundle(bundle, trust=trust, backend=backend, threads=1).predict(frame)
    real, seen, given = Bundle.read, set(), []

    def read(self: Bundle, name: str) -> bytes:
        content = real(self, name)
        seen.add(name)
        (self.path / name).write_bytes(bytes(len(content)))
        return content

    def spy(kind: Any, source: Any, **options: Any) -> Any:
        given.append(source)
        return open_backend(kind, source, **options)

    monkeypatch.setattr(Bundle, "read", read)
    monkeypatch.setattr(opening, "open_backend", spy)
    model = open_bundle(bundle, trust=trust, backend=backend, threads=1)
    np.testing.assert_array_equal(model.predict(frame).probability, expected.probability)
    (source,) = given
    parts = source if isinstance(source, tuple) else (source,)
    assert all(isinstance(part, bytes) for part in parts)
    assert len(seen) == len(parts) + 1  # and the golden frames
    monkeypatch.undo()
    with pytest.raises(IntegrityError):
        open_bundle(bundle, trust=trust, backend=backend)


def test_a_graph_is_checked_before_a_library_sees_it(
    tmp_path: Path,
    files: dict[str, bytes | Path],
    key: SigningKey,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Foreign operators, external data and cuts in a signed bundle never reach the backend."""
    onnx = pytest.importorskip("onnx")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the backend was reached")

    monkeypatch.setattr(opening, "open_backend", never)
    made = onnx.load_from_string(files["model.onnx"])
    made.graph.node[0].domain = "com.example"
    foreign = made.SerializeToString()
    made.graph.node[0].domain = ""
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], "w.bin")
    cases: list[tuple[bytes, type[EdgeBtsError]]] = [
        (foreign, IntegrityError),
        (made.SerializeToString(), IntegrityError),
        (bytes(files["model.onnx"])[:-200], InputError),  # type: ignore[arg-type]
    ]
    for content, error in cases:
        changed = {**files, "model.onnx": content}
        path = write_bundle(tmp_path / "a.ebts", FIELDS, changed, force=True, key=key).path
        with pytest.raises(error):
            open_bundle(path, trust=trust, backend="onnxruntime")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_old_library_is_said_before_the_model_is_read(
    tmp_path: Path,
    files: dict[str, bytes | Path],
    key: SigningKey,
    trust: Trust,
    backend: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The manifest's minimum is compared first: exit code 3 with both versions."""
    fields = {**FIELDS, "minimum_runtime": {backend: "9999.1"}}
    path = write_bundle(tmp_path / "tiny.ebts", fields, files, key=key).path

    def never(*_: Any) -> bytes:
        raise AssertionError("a file was read")

    monkeypatch.setattr(Bundle, "read", never)
    with pytest.raises(EnvironmentMismatchError, match=rf"{backend} 9999\.1") as caught:
        open_bundle(path, trust=trust, backend=backend)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_machine_that_computes_something_else_is_found(
    tmp_path: Path,
    files: dict[str, bytes | Path],
    frame: np.ndarray,
    key: SigningKey,
    trust: Trust,
    backend: Any,
) -> None:
    """A golden frame that is not reproduced: exit code 3, unless the self-test is switched off."""
    off = golden_of(bytes(files["model.onnx"]), frame, shift=0.03)  # type: ignore[arg-type]
    changed = {**files, "golden.safetensors": off}
    path = write_bundle(tmp_path / "tiny.ebts", FIELDS, changed, key=key).path
    with pytest.raises(SelfTestError, match=rf"{backend} .* differs by 0\.03") as caught:
        open_bundle(path, trust=trust, backend=backend, threads=1)
    assert caught.value.exit_code == 3
    assert open_bundle(path, trust=trust, backend=backend, threads=1, self_test=False).notes == []


def test_not_a_number_fails_the_self_test(
    bundle: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that gives NaN does not slip through a comparison."""
    from edge_bts.runtime._onnxruntime import OnnxRuntimeBackend

    monkeypatch.setattr(OnnxRuntimeBackend, "infer", lambda _, image: image * np.float32("nan"))
    with pytest.raises(SelfTestError, match="golden frame"):
        open_bundle(bundle, trust=trust, backend="onnxruntime")


def test_what_is_not_self_tested_is_said(
    tmp_path: Path,
    bundle: Path,
    files: dict[str, bytes | Path],
    key: SigningKey,
    trust: Trust,
) -> None:
    """The float reference has no golden frames, and a bundle may have none at all."""
    (note,) = open_bundle(bundle, trust=trust, precision="fp32", threads=1).notes
    assert "golden frames are for fp16, not fp32" in note
    fewer = {name: content for name, content in files.items() if name != "golden.safetensors"}
    path = write_bundle(tmp_path / "fewer.ebts", FIELDS, fewer, key=key).path
    (note,) = open_bundle(path, trust=trust, threads=1).notes
    assert "no golden.safetensors" in note


def test_broken_golden_frames_are_one_sentence(
    bundle: Path, trust: Trust, frame: np.ndarray
) -> None:
    """Cuts, other sizes, missing tensors and impossible tolerances are bad input."""
    from safetensors.numpy import save

    content = open_bundle_folder(bundle, trust).read("golden.safetensors")
    assert read_golden(content, SIDE).frames.shape == (1, SIDE, SIDE)
    with pytest.raises(InputError, match="golden"):
        read_golden(content, 2 * SIDE)
    for length in (0, 7, 8, 100, len(content) - 1):
        with pytest.raises(InputError, match="golden"):
            read_golden(content[:length], SIDE)
    floats = np.zeros((1, SIDE, SIDE), np.float32)
    tensors = {"frames": frame[None], "probability": floats, "mask": frame[None]}
    good = '{"threshold": 0.5, "tolerance": {"mean_abs": 0.1, "pixels": 0.1}}'
    assert read_golden(save(tensors, metadata={"edge_bts": good}), SIDE).threshold == 0.5
    for header in ("{}", "[", good.replace("0.1", "NaN"), good.replace("0.1", "-1")):
        with pytest.raises(InputError, match="golden"):
            read_golden(save(tensors, metadata={"edge_bts": header}), SIDE)
    with pytest.raises(InputError, match="golden"):
        read_golden(save(tensors), SIDE)
    for name in tensors:
        less = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises(InputError, match="golden"):
            read_golden(save(less, metadata={"edge_bts": good}), SIDE)
    empty = {name: tensor[:0] for name, tensor in tensors.items()}
    with pytest.raises(InputError, match="golden"):
        read_golden(save(empty, metadata={"edge_bts": good}), SIDE)
