"""``edge-bts eval``: a model's figures on a part of a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from rich.console import Console

    from edge_bts.bundle import Bundle
    from edge_bts.data import Dataset, Sample
    from edge_bts.evaluate import Report
    from edge_bts.export.gates import Verdict
    from edge_bts.runtime import Segmenter
    from edge_bts.signing import Trust


class Part(str, Enum):
    """Which images to evaluate on."""

    train = "train"
    val = "val"
    test = "test"
    all = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Bundle (NAME.ebts) or checkpoint.")],
    data: opt.Data,
    split: opt.SplitFile = None,
    part: Annotated[
        Part, typer.Option(help="Part of the split; all: every image, without a split.")
    ] = Part.test,
    layout: Annotated[str, typer.Option(help="auto, busi, busbra, datasetb or plain.")] = "auto",
    external: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of another data set, all of it, zero-shot; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write (JSON).")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Page to write: figures, plots and images of the data set."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Instead of the model's own, chosen on validation.")
    ] = None,
    presence_threshold: Annotated[
        float | None, typer.Option(help="Instead of the model's own; 0 empties no mask.")
    ] = None,
    min_area: Annotated[
        int, typer.Option(min=0, help="Pixels up to which a find on a normal is forgiven.")
    ] = 0,
    backend: Annotated[
        str, typer.Option(help="Of a bundle: auto, openvino, onnxruntime, tensorrt.")
    ] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="Of a bundle: int8, fp16 or fp32, as far as it holds it.")
    ] = None,
    device: Annotated[str, typer.Option(help="Of a checkpoint: cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="Threads inside one inference.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluate this many images, evenly drawn.")
    ] = None,
    gates: Annotated[
        bool,
        typer.Option(
            "--gates",
            help="Judge a bundle against its own float reference too; a failed gate exits with 4.",
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another limit: export.gates.NAME=VALUE; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report instead of the table.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing report or page.")
    ] = False,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
) -> None:
    """Score a bundle or a checkpoint in source geometry, with bootstrap intervals.

    The test part is for reporting; epoch and thresholds are chosen on validation. With --external
    the report is a list, that of --data first. With --gates a bundle is compared with the float
    reference that it holds, image by image, each with its own thresholds.
    """
    import json

    from edge_bts.data import evenly, open_dataset
    from edge_bts.evaluate import Reports
    from edge_bts.evaluate import evaluate as run
    from edge_bts.files import refuse_existing, write_json, write_text
    from edge_bts.signing import find_trust

    for path in filter(None, (output, page)):
        refuse_existing(path, force)
    _check_thresholds(threshold, presence_threshold)
    others = external or []
    if gates:
        given: dict[str, object] = {"--threshold": threshold}
        given |= {"--presence-threshold": presence_threshold}
        given |= {"--precision": precision, "--external": external}
        _check_gates_alone(model, {name for name, value in given.items() if value is not None})
    _refuse_twice([data, *others])
    dataset = open_dataset(data, layout)
    samples, split_hash, leaks = _samples(dataset, split, part)
    sets = [_Set(dataset.name, part.value, samples, split_hash, leaks)]
    for folder in others:
        dataset = open_dataset(folder)
        sets.append(_Set(dataset.name, Part.all.value, list(dataset.samples)))
    believed = find_trust(trust or (), allow_unsigned=allow_unsigned)
    bundle, segmenter, trained_on = _open(model, backend, precision, device, threads, believed)
    for note in segmenter.notes:
        print(f"edge-bts: note: {note}.", file=sys.stderr)
    reports: list[Report] = []
    drawn: list[list[Sample]] = []
    for each in sets:
        drawn.append(each.samples if limit is None else evenly(each.samples, limit))
        report = run(
            segmenter,
            drawn[-1],
            threshold=threshold,
            presence_threshold=presence_threshold,
            min_area_px=min_area,
            seed=seed,
            progress=True,
            dataset=each.dataset,
            part=each.part,
            split_hash=each.split_hash,
            leaks=_leaks(each, trained_on),
        )
        if gates:
            assert bundle is not None  # _check_gates_alone() saw to it
            verdicts = _gate(bundle, segmenter, report, drawn[-1], set_ or [])
            report = report.model_copy(update={"gates": {k: v.gate for k, v in verdicts.items()}})
        if report.leaks:
            print(f"edge-bts: note: {each.dataset}: {report.leaks}.", file=sys.stderr)
        reports.append(report)
    whole = Reports(reports=reports) if others else reports[0]
    content = whole.model_dump(mode="json")
    if output is not None:
        write_json(output, content)
    if page is not None:
        from edge_bts.page import Section, render_page

        sections = [
            Section.of(report, samples, segmenter)
            for report, samples in zip(reports, drawn, strict=True)
        ]
        write_text(page, render_page(sections))
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True))
    else:
        _print(reports, {"report": output, "page": page})
    if gates:
        from edge_bts.export.gates import check_gates, gates_table

        where = f"{len(drawn[0])} images of {reports[0].dataset}, {reports[0].part}"
        if not as_json:
            _console().print("", gates_table(verdicts, where))
        check_gates(verdicts, where, "do not deploy it on such images, or set a limit of your own.")


@dataclass(frozen=True)
class _Set:
    """Samples to evaluate on, and what the report says of them."""

    dataset: str
    part: str
    samples: list[Sample]
    split_hash: str = ""
    leaks: str = ""


def _check_gates_alone(model: Path, others: set[str]) -> None:
    from edge_bts.errors import InputError

    if not model.is_dir():
        raise InputError(
            f"Expected a bundle (NAME.ebts) with --gates, but got {model}; a checkpoint has no "
            "other form to compare with: export it."
        )
    if others:
        raise InputError(
            f"Expected --gates without {', '.join(sorted(others))}: gates judge the bundle as it "
            "is deployed, on one data set a call; leave one of them out."
        )


def _gate(
    bundle: Bundle,
    segmenter: Segmenter,
    report: Report,
    samples: list[Sample],
    overrides: list[str],
) -> dict[str, Verdict]:
    from edge_bts.config import load_recipe
    from edge_bts.export.gates import gate_bundle, limits_of

    return gate_bundle(
        bundle,
        segmenter,
        report.rows,
        samples,
        limits_of(bundle, load_recipe(None, overrides)),
        min_area_px=report.min_area_px,
        seed=report.seed,
        progress=True,
    )


def _refuse_twice(folders: list[Path]) -> None:
    from edge_bts.errors import InputError

    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise InputError(
                f"Expected --external data sets other than --data and each other, but {folder} "
                "is given twice; name each once."
            )
        seen.add(folder.resolve())


def _check_thresholds(threshold: float | None, presence: float | None) -> None:
    from edge_bts.errors import InputError

    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"Expected --threshold between 0 and 1, but got {threshold}.")
    if presence is not None and not 0 <= presence < 1:
        raise InputError(
            f"Expected --presence-threshold of at least 0 and below 1, but got {presence}."
        )


def _samples(dataset: Dataset, split: Path | None, part: Part) -> tuple[list[Sample], str, str]:
    """Return the samples of the part, and hash and leak of the split, empty without one."""
    from edge_bts.data import load_split, make_split, select
    from edge_bts.errors import InputError

    if part is Part.all:
        if split is not None:
            raise InputError(
                f"Expected --part train, val or test with --split {split}, but got all, which "
                "takes every image of the folder; leave one of the two out."
            )
        return list(dataset.samples), "", ""
    chosen = make_split(dataset, seed=0) if split is None else load_split(split)
    return select(dataset, chosen, part.value), chosen.hash, chosen.leaks


def _open(
    model: Path,
    backend: str,
    precision: str | None,
    device: str,
    threads: int | None,
    trust: Trust,
) -> tuple[Bundle | None, Segmenter, list[tuple[str, str]]]:
    """Return the bundle, the segmenter, and data sets and splits that it learnt from."""
    from edge_bts.errors import InputError
    from edge_bts.provenance import seen
    from edge_bts.runtime import BACKENDS, open_checkpoint, open_network

    if backend not in ("auto", *BACKENDS):
        raise InputError(f"Expected --backend auto, {', '.join(BACKENDS)}, but got {backend!r}.")
    if model.is_dir():
        from edge_bts.bundle import open_bundle_folder

        bundle = open_bundle_folder(model, trust)
        segmenter = open_network(bundle, backend=backend, precision=precision, threads=threads)  # type: ignore[arg-type]
        return bundle, segmenter, seen(bundle.manifest.provenance)
    if backend not in ("auto", "torch") or precision not in (None, "fp32"):
        raise InputError(
            f"Expected a bundle for --backend {backend} and --precision {precision or 'fp32'}, but "
            f"{model} is no folder; a checkpoint runs in torch and fp32: export it for others."
        )
    segmenter = open_checkpoint(model, device=device, threads=threads)
    from edge_bts.models import checkpoint_info

    return None, segmenter, seen(checkpoint_info(model))


def _leaks(evaluated: _Set, trained_on: list[tuple[str, str]]) -> str:
    """Say why figures flatter: the split's own leak, or the same data and not the same split."""
    reasons = [evaluated.leaks] if evaluated.leaks else []
    split = evaluated.split_hash
    for trained, trained_split in trained_on:
        if trained == evaluated.dataset and (trained_split != split or not split):
            reasons.append(
                f"the model was trained on {trained}, split {trained_split[:12] or 'unknown'}, and "
                f"is evaluated on {split[:12] or 'all of it'}: images that it was trained on may "
                "be among these"
            )
    return "; ".join(reasons)


def _print(reports: list[Report], written: dict[str, Path | None]) -> None:
    from edge_bts.metrics.table import render_comparison, render_table

    console = _console()
    console.print(render_table(reports[0]) if len(reports) == 1 else render_comparison(reports))
    for what, path in written.items():
        if path is not None:
            console.print(f"{what:<6}  {path}", soft_wrap=True, markup=False)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
