"""The analysis of groups: what is measured, how it goes on, and what it proposes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts.errors import InputError
from edge_bts.export import sensitivity
from edge_bts.export.latency import Ratio
from edge_bts.export.sensitivity import Group, Sensitivity, Variant, groups_of
from edge_bts.export.sensitivity_plot import draw_sensitivity, sensitivity_table
from edge_bts.export.settings import ExportSettings


def test_groups_are_named_up_to_the_first_number() -> None:
    """Stages are groups, a layer without number is its own; what stays float is in none."""
    layers = {"encoder.0.0.0": "4 channels", "encoder.0.1.reduce.0": "int8"}
    layers |= {"encoder.0.1.conv.0": "int8", "gate.3.skip.0": "int8", "bridge": "int8"}
    layers |= {"encoder.10.conv": "int8", "head": "1 channels"}
    assert groups_of(layers) == {
        "encoder.0": ["encoder.0.1.reduce.0", "encoder.0.1.conv.0"],
        "gate.3": ["gate.3.skip.0"],
        "bridge": ["bridge"],
        "encoder.10": ["encoder.10.conv"],
    }


def ratio(median: float) -> Ratio:
    """Return a ratio without spread."""
    return Ratio(median=median, low=median, high=median, rounds=3, first_ms=median, second_ms=1.0)


def made_up() -> Sensitivity:
    """Three groups: one costs Dice and saves little, one costs a bit, one costs nothing."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.7, 0.9, 40)
    int8 = base - 0.02 + rng.normal(0, 0.001, 40)

    def group(name: str, back: float, paid: float, noise: float) -> Group:
        dice = (int8 + back + rng.normal(0, noise, 40)).tolist()
        alone = Variant(dice=(base - back).tolist(), time=ratio(1 - paid))
        return Group(
            name=name, layers=[f"{name}.conv"] if name != "bridge" else [name],
            only=alone, all_but=Variant(dice=dice, time=ratio(1 + paid)),
        )  # fmt: skip

    return Sensitivity(
        inputs={},
        images=[f"i{n}" for n in range(40)],
        patients=[f"g{n}" for n in range(40)],
        expected=["encoder.0", "bridge", "up.0", "noise.0"],
        floating={},
        float_dice=base.tolist(),
        int8=Variant(dice=int8.tolist(), time=ratio(0.6)),
        groups=[
            group("up.0", 0.0, 0.05, 1e-4),
            group("encoder.0", 0.005, 0.10, 1e-4),
            group("bridge", 0.012, 0.01, 1e-4),
            group("noise.0", 0.003, 0.01, 0.1),  # in the mean perhaps, surely not
        ],
    )


def test_proposal_holds_what_surely_gives_dice_back() -> None:
    """Worst bargain first; noise and groups that cost nothing stay INT8."""
    found = made_up()
    assert found.proposal(0.002) == ["bridge", "encoder.0.*"]
    assert found.proposal(0.01) == ["bridge"]
    first = found.ranked()[0]
    back = np.mean(first.all_but.dice) - np.mean(found.int8.dice)
    assert found.drop_per_gain(first) == pytest.approx(back / (first.all_but.time.median - 1))
    assert found.lost(found.int8).mean == pytest.approx(
        np.mean(found.float_dice) - np.mean(found.int8.dice)
    )


def test_table_and_picture_hold_every_group(tmp_path: Path) -> None:
    """One row a group; the PNG is one."""
    found = made_up()
    assert sensitivity_table(found).row_count == 4
    draw_sensitivity(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_interrupted_analysis_goes_on(
    request_int8: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C the file holds what was finished; the next call measures the rest alone."""
    settings = {
        **request_int8.settings.model_dump(),
        "sensitivity": {"groups": ["up.[01]"], "calibration_images": 2},
        "latency": {"rounds": 2, "frames": 1, "warmup": 0},
    }
    request = dataclasses.replace(
        request_int8,
        output=tmp_path / "s.json",
        settings=ExportSettings.model_validate(settings),
    )
    measure = sensitivity._Bench.measure
    asked: list[str] = []

    def once(self: Any, name: str) -> Group:
        if asked:
            raise KeyboardInterrupt
        asked.append(name)
        return measure(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(sensitivity._Bench, "measure", once)
        with pytest.raises(KeyboardInterrupt):
            sensitivity.analyse(request, say=lambda _: None)
    half = json.loads(request.output.read_text())
    assert [group["name"] for group in half["groups"]] == asked
    assert len(half["expected"]) == 2
    assert half["floating"]["head"] != "int8"
    assert len(half["float_dice"]) == len(half["images"]) > 0
    first = Group.model_validate(half["groups"][0])
    assert first.layers == [f"{first.name}.0.0"]
    for variant in (first.only, first.all_but):
        assert np.mean(variant.dice) == pytest.approx(np.mean(half["float_dice"]), abs=0.05)

    def copied(_self: Any, name: str) -> Group:
        asked.append(name)
        return first.model_copy(update={"name": name})

    monkeypatch.setattr(sensitivity._Bench, "measure", copied)
    whole = sensitivity.analyse(request, say=lambda _: None)
    assert [group.name for group in whole.groups] == whole.expected == asked
    assert (tmp_path / "s.png").is_file()
    monkeypatch.setattr(sensitivity, "_Bench", None)  # a whole file is shown, not measured again
    assert sensitivity.analyse(request, say=lambda _: None) == whole
    other = dataclasses.replace(
        request, settings=ExportSettings.model_validate({**settings, "seed": 1})
    )
    for refused in (other, dataclasses.replace(request, output=tmp_path / "t.json")):
        (tmp_path / "t.png").touch()
        with pytest.raises(InputError, match="--force"):
            sensitivity.analyse(refused, say=lambda _: None)
