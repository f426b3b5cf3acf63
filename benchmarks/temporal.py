"""How calm a bundle's masks are on loops of frames, in float and INT8, and its hysteresis.

    python -m edge_bts.benchmarks.temporal models/busi-default.ebts --trust models/release.pub \
        --data BUSI --split split.json -o temporal.json --plot temporal.png

No public set of breast ultrasound has loops with masks. Two stand-ins, and every figure says of
which it is: **pans**, a window that moves over a stored image of the data set with a little fresh
noise in each frame, so that the motion is known to the pixel and all that changes in the mask is
flicker; **phantoms**, simulated sweeps across a lesion and breathing under a probe that stands
still, whose true masks change too.

The hysteresis (``presence_keep`` of the C library) is chosen on pans of the validation part: of the
thresholds that show a mask on at most ``--cost`` more of the frames of normals, the one with the
fewest toggles, of equal ones the highest. Figures are of the test part.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts import __version__, geometry
from edge_bts.data import Sample, evenly, load_split, make_split, open_dataset, select
from edge_bts.data.phantom import Motion, Phantom, PhantomCategory, simulate_cine
from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.evaluate import SegmenterLike, tracked
from edge_bts.extras import need_extra
from edge_bts.files import atomic_path, refuse_existing, write_json
from edge_bts.metrics import bootstrap_ci, paired_difference
from edge_bts.metrics.temporal import Trace, area_jitter, change, flicker, toggles

__all__ = ["Choice", "Loop", "Seen", "choose_keep", "figures", "main", "pan", "phantom", "trace"]

_WINDOW = 0.8  # of each side of the image
_LEAST_ROOM = 8  # pixels that a window can go, right and down together
_NOISE = 2.0  # gray levels: standard deviation of what differs from frame to frame
_STEPS = 20  # thresholds to try
_PHANTOMS: tuple[tuple[PhantomCategory, Motion], ...] = (
    ("benign", "sweep"), ("malignant", "sweep"), ("benign", "breathing"),
    ("malignant", "breathing"), ("normal", "sweep"),
)  # fmt: skip


@dataclass(frozen=True)
class Loop:
    """Frames of one view, and how they move.

    Attributes:
        kind: "pan", "sweep" or "breathing".
        name: Of the sample or the phantom.
        group: Patient, or group of duplicates.
        lesion: Whether any frame shows one.
        frames: uint8 H x W each.
        masks: The truth, uint8 0/1 H x W each.
        motions: From each frame to the next, (right, down) in whole pixels.
    """

    kind: str
    name: str
    group: str
    lesion: bool
    frames: list[NDArray[np.uint8]]
    masks: list[NDArray[np.uint8]]
    motions: list[tuple[int, int]]


@dataclass(frozen=True)
class Seen:
    """A loop as one model sees it, and as it is."""

    kind: str
    name: str
    group: str
    lesion: bool
    trace: Trace
    truth: Trace


@dataclass(frozen=True)
class Choice:
    """The hysteresis that was chosen, and the figures of all that were tried.

    Attributes:
        keep: The chosen ``presence_keep``; equal to the presence threshold: none is of use.
        tried: For each threshold ``keep``, ``toggles_per_minute`` and ``normal_frames_shown``.
    """

    keep: float
    tried: list[dict[str, float | None]]


def pan(sample: Sample, frames: int, seed: int) -> Loop | None:
    """Move a window of 80 % of both sides over an image, there and back, in whole pixels.

    The lesion stays inside all the time. Noise of 2 gray levels is drawn for each frame.

    Returns:
        The loop; None where the lesion leaves less than 8 pixels of way.
    """
    image, mask = sample.read()
    rng = np.random.default_rng(seed)
    spans = [_room(side, np.flatnonzero(mask.any(axis=1 - axis)))
             for axis, side in enumerate(image.shape)]  # fmt: skip
    if (
        any(low > high for low, high, _ in spans)
        or sum(h - low for low, h, _ in spans) < _LEAST_ROOM
    ):
        return None
    turn = 2 * np.pi * np.arange(frames) / frames
    (top, bottom, height), (left, right, width) = spans
    downs = top + np.rint((bottom - top) * (1 - np.cos(2 * turn)) / 2).astype(int)
    rights = left + np.rint((right - left) * (1 - np.cos(turn)) / 2).astype(int)
    shown, masks = [], []
    for y, x in zip(downs, rights, strict=True):
        window = image[y : y + height, x : x + width]
        noisy = window + rng.normal(0, _NOISE, window.shape)
        shown.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
        masks.append(mask[y : y + height, x : x + width])
    # Tissue goes where the window does not.
    motions = [(int(a), int(b)) for a, b in zip(-np.diff(rights), -np.diff(downs), strict=True)]
    return Loop("pan", sample.id, sample.group, bool(mask.any()), shown, masks, motions)


def _room(side: int, lesion: NDArray[np.intp]) -> tuple[int, int, int]:
    """Return the lowest and highest start of a window that holds the lesion, and its length."""
    length = round(_WINDOW * side)
    low, high = 0, side - length
    if lesion.size:
        low, high = max(low, int(lesion[-1]) + 1 - length), min(high, int(lesion[0]))
    return low, high, length


def phantom(number: int, frames: int) -> Loop:
    """Simulate loop ``number``: sweeps and breathing, benign, malignant and normal in turns.

    Breathing moves tissue by its depth; taken out is the motion at the lesion's centre, rounded.
    """
    category, motion = _PHANTOMS[number % len(_PHANTOMS)]
    loop = simulate_cine(700_000 + number, category, frames, motion, height=256, width=320)
    places = [_place(frame) for frame in loop]
    motions = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(places)]
    name = f"{category} {motion} {number}"
    images, masks = [frame.image for frame in loop], [frame.mask for frame in loop]
    return Loop(motion, name, name, category != "normal", images, masks, motions)


def _place(frame: Phantom) -> tuple[int, int]:
    lateral, axial = frame.parameters["displacement_mm"]
    return round(lateral / frame.spacing_mm), round(axial / frame.spacing_mm)


def trace(segmenter: SegmenterLike, loop: Loop) -> Seen:
    """Segment every frame of a loop; the segmenter's presence threshold plays no part."""
    found = [segmenter.predict(frame) for frame in loop.frames]
    masks = [geometry.threshold(one.probability, segmenter.threshold) for one in found]
    return Seen(
        loop.kind, loop.name, loop.group, loop.lesion,
        _trace([one.presence for one in found], masks, loop.motions),
        _trace([float(mask.any()) for mask in loop.masks], loop.masks, loop.motions),
    )  # fmt: skip


