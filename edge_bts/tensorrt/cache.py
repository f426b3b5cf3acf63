"""Where engines lie, what stands beside each, and the checks that need no TensorRT.

``<cache>/<SHA-256 of the manifest>/<TensorRT>-<sm>-<precision>.engine`` and, of the same name,
``.json``: the sidecar. The plan is written first and the sidecar last, each whole or not at all:
a plan without its own sidecar is no engine.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_bts import __version__
from edge_bts.bundle import Bundle
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, IntegrityError
from edge_bts.files import sha256_bytes, write_bytes, write_json
from edge_bts.manifest import first_fault
from edge_bts.tensorrt.device import Device
from edge_bts.tensorrt.plan import has_plan_tag, plan_version, same_version, version_numbers

__all__ = [
    "CACHE_VARIABLE",
    "EngineKey",
    "Inspection",
    "Port",
    "Sidecar",
    "cache_folder",
    "check_files",
    "has_engine",
    "read_engine",
    "write_engine",
]

CACHE_VARIABLE = "EDGE_BTS_CACHE"
_MAX_SIDECAR_BYTES = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Port(_Part):
    """One input or output of an engine."""

    name: str
    mode: str
    dtype: str
    shape: list[int]
    format: str | None = None


class Onnx(_Part):
    """The file that was built."""

    file: str
    sha256: str
    ir: int | None
    opset: int | None


class Flags(_Part):
    """What the builder was asked for; what this tool never uses is written down as such."""

    strongly_typed: Literal[True] = True
    tf32: bool
    level: int
    workspace_mib: int
    version_compatible: Literal[False] = False
    hardware_compatibility: Literal["none"] = "none"
    strip_plan: Literal[False] = False
    refit: Literal[False] = False
    dla_core: None = None


class Inspection(_Part):
    """What TensorRT's inspector counts in an engine.

    Attributes:
        layers: All layers.
        int8_layers: Those with an INT8 input or output.
        convolutions: Layers that the inspector calls convolutions; fused ones may go by another
            name.
        int8_convolutions: Those of them with an INT8 input.
        reformats: Layers that only change a tensor's format or type.
    """

    layers: int
    int8_layers: int
    convolutions: int
    int8_convolutions: int
    reformats: int


class Answer(_Part):
    """Largest differences from the known answers: of probability, and of the mask's pixels."""

    frames: int
    mean_abs: float
    pixels: float


class Sidecar(_Part):
    """Everything that ties a plan to the bundle, TensorRT and device that it was built for.

    What could not be read is None. ``cuda_graph`` is no property of the plan: it is the wish,
    given at build time, that it be run as a CUDA graph.
    """

    format: Literal["edge-bts engine 1"] = "edge-bts engine 1"
    tool_version: str = __version__
    manifest_sha256: str
    model: str
    precision: str
    tensorrt: str
    device: Device
    flags: Flags
    onnx: Onnx
    ports: list[Port]
    quantization: dict[str, Any] | None
    plan_size: int = Field(ge=1)
    plan_sha256: str
    timing_cache_sha256: str | None
    inspection: Inspection | None
    answer: Answer
    build_seconds: float
    warnings: list[str]
    cuda_graph: bool


class EngineKey(_Part):
    """What an engine is filed under.

    Attributes:
        folder: The cache.
        bundle: Of the bundle: path as the user gave it, for messages.
        manifest_sha256: Of the bundle.
        tensorrt: Version of the library here, numbers only.
        device: The device here.
        precision: ``int8``, ``fp16`` or ``fp32``.
    """

    folder: Path
    bundle: str
    manifest_sha256: str
    tensorrt: str
    device: Device
    precision: str

    @classmethod
    def of(
        cls, bundle: Bundle, folder: Path, tensorrt: str, device: Device, precision: str
    ) -> EngineKey:
        """Make the key of a bundle's engine here."""
        return cls(
            folder=folder,
            bundle=str(bundle.path),
            manifest_sha256=bundle.manifest_sha256,
            tensorrt=tensorrt,
            device=device,
            precision=precision,
        )

    @property
    def plan(self) -> Path:
        """Path of the plan."""
        stem = f"{self.tensorrt}-{self.device.sm}-{self.precision}"
        return self.folder / self.manifest_sha256 / f"{stem}.engine"

    @property
    def sidecar(self) -> Path:
        """Path of the sidecar."""
        return self.plan.with_suffix(".json")

    @property
    def timing_cache(self) -> Path:
        """Path of the builder's timings: of this TensorRT and GPU, shared by all bundles."""
        gpu = "".join(c if c.isalnum() else "-" for c in self.device.gpu).strip("-").lower()
        name = f"timing-{self.tensorrt}-{self.device.sm}-{self.device.sm_count}-{gpu}.cache"
        return self.folder / name

    @property
    def mend(self) -> str:
        """The command that makes the engine."""
        flag = f" --{self.precision}"
        return f"run `edge-bts build {self.bundle}{flag}` here"


