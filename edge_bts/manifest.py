"""``manifest.json``: what a bundle says of itself, and the checks before anybody believes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge_bts import __version__
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.provenance import Origin
from edge_bts.signing import SIGNATURE_NAME

__all__ = [
    "INTENDED_USE",
    "MANIFEST_NAME",
    "MAX_FILE_BYTES",
    "FileEntry",
    "Gate",
    "Geometry",
    "Manifest",
    "Normalisation",
    "Provenance",
    "first_fault",
    "is_flat",
    "parse_manifest",
]

MANIFEST_NAME = "manifest.json"
INTENDED_USE = "Research use only; not a medical device."
MAX_FILE_BYTES = 512 << 20
"""The float teacher of width 64 has 140 MB; this leaves room for three of them."""

_SCHEMA_VERSION = 1
_KNOWN_FEATURES: frozenset[str] = frozenset()
_RESERVED = frozenset({MANIFEST_NAME, SIGNATURE_NAME})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9})*")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    # Fields that a later version adds are ignored; what must not be is a required feature.
    model_config = ConfigDict(extra="ignore", frozen=True)


class FileEntry(_Part):
    """Size in bytes and SHA-256 of one file."""

    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Sha256


class Geometry(_Part):
    """How a frame becomes the model's square; see :mod:`edge_bts.geometry`."""

    imgsz: int = Field(ge=32, le=4096)
    letterbox: Literal["area down, bilinear up, centred"] = "area down, bilinear up, centred"
    pad: Literal[0] = 0


class Normalisation(_Part):
    """Constants of ``(v/255 - mean)/std``."""

    mean: Finite
    std: Annotated[Finite, Field(gt=0)]


class Provenance(_Part):
    """What made the bundle. Empty strings and None stand for "not known"."""

    tool_version: str = __version__
    git_commit: str | None = None
    constraints_sha256: Sha256 | None = None
    dataset: str = ""
    data_sha256: str = ""
    split_hash: str = ""
    origins: tuple[Origin, ...] = ()
    checkpoint_sha256: str = ""
    model: str = ""
    seed: int = 0
    settings: dict[str, Any] = {}


