"""What a person reads of an export: the model card, and tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from edge_bts.export.gates import GATE_HEADS, Verdict, gate_cells
from edge_bts.export.parity import ParityReport
from edge_bts.manifest import INTENDED_USE
from edge_bts.models import Checkpoint
from edge_bts.provenance import seen

__all__ = ["LIMITS", "model_card", "parity_table", "points_table"]

LIMITS = (
    "Known to work only on images like those it was trained on; another scanner, transducer, "
    "depth or population may break it without a sign.",
    "Finds regions that look like lesions; on images without one it may still mark some.",
    "Markers, text and measurement lines burnt into an image can mislead it.",
    "Golden frames in this bundle are simulated; they test the software, not the medicine.",
)

_LICENCES = {
    "BUSI": "Licence of the data: research use with citation (Al-Dhabyani et al. 2020, "
    "doi 10.1016/j.dib.2019.104863); the images must not be redistributed, and none is in here.",
    "BUS-BRA": "Licence of the data: use and distribution are free with notice and citation "
    "(Gómez-Flores et al. 2024, doi 10.1002/mp.16812); no image is in here.",
}

_HEADS = ("model", "compared with", "max |Δp|", "mean |Δp|", "Dice to it", "Dice to truth")


def parity_table(report: ParityReport) -> Table:
    """Return the ladder as a table."""
    table = Table(
        title="Parity",
        caption=f"{report.images} images, Dice over {report.lesions} with a lesion, source "
        f"geometry, threshold {report.threshold:.2f}",
    )
    for index, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if index < 2 else "right")
    for cells in _cells(report):
        table.add_row(*cells)
    return table


_FORMS = {"float": "float", "calibrated": "INT8, calibrated (PTQ)", "tuned": "INT8, tuned (QAT)"}
_POINT_HEADS = ("form", "threshold", "presence", "mean Dice", "normals with a find")


def points_table(report: dict[str, Any]) -> Table:
    """Return what each form reaches on validation with its own thresholds, as a table."""
    kept = report["validation"]["kept_epoch"]
    table = Table(
        title="Float, PTQ and QAT",
        caption=f"validation, source geometry, each with its own thresholds; "
        f"{f'epoch {kept} is kept' if kept else 'no epoch was better: the calibrated one is kept'}",
    )
    for index, head in enumerate(_POINT_HEADS):
        table.add_column(head, justify="right" if index else "left")
    for cells in _point_cells(report):
        table.add_row(*cells)
    return table


def model_card(
    name: str, precision: str, checkpoint: Checkpoint, report: dict[str, Any], parity: ParityReport
) -> str:
    """Return the text of ``MODEL_CARD.md``.

    Args:
        name: Of the model.
        precision: fp32, fp16 or int8.
        checkpoint: What was exported.
        report: Content of ``report.json``.
        parity: The ladder.
    """
    lines = [
        f"# {name}",
        "",
        f"**{INTENDED_USE}** It has no clearance of any authority and must not guide care.",
        "",
        "## What it is",
        "",
        f"Segmentation of breast lesions in B-mode ultrasound: {checkpoint.model}, {precision}. "
        f"Input: one gray frame, letterboxed to {checkpoint.imgsz}x{checkpoint.imgsz} pixels. "
        "Output: for every pixel the probability of belonging to a lesion. It says nothing of "
        "whether a lesion is benign or malignant.",
        "",
        "## Data",
        "",
        f"Trained on {checkpoint.dataset or 'data that the checkpoint does not name'} "
        f"({checkpoint.category} images), split `{checkpoint.split_hash[:12] or 'unknown'}`. "
        f"{_others(checkpoint)}"
        f"Calibration, threshold and parity: {report['data'] or 'simulated phantoms only'}.",
        "",
        *_licences(checkpoint),
        "",
        "## Training",
        "",
        f"Seed {checkpoint.seed}, epoch {checkpoint.epoch} kept by validation; edge-bts "
        f"{checkpoint.edge_bts_version}. All settings, of training and export, and the commit: "
        "`provenance` in `manifest.json`.",
        "",
        "## Operating point",
        "",
        f"A pixel is lesion from a probability of {report['threshold']['bundle']:.2f}; a frame "
        "whose presence score (mean of the highest 0.2 % of the probabilities) is below "
        f"{report['presence_threshold']['bundle']:.3f} gets an empty mask. Both were chosen on "
        "validation images.",
        "",
        "## Figures",
        "",
        *_figures(report),
        "",
        f"Parity of the exported forms on {parity.images} images "
        f"({parity.lesions} with a lesion; Dice over these):",
        "",
        *_markdown([head.replace("|Δp|", "abs Δp") for head in _HEADS], _cells(parity), left=2),
        "",
        "Validation images chose epoch and threshold, so these figures flatter; measure on a test "
        "part of your own with `edge-bts eval`.",
        "",
        "## Gates",
        "",
        *_gates(report),
        "",
        *_coverage(report),
        "## Limits",
        "",
        *(f"- {limit}" for limit in LIMITS),
        "",
    ]
    return "\n".join(lines)


def _figures(report: dict[str, Any]) -> list[str]:
    if not report["operating_points"]:
        return ["Nothing was quantized: the thresholds are those of the checkpoint."]
    return [
        "Validation images, source geometry, each form with its own thresholds:",
        "",
        *_markdown(_POINT_HEADS, _point_cells(report), left=1),
    ]


def _point_cells(report: dict[str, Any]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for form, point in report["operating_points"].items():
        rate = point["false_positive_rate"]
        cells.append(
            (
                _FORMS[form],
                f"{point['threshold']:.2f}",
                f"{point['presence_threshold']:.3f}",
                f"{point['dice']:.4f}",
                "no normals" if rate is None else f"{100 * rate:.0f} %",
            )
        )
    return cells


def _gates(report: dict[str, Any]) -> list[str]:
    if "gates" not in report:
        return ["The float model is its own reference."]
    verdicts = {
        name: Verdict.model_validate(verdict)
        for name, verdict in report["gates"]["verdicts"].items()
    }
    lines = [
        f"Against the float student, image by image, on {report['gates']['on']}:",
        "",
        *_markdown(GATE_HEADS, gate_cells(verdicts), left=1),
    ]
    if "latency" in report:
        lines += ["", f"Latency: {report['latency']['median']:.3f} of the float student's."]
    return lines


def _coverage(report: dict[str, Any]) -> list[str]:
    if "calibration" not in report:
        return []
    rows = [
        (name, value.replace("|", "/"), str(counts[0]), str(counts[1]))
        for name, values in report["calibration"]["coverage"].items()
        for value, counts in values.items()
    ]
    return [
        "## Calibration",
        "",
        "Ranges come from these images; what is not among them may clip:",
        "",
        *_markdown(("attribute", "value", "training images", "calibration images"), rows, left=2),
        "",
    ]


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    marks = ["---"] * left + ["---:"] * (len(heads) - left)
    return ["| " + " | ".join(row) + " |" for row in (heads, marks, *rows)]


def _cells(report: ParityReport) -> list[tuple[str, ...]]:
    return [
        (
            row.name,
            "" if row.against == row.name else row.against,
            f"{row.max_abs:.2e}",
            f"{row.mean_abs:.2e}",
            f"{row.dice:.4f}",
            f"{row.dice_truth:.4f}",
        )
        for row in report.rows
    ]


def _others(checkpoint: Checkpoint) -> str:
    """Name the data behind parts, first weights and teachers; empty where there are none."""
    others = [
        f"{name or 'unnamed data'} (split `{split[:12] or 'unknown'}`)"
        for name, split in seen(checkpoint)[1:]
    ]
    if not others:
        return ""
    return f"Behind that set, the first weights or the teachers are also {', '.join(others)}. "


def _licences(checkpoint: Checkpoint) -> list[str]:
    """Say of each data set behind it what its licence is; a merged one has those of its parts."""
    own, *others = (name for name, _ in seen(checkpoint))
    merged = any(origin.role == "part" for origin in checkpoint.origins)
    names = dict.fromkeys(others if merged else [own, *others])
    unknown = "The licence of {} is not known to this tool."
    return [_LICENCES.get(name, unknown.format(name or "the data")) for name in names]
