"""What changed between two bundles: weights, data, thresholds, settings, figures, gates.

Nothing is run. Weights are compared tensor by tensor in the float reference, which needs the
package ``onnx``; without it the report says so and compares the files' hashes alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Literal, Union

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts import __version__
from edge_bts.bundle import Bundle
from edge_bts.manifest import Gate

__all__ = ["Change", "Comparison", "Weights", "compare_bundles"]

Value = Union[str, int, float, bool, None]  # noqa: UP007  pydantic reads it on Python 3.10


class Change(BaseModel):
    """One thing that is not the same; None where a bundle does not have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    before: Value
    after: Value


class Weights(BaseModel):
    """The float references, tensor by tensor.

    Attributes:
        tensors: How many both have, by name and shape.
        equal: How many of these are equal to the bit.
        only_before: Names of those that only the first has, or has in another shape.
        only_after: The same of the second.
        relative: ``‖after - before‖ / ‖before‖`` over all that both have.
        largest: The tensors that changed most, with their own such figure, the largest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensors: int
    equal: int
    only_before: list[str]
    only_after: list[str]
    relative: float
    largest: dict[str, float]


class Comparison(BaseModel):
    """Two bundles; each list holds only what differs.

    Attributes:
        before: Name and identity (SHA-256 of the manifest) of the first.
        after: The same of the second.
        same: Both are the same bundle, to the bit.
        model: Network, precision, geometry, thresholds, version, signer.
        data: Data set, split and what else it was made from.
        settings: Of training and export, by their dotted names.
        figures: Numbers of ``report.json``: validation, operating points, parity.
        gates: Value, limit and verdict of each gate.
        files: Size and hash of each file.
        weights: None where they were not compared.
        notes: What was not compared, and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["edge-bts comparison of bundles 1"] = "edge-bts comparison of bundles 1"
    edge_bts_version: str = __version__
    before: str
    after: str
    same: bool
    model: list[Change]
    data: list[Change]
    settings: list[Change]
    figures: list[Change]
    gates: list[Change]
    files: list[Change]
    weights: Weights | None
    notes: list[str]


def compare_bundles(before: Bundle, after: Bundle) -> Comparison:
    """Compare two bundles; each file's hash is checked as it is read.

    Raises:
        IntegrityError: A file is not what its manifest says.
        InputError: A report that is no JSON object.
    """
    for bundle in (before, after):
        bundle.verify()
    notes: list[str] = []
    weights = None
    if find_spec("onnx") is not None:
        weights = _weights(before, after, notes)
    else:
        notes.append("weights: the package onnx is not installed: pip install 'edge-bts[export]'")
    return Comparison(
        before=_identity(before),
        after=_identity(after),
        same=before.manifest_sha256 == after.manifest_sha256,
        model=_changes(_model(before), _model(after)),
        data=_changes(_data(before), _data(after)),
        settings=_changes(*(_flat(b.manifest.provenance.settings) for b in (before, after))),
        figures=_changes(*(_figures(b, notes) for b in (before, after))),
        gates=_changes(*(_gates(b.manifest.gates) for b in (before, after))),
        files=_changes(*(_files(b) for b in (before, after))),
        weights=weights,
        notes=notes,
    )


def _identity(bundle: Bundle) -> str:
    return f"{bundle.manifest.name} {bundle.manifest_sha256}"


def _changes(before: Mapping[str, Value], after: Mapping[str, Value]) -> list[Change]:
    names = dict.fromkeys([*before, *after])
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return [Change(what=name, before=a, after=b) for name, a, b in pairs if a != b]


def _model(bundle: Bundle) -> dict[str, Value]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "network": manifest.provenance.model,
        "precision": manifest.precision,
        "imgsz": manifest.imgsz,
        "mean": manifest.mean,
        "std": manifest.std,
        "threshold": manifest.threshold,
        "presence_threshold": manifest.presence_threshold,
        "classes": ", ".join(manifest.classes),
        "signed by": bundle.maker.signer or None,
        **{f"requires {name}": version for name, version in manifest.minimum_runtime.items()},
    }


def _data(bundle: Bundle) -> dict[str, Value]:
    made = bundle.manifest.provenance
    return {
        "data set": made.dataset,
        "files of the data (SHA-256)": made.data_sha256,
        "split": made.split_hash,
        "checkpoint (SHA-256)": made.checkpoint_sha256,
        "seed": made.seed,
        "edge-bts": made.tool_version,
        "commit": made.git_commit,
        "constraints (SHA-256)": made.constraints_sha256,
    }


def _files(bundle: Bundle) -> dict[str, Value]:
    files = bundle.manifest.files
    return {name: f"{entry.size} bytes, {entry.sha256[:12]}" for name, entry in files.items()}


def _gates(gates: Mapping[str, Gate]) -> dict[str, Value]:
    return {name: str(gate) for name, gate in gates.items()}


def _figures(bundle: Bundle, notes: list[str]) -> dict[str, Value]:
    """Return the numbers of a report that say how good the model is, by their dotted names."""
    if "report.json" not in bundle.manifest.files:
        notes.append(f"figures: {bundle.path.name} has no report.json")
        return {}
    try:
        report = json.loads(bundle.read("report.json"))
        parity = {row["name"]: row for row in report["parity"]["rows"]}
        chosen = {
            "operating point": report.get("operating_points", {}),
            "parity": {
                name: {key: row[key] for key in ("dice", "dice_truth", "mean_abs")}
                for name, row in parity.items()
            },
            "INT8 layers": {
                key: value
                for key, value in report.get("quantization", {}).items()
                if key != "layers"
            },
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        notes.append(f"figures: report.json of {bundle.path.name} cannot be read ({error!r})")
        return {}
    return _flat(chosen)


def _flat(record: Mapping[str, Any]) -> dict[str, Value]:
    """Return the leaves of nested tables by their dotted names; lists are one value."""
    return dict(_leaves(record, ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (str, int, float, bool)) or value is None:
        yield name, value
    else:
        yield name, json.dumps(value, sort_keys=True)


def _weights(before: Bundle, after: Bundle, notes: list[str]) -> Weights | None:
    found = []
    for bundle in (before, after):
        if (name := bundle.manifest.models.get("reference")) is None:
            notes.append(f"weights: {bundle.path.name} has no float reference")
            return None
        found.append(_tensors(bundle, name))
    first, second = found
    both = [n for n, value in first.items() if n in second and value.shape == second[n].shape]
    sizes = {name: _norm(first[name]) for name in both}
    moved = {name: _norm(second[name] - first[name]) for name in both}
    tiny = np.finfo(np.float64).tiny
    relative = {name: moved[name] / max(sizes[name], tiny) for name in both if moved[name] > 0}
    ranked = sorted(relative, key=lambda name: -relative[name])
    return Weights(
        tensors=len(both),
        equal=len(both) - len(relative),
        only_before=[name for name in first if name not in both],
        only_after=[name for name in second if name not in both],
        relative=_norm(moved.values()) / max(_norm(sizes.values()), tiny),
        largest={name: relative[name] for name in ranked[:10]},
    )


def _tensors(bundle: Bundle, name: str) -> dict[str, NDArray[np.float64]]:
    import onnx
    from onnx import numpy_helper

    from edge_bts.runtime.opening import read_model

    content = read_model(bundle, name)
    assert isinstance(content, bytes)
    return {
        str(tensor.name): numpy_helper.to_array(tensor).astype(np.float64)
        for tensor in onnx.load_from_string(content).graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }


def _norm(values: Any) -> float:
    return float(np.linalg.norm(np.asarray(list(values), np.float64).ravel()))