class Gate(_Part):
    """A criterion that could have failed the export: the value reached and its limit.

    Attributes:
        value: What was reached; None where there was nothing to measure it on.
        at_least: The limit of a value that must not be lower; None for the other kind.
        at_most: The limit of a value that must not be higher; None for the other kind.
        n: Images, pairs of frames or rounds behind the value; None where it is of none of these.
        judged: False where these were too few to say anything.
        reason: Why it was not judged; empty where it was.
    """

    value: Finite | None
    at_least: Finite | None = None
    at_most: Finite | None = None
    n: int | None = Field(None, ge=0)
    judged: bool = True
    reason: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Gate:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a gate has either at_least or at_most")
        if self.judged == bool(self.reason) or (self.judged and self.value is None):
            raise ValueError("a gate is judged and has a value, or it has a reason why not")
        return self

    @property
    def failed(self) -> bool:
        """Whether it was judged and the value is beyond the limit."""
        if not self.judged or self.value is None:
            return False
        if self.at_least is not None:
            return not self.value >= self.at_least
        return self.at_most is not None and not self.value <= self.at_most

    @property
    def limit(self) -> str:
        """The limit in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return f"at most {self.at_most:g}"

    def __str__(self) -> str:
        """Return value, limit and how many images, or why it was not judged."""
        count = "" if self.n is None else f", n={self.n}"
        shown = "" if self.value is None else f"{self.value:.4f} "
        verdict = "" if self.judged else f": not judged, {self.reason}"
        return f"{shown}({self.limit}{count}){verdict}"


class Manifest(_Part):
    """Everything that a runtime must know before it opens a model.

    Attributes:
        schema_version: Of this record.
        required_features: What a reader must know to use the bundle; unknown ones are refused.
        name: Of the model.
        version: Of the model, as its maker counts.
        intended_use: What it may be used for.
        geometry: Side of the square and how frames get there.
        normalisation: Constants of the input scaling.
        threshold: Probability from which a pixel counts as lesion.
        presence_threshold: Presence score (:mod:`edge_bts.presence`) below which the mask is
            emptied; 0: never.
        classes: Names of the output channels.
        precision: Of the models that ``models`` names, the reference apart.
        models: Which file serves which backend; ``reference`` is the float model in ONNX.
        files: Every file of the bundle but manifest and signature.
        minimum_runtime: Lowest versions that read the files.
        provenance: What made the bundle.
        gates: Criteria that the export passed, or that could not be judged.
        targets: Backends that the export ran and compared.
    """

    schema_version: Literal[1] = 1
    required_features: list[str] = []
    name: str = Field(min_length=1, max_length=100)
    version: str = "1"
    intended_use: str = INTENDED_USE
    geometry: Geometry
    normalisation: Normalisation
    threshold: Probability
    presence_threshold: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    classes: list[str] = ["lesion"]
    precision: Literal["fp32", "fp16", "int8"]
    models: dict[str, str]
    files: dict[str, FileEntry]
    minimum_runtime: dict[str, str] = {}
    provenance: Provenance = Provenance()
    gates: dict[str, Gate] = {}
    targets: list[str] = []

    @property
    def imgsz(self) -> int:
        """Side of the square input in pixels."""
        return self.geometry.imgsz

    @property
    def mean(self) -> float:
        """Subtracted from ``v/255``."""
        return self.normalisation.mean

    @property
    def std(self) -> float:
        """Divided by."""
        return self.normalisation.std

    def check_runtime(self, name: str, version: str) -> None:
        """Refuse a version that is lower than ``minimum_runtime`` asks for.

        Args:
            name: ``edge_bts``, ``openvino`` or ``onnxruntime``.
            version: The one that is here.

        Raises:
            EnvironmentMismatchError: It is lower.
        """
        needed = self.minimum_runtime.get(name, "0")
        if _number(needed) > _number(version):
            raise EnvironmentMismatchError(
                f"The bundle of {self.name} requires {name} {needed}, but this is {version}; "
                "install a newer one."
            )

    @field_validator("files")
    @classmethod
    def _flat_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not is_flat(name):
                raise ValueError(f"{name!r} is not the plain name of a file in the bundle")
        return files

    @model_validator(mode="after")
    def _models_are_listed(self) -> Manifest:
        for backend, name in self.models.items():
            if name not in self.files:
                raise ValueError(f"the model for {backend}, {name!r}, is not among the files")
        return self


def is_flat(name: str) -> bool:
    """Say whether ``name`` can only be a file in the folder.

    No separator, no leading dot or dash, so no "..", and not the manifest itself.
    """
    return _NAME.fullmatch(name) is not None and name not in _RESERVED


def parse_manifest(content: bytes, where: Path) -> Manifest:
    """Read a manifest; ``where`` is named in errors.

    Raises:
        InputError: It is not JSON, or not a manifest.
        EnvironmentMismatchError: It needs a newer edge-bts, or a feature that this one lacks.
    """
    try:
        record = json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Expected {where} to be JSON, but {error}; copy it again.") from None
    if not isinstance(record, dict) or "schema_version" not in record:
        raise InputError(f"Expected {where} to be a manifest, but it has no schema_version.")
    if record["schema_version"] != _SCHEMA_VERSION:
        raise EnvironmentMismatchError(
            f"Expected a manifest of schema {_SCHEMA_VERSION}, but {where} has schema "
            f"{record['schema_version']!r}; install the edge-bts that it was made for."
        )
    try:
        manifest = Manifest.model_validate(record)
    except ValidationError as error:
        raise InputError(f"Expected {where} to be a manifest, but {first_fault(error)}.") from None
    if unknown := sorted(set(manifest.required_features) - _KNOWN_FEATURES):
        raise EnvironmentMismatchError(
            f"{where} requires {', '.join(unknown)}, which edge-bts {__version__} does not know; "
            "install a newer one."
        )
    manifest.check_runtime("edge_bts", __version__)
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers may keep different ones of two equal keys; then they would run different models.
    if len(record := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return record


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def first_fault(error: ValidationError) -> str:
    """Return where the first fault is and what it is."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"


def _number(version: str) -> tuple[int, ...]:
    match = _VERSION.match(version)
    return tuple(int(part) for part in match.group().split(".")) if match else (0,)
