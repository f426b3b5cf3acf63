"""Checkpoints that are missing, damaged, foreign, or cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.models import (
    Checkpoint,
    ModelSpec,
    build_model,
    checkpoint_info,
    load_checkpoint,
    save_checkpoint,
)

SPEC = ModelSpec(name="attention_unet", options={"width": 8})
DESCRIPTION = Checkpoint(model=SPEC, role="teacher", category="benign", imgsz=64, mean=0.3, std=0.2)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small teacher."""
    torch.manual_seed(0)
    return build_model(SPEC)


@pytest.fixture
def checkpoint(tmp_path: Path, model: nn.Module) -> Path:
    """A whole checkpoint."""
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, model, DESCRIPTION)
    return path


def _one_sentence(error: pytest.ExceptionInfo[EdgeBtsError], path: Path) -> None:
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 500


def test_missing(tmp_path: Path) -> None:
    """A path without a file, and a folder, are named."""
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="Expected a checkpoint at") as error:
            load_checkpoint(path)
        _one_sentence(error, path)


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-5, 1e-3, 0.1, 0.5, 0.999999])
def test_truncated(checkpoint: Path, share: float) -> None:
    """Cut anywhere, in the length, the header or the weights, it is refused."""
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="truncated or something else") as error:
        load_checkpoint(checkpoint)
    _one_sentence(error, checkpoint)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes(tmp_path: Path, seed: int) -> None:
    """Noise is refused, whatever length its first bytes claim."""
    path = tmp_path / "noise.safetensors"
    noise = np.random.default_rng(seed).bytes(5000)
    path.write_bytes((seed * 200).to_bytes(8, "little") + noise if seed else noise)
    with pytest.raises(InputError) as error:
        load_checkpoint(path)
    _one_sentence(error, path)


def test_foreign_safetensors(tmp_path: Path) -> None:
    """A safetensors file of another program is told from a checkpoint."""
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="lacks the entry 'edge_bts'") as error:
        load_checkpoint(path)
    _one_sentence(error, path)


def _rewrite(path: Path, **fields: object) -> None:
    header = json.loads(DESCRIPTION.model_dump_json()) | fields
    save_file(load_file(path), path, metadata={"edge_bts": json.dumps(header)})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"imgsz": "large"}, "imgsz"),
        ({"colour": "red"}, "colour"),
        ({"role": "pupil"}, "role"),
    ],
)
def test_header_of_another_version(checkpoint: Path, fields: dict[str, object], match: str) -> None:
    """A description that this version does not know names the field, in one sentence."""
    _rewrite(checkpoint, **fields)
    with pytest.raises(InputError, match=match) as error:
        load_checkpoint(checkpoint)
    _one_sentence(error, checkpoint)


def test_header_that_is_not_json(checkpoint: Path) -> None:
    """A broken description is refused like an unknown one."""
    save_file(load_file(checkpoint), checkpoint, metadata={"edge_bts": "{"})
    with pytest.raises(InputError, match="description") as error:
        load_checkpoint(checkpoint)
    _one_sentence(error, checkpoint)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "simplified_unet", "options": {}},
        {"name": "attention_unet", "options": {"width": 16}},
    ],
)
def test_weights_of_another_model(checkpoint: Path, spec: dict[str, object]) -> None:
    """Weights that do not fit the model that the header names are counted and refused."""
    _rewrite(checkpoint, model=spec)
    with pytest.raises(InputError, match="another model's") as error:
        load_checkpoint(checkpoint)
    _one_sentence(error, checkpoint)


def test_unknown_model(checkpoint: Path) -> None:
    """A model that this version cannot build is named with those it can."""
    _rewrite(checkpoint, model={"name": "resnet", "options": {}})
    with pytest.raises(InputError, match="'resnet'"):
        load_checkpoint(checkpoint)


_FULL_DISK = """
import resource, sys
from edge_bts.errors import EdgeBtsError
from edge_bts.models import build_model, load_checkpoint, save_checkpoint
module, checkpoint = load_checkpoint(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(sys.argv[1], module, checkpoint)
except EdgeBtsError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_full_disk(checkpoint: Path) -> None:
    """When the system stops writing, the old file stands alone and one sentence says so."""
    before = checkpoint.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(checkpoint)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(f"Could not write {checkpoint}"), done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_interrupt_while_saving(
    checkpoint: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a save leaves the old file and no other."""
    before = checkpoint.read_bytes()

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(checkpoint, model, DESCRIPTION)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_info_reads_the_description_alone(checkpoint: Path) -> None:
    """The description comes without the weights, and a damaged file is refused all the same."""
    assert checkpoint_info(checkpoint) == DESCRIPTION
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        checkpoint_info(checkpoint)