def cache_folder(given: Path | None = None) -> Path:
    """Return ``given``, else ``$EDGE_BTS_CACHE``, else ``edge-bts`` in the user's cache folder.

    The user's cache folder is ``$XDG_CACHE_HOME`` where that is an absolute path (the XDG
    specification ignores others), else ``~/.cache``.

    Raises:
        EnvironmentMismatchError: The user has no home folder, and none is named.
    """
    if given is not None:
        return given
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            raise EnvironmentMismatchError(
                "Expected a folder for engines, but this user has no home folder; pass --cache DIR "
                f"or set {CACHE_VARIABLE}."
            ) from None
    return base / "edge-bts"


def has_engine(bundle: Bundle, folder: Path) -> bool:
    """Say whether an engine of the bundle lies there, of whatever device; nothing is checked."""
    return any((folder / bundle.manifest_sha256).glob("*.engine"))


def write_engine(key: EngineKey, plan: bytes, sidecar: Sidecar) -> None:
    """Write plan, then sidecar.

    Killed between the two, an older sidecar does not fit the new plan, and the next reader says
    so.

    Raises:
        EdgeBtsError: The system refused to write.
    """
    write_bytes(key.plan, plan)
    write_json(key.sidecar, sidecar.model_dump(mode="json"))


def read_engine(key: EngineKey) -> tuple[bytes, Sidecar]:
    """Return plan and sidecar after the checks that need no TensorRT, in this order.

    Not everybody can write them; both are there; the sidecar is one of ours and of this bundle;
    size and SHA-256 of the plan; the plan's own tag and version; machine, compute capability, GPU
    and SM count.

    Raises:
        EnvironmentMismatchError: There is no engine, or it is of another TensorRT or device.
        IntegrityError: Plan or sidecar is not what was written, or everybody could write them.
    """
    for path in (key.plan.parent, key.plan, key.sidecar):
        _refuse_open_to_all(path, key)
    sidecar = _read_sidecar(key)
    plan = _read(key.plan, sidecar.plan_size)
    if plan is None:
        raise EnvironmentMismatchError(
            f"Expected an engine at {key.plan}, but only its sidecar is there; {key.mend}."
        )
    check_files(key, plan, sidecar)
    return plan, sidecar


def check_files(key: EngineKey, plan: bytes, sidecar: Sidecar) -> None:
    """Check a plan and its sidecar against each other and this device; see :func:`read_engine`."""
    if len(plan) != sidecar.plan_size or sha256_bytes(plan) != sidecar.plan_sha256:
        raise IntegrityError(
            f"Expected {key.plan} to have {sidecar.plan_size} bytes and SHA-256 "
            f"{sidecar.plan_sha256[:12]}, as its sidecar says, but it is another file; {key.mend}."
        )
    if not has_plan_tag(plan):
        raise IntegrityError(
            f"Expected {key.plan} to be a TensorRT plan, but it does not begin like one; "
            f"{key.mend}."
        )
    version = plan_version(plan)
    built_by = [numbers for numbers in (version, version_numbers(sidecar.tensorrt)) if numbers]
    here = version_numbers(key.tensorrt)
    for numbers in built_by:
        if not same_version(numbers, here):
            raise EnvironmentMismatchError(
                f"Expected an engine built by TensorRT {key.tensorrt}, but {key.plan} was built by "
                f"{'.'.join(map(str, numbers))}; {key.mend}."
            )
    if different := key.device.differs_from(sidecar.device):
        raise EnvironmentMismatchError(
            f"Expected an engine built on this device, but {key.plan} was built for "
            f"{', '.join(different)}; {key.mend}."
        )


def _refuse_open_to_all(path: Path, key: EngineKey) -> None:
    """A plan is native code: who can write it, and the sidecar with it, runs code here."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # that it is missing is said later
    if os.name == "posix" and mode & stat.S_IWOTH:
        raise IntegrityError(
            f"Expected {path} to be writable by its owner alone, but everybody can write it: an "
            f"engine is code that runs here; run `chmod o-w {path}`, then {key.mend[4:]}."
        )


def _read_sidecar(key: EngineKey) -> Sidecar:
    content = _read(key.sidecar, _MAX_SIDECAR_BYTES)
    if content is None:
        raise EnvironmentMismatchError(
            f"Expected a {key.precision} engine of {key.bundle} for TensorRT {key.tensorrt} and "
            f"{key.device.sm} in {key.folder}, but there is none; {key.mend}."
        )
    try:
        sidecar = Sidecar.model_validate_json(content[: _MAX_SIDECAR_BYTES + 1])
    except ValidationError as error:
        raise IntegrityError(
            f"Expected {key.sidecar} to be the sidecar of an engine, but {first_fault(error)}; "
            f"{key.mend}."
        ) from None
    if sidecar.manifest_sha256 != key.manifest_sha256 or sidecar.precision != key.precision:
        raise IntegrityError(
            f"Expected {key.sidecar} to belong to {key.bundle} and {key.precision}, but it is of "
            f"manifest {sidecar.manifest_sha256[:12]} and {sidecar.precision}; {key.mend}."
        )
    return sidecar


def _read(path: Path, size: int) -> bytes | None:
    """Return up to ``size + 1`` bytes of a file; None where there is none."""
    try:
        with path.open("rb") as stream:
            return stream.read(size + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EdgeBtsError(
            f"Could not read {path}: {error.strerror or error}; choose another folder with "
            f"{CACHE_VARIABLE}."
        ) from None
