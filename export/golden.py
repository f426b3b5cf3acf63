"""Golden frames: phantoms with the probabilities that every backend must come to.

A device runs one at load (:mod:`edge_bts.golden` reads them); tests run all. They are simulated,
never clinical images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edge_bts import geometry
from edge_bts.data.phantom import PhantomCategory, simulate
from edge_bts.export.parity import Infer
from edge_bts.files import canonical_json
from edge_bts.golden import METADATA_KEY, difference

__all__ = ["Golden", "golden_phantoms", "pack_golden"]

_MEAN_ABS, _PIXELS = 0.01, 0.005  # floors of the tolerance


@dataclass(frozen=True)
class Golden:
    """Phantoms in model geometry.

    Attributes:
        frames: uint8 (N, S, S), letterboxed.
        truth: uint8 (N, S, S), 1 on the simulated lesion.
    """

    frames: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def golden_phantoms(count: int, seed: int, imgsz: int) -> Golden:
    """Simulate phantoms: benign, malignant, normal, benign, ...; the seed fixes every byte."""
    kinds = get_args(PhantomCategory)
    made = [simulate(seed + index, kinds[index % len(kinds)]) for index in range(count)]
    return Golden(
        np.stack([geometry.letterbox(phantom.image, imgsz) for phantom in made]),
        np.stack([geometry.letterbox_mask(phantom.mask, imgsz) for phantom in made]),
    )


def pack_golden(
    golden: Golden,
    reference: Infer,
    backends: Sequence[Infer],
    normalise: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    threshold: float,
) -> bytes:
    """Run reference and backends on the frames and return a safetensors file.

    Tensors: ``frames`` uint8 (N, S, S), ``probability`` float32 and ``mask`` uint8 alike. The
    header has the threshold of the mask and the tolerance that a backend must keep for each
    frame: ``mean_abs``, mean difference of probability, and ``pixels``, share of the mask's
    pixels that differ. It is four times what the backends showed here, and at least what CPUs
    without VNNI need, whose INT8 sums saturate.

    Args:
        golden: The frames.
        reference: The torch model, normalised (1, 1, S, S) to probability.
        backends: The exported forms.
        normalise: uint8 (S, S) to float32 (S, S).
        threshold: Of the bundle.
    """
    from safetensors.numpy import save

    images = [normalise(frame)[np.newaxis, np.newaxis] for frame in golden.frames]
    probability = np.stack([reference(image)[0, 0] for image in images])
    mask = np.stack([geometry.threshold(p, threshold) for p in probability])
    mean_abs, pixels = _MEAN_ABS / 4, _PIXELS / 4
    for backend in backends:
        for image, expected in zip(images, probability, strict=True):
            apart = difference(backend(image)[0, 0], expected, threshold)
            mean_abs, pixels = max(mean_abs, apart[0]), max(pixels, apart[1])
    header = {"threshold": threshold, "tolerance": {"mean_abs": 4 * mean_abs, "pixels": 4 * pixels}}
    # One entry only: safetensors writes several in an order that differs from run to run.
    return save(
        {"frames": golden.frames, "probability": probability, "mask": mask},
        metadata={METADATA_KEY: canonical_json(header).decode()},
    )
