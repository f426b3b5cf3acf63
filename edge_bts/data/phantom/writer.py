"""A folder of phantoms in the plain layout."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict, TypeVar

import cv2
import numpy as np

from edge_bts import __version__
from edge_bts.data.phantom.cine import Motion, simulate_cine
from edge_bts.data.phantom.grid import UInt8
from edge_bts.data.phantom.scene import Phantom, PhantomCategory, simulate
from edge_bts.data.plain import write_table
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError
from edge_bts.files import new_folder, write_json, write_text

__all__ = ["PROPORTIONS", "write_phantoms"]

PROPORTIONS: dict[PhantomCategory, float] = {"benign": 0.45, "malignant": 0.35, "normal": 0.20}
_NOTE = "simulated, not clinical data"
_FIRST_LOOP = 900_000  # patients of loops, beyond those of the images
_README = """# Simulated, not clinical data

These pictures come from the phantom generator of edge-bts {version}, a simulator of B-mode
ultrasound. No patient was scanned. They serve demonstrations and tests of software; a figure
measured on them says nothing about patients.

`images/` 8-bit pictures · `masks/` 0/255, lesion white, same names · `samples.csv` one row an
image, `group` = simulated patient · `phantom.json` every parameter of every image · `cine/` loops,
if any were asked for, each a folder of the same layout with `loop.avi`.

Made by: edge-bts data phantom OUT --count {count} --seed {seed} --height {height} --width {width} \
--cine {cine}
"""


_Item = TypeVar("_Item")


class _Size(TypedDict):
    height: int
    width: int


def write_phantoms(
    path: str | Path,
    count: int,
    seed: int = 0,
    *,
    height: int = 320,
    width: int = 384,
    cine: int = 0,
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
        cine: Number of loops to add under ``cine/``, each a plain-layout folder of 30 frames with
            ``loop.avi``; sweeps and breathing take turns.
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
    if cine < 0:
        raise InputError(f"Expected 0 or more cine loops, but got {cine}; pass --cine 2.")
    plan = _plan(count, seed)
    size: _Size = {"height": height, "width": width}
    with new_folder(path, force=force) as folder:
        images = (
            (f"phantom-{index:05d}-{category}", simulate(patient, category, **size, view=view))
            for index, (category, patient, view) in enumerate(plan)
        )
        _write_layout(folder, _track(images, count, "images", progress))
        for index in _track(range(cine), cine, "cine loops", progress):
            _write_loop(folder / "cine", index, _FIRST_LOOP + seed * 1_000_000 + index, size)
        facts = {"version": __version__, "count": count, "seed": seed, "cine": cine}
        write_text(folder / "README.md", _README.format(**facts, **size))
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


def _write_layout(folder: Path, phantoms: Iterable[tuple[str, Phantom]]) -> None:
    """Write named phantoms as a plain layout, one at a time."""
    rows, records = [], []
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for sample, phantom in phantoms:
        _write_png(folder / "images" / f"{sample}.png", phantom.image)
        _write_png(folder / "masks" / f"{sample}.png", phantom.mask * np.uint8(255))
        group = f"patient-{phantom.parameters['seed']}"
        rows.append((sample, phantom.category, group, f"{phantom.spacing_mm:.5f}"))
        records.append({"id": sample, "spacing_mm": phantom.spacing_mm, **phantom.parameters})
    write_table(folder, ("id", "category", "group", "spacing_mm"), rows)
    write_json(folder / "phantom.json", {"note": _NOTE, "samples": records})


def _write_loop(folder: Path, index: int, seed: int, size: _Size) -> None:
    """Write one loop: its frames as a plain layout, and a video of them."""
    motion: Motion = "breathing" if index % 2 else "sweep"
    category: PhantomCategory = "malignant" if index // 2 % 2 else "benign"
    frames = simulate_cine(seed, category, motion=motion, **size)
    name = f"loop-{index:03d}-{motion}-{category}"
    _write_layout(folder / name, ((f"frame-{k:03d}", f) for k, f in enumerate(frames)))
    shape = (size["width"], size["height"])
    video = cv2.VideoWriter(
        str(folder / name / "loop.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, shape, False
    )
    if not video.isOpened():
        raise EnvironmentMismatchError(
            "Expected an OpenCV that writes AVI, but this build refuses to; "
            "reinstall opencv-python-headless, or leave out --cine."
        )
    for frame in frames:
        video.write(frame.image)
    video.release()


def _write_png(path: Path, image: UInt8) -> None:
    done, data = cv2.imencode(".png", image)
    if not done:
        raise EdgeBtsError(f"Could not encode {path.name} as PNG; report this image's seed.")
    path.write_bytes(data.tobytes())


def _track(items: Iterable[_Item], total: int, what: str, progress: bool) -> Iterator[_Item]:
    """Yield ``items`` with a bar on a terminal and at most ten lines in a log."""
    if not progress or total == 0:
        yield from items
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, f"simulating {what}", total, console=Console(stderr=True))
    else:
        step = max(1, -(-total // 10))
        for index, item in enumerate(items, start=1):
            yield item
            if index % step == 0 or index == total:
                print(f"simulating {what}: {index}/{total}", file=sys.stderr, flush=True)
