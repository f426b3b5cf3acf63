"""``edge-bts run``: images, videos and DICOM to masks, overlays and measures."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.runtime.backend import BackendName
    from edge_bts.runtime.inputs import Input
    from edge_bts.runtime.measurements import RunRecord
    from edge_bts.runtime.native import Session
    from edge_bts.runtime.segmenter import FramePath, Segmenter
    from edge_bts.signing import Trust


def register(app: typer.Typer) -> None:
    """Add ``edge-bts run``."""
    app.command(name="run")(run)


def run(
    bundle: Annotated[Path, typer.Argument(help="Bundle (NAME.ebts) or checkpoint.")],
    inputs: Annotated[list[Path], typer.Argument(help="Images, videos, DICOM, folders.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to make; appears when all is done.")
    ],
    backend: Annotated[
        str,
        typer.Option(
            help="auto, openvino, onnxruntime, tensorrt; native: the C++ library; torch for a "
            "checkpoint."
        ),
    ] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="int8, fp16 or fp32, as far as the bundle holds it.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads inside one inference.")] = None,
    cache: opt.Cache = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability of lesion from which a pixel counts.")
    ] = None,
    presence_threshold: Annotated[
        float | None, typer.Option(help="Presence score below which a mask is emptied; 0: none.")
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(help="Millimetres per pixel of all inputs; default: of DICOM its own."),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw outlines and diameters.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record on standard output.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace an earlier run in the output.")] = False,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
) -> int:
    """Segment images, videos and DICOM ultrasound: masks, overlays, areas and diameters.

    Of DICOM (pip install 'edge-bts[dicom]') also a DICOM SEG is written.

    Inputs that cannot be opened stop the command before anything is written; one that turns out
    damaged later is named and skipped, and the command ends with exit code 2.
    """
    from edge_bts.runtime.batch import check_output, segment_inputs
    from edge_bts.runtime.inputs import list_inputs
    from edge_bts.signing import find_trust

    sources = list_inputs(inputs)
    check_output(output, sources, force)
    believed = find_trust(trust or (), allow_unsigned=allow_unsigned)
    thresholds = {"threshold": threshold, "presence_threshold": presence_threshold}
    given = {name: value for name, value in thresholds.items() if value is not None}
    segmenter: FramePath
    if backend == "native":
        segmenter = _open_native(bundle, precision, threads, believed, given)
    else:
        opened = _open(bundle, backend, precision, threads, believed, cache)
        segmenter = dataclasses.replace(opened, **given)  # type: ignore[arg-type]
    _say(_headline(segmenter))
    for note in segmenter.notes:
        _say(f"note: {note}")
    with _Progress(sources) as progress:
        record = segment_inputs(
            segmenter,
            sources,
            output,
            spacing_mm=spacing,
            overlay=overlay,
            force=force,
            progress=progress.step,
        )
    for source in record.inputs:
        for note in source.notes:
            _say(f"note: {source.input}: {note}")
    for problem in record.problems:
        _say(f"edge-bts: skipped {problem.input}: {problem.reason}")
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        _summary(record, output)
    return 2 if record.problems else 0


def _open(
    path: Path,
    backend: str,
    precision: str | None,
    threads: int | None,
    trust: Trust,
    cache: Path | None,
) -> Segmenter:
    from edge_bts.errors import InputError
    from edge_bts.runtime import BACKENDS, open_bundle, open_checkpoint

    choices = ("auto", "native", *BACKENDS)
    if backend not in choices:
        raise InputError(f"Expected --backend {', '.join(choices)}, but got {backend!r}.")
    if path.is_file():
        if backend not in ("auto", "torch") or precision not in (None, "fp32"):
            raise InputError(
                f"Expected a bundle for --backend {backend} and --precision {precision}, but "
                f"{path} is a file; a checkpoint runs in torch and fp32: export it for others."
            )
        return open_checkpoint(path, threads=threads)
    return open_bundle(
        path,
        trust=trust,
        backend=cast("BackendName | Literal['auto']", backend),
        precision=precision,
        threads=threads,
        cache=cache,
    )


def _open_native(
    path: Path, precision: str | None, threads: int | None, trust: Trust, given: dict[str, float]
) -> Session:
    """Open the C++ library, which takes precision and thresholds of the bundle as they are."""
    from edge_bts.errors import InputError
    from edge_bts.runtime import open_session

    if given:
        raise InputError(
            f"Expected no --{next(iter(given)).replace('_', '-')} with --backend native, which "
            "keeps to the signed thresholds; use --backend openvino to try others."
        )
    session = open_session(path, trust, threads=threads, largest=(4096, 4096), max_components=65536)
    if precision not in (None, session.precision):
        raise InputError(
            f"Expected --precision {session.precision} with --backend native, which runs a "
            f"bundle's own, but got {precision}; use --backend openvino for the float reference."
        )
    return session


def _headline(segmenter: FramePath) -> str:
    facts = segmenter.describe()
    threads = facts["threads"]
    return (
        f"{facts['name']}: {facts['backend']} {facts['backend_version']}, {facts['precision']}, "
        f"{'threads as the library likes' if threads is None else f'{threads} thread(s)'}, "
        f"threshold {facts['threshold']:g}, presence {facts['presence_threshold']:.3g}, "
        f"geometry {facts['geometry']}\n"
        "Research software, not a medical device."
    )


def _summary(record: RunRecord, output: Path) -> None:
    from statistics import median

    frames = [frame for source in record.inputs for frame in source.frames]
    print(f"{len(frames)} frames of {len(record.inputs)} inputs -> {output}")
    if not frames:
        return
    present = sum(frame.present for frame in frames)
    stages = {
        stage: median(frame.times_ms[stage] for frame in frames) for stage in frames[0].times_ms
    }
    print(f"lesion found in {present} of {len(frames)}")
    print("median ms: " + ", ".join(f"{stage} {value:.1f}" for stage, value in stages.items()))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


class _Progress:
    """A bar on standard error over all frames, as many as the headers promise."""

    def __init__(self, sources: list[Input]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Remaining(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("segment", total=sum(s.frames or 1 for s in sources))

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, source: Input) -> None:
        """One frame of ``source`` is done."""
        self._bar.update(self._task, advance=1, description=source.name[-24:])