def _trace(
    presence: Sequence[float],
    masks: Sequence[NDArray[np.uint8]],
    motions: Sequence[tuple[int, int]],
) -> Trace:
    changes = [
        change(a, b, motion) for (a, b), motion in zip(pairwise(masks), motions, strict=True)
    ]
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    return Trace(np.array(presence), np.array(areas), np.array(changes))


def figures(
    seen: Sequence[Seen], enter: float, keep: float | None, fps: float, *, seed: int = 0
) -> dict[str, Any]:
    """Say how calm the masks of some loops are.

    Returns:
        ``loops`` and ``frames``; ``flicker``, the mean over the loops that show a mask, with its
        95 % interval by group and ``flicker_of_truth`` over the same loops; ``toggles_per_minute``
        over all frames, beside those of the truth; ``area_jitter``, the median loop's;
        ``frames_shown``, the share with a mask. None where nothing can be said.
    """
    shown = [one.trace.shown(enter, keep) for one in seen]
    flickers = [(one, value) for one, on in zip(seen, shown, strict=True)
                if (value := flicker(one.trace, on)) is not None]  # fmt: skip
    jitters = [value for one, on in zip(seen, shown, strict=True)
               if (value := area_jitter(one.trace.area, on)) is not None]  # fmt: skip
    true = [value for one, _ in flickers
            if (value := flicker(one.truth, one.truth.shown(1.0))) is not None]  # fmt: skip
    values = [value for _, value in flickers]
    groups = [one.group for one, _ in flickers]
    interval = bootstrap_ci(values, groups, seed=seed) if values else (math.nan, math.nan)
    frames = sum(len(on) for on in shown)
    return {
        "loops": len(seen),
        "frames": frames,
        "flicker": _mean(values),
        "flicker_interval": [None if math.isnan(bound) else bound for bound in interval],
        "flicker_of_truth": _mean(true),
        "toggles_per_minute": _per_minute(shown, fps),
        "toggles_per_minute_of_truth": _per_minute([s.truth.shown(1.0) for s in seen], fps),
        "area_jitter": float(np.median(jitters)) if jitters else None,
        "frames_shown": sum(int(on.sum()) for on in shown) / frames if frames else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _per_minute(shown: Sequence[NDArray[np.bool_]], fps: float) -> float | None:
    seconds = sum(len(on) - 1 for on in shown) / fps
    return 60 * sum(map(toggles, shown)) / seconds if seconds else None


def choose_keep(seen: Sequence[Seen], enter: float, fps: float, cost: float) -> Choice:
    """Choose ``presence_keep`` on validation loops; the rule stands at the top of this module.

    Args:
        seen: Loops of lesions, and of normals if there are any.
        enter: The presence threshold.
        fps: Frames a second.
        cost: Share of the frames of normals that may show a mask beyond those that do without it.
    """
    normals = [one for one in seen if not one.lesion]

    def tried(keep: float) -> dict[str, float | None]:
        on = [one.trace.shown(enter, keep) for one in normals]
        share = float(np.concatenate(on).mean()) if on else None
        rate = _per_minute([one.trace.shown(enter, keep) for one in seen], fps)
        return {"keep": keep, "toggles_per_minute": rate, "normal_frames_shown": share}

    rows = [tried(enter * (_STEPS - step) / _STEPS) for step in range(_STEPS)]
    limit = (rows[0]["normal_frames_shown"] or 0.0) + cost + 1e-12
    allowed = [row for row in rows if (row["normal_frames_shown"] or 0.0) <= limit]
    best = min(allowed, key=lambda row: (row["toggles_per_minute"] or 0.0, -(row["keep"] or 0.0)))
    return Choice(float(best["keep"] or 0.0), rows)


def compare(
    deployed: Sequence[Seen], reference: Sequence[Seen], enter: float, seed: int
) -> dict[str, Any] | None:
    """Return the paired difference of flicker, over the loops on which both show a mask."""
    pairs = []
    for ours, theirs in zip(deployed, reference, strict=True):
        a = flicker(ours.trace, ours.trace.shown(enter))
        b = flicker(theirs.trace, theirs.trace.shown(enter))
        if a is not None and b is not None:
            pairs.append((a, b, ours.group))
    if not pairs:
        return None
    ours_of, theirs_of, groups = zip(*pairs, strict=True)
    found = paired_difference(ours_of, theirs_of, groups, seed=seed)
    interval = [None if math.isnan(bound) else bound for bound in (found.low, found.high)]
    return {"mean": found.mean, "interval": interval, "loops": found.n}


# ---- The command ----


def measure(
    models: dict[str, SegmenterLike],
    validation: Sequence[Sample],
    test: Sequence[Sample],
    *,
    frames: int,
    fps: float,
    phantoms: int,
    cost: float,
    seed: int,
) -> dict[str, Any]:
    """Choose the hysteresis of each model on validation, and give its figures on test.

    Args:
        models: By precision; the first is compared with each of the others.
        validation: Samples whose pans choose.
        test: Samples whose pans are reported.
        frames: Frames a loop, at least 3.
        fps: Frames a second.
        phantoms: Number of simulated loops.
        cost: As for :func:`choose_keep`.
        seed: Of the noise and of the bootstrap.
    """

    def pans(samples: Iterable[Sample]) -> Iterator[Loop]:
        for index, sample in enumerate(samples):
            loop = pan(sample, frames, seed + index)
            if loop is not None:
                yield loop

    def see(loops: Iterator[Loop]) -> dict[str, list[Seen]]:
        seen: dict[str, list[Seen]] = {name: [] for name in models}
        for loop in loops:
            for name, segmenter in models.items():
                seen[name].append(trace(segmenter, loop))
        return seen

    chosen_on = see(pans(tracked(validation, "pans of validation", True)))
    reported = see(pans(tracked(test, "pans of test", True)))
    simulated = see(phantom(number, frames) for number in range(phantoms))
    result: dict[str, Any] = {"models": {}, "skipped": {
        "validation": len(validation) - len(next(iter(chosen_on.values()))),
        "test": len(test) - len(next(iter(reported.values()))),
    }}  # fmt: skip
    for name, segmenter in models.items():
        enter = segmenter.presence_threshold
        choice = choose_keep(chosen_on[name], enter, fps, cost)
        parts: dict[str, Any] = {}
        for part, seen in _parts(reported[name], simulated[name]).items():
            each = {"alone": figures(seen, enter, None, fps, seed=seed),
                    "held": figures(seen, enter, choice.keep, fps, seed=seed)}  # fmt: skip
            parts[part] = each
        result["models"][name] = {
            "threshold": segmenter.threshold,
            "presence_threshold": enter,
            "presence_keep": choice.keep,
            "tried_on_validation": choice.tried,
            "parts": parts,
        }
    first, *others = models
    enter = models[first].presence_threshold
    result["flicker_difference"] = {
        f"{first} - {other}, {part}": compare(seen, theirs, enter, seed)
        for other in others
        for (part, seen), theirs in zip(
            _parts(reported[first], simulated[first]).items(),
            _parts(reported[other], simulated[other]).values(),
            strict=True,
        )
    }
    return result


def _parts(pans: Sequence[Seen], simulated: Sequence[Seen]) -> dict[str, list[Seen]]:
    """Split loops into what the report tells apart; parts without a loop are left out."""
    parts = {
        "pans of lesions": [one for one in pans if one.lesion],
        "pans of normals": [one for one in pans if not one.lesion],
        "phantom sweeps": [one for one in simulated if one.kind == "sweep" and one.lesion],
        "phantoms breathing": [one for one in simulated if one.kind == "breathing"],
        "phantom normals": [one for one in simulated if not one.lesion],
    }
    return {name: seen for name, seen in parts.items() if seen}


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| part (loops) | model | flicker [95 %] | of the truth | toggles/min, held | of the truth "
        "| area jitter | frames shown, held |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part in next(iter(result["models"].values()))["parts"]:
        for name, model in result["models"].items():
            alone, held = (model["parts"][part][how] for how in ("alone", "held"))
            low, high = alone["flicker_interval"]
            bounds = "" if low is None else f" [{low:.3f}-{high:.3f}]"
            lines.append(
                f"| {part} ({alone['loops']}) | {name} | {_say(alone['flicker'], '.3f')}"
                f"{bounds} | {_say(alone['flicker_of_truth'], '.3f')} | "
                f"{_say(alone['toggles_per_minute'], '.1f')}, "
                f"{_say(held['toggles_per_minute'], '.1f')} | "
                f"{_say(alone['toggles_per_minute_of_truth'], '.1f')} | "
                f"{_say(alone['area_jitter'], '.2%')} | {_say(alone['frames_shown'], '.1%')}, "
                f"{_say(held['frames_shown'], '.1%')} |"
            )
    return "\n".join(lines)


def _say(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw what hysteresis buys and costs on validation.

    Raises:
        EnvironmentMismatchError: matplotlib is not installed.
    """
    need_extra("bench", "matplotlib")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    panels: list[tuple[str, str, Callable[[float], float]]] = [
        ("toggles_per_minute", "masks that come or go, a minute", float),
        ("normal_frames_shown", "frames of normals with a mask, %", lambda share: 100 * share),
    ]
    for axis, (what, label, scale) in zip(axes, panels, strict=True):
        for number, (name, model) in enumerate(result["models"].items()):
            rows = [row for row in model["tried_on_validation"] if row[what] is not None]
            colour = f"C{number}"
            xs, ys = [row["keep"] for row in rows], [scale(row[what]) for row in rows]
            axis.plot(xs, ys, marker=".", color=colour, label=name)
            axis.axvline(model["presence_keep"], color=colour, linestyle=":", linewidth=1)
        axis.set_xlabel("presence_keep (the rightmost: none)")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.suptitle(
        "Hysteresis on synthetic pans of validation images; dotted: chosen", fontsize=10
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says; print a table, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, help="default: the split of seed 0")
    parser.add_argument("--frames", type=int, default=30, help="frames a loop")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--phantoms", type=int, default=20, help="simulated loops")
    parser.add_argument("--cost", type=float, default=0.03, help="share of normals' frames")
    parser.add_argument("--limit", type=int, help="images of each part, evenly drawn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", "-o", type=Path, help="JSON to write")
    parser.add_argument("--plot", type=Path, help="picture to write")
    parser.add_argument("--force", action="store_true", help="replace what stands there")
    chosen = parser.parse_args(arguments)
    try:
        for path in filter(None, (chosen.output, chosen.plot)):
            refuse_existing(path, chosen.force)
        result = _run(chosen)
        if chosen.output:
            write_json(chosen.output, result)
        if chosen.plot:
            plot(result, chosen.plot)
    except EdgeBtsError as error:
        print(f"temporal: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(table(result))
    for name, model in result["models"].items():
        print(f"{name}: presence_keep {model['presence_keep']:.4f}")


def _run(chosen: argparse.Namespace) -> dict[str, Any]:
    from edge_bts.bundle import open_bundle_folder
    from edge_bts.runtime import open_network
    from edge_bts.signing import find_trust

    if chosen.frames < 3 or not chosen.fps > 0:
        raise InputError("Expected --frames of at least 3 and --fps above 0; leave them out.")
    bundle = open_bundle_folder(chosen.bundle, find_trust([chosen.trust]))
    dataset = open_dataset(chosen.data)
    split = make_split(dataset, seed=0) if chosen.split is None else load_split(chosen.split)
    parts = [select(dataset, split, part) for part in ("val", "test")]
    if chosen.limit is not None:
        parts = [evenly(samples, chosen.limit) for samples in parts]
    opened = [open_network(bundle, threads=chosen.threads)]
    if opened[0].precision != "fp32":
        opened.append(open_network(bundle, backend="onnxruntime", precision="fp32",
                                   threads=chosen.threads))  # fmt: skip
    result = measure(
        {one.precision: one for one in opened}, *parts, frames=chosen.frames, fps=chosen.fps,
        phantoms=chosen.phantoms, cost=chosen.cost, seed=chosen.seed,
    )  # fmt: skip
    return {
        "format": "edge-bts temporal 1",
        "edge_bts_version": __version__,
        "bundle": bundle.manifest.name,
        "manifest_sha256": bundle.manifest_sha256,
        "backends": {one.precision: f"{one.backend.name} {one.backend.version}" for one in opened},
        "dataset": dataset.name,
        "split_hash": split.hash,
        "images": {"validation": len(parts[0]), "test": len(parts[1])},
        "frames": chosen.frames,
        "fps": chosen.fps,
        "seed": chosen.seed,
        "cost": chosen.cost,
        **result,
    }


if __name__ == "__main__":
    main()
