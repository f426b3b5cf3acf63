"""``edge-bts bench``: memory and latency of a bundle, or the speed of a training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.benchmarks.result import BenchResult, TrainingResult
    from edge_bts.benchmarks.settings import BenchSettings
    from edge_bts.trainers.settings import DistillSettings, TrainSettings


class Section(str, Enum):
    """Which training of a recipe to measure."""

    train = "train"
    distill = "distill"


def register(app: typer.Typer) -> None:
    """Add ``edge-bts bench``."""
    app.command(name="bench")(bench_command)


def bench_command(
    subject: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Bundles (NAME.ebts) of students; any ONNX or OpenVINO IR to set beside them."
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint, bundle, or untrained weights as attention_unet:width=64; repeatable."
        ),
    ] = None,
    student: Annotated[
        Path | None, typer.Option(help="Checkpoint of the first bundle, for its row in torch.")
    ] = None,
    evaluation: Annotated[
        list[str] | None,
        typer.Option(
            "--eval",
            help="Report of `edge-bts eval`, for the Dice beside the speed: FILE, or "
            "teacher=FILE; repeatable.",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second that arrive, as from a probe; default back to back."),
    ] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(help="From a frame's arrival to its mask; default the period of --fps."),
    ] = None,
    idle_ms: Annotated[
        float | None,
        typer.Option(help="Gap before each burst of 30 frames, as freeze and unfreeze make it."),
    ] = None,
    co_load: Annotated[
        int | None,
        typer.Option(help="Measure each row once more beside N processes that compute."),
    ] = None,
    streams: Annotated[
        int | None, typer.Option(help="Throughput of N processes of a row at once.")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Only rows of this backend, such as openvino; repeatable. Default all."),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(help="Highest percentile that the frames must bound; default 99."),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Add rows of torch.compile; takes minutes.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads inside one inference; default 1 (--train: torch's choice)."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Measured seconds of a row at most; default 60.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(help="Measured frames (--train: steps) of a row at most; default 1000."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A look of a minute, not a measurement.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG, SVG or PDF to draw.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Page to write: one file, no script, no network.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Table to write, for a README.")] = None,
    remote: Annotated[
        str | None, typer.Option(help="Measure on another machine: user@host, by ssh.")
    ] = None,
    remote_wheel: Annotated[
        Path | None, typer.Option(help="Wheel of edge-bts to use there; default what is installed.")
    ] = None,
    remote_python: Annotated[str, typer.Option(help="Interpreter there.")] = "python3",
    ssh: Annotated[
        str, typer.Option(help="Command of ssh, with options.")
    ] = "ssh -o BatchMode=yes -o ConnectTimeout=15",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result on standard output.")
    ] = False,
    config: Annotated[str | None, typer.Option(help="Recipe; its section bench is used.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="bench.key=value over the recipe.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing outputs.")] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Measure the steps of a training instead of a bundle.")
    ] = False,
    section: Annotated[
        Section | None, typer.Option(help="Training of the recipe to measure; default distill.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data set to train on; default noise, which is as fast.")
    ] = None,
    split: opt.SplitFile = None,
    batch: opt.Batch = None,
    device: opt.Device = None,
    precision: opt.Precision = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Add rows: precision, torch.compile, memory layout."),
    ] = False,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
) -> int:
    """Measure students beside teachers and peers, or with --train the steps of a training.

    Rows are interleaved, each in a fresh process. With --train the options from --section to
    --compare say what is measured; without it SUBJECT and the others do. Exit code 6 says that
    the measurement is INVALID; the figures and the reasons are printed and written all the same,
    also after Ctrl-C. A --quick run proves nothing and ends with 0.
    """
    _check_kind(
        train,
        {
            **{"SUBJECT": subject, "--teacher": teacher, "--student": student, "--plot": plot},
            **{"--trust": trust or None, "--allow-unsigned": allow_unsigned or None},
            **{"--eval": evaluation, "--html": html, "--markdown": markdown, "--fps": fps},
            **{"--deadline-ms": deadline_ms, "--idle-ms": idle_ms, "--co-load": co_load},
            **{"--streams": streams, "--percentile": percentile, "--compiled": compiled or None},
            **{"--remote": remote, "--backend": backend or None},
        },
        {
            **{"--section": section, "--data": data, "--split": split, "--batch": batch},
            **{"--device": device, "--precision": precision, "--compare": compare or None},
        },
    )
    outputs = {"--output": output, "--plot": plot, "--html": html, "--markdown": markdown}
    _check_outputs(outputs, force)
    if train:
        _prepare_training()
    settings = _settings(
        config,
        override,
        quick,
        training=train,
        threads=threads,
        seconds=seconds,
        frames=frames,
        fps=fps,
        deadline_ms=deadline_ms,
        idle_ms=idle_ms,
        co_load=co_load,
        streams=streams,
        backends=backend or None,
        percentile=percentile,
        compiled=compiled or None,
    )
    result: BenchResult | TrainingResult
    with _Status() as status:
        if train:
            from edge_bts.benchmarks.training import bench_training

            result = bench_training(
                *_trainings(config, override, section, batch, device, precision),
                data=data,
                split=split,
                compare=compare,
                settings=settings,
                progress=status.show,
            )
        elif remote is not None:
            from edge_bts.benchmarks.remote import Remote, bench_remote

            status.show(f"measure on {remote}", 0.0)
            result = bench_remote(
                Remote(remote, ssh, remote_python, remote_wheel),
                subject or (),
                settings=settings,
                trust=trust or (),
                allow_unsigned=allow_unsigned,
                teachers=teacher or (),
                student=student,
                evaluations=evaluation or (),
            )
        else:
            from edge_bts.benchmarks.bench import bench
            from edge_bts.signing import find_trust

            result = bench(
                subject or (),
                trust=find_trust(trust or (), allow_unsigned=allow_unsigned),
                teachers=teacher or (),
                student=student,
                evaluations=evaluation or (),
                settings=settings,
                command=["edge-bts", *sys.argv[1:]],
                progress=status.show,
            )
    _show(result, outputs, as_json)
    if result.interrupted:
        return 130
    return 6 if result.verdict == "INVALID" else 0


def _show(
    result: BenchResult | TrainingResult, outputs: Mapping[str, Path | None], as_json: bool
) -> None:
    """Print, then write: a disk that is full does not cost the figures."""
    from rich.console import Console

    from edge_bts.benchmarks.report import markdown, plot_result, print_result, print_training
    from edge_bts.benchmarks.result import BenchResult, write_result
    from edge_bts.files import write_text

    console = Console(width=None if sys.stdout.isatty() else 160)
    if as_json:
        print(result.model_dump_json(indent=2), flush=True)
    elif isinstance(result, BenchResult):
        print_result(result, console)
    else:
        print_training(result, console)
    if (output := outputs["--output"]) is not None:
        write_result(output, result)
    if not isinstance(result, BenchResult):
        return
    if (plot := outputs["--plot"]) is not None:
        plot_result(result, plot)
    if (html := outputs["--html"]) is not None:
        from edge_bts.benchmarks.page import render_page

        write_text(html, render_page(result))
    if (table := outputs["--markdown"]) is not None:
        write_text(table, markdown(result))


def _check_kind(
    train: bool, of_bundle: Mapping[str, object], of_training: Mapping[str, object]
) -> None:
    """Refuse options of the other kind of benchmark."""
    from edge_bts.errors import InputError

    foreign = of_bundle if train else of_training
    if given := [name for name, value in foreign.items() if value is not None]:
        raise InputError(
            f"Expected no {given[0]} {'with' if train else 'without'} --train, but got it; "
            "a bundle and a training are measured one at a time."
        )
    if not train and not of_bundle["SUBJECT"]:
        raise InputError("Expected a bundle or an ONNX to measure, or --train, but got neither.")


def _prepare_training() -> None:
    from edge_bts.cli._process import keep_freed_memory
    from edge_bts.extras import need_extra

    need_extra("train", "torch", "lightning_fabric", "kornia")
    keep_freed_memory()  # the processes that train inherit it, as they would from `train`


def _trainings(
    config: str | None,
    override: list[str] | None,
    section: Section | None,
    batch: int | None,
    device: str | None,
    precision: str | None,
) -> tuple[TrainSettings, DistillSettings | None]:
    """Return the supervised training and, if that is measured, the distillation."""
    from edge_bts.config import load_recipe, settings
    from edge_bts.trainers.settings import DistillSettings, TrainSettings

    recipe = load_recipe(config, override or ())
    flags = {"loop__batch": batch, "loop__device": device, "loop__precision": precision}
    if section == Section.train:
        return settings(TrainSettings, recipe, "train", **flags), None
    return (
        settings(TrainSettings, recipe, "train"),
        settings(DistillSettings, recipe, "distill", **flags),
    )


def _settings(
    config: str | None, override: list[str] | None, quick: bool, training: bool, **flags: Any
) -> BenchSettings:
    from edge_bts.benchmarks.settings import QUICK, BenchSettings
    from edge_bts.config import load_recipe, settings
    from edge_bts.errors import InputError

    recipe = load_recipe(config, override or ())
    if quick:
        if given := [name for name in QUICK if flags.get(name) is not None]:
            raise InputError(
                f"Expected either --quick or --{given[0]}, but got both; --quick sets the length."
            )
        flags |= {**QUICK, "quick": True}
    if training and flags["threads"] is None:
        import torch

        flags["threads"] = torch.get_num_threads()  # what `train` and `distill` use
    return settings(BenchSettings, recipe, "bench", **flags)


def _check_outputs(outputs: Mapping[str, Path | None], force: bool) -> None:
    """Refuse before minutes are spent what could not be written at their end."""
    from edge_bts.errors import InputError

    plot = outputs["--plot"]
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"Expected --plot FILE.png, .svg or .pdf, but got {plot.name!r}.")
    if plot is not None:
        from edge_bts.extras import need_extra

        need_extra("bench", "matplotlib")
    seen: dict[Path, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        if path in seen:
            raise InputError(f"Expected two files, but {seen[path]} and {name} are both {path}.")
        seen[path] = name
        if path.is_dir():
            raise InputError(f"Expected a file to write at {path}, but it is a folder.")
        if path.exists() and not force:
            raise InputError(
                f"Expected {path} not to exist, but it does; choose another or pass --force."
            )


class _Status:
    """A bar on standard error that names the row under way."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),  # a log needs no bar
            refresh_per_second=2,  # it runs beside what is timed
        )
        self._task = self._bar.add_task("bench", total=1.0)

    def __enter__(self) -> _Status:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, text: str, share: float) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=text, completed=share)
