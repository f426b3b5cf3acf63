"""The released models: signed by the key beside them, small enough, and what they say they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_bts
from edge_bts.bundle import open_bundle_folder
from edge_bts.data.phantom import simulate
from edge_bts.files import sha256_file
from edge_bts.signing import find_trust

MODELS = Path(__file__).parents[1] / "models"
KEY = MODELS / "release.pub"
NAMES = sorted(path.stem for path in MODELS.glob("*.ebts"))


def test_students_of_each_data_set_and_of_both_are_there() -> None:
    """Each as a bundle and as the checkpoint that it was made from."""
    expected = ["bus-default", "busbra-default", "busbra-nano", "busi-default", "busi-nano"]
    assert expected == NAMES
    assert sorted(path.stem for path in MODELS.glob("*.safetensors")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_released_bundle_is_whole_signed_and_gated(name: str) -> None:
    """Every file has its hash, every judged gate passed, and it comes from its checkpoint."""
    bundle = open_bundle_folder(MODELS / f"{name}.ebts", find_trust([KEY]))
    bundle.verify()
    assert bundle.maker.doubt == ""
    gates = bundle.manifest.gates
    assert gates["dice_lower_bound"].judged
    assert not [gate for gate in gates.values() if gate.failed]
    checkpoint = MODELS / f"{name}.safetensors"
    assert bundle.manifest.provenance.checkpoint_sha256 == sha256_file(checkpoint)
    sizes = [path.stat().st_size for path in (checkpoint, *bundle.path.iterdir())]
    assert max(sizes) < 16 << 20
    assert sum(sizes) - sizes[0] < 16 << 20


@pytest.mark.parametrize("name", NAMES)
def test_a_released_bundle_segments_as_readme_shows(name: str) -> None:
    """It opens with the key, passes its golden frame, and gives masks in the frame's pixels."""
    model = edge_bts.open(MODELS / f"{name}.ebts", trust=KEY)
    assert model.notes == []
    frame = simulate(0, "malignant").image
    result = model.segment(frame, spacing_mm=0.1)
    assert result.mask.shape == frame.shape
    assert all(part.area_mm2 is not None for part in result.components)
