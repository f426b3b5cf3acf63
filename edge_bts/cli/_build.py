"""``edge-bts build``: a bundle into the TensorRT engine of this device."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.tensorrt.build import BuildRequest, Built
    from edge_bts.tensorrt.progress import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("build")(build)


def build(
    bundle: Annotated[Path, typer.Argument(help="Bundle NAME.ebts.")],
    int8: Annotated[bool, typer.Option("--int8", help="Same as --precision int8.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Same as --precision fp16.")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Same as --precision fp32.")] = False,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="The bundle's own (default), or fp32, its reference."),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option("--level", help="Builder optimisation, 0 (quick) to 5 (slow); default 3."),
    ] = None,
    workspace_mib: Annotated[
        int | None,
        typer.Option("--workspace-mib", help="Scratch memory at most; default by free memory."),
    ] = None,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Run the engine as a CUDA graph.")
    ] = False,
    dla: Annotated[bool, typer.Option("--dla", help="Refused: DLA is not supported.")] = False,
    cache: opt.Cache = None,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
    force: Annotated[bool, typer.Option("--force", help="Build even if one is there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, print the plan, stop.")
    ] = False,
) -> None:
    """Build the TensorRT engine of a bundle for this very device and keep it in the cache.

    Takes minutes; `edge-bts run --backend tensorrt` then opens it. The golden frames of the bundle
    must come out right before anything is written. Needs TensorRT 10.3 to 11.x and a GPU.
    """
    from edge_bts.errors import InputError

    if dla:
        raise InputError(
            "Expected a build for the GPU, but got --dla: DLA takes no INT8 of this kind in "
            "TensorRT 10 and few modules have it; leave --dla out."
        )
    from edge_bts.tensorrt.build import BuildRequest, prepare

    request = BuildRequest(
        bundle=opt.open_trusted(bundle, trust, allow_unsigned),
        precision=opt.one_precision(precision, {"int8": int8, "fp16": fp16, "fp32": fp32}),
        level=level,
        workspace_mib=workspace_mib,
        cache=cache,
        cuda_graph=cuda_graph,
        force=force,
    )
    if dry_run:
        print(prepare(request))
    else:
        build_and_show(request)


def build_and_show(request: BuildRequest) -> None:
    """Build an engine with progress on standard error and a table of it on standard output."""
    from edge_bts.tensorrt.build import build_engine, prepare

    plan = prepare(request)
    _say(str(plan))
    with _progress() as report:
        built = build_engine(plan, report, _say)
    _print(built)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(built: Built) -> None:
    from rich.console import Console
    from rich.table import Table

    sidecar = built.sidecar
    rows = {
        "engine": str(built.path),
        "state": "built now" if built.fresh else "was there and passes every check",
        "model": f"{sidecar.model}, {sidecar.precision}",
        "size": f"{sidecar.plan_size / 1e6:.1f} MB, SHA-256 {sidecar.plan_sha256[:12]}",
        "TensorRT": f"{sidecar.tensorrt}, level {sidecar.flags.level}, "
        f"{sidecar.build_seconds:g} s to build",
        "device": f"{sidecar.device.gpu}, compute capability {sidecar.device.compute_capability}",
        "golden frames": f"{sidecar.answer.frames} right; at most {sidecar.answer.mean_abs:.5f} of "
        f"probability and {sidecar.answer.pixels:.3%} of the mask off",
        "CUDA graph": "wanted" if sidecar.cuda_graph else "no",
    }
    if (found := sidecar.inspection) is not None:
        share = found.int8_layers / found.layers if found.layers else 0.0
        rows["layers"] = (
            f"{found.layers}, {found.int8_layers} of them ({share:.0%}) in INT8, "
            f"{found.reformats} only reformat"
        )
        rows["convolutions"] = f"{found.convolutions}, {found.int8_convolutions} in INT8"
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for note in (*built.notes, *(f"TensorRT: {text}" for text in sidecar.warnings)):
        _say(f"note: {note}")


class _Bars:
    """The phases of a build as nested bars on a terminal.

    TensorRT may use a name again before the first of that name is over; the later one counts.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Elapsed(),
            console=Console(stderr=True),
            transient=True,
        )
        self._open: dict[str, tuple[TaskID, int]] = {}  # phase: its bar and depth

    def __enter__(self) -> Report:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        self.finish(phase)
        depth = self._open[parent][1] + 1 if parent in self._open else 0
        self._open[phase] = (self._bars.add_task("  " * depth + phase, total=steps), depth)

    def step(self, phase: str, step: int) -> None:
        """A step is done."""
        if phase in self._open:
            self._bars.update(self._open[phase][0], completed=step + 1)

    def finish(self, phase: str) -> None:
        """A phase is over."""
        if phase in self._open:
            self._bars.remove_task(self._open.pop(phase)[0])


class _Lines:
    """The phases of a build as lines of a log: one when a phase begins and one when it ends."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        self._began[phase] = time.monotonic()
        inside = f" of {parent}" if parent else ""
        _say(f"TensorRT: {phase}{inside}, {steps} steps")

    def step(self, phase: str, step: int) -> None:
        """A step is done: no line, a log would hold thousands."""

    def finish(self, phase: str) -> None:
        """A phase is over."""
        if phase in self._began:
            seconds = time.monotonic() - self._began.pop(phase)
            _say(f"TensorRT: {phase} done in {seconds:.1f} s")


def _progress() -> _Bars | _Lines:
    return _Bars() if sys.stderr.isatty() else _Lines()
