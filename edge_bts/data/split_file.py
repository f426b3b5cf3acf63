"""The split file: who is in which part, and the hashes of the files that were meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_bts.data.sample import Category
from edge_bts.errors import InputError, IntegrityError
from edge_bts.files import canonical_json, sha256_bytes, write_json

__all__ = ["PARTS", "Part", "Split", "load_split", "write_split"]

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


class Split(BaseModel):
    """Who is in which part, and the exact files that were meant.

    Attributes:
        dataset: Name of the data set.
        method: How the groups and the parts were made, in words.
        seed: Seed of the draw.
        fold: Number of the official fold that is the test part, or None.
        train: Ids of the training part.
        val: Ids of the validation part: epoch and threshold are chosen here.
        test: Ids of the test part: figures are reported here.
        categories: Category of each id.
        groups: Group of each id; a group lies in one part.
        leaks: Why figures of the test part flatter, in words; empty where they do not. Only if it
            says so may a group lie in the test part and in another, or, where validation is what
            is reported and there is no test part, in both parts.
        conflicts: For each id that has a duplicate of another category, all categories of its
            duplicates; see :func:`select`.
        sha256: SHA-256 of each id's image file.
        masks_sha256: For each id the SHA-256 over the SHA-256 digests (hexadecimal, joined) of
            its mask files in their order; of nothing for a normal image without a mask.
        merged: Hash of the split of each data set that was merged into this one, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["edge-bts split 1"] = "edge-bts split 1"
    dataset: str
    method: str
    seed: int
    fold: int | None = None
    leaks: str = ""
    train: list[str]
    val: list[str]
    test: list[str]
    categories: dict[str, Category]
    groups: dict[str, str]
    conflicts: dict[str, list[Category]] = Field(default_factory=dict)
    sha256: dict[str, str]
    masks_sha256: dict[str, str]
    merged: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Split:
        ids = [*self.train, *self.val, *self.test]
        if len(set(ids)) < len(ids):
            raise ValueError("an id is in two parts")
        for table in (self.categories, self.groups, self.sha256, self.masks_sha256):
            if table.keys() != set(ids):
                raise ValueError("the parts and the tables do not name the same ids")
        parts: tuple[Part, ...] = PARTS
        if self.leaks:
            parts = ("train", "val") if self.test else ()
        homes = {(self.groups[name], part) for part in parts for name in self.part(part)}
        if len(homes) > len({group for group, _ in homes}):
            raise ValueError("a group is in two parts")
        return self

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of all fields, hexadecimal: the name of this split."""
        return sha256_bytes(canonical_json(self.content()))

    def content(self) -> dict[str, Any]:
        """Return all fields; ``leaks`` and ``merged`` where there is something to say.

        So that the hashes under which figures are published do not depend on fields that most
        splits have no use for.
        """
        idle = {name for name in ("leaks", "merged") if not getattr(self, name)}
        return self.model_dump(exclude=idle)

    def part(self, name: Part) -> list[str]:
        """Return the ids of one part."""
        ids: list[str] = getattr(self, name)
        return ids


def write_split(path: str | Path, split: Split) -> None:
    """Write a split as JSON, with its hash; the same split gives the same bytes."""
    write_json(path, {**split.content(), "hash": split.hash})


def load_split(path: str | Path) -> Split:
    """Read a split file.

    Raises:
        InputError: There is no such file, or it is not a split.
        IntegrityError: The content is not what the file's own hash was made of.
    """
    path = Path(path)
    make = f"make one with `edge-bts data split PATH -o {path.name}`."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Expected a split file at {path}, but {reason}; {make}") from error
    except ValueError as error:
        raise InputError(f"Expected a split file at {path}, but it is not JSON; {make}") from error
    try:
        stored = content.pop("hash", None) if isinstance(content, dict) else None
        split = Split.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "the whole"
        raise InputError(
            f"Expected a split file at {path}, but {where}: {first['msg']}; {make}"
        ) from error
    if stored is not None and stored != split.hash:
        raise IntegrityError(
            f"Expected the split {path} to have the hash {stored[:12]}, but its content has "
            f"{split.hash[:12]}: it was edited; restore it, or {make}"
        )
    return split
