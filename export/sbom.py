"""``sbom.cdx.json``: what a bundle is made of and made with, as a CycloneDX 1.6 record.

Written as plain JSON: cyclonedx-python-lib (11.12) has no model card. The tests validate it with
that library's schema. There is no time stamp, so that two exports give the same bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from edge_bts import provenance
from edge_bts.export.card import LIMITS
from edge_bts.files import canonical_json, sha256_bytes
from edge_bts.manifest import INTENDED_USE
from edge_bts.models import Checkpoint

__all__ = ["SBOM_NAME", "write_sbom"]

SBOM_NAME = "sbom.cdx.json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/schema/bom-1.6")


def write_sbom(
    name: str,
    version: str,
    checkpoint: Checkpoint,
    report: Mapping[str, Any],
    files: Mapping[str, bytes],
    data_sha256: str,
) -> bytes:
    """Return the bytes of ``sbom.cdx.json``.

    Args:
        name: Of the model.
        version: Of the model.
        checkpoint: What was exported.
        report: Content of ``report.json``: figures, packages.
        files: The model files by name.
        data_sha256: Over the training and validation files; empty without any.
    """
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": name,
        "version": version,
        "description": INTENDED_USE,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "components": [_file(file, files[file]) for file in sorted(files)],
        "modelCard": _card(checkpoint, report, data_sha256),
    }
    bom: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [_package(*entry) for entry in _packages(report)]},
            "component": model,
            "properties": _properties(
                git_commit=provenance.git_commit(),
                constraints_sha256=provenance.constraints_hash(),
            ),
        },
    }
    identity = uuid.uuid5(_NAMESPACE, sha256_bytes(canonical_json(bom)))
    bom["serialNumber"] = f"urn:uuid:{identity}"
    return f"{json.dumps(bom, indent=2, sort_keys=True, allow_nan=False)}\n".encode()


def _file(name: str, content: bytes) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{name}",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": sha256_bytes(content)}],
        "properties": _properties(size=str(len(content))),
    }


def _packages(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted(report["packages"].items())


def _package(name: str, version: str) -> dict[str, Any]:
    if name == "python":
        return {"type": "platform", "bom-ref": "python", "name": name, "version": version}
    purl = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
    kind = "application" if name == "edge-bts" else "library"
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _card(checkpoint: Checkpoint, report: Mapping[str, Any], data_sha256: str) -> dict[str, Any]:
    side = checkpoint.imgsz
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "segmentation of breast lesions in B-mode ultrasound",
            "architectureFamily": "convolutional neural network",
            "modelArchitecture": str(checkpoint.model),
            "datasets": [
                {
                    "type": "dataset",
                    "name": checkpoint.dataset or "not named by the checkpoint",
                    "description": f"{checkpoint.category} images; at export: "
                    f"{report['data'] or 'simulated phantoms only'}",
                    "contents": {
                        "properties": _properties(
                            split_hash=checkpoint.split_hash, data_sha256=data_sha256
                        )
                    },
                }
            ],
            "inputs": [{"format": f"float32 1x1x{side}x{side}: one gray frame, letterboxed"}],
            "outputs": [{"format": f"float32 1x1x{side}x{side}: probability of lesion"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": _figures(report)},
        "considerations": {"useCases": [INTENDED_USE], "technicalLimitations": list(LIMITS)},
    }


def _figures(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the figures of the model card: validation Dice, and parity of the exported forms."""
    validation = report["validation"]
    figures = [
        {
            "type": "mean Dice, threshold 0.5",
            "value": f"{validation[form]['dice']:.4f}",
            "slice": f"validation, model geometry, {form}",
        }
        for form in ("float", "calibrated", "tuned")
        if form in validation
    ]
    figures += [
        {
            "type": f"mean Dice to {row['against']}",
            "value": f"{row['dice']:.4f}",
            "slice": row["name"],
        }
        for row in report["parity"]["rows"]
        if row["name"] != row["against"]
    ]
    return figures


def _properties(**values: str | None) -> list[dict[str, str]]:
    return [{"name": f"edge-bts:{name}", "value": value} for name, value in values.items() if value]
