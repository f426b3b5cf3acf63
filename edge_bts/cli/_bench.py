"""``edge-bts bench``: parameters, memory, latency of a bundle and of its teachers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edge_bts.benchmarks.settings import BenchSettings


def register(app: typer.Typer) -> None:
    """Add ``edge-bts bench``."""
    app.command(name="bench")(bench_command)


def bench_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle (NAME.ebts) of the student.")],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint, bundle, or untrained weights as attention_unet:width=64; repeatable."
        ),
    ] = None,
    student: Annotated[
        Path | None, typer.Option(help="Checkpoint of the student, for its row in torch.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads inside one inference; default 1.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Measured seconds of a row at most; default 60.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Measured frames of a row at most; default 1000.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A look of a minute, not a measurement.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG, SVG or PDF to draw.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result on standard output.")
    ] = False,
    config: Annotated[str | None, typer.Option(help="Recipe; its section bench is used.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="bench.key=value over the recipe.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing outputs.")] = False,
) -> int:
    """Measure a bundle, interleaved with its teachers, each row in a fresh process.

    Exit code 6 says that the measurement is INVALID; the figures and the reasons are printed and
    written all the same. A --quick run proves nothing and ends with 0.
    """
    from rich.console import Console

    from edge_bts.benchmarks.bench import bench
    from edge_bts.benchmarks.report import plot_result, print_result
    from edge_bts.benchmarks.result import write_result

    _check_outputs((output, plot), force)
    settings = _settings(config, override, quick, threads=threads, seconds=seconds, frames=frames)
    with _Status() as status:
        result = bench(
            bundle, teachers=teacher or (), student=student, settings=settings, progress=status.show
        )
    if output is not None:
        write_result(output, result)
    if as_json:
        print(result.model_dump_json(indent=2))
    else:
        print_result(result, Console(width=None if sys.stdout.isatty() else 160))
    if plot is not None:
        plot_result(result, plot)
    return 6 if result.verdict == "INVALID" else 0


def _settings(
    config: str | None, override: list[str] | None, quick: bool, **flags: Any
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
    return settings(BenchSettings, recipe, "bench", **flags)


def _check_outputs(paths: tuple[Path | None, ...], force: bool) -> None:
    """Refuse before minutes are spent what could not be written at their end."""
    from edge_bts.errors import InputError

    output, plot = paths
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"Expected --plot FILE.png, .svg or .pdf, but got {plot.name!r}.")
    if plot is not None:
        from importlib.util import find_spec

        from edge_bts.errors import EnvironmentMismatchError

        if find_spec("matplotlib") is None:
            raise EnvironmentMismatchError(
                "Expected the package matplotlib for --plot, but it is not installed; "
                "`pip install 'edge-bts[bench]'`."
            )
    if output is not None and output == plot:
        raise InputError(f"Expected two files, but --output and --plot are both {output}.")
    for path in filter(None, paths):
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
