"""Settings: one object a section, filled from a recipe, ``--set`` and flags, in that order.

A recipe is TOML with a section for each command: ``[train]``, ``[distill]``, ``[export]``,
``[bench]``. What is left out keeps the default of the settings class, where the reason stands.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_bts.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - Python 3.10 of JetPack 6
    import tomli as tomllib

__all__ = ["Settings", "load_recipe", "overlay", "recipe_names", "settings"]

S = TypeVar("S", bound="Settings")
Kind = Literal["recipe", "study"]
_FOLDERS: dict[Kind, str] = {"recipe": "recipes", "study": "studies"}


class Settings(BaseModel):
    """Base of every settings class: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _shipped(kind: Kind) -> Path:
    import edge_bts.trainers

    return Path(edge_bts.trainers.__file__).parent / _FOLDERS[kind]


def recipe_names(kind: Kind = "recipe") -> list[str]:
    """Return the names of the recipes (or studies) that come with the package."""
    return sorted(path.stem for path in _shipped(kind).glob("*.toml"))


def load_recipe(
    recipe: str | Path | None, overrides: Iterable[str] = (), kind: Kind = "recipe"
) -> dict[str, Any]:
    """Read a recipe and lay ``section.key=value`` overrides over it.

    Args:
        recipe: A TOML file, or the name of a recipe of the package; None is an empty recipe.
        overrides: ``train.loop.epochs=3``; the value is TOML, or a bare string.
        kind: What the file is; a study is shipped in a folder of its own.

    Raises:
        InputError: No such recipe, not TOML, or an override without ``=``.
    """
    content = {} if recipe is None else _read(Path(recipe), kind)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise InputError(f"Expected --set section.key=value, but got {override!r}.")
        _assign(content, key.strip().split("."), _value(text.strip()), override)
    return content


def settings(cls: type[S], recipe: Mapping[str, Any], section: str, **flags: Any) -> S:
    """Fill ``cls`` from ``recipe[section]``, then from flags that are not None.

    A flag names a field, or with ``__`` a field of a nested section: ``loop__epochs=3``.

    Raises:
        InputError: A key that the section does not have, or a value of the wrong kind.
    """
    content = copy.deepcopy(recipe.get(section, {}))
    if not isinstance(content, dict):
        raise InputError(f"Expected [{section}] to be a section, but it is {content!r}.")
    for flag, value in flags.items():
        if value is not None:
            _assign(content, flag.split("__"), value, f"--{flag}")
    try:
        return cls.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{section}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            f" (got {fault.get('input')!r})"
            for fault in error.errors()[:3]
        )
        raise InputError(f"Expected settings that {cls.__name__} takes, but {faults}.") from None


def overlay(
    cls: type[Settings], below: Mapping[str, Any], above: Mapping[str, Any]
) -> dict[str, Any]:
    """Lay ``above`` over ``below``, both contents of ``cls``: sections are merged, values replaced.

    A section is a field that is itself a :class:`Settings`; a model or a table of weights is one
    value, of which no part of the old one must stay.
    """
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        field = cls.model_fields.get(name)
        section = None if field is None else field.annotation
        if (
            isinstance(section, type)
            and get_origin(section) is None  # dict[str, int] is a type for Python 3.10
            and issubclass(section, Settings)
            and isinstance(below[name], Mapping)
            and isinstance(above[name], Mapping)
        ):
            merged[name] = overlay(section, below[name], above[name])
    return merged


def _read(path: Path, kind: Kind) -> dict[str, Any]:
    if not path.is_file() and path.suffix != ".toml" and path.name == str(path):
        path = _shipped(kind) / f"{path.name}.toml"
    if not path.is_file():
        raise InputError(
            f"Expected a {kind} file or one of {', '.join(recipe_names(kind))}, "
            f"but got {path.name!r}."
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"Expected {path} to be TOML, but {error}; correct the file.") from None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(content: dict[str, Any], keys: list[str], value: Any, source: str) -> None:
    for key in keys[:-1]:
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise InputError(f"{source} goes into {key!r}, which is a value and not a section.")
    content[keys[-1]] = value
