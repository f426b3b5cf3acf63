"""``edge-bts study``: a grid of variants, folds and seeds; its table, tests and plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from edge_bts.cli import _options as opt
from edge_bts.errors import InputError

if TYPE_CHECKING:
    from edge_bts.trainers.study.plan import Run
    from edge_bts.trainers.study.rows import StudyRow
    from edge_bts.trainers.study.run import Study
    from edge_bts.trainers.study.settings import StudySettings

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("study")(study)


def study(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Study: TOML or a shipped name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the study.")],
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the data set.")] = None,
    split: Annotated[
        Path | None, typer.Option("--split", help="Split file, instead of one made here.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Variants, as alone,routed.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Of the study's seeds these, as 0,1.")] = None,
    folds: Annotated[str | None, typer.Option(help="Of its folds these, as 1,2.")] = None,
    set_: opt.Overrides = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the runs, which are done, and stop.")
    ] = False,
    dry_run: opt.DryRun = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder of rows: make the report of them alone.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Let Ray do the runs: local, auto or the address of a cluster."),
    ] = None,
    share: Annotated[
        int, typer.Option(help="With --ray: runs that share a GPU; start NVIDIA's MPS first.")
    ] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Do again what other settings have made.")
    ] = False,
) -> None:
    """Train every variant with every seed on every fold, then compare them.

    What is finished stands in OUTPUT/rows and is not done again; the same command continues what
    was interrupted. The report goes to OUTPUT/report.md, .json and .png.
    """
    from edge_bts.cli._process import keep_freed_memory
    from edge_bts.extras import need_extra

    need_extra("train", "torch", "lightning_fabric", "kornia", "matplotlib")
    if ray is not None:
        need_extra("ray", "ray")
    elif share != 1:
        raise InputError(
            f"Expected --ray local with --share {share}, but got no --ray; Ray holds the queue."
        )
    keep_freed_memory()

    from edge_bts.trainers.study.plan import make_plan, narrow
    from edge_bts.trainers.study.rows import read_rows
    from edge_bts.trainers.study.settings import load_study

    settings, recipe = load_study(file, set_ or [])
    chosen = narrow(
        settings,
        _parts("--only", only, str),
        _parts("--folds", folds, int),
        _parts("--seeds", seeds, int),
    )
    students, everyone = make_plan(chosen, recipe), make_plan(settings, recipe)
    if report is not None:
        _report(chosen, students, list(read_rows(report).values()), output)
        return
    if dry_run:
        _print_settings(students)
        return
    if data is None:
        raise InputError("Expected --data DIR, the folder of the data set, but got none.")

    from edge_bts.trainers.study.run import Study, run_here

    opened = Study(settings, everyone, data, output, split, {run.name for run in students})
    if plan:
        _print_plan(opened)
        return
    opened.claim(force=force)
    if ray is None:
        rows = run_here(opened)
    else:
        from edge_bts.trainers.study.cluster import run_on_ray

        rows = run_on_ray(opened, ray, share)
    for row in rows:
        print(f"{row.name}: test Dice {_dice(row):.3f}, {row.minutes:.1f} minutes", flush=True)
    _report(settings, everyone, list(opened.rows.values()), output)


def _report(
    settings: StudySettings, students: list[Run], rows: list[StudyRow], output: Path
) -> None:
    from edge_bts.files import write_json, write_text
    from edge_bts.trainers.study.plot import draw_report
    from edge_bts.trainers.study.report import make_report
    from edge_bts.trainers.study.text import to_markdown

    made = make_report(settings, [run.name for run in students], rows)
    text = to_markdown(made)
    write_json(output / "report.json", made.model_dump(mode="json"))
    draw_report(made, output / "report.png")
    write_text(output / "report.md", text)
    print(text)


def _print_settings(students: list[Run]) -> None:
    import json

    runs = {run.name: run for student in students for run in (*student.before(), student)}
    content = {
        name: {
            "category": run.category,
            "origins": [getattr(origin, "name", str(origin)) for origin in run.origins],
            "settings": run.settings.model_dump(mode="json"),
        }
        for name, run in runs.items()
    }
    print(json.dumps(content, indent=2))


def _print_plan(opened: Study) -> None:
    from rich.console import Console
    from rich.table import Table

    from edge_bts.trainers.study.run import estimate

    todo = {run.name for run in opened.missing()}
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "minutes"):
        table.add_column(name, justify="right" if name == "minutes" else "left")
    left, unknown = 0.0, 0
    for run in (*opened.teachers, *opened.students):
        minutes = estimate(run, opened.rows.values())
        if run.name in todo:
            left, unknown = left + (minutes or 0), unknown + (minutes is None)
        elif not opened.done(run):
            continue  # a teacher whose students are all done
        row = opened.rows.get(run.name)
        shown = row.minutes if row and run.name not in todo else minutes
        state = "missing" if run.name in todo else "done"
        table.add_row(run.name, state, "-" if shown is None else f"{shown:.1f}")
    console = Console(highlight=False)
    console.print(table)
    notes = [f"runs to do: {len(todo)}"]
    if len(todo) > unknown:
        notes.append(f"about {left:.0f} minutes of training, judged by finished runs")
    if unknown:
        notes.append(f"without a finished run to be judged by: {unknown}")
    console.print("; ".join(notes))


def _dice(row: StudyRow) -> float:
    scores = [d for d, share in zip(row.images.dice, row.images.share, strict=True) if share > 0]
    return sum(scores) / len(scores)


def _parts(option: str, text: str | None, kind: Callable[[str], T]) -> list[T]:
    if text is None:
        return []
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise InputError(f"Expected {option} as numbers like 0,1, but got {text!r}.") from None
