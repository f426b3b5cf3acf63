"""Where engines lie, and the order in which one is checked before TensorRT sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_device import Machine

from edge_bts.bundle import Bundle
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, IntegrityError
from edge_bts.files import sha256_bytes
from edge_bts.tensorrt.cache import EngineKey, cache_folder, has_engine, read_engine


@pytest.fixture
def key(jetson: Machine, bundle: Bundle, build: Any) -> EngineKey:
    """The key of an engine that was built."""
    from edge_bts.tensorrt.cuda import open_cuda
    from edge_bts.tensorrt.device import read_device

    build()
    return EngineKey.of(bundle, jetson.cache, "10.3.0", read_device(open_cuda()), "int8")


def change_sidecar(key: EngineKey, **changes: Any) -> None:
    """Write other values into the sidecar."""
    record = json.loads(key.sidecar.read_text())
    key.sidecar.write_text(json.dumps(record | changes))


def replace_plan(key: EngineKey, plan: bytes) -> None:
    """Write another plan and let the sidecar agree with it."""
    key.plan.write_bytes(plan)
    change_sidecar(key, plan_size=len(plan), plan_sha256=sha256_bytes(plan))


def test_the_path_names_bundle_version_gpu_and_precision(key: EngineKey, bundle: Bundle) -> None:
    """What another bundle, TensorRT, GPU or precision needs lies elsewhere."""
    assert key.plan == key.folder / bundle.manifest_sha256 / "10.3.0-sm87-int8.engine"
    assert key.sidecar == key.plan.with_suffix(".json")
    assert has_engine(bundle, key.folder)
    plan, sidecar = read_engine(key)
    assert len(plan) == sidecar.plan_size


def test_the_folder_is_given_or_named_or_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--cache, then EDGE_BTS_CACHE, then XDG_CACHE_HOME if absolute, then ~/.cache."""
    monkeypatch.setenv("EDGE_BTS_CACHE", str(tmp_path / "named"))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache_folder() == tmp_path / "named"
    monkeypatch.setenv("EDGE_BTS_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "edge-bts"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "edge-bts"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(EnvironmentMismatchError, match="EDGE_BTS_CACHE"):
        cache_folder()


def remove_sidecar(key: EngineKey) -> None:
    """Leave the plan alone."""
    key.sidecar.unlink()


def remove_plan(key: EngineKey) -> None:
    """Leave the sidecar alone."""
    key.plan.unlink()


def flip_a_bit(key: EngineKey) -> None:
    """Damage the plan."""
    plan = bytearray(key.plan.read_bytes())
    plan[-1] ^= 1
    key.plan.write_bytes(plan)


def lengthen(key: EngineKey) -> None:
    """Append to the plan."""
    key.plan.write_bytes(key.plan.read_bytes() + b"more")


def no_plan(key: EngineKey) -> None:
    """Put another file in its place, with a sidecar that agrees."""
    replace_plan(key, b"\x08\x09" + bytes(60))


def newer_plan(key: EngineKey) -> None:
    """Put a plan of TensorRT 10.4.0 in its place; the sidecar agrees but for its version."""
    plan = bytearray(key.plan.read_bytes())
    plan[25] = 4
    replace_plan(key, bytes(plan))


@pytest.mark.parametrize(
    ("harm", "error", "said"),
    [
        (remove_sidecar, EnvironmentMismatchError, "there is none"),
        (remove_plan, EnvironmentMismatchError, "only its sidecar is there"),
        (lambda k: k.sidecar.write_text("{"), IntegrityError, "sidecar of an engine"),
        (
            lambda k: change_sidecar(k, manifest_sha256="0" * 64),
            IntegrityError,
            "it is of manifest 000000000000",
        ),
        (flip_a_bit, IntegrityError, "it is another file"),
        (lengthen, IntegrityError, "it is another file"),
        (no_plan, IntegrityError, "does not begin like one"),
        (newer_plan, EnvironmentMismatchError, "was built by 10.4.0"),
        (
            lambda k: change_sidecar(k, tensorrt="11.4.0.106"),
            EnvironmentMismatchError,
            "was built by 11.4.0.106",
        ),
    ],
)
def test_each_check_has_its_sentence_and_the_mend(
    key: EngineKey, harm: Callable[[EngineKey], None], error: type[EdgeBtsError], said: str
) -> None:
    """Missing, damaged, foreign and older engines are told apart; all say what to run."""
    harm(key)
    with pytest.raises(error, match=said) as caught:
        read_engine(key)
    assert "run `edge-bts build" in str(caught.value)
    assert str(caught.value).endswith("--int8` here.")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("machine", "riscv64", "machine riscv64"),
        ("compute_capability", "8.6", r"compute capability 8.6 \(here 8.7\)"),
        ("gpu", "Orin Nano", "GPU Orin Nano"),
        ("sm_count", 16, r"SM count 16 \(here 8\)"),
    ],
)
def test_another_board_is_refused(key: EngineKey, field: str, value: Any, said: str) -> None:
    """Boards of one compute capability too: TensorRT itself only warns."""
    device = json.loads(key.sidecar.read_text())["device"] | {field: value}
    change_sidecar(key, device=device)
    with pytest.raises(EnvironmentMismatchError, match=said):
        read_engine(key)


def test_checks_come_in_the_documented_order(key: EngineKey) -> None:
    """With everything wrong at once the first in the list speaks."""
    device = json.loads(key.sidecar.read_text())["device"] | {"sm_count": 99}
    change_sidecar(key, device=device)
    newer_plan(key)
    with pytest.raises(EnvironmentMismatchError, match=r"built by 10\.4"):
        read_engine(key)
    flip_a_bit(key)
    with pytest.raises(IntegrityError, match="another file"):
        read_engine(key)


def test_an_unknown_serialisation_is_left_to_tensorrt(key: EngineKey) -> None:
    """A plan whose head cannot be read is not refused for that."""
    plan = bytearray(key.plan.read_bytes())
    plan[4], plan[25] = 9, 77
    replace_plan(key, bytes(plan))
    read_engine(key)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("which", ["plan", "sidecar", "folder"])
def test_an_engine_that_everybody_can_write_is_refused(key: EngineKey, which: str) -> None:
    """An engine is code: nobody but its owner may change it."""
    path = {"plan": key.plan, "sidecar": key.sidecar, "folder": key.plan.parent}[which]
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(IntegrityError, match="everybody can write it"):
        read_engine(key)


def kinds(value: Any) -> Any:
    """The same structure with types in place of values."""
    if isinstance(value, dict):
        return {name: kinds(part) for name, part in value.items()}
    return [kinds(part) for part in value] if isinstance(value, list) else type(value)


def test_the_sidecar_of_the_cpp_tests_is_one_that_is_written_here(
    key: EngineKey, repository: Path
) -> None:
    """The C++ twin of this reader is tested with the fields and types of a real sidecar."""
    fixture = json.loads((repository / "runtime/tests/backends/tensorrt/sidecar.json").read_text())
    assert kinds(fixture) == kinds(json.loads(key.sidecar.read_text()))
