"""Where a result or a bundle comes from: versions, commit, license."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

import edge_bts
from edge_bts.errors import EnvironmentMismatchError
from edge_bts.files import sha256_file

__all__ = ["Origin", "constraints_hash", "git_commit", "license_text", "package_versions", "seen"]

_PACKAGES = ("numpy", "torch", "nncf", "onnx", "onnxruntime", "openvino", "safetensors")


class Origin(BaseModel):
    """What a network learnt from: a checkpoint, or one of the data sets that were merged for it.

    Attributes:
        role: What it was to the network: its first weights, a teacher, a part of its data.
        dataset: Name of the data set: the part's, or what the checkpoint was trained on itself.
        split_hash: Of the split of that.
        checkpoint_sha256: Of the checkpoint's file; empty for a part.
        origins: What it had learnt from in its turn.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["start", "teacher", "part"]
    dataset: str
    split_hash: str
    checkpoint_sha256: str = ""
    origins: tuple[Origin, ...] = ()


class Trained(Protocol):
    """Whatever says on which data it was trained: a checkpoint, an origin, a bundle's manifest."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def split_hash(self) -> str:
        """Of its split."""

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What it learnt from."""


def seen(trained: Trained) -> list[tuple[str, str]]:
    """Return data set and split hash of all images behind a network, its own first, none twice."""
    own = [(trained.dataset, trained.split_hash)]
    others = [part for origin in trained.origins for part in seen(origin)]
    return list(dict.fromkeys([*own, *others]))


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that have a part in the files."""
    versions = {"python": platform.python_version(), "edge-bts": edge_bts.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Return the commit of the checkout that runs, with ``-dirty`` if it was changed; else None."""
    root = _checkout()
    if root is None or not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if dirty else commit


def constraints_hash() -> str | None:
    """Return the SHA-256 of ``constraints.txt`` of the checkout that runs, or None."""
    root = _checkout()
    path = None if root is None else root / "constraints.txt"
    return sha256_file(path) if path is not None and path.is_file() else None


def license_text() -> bytes:
    """Return the license of edge-bts, from the installed package or the checkout.

    Raises:
        EnvironmentMismatchError: It is in neither: the install is damaged.
    """
    try:
        files = metadata.files("edge-bts") or []
    except metadata.PackageNotFoundError:
        files = []
    candidates = [Path(str(file.locate())) for file in files if file.name == "LICENSE"]
    if (root := _checkout()) is not None:
        candidates.append(root / "LICENSE")
    for path in candidates:
        if path.is_file():
            return path.read_bytes()
    raise EnvironmentMismatchError(
        "Expected the file LICENSE in the installed package edge-bts, but it is missing; "
        "install edge-bts again."
    )


def _checkout() -> Path | None:
    """Return the folder above the package if it is a checkout of this project."""
    root = Path(edge_bts.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "export").is_dir() else None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()
