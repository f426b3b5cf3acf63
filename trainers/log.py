"""Progress of a training: a bar or plain lines, TensorBoard, JSON lines and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_bts.files import atomic_path, write_text

__all__ = ["RunLog", "draw_curves"]

Row = dict[str, float]


class RunLog:
    """Shows and stores one row an epoch; does nothing on ranks other than 0.

    In ``folder``: ``metrics.jsonl``, ``curves.png`` and ``tensorboard/``.
    """

    def __init__(self, folder: Path, epochs: int, *, main: bool = True) -> None:
        self.folder = folder
        self.epochs = epochs
        self.main = main
        self._console = Console()
        self._progress: Progress | None = None
        self._writer: Any = None

    @contextmanager
    def running(self, history: Sequence[Row]) -> Iterator[None]:
        """Show progress while the block runs; ``history`` is what a resumed run has already."""
        if not self.main:
            yield
            return
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=len(history) + 1)
        try:
            if self._console.is_terminal:
                with Progress(
                    TextColumn("epoch {task.fields[epoch]}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[note]}"),
                    console=self._console,
                ) as self._progress:
                    self._bar = self._progress.add_task("", epoch=len(history) + 1, note="")
                    yield
            else:
                yield
        finally:
            self._progress = None
            self._writer.close()
            if history:
                draw_curves(history, self.folder / "curves.png")

    def step(self, step: int, steps: int) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.update(self._bar, completed=step, total=steps)

    def epoch(self, history: Sequence[Row], best: int) -> None:
        """Store and show the newest row; ``best`` is the kept epoch so far, or 0."""
        if not self.main:
            return
        row = history[-1]
        write_text(
            self.folder / "metrics.jsonl",
            "".join(json.dumps(r, sort_keys=True) + "\n" for r in history),
        )
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))
        kept = (
            f"best {history[best - 1]['val/dice']:.4f} (epoch {best})"
            if best
            else f"at {row['imgsz']} px"  # no epoch is kept before the images are full-size
        )
        note = (
            f"loss {row['train/total']:.4f}  val dice {row['val/dice']:.4f}  {kept}  "
            f"{row['images_per_second']:.1f} images/s"
        )
        if self._progress is not None:
            self._progress.update(self._bar, epoch=int(row["epoch"]) + 1, note=note)
        else:
            print(f"epoch {int(row['epoch'])}/{self.epochs}  {note}", flush=True)


def draw_curves(history: Sequence[Row], path: Path) -> None:
    """Draw losses and validation metrics over the epochs into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, val_axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for name in history[-1]:
        axes = {"train": loss_axes, "val": val_axes}.get(name.partition("/")[0])
        if axes is not None:
            values = [row.get(name, float("nan")) for row in history]
            axes.plot(epochs, values, label=name.partition("/")[2].replace("_", " "))
    full = max(row["imgsz"] for row in history)
    best = max((row for row in history if row["imgsz"] == full), key=lambda row: row["val/dice"])
    val_axes.axvline(best["epoch"], color="0.7", linewidth=1, zorder=0)
    val_axes.annotate(
        f"kept: epoch {int(best['epoch'])}, dice {best['val/dice']:.3f}",
        (best["epoch"], 0.02),
        xycoords=("data", "axes fraction"),
        rotation=90,
        va="bottom",
        ha="right",
        fontsize=8,
        color="0.4",
    )
    loss_axes.set(title="Training loss", xlabel="epoch", yscale="log")
    val_axes.set(title="Validation, model geometry, threshold 0.5", xlabel="epoch", ylim=(0, 1))
    for axes in (loss_axes, val_axes):
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
