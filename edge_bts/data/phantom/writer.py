"""A folder of phantoms in the plain layout."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_bts import __version__
from edge_bts.data.phantom.grid import UInt8
from edge_bts.data.phantom.scene import Phantom, PhantomCategory, simulate
from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.files import new_folder, write_json, write_text

__all__ = ["PROPORTIONS", "write_phantoms"]

PROPORTIONS: dict[PhantomCategory, float] = {"benign": 0.45, "malignant": 0.35, "normal": 0.20}
_README = """# Simulated, not clinical data

These pictures come from the phantom generator of edge-bts {version}, a simulator of B-mode
ultrasound. No patient was scanned. They serve demonstrations and tests of software; a figure
measured on them says nothing about patients.

`images/` 8-bit pictures · `masks/` 0/255, lesion white, same names · `samples.csv` one row an
image, `group` = simulated patient · `phantom.json` every parameter of every image.

Made by: edge-bts data phantom OUT --count {count} --seed {seed} --height {height} --width {width}
"""


def write_phantoms(
    path: str | Path,
    count: int,
    seed: int = 0,
    *,
    height: int = 320,
    width: int = 384,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """Write ``count`` simulated images as a plain-layout folder, whole or not at all.

    ``images/*.png`` and ``masks/*.png`` of the same names, ``samples.csv`` (id, category, group,
    spacing_mm), ``phantom.json`` with all parameters and a README that says "simulated". 45 % are
    benign, 35 % malignant, 20 % normal, rounded; a simulated patient has one or two images, which
    share a ``group``. The same arguments give the same bytes.

    Args:
        path: The folder to make.
        count: Number of images, at least 1.
        seed: 0 or more.
        height: Rows.
        width: Columns.
        force: Replace an existing folder.
        progress: Show a bar on a terminal, and plain lines in a log.

    Returns:
        ``path``.

    Raises:
        InputError: ``path`` exists without ``force``, or an argument is out of its range.
        EdgeBtsError: The system refused to write.
    """
    path = Path(path)
    if count < 1:
        raise InputError(f"Expected a count of at least 1, but got {count}; pass --count 240.")
    if seed < 0:
        raise InputError(f"Expected a seed of 0 or more, but got {seed}; pass --seed 0.")
    plan = _plan(count, seed)
    with new_folder(path, force=force) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        rows, records = [], []
        for index in _track(count, progress):
            category, patient, view = plan[index]
            phantom = simulate(patient, category, height=height, width=width, view=view)
            sample = f"phantom-{index:05d}-{category}"
            _write_png(folder / "images" / f"{sample}.png", phantom.image)
            _write_png(folder / "masks" / f"{sample}.png", phantom.mask * np.uint8(255))
            rows.append((sample, category, f"patient-{patient}", f"{phantom.spacing_mm:.5f}"))
            records.append(_record(sample, phantom))
        with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("id", "category", "group", "spacing_mm"))
            table.writerows(rows)
        note = "simulated, not clinical data"
        write_json(folder / "phantom.json", {"note": note, "seed": seed, "samples": records})
        facts = {"version": __version__, "count": count, "seed": seed, "height": height}
        write_text(folder / "README.md", _README.format(**facts, width=width))
    return path


def _plan(count: int, seed: int) -> list[tuple[PhantomCategory, int, int]]:
    """Return category, patient's seed and view of each image."""
    rng = np.random.default_rng([seed, 7])
    whole = {c: int(count * share) for c, share in PROPORTIONS.items()}
    # Largest remainder: the counts add up and no class is off by more than one.
    rest = sorted(PROPORTIONS, key=lambda c: whole[c] - count * PROPORTIONS[c])
    for category in rest[: count - sum(whole.values())]:
        whole[category] += 1
    plan: list[tuple[PhantomCategory, int, int]] = []
    for category, number in whole.items():
        while number > 0:
            # Seeds of patients follow the folder's seed, so two folders share none by design.
            patient = seed * 1_000_000 + len(plan)
            views = min(number, 2 if rng.random() < 0.3 else 1)
            plan += [(category, patient, view) for view in range(views)]
            number -= views
    order = rng.permutation(len(plan))
    return [plan[i] for i in order]


def _record(sample: str, phantom: Phantom) -> dict[str, object]:
    return {"id": sample, "spacing_mm": phantom.spacing_mm, **phantom.parameters}


def _write_png(path: Path, image: UInt8) -> None:
    done, data = cv2.imencode(".png", image)
    if not done:
        raise EdgeBtsError(f"Could not encode {path.name} as PNG; report this image's seed.")
    path.write_bytes(data.tobytes())


def _track(count: int, progress: bool) -> Iterator[int]:
    """Yield 0 to ``count - 1`` with a bar on a terminal and ten lines in a log."""
    if not progress:
        yield from range(count)
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(range(count), "Simulating", console=Console(stderr=True))
    else:
        for index in range(count):
            if index % max(1, count // 10) == 0:
                print(f"simulating {index}/{count}", file=sys.stderr, flush=True)
            yield index
