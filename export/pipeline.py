"""A whole export, from a checkpoint to a bundle: what ``edge-bts export`` does."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_bts import geometry, provenance
from edge_bts.bundle import Bundle, write_bundle
from edge_bts.data import Sample
from edge_bts.export.calibration import coverage, draw_covering, traits_of
from edge_bts.export.card import model_card, parity_table, points_table
from edge_bts.export.fold import fold_batch_norm
from edge_bts.export.gates import check_gates, gates_table, run_gates
from edge_bts.export.golden import Golden, golden_phantoms, pack_golden
from edge_bts.export.latency import check_latency, time_ratio
from edge_bts.export.models import IR, REFERENCE, ExportedModels, export_models, rungs
from edge_bts.export.parity import Case, Ladder, ParityReport, check_parity, climb
from edge_bts.export.quantize import quantize, summarise
from edge_bts.export.request import Prepared, Request, prepare
from edge_bts.export.sbom import SBOM_NAME, write_sbom
from edge_bts.files import canonical_json, sha256_bytes, sha256_file
from edge_bts.golden import GOLDEN_NAME
from edge_bts.manifest import Gate
from edge_bts.models import Checkpoint
from edge_bts.operating_point import OperatingPoint, pick_operating_point
from edge_bts.runtime import Segmenter, open_backend

__all__ = ["Request", "export", "prepare"]

Say = Callable[[Any], None]

_REMEDY = (
    "nothing was written; keep float what `edge-bts export --sensitivity` names "
    "(export.quantize.keep_float), fine-tune longer (--qat-epochs), or set a limit of your own "
    "(--set export.gates.NAME=VALUE)."
)


def export(request: Request, say: Say = print) -> Bundle:
    """Export a checkpoint into a bundle, written whole at the end or not at all.

    Args:
        request: What, from what, to where.
        say: Takes a line of progress, or a rich table.

    Raises:
        InputError: As :func:`prepare`.
        AccuracyGateError: A graph breaks a rule of its format, a backend's masks differ, or a
            gate of accuracy fails.
        LatencyGateError: The latency gate is on and fails.
        EnvironmentMismatchError: A package that is needed cannot be used.
    """
    prepared = prepare(request)
    settings, checkpoint = request.settings, prepared.checkpoint
    student = fold_batch_norm(prepared.module)
    report: dict[str, Any] = {
        "format": "edge-bts export report 1",
        "precision": settings.precision,
        "settings": settings.model_dump(mode="json"),
        "packages": provenance.package_versions(),
        "data": "" if prepared.inputs is None else str(prepared.inputs),
        "validation": {},
        "operating_points": {},
    }
    deployed, cuts = student, _cuts(checkpoint)
    if settings.precision == "int8":
        deployed, cuts = _to_int8(prepared, student, report, say)
    for name, of_checkpoint in _cuts(checkpoint).items():
        report[name] = {"checkpoint": of_checkpoint, "bundle": cuts[name]}
    say("Writing ONNX and OpenVINO IR.")
    made = export_models(student, deployed, checkpoint.imgsz, settings)
    report["graphs"] = made.graphs
    golden = golden_phantoms(settings.golden_frames, settings.golden_seed, checkpoint.imgsz)
    ladder = Ladder(
        rungs(student, deployed, made, settings.precision),
        checkpoint.imgsz,
        checkpoint.mean,
        checkpoint.std,
        cuts["threshold"],
    )
    cases = _cases(prepared, golden)
    say(f"Comparing {len(ladder.rungs)} forms on {len(cases)} images.")
    parity = climb(ladder, _read(cases))
    say(parity_table(parity))
    agreement = check_parity(parity, ladder, settings.agreement)
    report["parity"] = parity.model_dump(mode="json")
    gates = {
        f"agreement: {name}": Gate(value=value, at_least=settings.agreement, n=parity.lesions)
        for name, value in agreement.items()
    }
    if settings.precision != "fp32":
        gates |= _judge(prepared, made, cuts, report, say)
    fields = _manifest_fields(prepared, made, cuts, gates)
    files = _files(prepared, made, report, parity, fields)
    files[GOLDEN_NAME] = _golden_file(ladder, golden)
    bundle = write_bundle(request.output, fields, files, force=request.force, key=prepared.key)
    signed = f"signed by {prepared.key.id}" if prepared.key else "not signed"
    say(
        f"Wrote {bundle.path} ({_megabytes(files)} MB), manifest {bundle.manifest_sha256[:12]}, "
        f"{signed}."
    )
    return bundle


def _to_int8(
    prepared: Prepared, student: nn.Module, report: dict[str, Any], say: Say
) -> tuple[nn.Module, dict[str, float]]:
    """Quantize, fine-tune and choose the thresholds again; fill ``report``."""
    from edge_bts.export.qat import fine_tune
    from edge_bts.trainers.data import TensorData
    from edge_bts.trainers.runs import open_teachers

    settings, checkpoint, inputs = prepared.request.settings, prepared.checkpoint, prepared.inputs
    assert inputs is not None  # prepare() saw to it
    teachers = prepared.request.teachers
    opened = open_teachers(teachers, inputs) if teachers else ()
    cpu = torch.device("cpu")
    train, val = (TensorData.read(p, checkpoint.imgsz, cpu) for p in (inputs.train, inputs.val))
    traits = traits_of(inputs.train)
    chosen = draw_covering(traits, settings.quantize.calibration_images, settings.seed)
    say(f"Quantizing: ranges from {len(chosen)} training images.")
    images = [_normalised(train.images[index : index + 1], checkpoint) for index in chosen]
    deployed, plan = quantize(student, images, settings.quantize)
    report["quantization"] = summarise(deployed, plan)
    report["calibration"] = {
        "images": [inputs.train[index].id for index in chosen],
        "coverage": coverage(traits, chosen),
    }
    judged: list[OperatingPoint] = []

    def judge(module: nn.Module) -> float:
        judged.append(_pick_operating_point(module, "int8", checkpoint, inputs.val))
        return judged[-1].dice

    if settings.qat.epochs:
        say(f"Fine-tuning {settings.qat.epochs} epochs with quantizers in place.")
    validation = fine_tune(
        deployed, student, checkpoint, (train, val), settings.qat, settings.augment, opened, judge
    )
    report["validation"] = validation
    points = {
        "float": _pick_operating_point(student, "fp32", checkpoint, inputs.val),
        "calibrated": judged[0],
        "tuned": judged[-1] if validation["kept_epoch"] else judged[0],
    }
    report["operating_points"] = {form: dataclasses.asdict(point) for form, point in points.items()}
    say(points_table(report))
    return deployed, _cuts(points["tuned"])


def _judge(
    prepared: Prepared,
    made: ExportedModels,
    cuts: Mapping[str, float],
    report: dict[str, Any],
    say: Say,
) -> dict[str, Gate]:
    """Judge what was exported against its float reference, both as a device runs them."""
    settings, checkpoint = prepared.request.settings, prepared.checkpoint
    ir = (made.files[IR[0]], made.files[IR[1]])

    def opened(source: Any, precision: str, own: Mapping[str, float]) -> Segmenter:
        backend = open_backend("openvino", source, precision=precision, threads=1)
        square = {"imgsz": checkpoint.imgsz, "mean": checkpoint.mean, "std": checkpoint.std}
        return Segmenter(backend, **square, **own)  # type: ignore[arg-type]

    points = report["operating_points"]
    # Both thresholds by one rule on one set of images, whatever chose those of the checkpoint.
    own = points["float"] if points else _cuts(checkpoint)
    reference = opened(made.files[REFERENCE], "fp32", {name: own[name] for name in cuts})
    deployed = opened(ir, settings.precision, cuts)
    say(f"Gates on {prepared.where}.")
    verdicts = run_gates(
        reference,
        deployed,
        prepared.judged,
        settings.gates,
        chosen=(points["float"]["threshold"], points["tuned"]["threshold"]) if points else None,
        seed=settings.seed,
    )
    say(gates_table(verdicts, prepared.where))
    check_gates(verdicts, prepared.where, _REMEDY)
    report["gates"] = {
        "on": prepared.where,
        "verdicts": {name: verdict.model_dump() for name, verdict in verdicts.items()},
    }
    gates = {name: verdict.gate for name, verdict in verdicts.items()}
    if settings.latency.gate:
        shape = (1, 1, checkpoint.imgsz, checkpoint.imgsz)
        image = np.random.default_rng(settings.seed).standard_normal(shape, np.float32)
        ratio = time_ratio(
            lambda: deployed.backend.infer(image),
            lambda: reference.backend.infer(image),
            settings.latency,
        )
        say(f"OpenVINO, one thread: {ratio}.")
        check_latency(ratio, settings.precision, settings.latency)
        report["latency"] = ratio.model_dump()
        gates["latency"] = Gate(value=ratio.median, at_most=settings.latency.ratio, n=ratio.rounds)
    return gates


def _cuts(point: Checkpoint | OperatingPoint) -> dict[str, float]:
    return {"threshold": point.threshold, "presence_threshold": point.presence_threshold}


def _draw(total: int, count: int, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(total)
    return sorted(int(index) for index in order[:count])


def _normalised(image: Tensor, checkpoint: Checkpoint) -> Tensor:
    frame = geometry.normalise(image[0, 0].numpy(), checkpoint.mean, checkpoint.std)
    return torch.from_numpy(frame)[None, None]


def _pick_operating_point(
    module: nn.Module, precision: str, checkpoint: Checkpoint, val: Sequence[Sample]
) -> OperatingPoint:
    backend = open_backend("torch", copy.deepcopy(module), precision=precision)
    segmenter = Segmenter(backend, imgsz=checkpoint.imgsz, mean=checkpoint.mean, std=checkpoint.std)
    return pick_operating_point(segmenter, val)


def _cases(prepared: Prepared, golden: Golden) -> list[Sample | Case]:
    """Return validation samples if there are lesions among them, else the phantoms."""
    if prepared.inputs is not None:
        val = list(prepared.inputs.val)
        limit = prepared.request.settings.parity_images
        chosen = [val[index] for index in _draw(len(val), limit, prepared.request.settings.seed)]
        if any(sample.category != "normal" for sample in chosen):
            return list(chosen)
    return list(zip(golden.frames, golden.truth, strict=True))


def _read(cases: Sequence[Sample | Case]) -> Any:
    for case in cases:
        yield case.read() if isinstance(case, Sample) else case


def _golden_file(ladder: Ladder, golden: Golden) -> bytes:
    # What the others are compared with: torch as it is deployed.
    top = ladder.rungs[-1].against
    reference = next(rung for rung in ladder.rungs if rung.name == top)
    backends = [rung.infer for rung in ladder.rungs if rung.gated and rung.against == top]

    def normalise(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        return geometry.normalise(frame, ladder.mean, ladder.std)

    return pack_golden(golden, reference.infer, backends, normalise, ladder.threshold)


def _files(
    prepared: Prepared,
    made: ExportedModels,
    report: dict[str, Any],
    parity: ParityReport,
    fields: dict[str, Any],
) -> dict[str, bytes | Path]:
    precision = prepared.request.settings.precision
    card = model_card(_name(prepared), precision, prepared.checkpoint, report, parity)
    text = json.dumps(report, indent=2, sort_keys=True, allow_nan=False)
    data = fields["provenance"]["data_sha256"]
    sbom = write_sbom(
        fields["name"], fields["version"], prepared.checkpoint, report, made.files, data
    )
    return {
        **made.files,
        "report.json": f"{text}\n".encode(),
        "MODEL_CARD.md": card.encode(),
        SBOM_NAME: sbom,
        "LICENSE": provenance.license_text(),
    }


def _manifest_fields(
    prepared: Prepared, made: ExportedModels, cuts: dict[str, float], gates: dict[str, Gate]
) -> dict[str, Any]:
    request, checkpoint = prepared.request, prepared.checkpoint
    settings = request.settings
    samples = [] if prepared.inputs is None else [*prepared.inputs.train, *prepared.inputs.val]
    return {
        "name": _name(prepared),
        "version": settings.version,
        "geometry": {"imgsz": checkpoint.imgsz},
        "normalisation": {"mean": checkpoint.mean, "std": checkpoint.std},
        **cuts,
        "precision": settings.precision,
        "models": made.serves,
        "targets": ["onnxruntime cpu", "openvino cpu"],
        "minimum_runtime": {
            "edge_bts": "0.1.0",
            "openvino": "2025.4",
            "onnxruntime": "1.20",
            "onnx_opset": str(settings.opset),
        },
        "gates": {name: gate.model_dump() for name, gate in gates.items()},
        "provenance": {
            "git_commit": provenance.git_commit(),
            "constraints_sha256": provenance.constraints_hash(),
            "dataset": checkpoint.dataset,
            "data_sha256": _data_hash(samples),
            "split_hash": checkpoint.split_hash,
            "origins": [origin.model_dump(mode="json") for origin in checkpoint.origins],
            "checkpoint_sha256": sha256_file(request.checkpoint),
            "model": str(checkpoint.model),
            "seed": settings.seed,
            "settings": {
                "export": settings.model_dump(mode="json"),
                "training": checkpoint.config,
            },
        },
    }


def _data_hash(samples: Sequence[Sample]) -> str:
    """Return a hash over the training and validation files, empty without any."""
    if not samples:
        return ""
    digests = {
        sample.id: [sha256_file(path) for path in (sample.image_path, *sample.mask_paths)]
        for sample in samples
    }
    return sha256_bytes(canonical_json(digests))


def _name(prepared: Prepared) -> str:
    return prepared.request.name or prepared.request.output.stem


def _megabytes(files: dict[str, bytes | Path]) -> str:
    return (
        f"{sum(len(content) for content in files.values() if isinstance(content, bytes)) / 1e6:.1f}"
    )
