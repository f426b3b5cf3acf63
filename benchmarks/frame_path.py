"""What the C++ library's frame path gains over what a user would write in Python.

    python -m edge_bts.benchmarks.frame_path build/release/runtime/benchmarks/frame_times \
        student.ebts --trust maker.pub

A simulated 640 x 480 frame in, mask and components out, one thread. Three ways take turns, so that
the ratios hold where the machine does not keep still: the library (its own program, whose ``share``
is the network's part of the time), and from Python OpenVINO on the bundle's INT8 IR and ONNX
Runtime on its float ONNX, which is ONNX Runtime's faster form here, each between OpenCV's resize
and ``connectedComponentsWithStats``. Prints JSON, with the library's memory and cold start.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.bundle import Bundle, open_bundle_folder
from edge_bts.data.phantom import simulate_cine
from edge_bts.errors import EdgeBtsError
from edge_bts.signing import find_trust

__all__ = ["main", "measure"]

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_HEIGHT, _WIDTH = 480, 640
_STAGES = ("preprocess", "inference", "postprocess", "frame")


def measure(program: Path, folder: Path, key: Path, rounds: int, frames: int) -> dict[str, Any]:
    """Run all three in turns.

    Returns:
        For each way p50 and p99 of its stages (medians over the rounds, milliseconds), and for each
        of the Python ways the quotients of its times by the library's: median, lowest and highest
        round. ``around`` is a frame less its inference. ``cold_start_ms`` is from the start of the
        library's program to its end after one mask, with a cache of the compiled network.
    """
    import cv2

    cv2.setNumThreads(1)
    bundle = open_bundle_folder(folder, find_trust([key]))
    sweep = simulate_cine(0, "malignant", height=_HEIGHT, width=_WIDTH, spacing_mm=None)
    image = next(iter(sweep)).image
    ways = {
        "openvino int8 and opencv": _openvino(bundle),
        "onnxruntime fp32 and opencv": _onnxruntime(bundle),
    }
    with tempfile.TemporaryDirectory() as temporary:
        picture, cache = Path(temporary, "frame.pgm"), Path(temporary, "cache")
        picture.write_bytes(b"P5\n%d %d\n255\n" % (_WIDTH, _HEIGHT) + image.tobytes())
        command = [str(program), str(folder), str(key), str(picture)]
        library: list[dict[str, Any]] = []
        python: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in ways}
        for _ in range(rounds):
            library.append(_run([*command, str(frames), "1"])[0])
            for name, infer in ways.items():
                python[name].append(_time(bundle, infer, image, frames))
        _run([*command, "1", "1", str(cache)])
        starts = [_run([*command, "1", "1", str(cache)]) for _ in range(5)]
    ours = [{stage: told[f"{stage}_ms"] for stage in _STAGES} for told in library]
    return {
        "library": _summary(ours),
        "share_of_network": float(np.median([told["share"] for told in library])),
        "python": {name: _summary(found) for name, found in python.items()},
        "times_the_library": {
            name: {
                "frame_p50": _quotients(found, ours, lambda r: r["frame"]["p50"]),
                "frame_p99": _quotients(found, ours, lambda r: r["frame"]["p99"]),
                "around_p50": _quotients(
                    found, ours, lambda r: r["preprocess"]["p50"] + r["postprocess"]["p50"]
                ),
            }
            for name, found in python.items()
        },
        "cold_start_ms": float(np.median([spent for _, spent in starts])),
        "peak_rss_mb": max(told["peak_rss_mb"] for told in library),
        "rss_at_start_mb": max(told["rss_at_start_mb"] for told in library),
        "rounds": rounds,
        "frames": frames,
        "backend": library[0]["backend"],
        "manifest_sha256": library[0]["manifest_sha256"],
    }


def _time(
    bundle: Bundle, infer: Infer, frame: NDArray[np.uint8], frames: int
) -> dict[str, dict[str, float]]:
    """What a user would write, with the geometry that the network was trained with."""
    import cv2

    manifest = bundle.manifest
    size = manifest.geometry.imgsz
    rows: list[tuple[float, float, float, float]] = []
    for index in range(frames + frames // 10):
        started = time.perf_counter()
        scale = min(size / frame.shape[0], size / frame.shape[1])
        height, width = round(frame.shape[0] * scale), round(frame.shape[1] * scale)
        top, left = (size - height) // 2, (size - width) // 2
        square = np.zeros((size, size), np.uint8)
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(frame, (width, height), interpolation=way)
        square[top : top + height, left : left + width] = small
        image = (square.astype(np.float32) / 255 - manifest.mean) / manifest.std
        prepared = time.perf_counter()
        probability = infer(image[None, None].astype(np.float32))[0, 0]
        inferred = time.perf_counter()
        inner = probability[top : top + height, left : left + width]
        whole = cv2.resize(inner, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)
        mask = (whole >= manifest.threshold).astype(np.uint8)
        cv2.connectedComponentsWithStats(mask, connectivity=8)
        cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        ended = time.perf_counter()
        if index >= frames // 10:
            rows.append((started, prepared, inferred, ended))
    marks = np.array(rows).T * 1e3
    columns = [*np.diff(marks, axis=0), marks[-1] - marks[0]]
    return {
        stage: {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}
        for stage, values in zip(_STAGES, columns, strict=True)
    }


def _openvino(bundle: Bundle) -> Infer:
    import openvino

    models = bundle.manifest.models
    xml = models["openvino"]
    core = openvino.Core()
    model = core.read_model(bundle.read(xml), bundle.read(xml.replace(".xml", ".bin")))
    how = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", how)
    return lambda image: compiled(image)[0]


def _onnxruntime(bundle: Bundle) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = bundle.read(bundle.manifest.models["reference"])
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]


def _run(command: Sequence[str]) -> tuple[dict[str, Any], float]:
    """Return what the program says, and the time from its start to its end in ms."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    spent = (time.perf_counter() - started) * 1e3
    if done.returncode:
        raise EdgeBtsError(
            f"Expected {command[0]} to measure, but it ended with {done.returncode}: "
            f"{done.stderr.strip()}"
        )
    return json.loads(done.stdout), spent


def _summary(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        stage: {p: float(np.median([one[stage][p] for one in found])) for p in ("p50", "p99")}
        for stage in _STAGES
    }


def _quotients(
    theirs: Sequence[dict[str, Any]],
    ours: Sequence[dict[str, Any]],
    of: Callable[[dict[str, Any]], float],
) -> dict[str, float]:
    values = [of(a) / of(b) for a, b in zip(theirs, ours, strict=True)]
    return {"median": float(np.median(values)), "lowest": min(values), "highest": max(values)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", type=Path, help="frame_times of the preset release")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--frames", type=int, default=500)
    chosen = parser.parse_args(arguments)
    found = measure(chosen.program, chosen.bundle, chosen.trust, chosen.rounds, chosen.frames)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
