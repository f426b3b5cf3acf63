from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from edge_bts.config import Settings, load_recipe, overlay, recipe_names, settings
from edge_bts.errors import InputError


class Inner(Settings):
    """A nested section."""

    epochs: int = 5
    name: str = "a"


class Outer(Settings):
    """A section of a recipe."""

    loop: Inner = Inner()
    imgsz: int = 256


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with a nested section."""
    path = tmp_path / "r.toml"
    path.write_text("[train]\nimgsz = 128\n[train.loop]\nepochs = 7\n")
    return path


def test_flags_win_over_overrides_over_the_recipe_over_defaults(recipe: Path) -> None:
    """Each source lays its values over those before it, and None leaves them."""
    content = load_recipe(recipe, ["train.loop.epochs=9", "train.loop.name=b c"])
    chosen = settings(Outer, content, "train", imgsz=64, loop__epochs=None)
    assert chosen == Outer(imgsz=64, loop=Inner(epochs=9, name="b c"))


def test_no_recipe_gives_the_defaults() -> None:
    """Without a recipe, overrides and flags, every field keeps its default."""
    assert settings(Outer, load_recipe(None), "train") == Outer()


def test_a_misspelt_key_is_named(recipe: Path) -> None:
    """A key that the section does not have is an error that names it."""
    content = load_recipe(recipe, ["train.loop.epoch=3"])
    with pytest.raises(InputError, match=r"train\.loop\.epoch"):
        settings(Outer, content, "train")


def test_a_value_of_the_wrong_kind_is_named(recipe: Path) -> None:
    """A value that cannot be what it should is shown."""
    content = load_recipe(recipe, ["train.imgsz=wide"])
    with pytest.raises(InputError, match=r"train\.imgsz.*'wide'"):
        settings(Outer, content, "train")


@pytest.mark.parametrize("override", ["train.imgsz", "=3", ""])
def test_an_override_without_a_value_is_refused(override: str) -> None:
    """What is not section.key=value is said to be so."""
    with pytest.raises(InputError, match=r"section\.key=value"):
        load_recipe(None, [override])


def test_an_override_cannot_go_into_a_value(recipe: Path) -> None:
    """A key below a plain value is an error, not a replaced value."""
    with pytest.raises(InputError, match="a value and not a section"):
        load_recipe(recipe, ["train.imgsz.x=1"])


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    """A name that is neither a file nor a shipped recipe shows what there is."""
    with pytest.raises(InputError, match="busi-cpu"):
        load_recipe("no-such-recipe")


def test_a_broken_recipe_is_named(tmp_path: Path) -> None:
    """A file that is not TOML gives the place of the fault."""
    path = tmp_path / "broken.toml"
    path.write_text("[train\n")
    with pytest.raises(InputError, match=r"broken\.toml.*line 1"):
        load_recipe(path)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_fit_their_settings(name: str) -> None:
    """Every section of every shipped recipe is taken by the class that reads it."""
    from edge_bts.benchmarks.settings import BenchSettings
    from edge_bts.export.settings import ExportSettings
    from edge_bts.trainers.settings import DistillSettings, TrainSettings

    classes = {
        "train": TrainSettings,
        "distill": DistillSettings,
        "export": ExportSettings,
        "bench": BenchSettings,
    }
    content = load_recipe(name)
    assert content.keys() <= classes.keys()
    for section in content:
        settings(classes[section], content, section)


class Weighted(Outer):
    """A section with a table that is one value."""

    weights: dict[str, float] = Field(default_factory=dict)


def test_an_overlay_merges_sections_and_replaces_values() -> None:
    """Of a section the untouched keys stay; of a table that is a value nothing stays."""
    below = {"imgsz": 64, "loop": {"epochs": 7, "name": "b"}, "weights": {"kl": 1.0}}
    above = {"loop": {"epochs": 9}, "weights": {"dist": 2.0}}
    expected = {"imgsz": 64, "loop": {"epochs": 9, "name": "b"}, "weights": {"dist": 2.0}}
    assert overlay(Weighted, below, above) == expected
    assert below["loop"] == {"epochs": 7, "name": "b"}
