"""Does this machine compute what a bundle promises, and if not, where do they part?

Every form of the network that the bundle holds is run, in every executor that is installed, on
the bundle's golden frames or on images of the user's. Needs no torch; the search for the first
tensor that differs needs the package ``onnx``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts import __version__, geometry, provenance
from edge_bts.bundle import Bundle
from edge_bts.errors import EnvironmentMismatchError, InputError, SelfTestError
from edge_bts.export.bisect import (
    Divergence,
    Look,
    bisect,
    convolutions,
    look_into_ir,
    look_into_onnx,
)
from edge_bts.export.parity import (
    Case,
    Infer,
    Ladder,
    ParityReport,
    ParityRow,
    Rung,
    climb,
    onnx_infer,
)
from edge_bts.files import sha256_file
from edge_bts.golden import GOLDEN_NAME, GoldenFrames, difference, read_golden
from edge_bts.manifest import Manifest
from edge_bts.runtime import open_backend, open_checkpoint
from edge_bts.runtime.opening import read_model

__all__ = ["Skipped", "VerifyReport", "Worst", "verify"]

_REFERENCE = "reference"


class Skipped(BaseModel):
    """A form that was not run, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: str


class VerifyReport(BaseModel):
    """What a verification found; JSON by ``model_dump(mode="json")``.

    Attributes:
        bundle: Name of the model.
        manifest_sha256: Identity of the bundle.
        data: What it was run on, in words.
        packages: Versions of what ran.
        least: Agreement of masks (mean Dice) that a form had to reach; None on golden frames,
            where their own tolerance counts.
        parity: Every form compared with the one that it must agree with or was made from.
        worst: For each form the image on which it differs most, by its number from 0.
        divergences: Where forms part from the one they are compared with.
        skipped: What was not run.
        failures: One sentence a form that disagrees; empty if all is well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["edge-bts verify report 1"] = "edge-bts verify report 1"
    edge_bts_version: str = __version__
    bundle: str
    manifest_sha256: str
    data: str
    packages: dict[str, str]
    least: float | None
    parity: ParityReport
    worst: dict[str, int]
    divergences: list[Divergence]
    skipped: list[Skipped]
    failures: list[str]


@dataclass
class Worst:
    """The image on which a form differs most from the one that it is compared with.

    Attributes:
        index: Number of the image, from 0.
        against: The form that it is compared with.
        frame: uint8 H x W, as it was stored.
        expected: Probability of the other form, float32 (S, S).
        came: Probability of this form, alike.
        difference: Mean absolute difference.
    """

    index: int
    against: str
    frame: NDArray[np.uint8]
    expected: NDArray[np.float32]
    came: NDArray[np.float32]
    difference: float


def verify(
    bundle: Bundle,
    *,
    images: Iterable[Case] | None = None,
    data: str = "",
    checkpoint: Path | None = None,
    threads: int | None = None,
    least: float = 0.98,
    tolerance: float = 0.1,
    locate: bool = True,
) -> tuple[VerifyReport, dict[str, Worst]]:
    """Run every form of a bundle on the same images and compare.

    Args:
        bundle: Opened; each file's hash is checked as it is read.
        images: Frames and masks, at least one with a lesion; None: the golden frames, with the
            probabilities that were stored at export, and their tolerance.
        data: What ``images`` are, for the report.
        checkpoint: What the bundle was made from: torch float becomes the first form.
        threads: Threads inside one inference.
        least: Mean Dice of its masks to the other one's that a form must reach on ``images``.
        tolerance: Relative error from which a tensor counts as different. Rounding of INT8 alone,
            a quantum here and there, grows to 0.06 on the way through the default student.
        locate: Look for the first tensor that differs, see :mod:`.bisect`.

    Returns:
        The report, and for each form the image on which it differs most.

    Raises:
        InputError: The checkpoint is another one's, or no image has a lesion.
        IntegrityError: A file is not what the manifest says.
        EnvironmentMismatchError: Not one executor is here.
    """
    bundle.verify()
    manifest = bundle.manifest
    golden = None
    if images is None:
        golden = read_golden(bundle.read(GOLDEN_NAME), manifest.imgsz)
    forms = _forms(bundle, golden, checkpoint, threads)
    if not forms.rungs:
        raise EnvironmentMismatchError(
            "Expected at least one executor here, but there is none: "
            + " ".join((*(skipped.reason for skipped in forms.skipped), *forms.refused.values()))
        )
    ladder = Ladder(forms.rungs, manifest.imgsz, manifest.mean, manifest.std, manifest.threshold)
    worst: dict[str, Worst] = {}
    broken: dict[str, str] = {}

    def observe(index: int, case: Case, outputs: dict[str, NDArray[np.float32]]) -> None:
        for rung in ladder.rungs:
            if rung.against == rung.name:
                continue
            expected, came = outputs[rung.against], outputs[rung.name]
            difference = float(np.abs(came - expected).mean(dtype=np.float64))
            kept = worst.get(rung.name)
            if kept is None or not difference <= kept.difference:  # NaN is worse than any number
                worst[rung.name] = Worst(index, rung.against, case[0], expected, came, difference)
            if golden is not None and rung.gated:
                fault = _fault(golden, index, expected, came)
                if fault:
                    broken.setdefault(rung.name, fault)

    cases: Iterable[Case] = images or ()
    if golden is not None:
        cases = zip(golden.frames, golden.mask, strict=True)
        data = f"{len(golden.frames)} golden frames (phantoms)"
    parity = climb(ladder, cases, observe)
    limit = None if golden is not None else least
    divergences: list[Divergence] = []
    if locate and find_spec("onnx") is not None:
        failing = {row.name for row in parity.rows if _disagrees(row, limit)} | set(broken)
        divergences = _divergences(forms, worst, tolerance, failing)
    elif locate:
        reason = "the package onnx is not installed: pip install 'edge-bts[export]'"
        forms.skipped.append(Skipped(name="first tensor that differs", reason=reason))
    report = VerifyReport(
        bundle=manifest.name,
        manifest_sha256=bundle.manifest_sha256,
        data=data,
        packages=provenance.package_versions(),
        least=limit,
        parity=parity,
        worst={name: found.index for name, found in worst.items()},
        divergences=divergences,
        skipped=forms.skipped,
        failures=[
            *_failures(parity, limit, broken, divergences),
            *(f"{name}: {said}" for name, said in forms.refused.items()),
        ],
    )
    return report, worst


def _remembered(golden: GoldenFrames, manifest: Manifest) -> Infer:
    """Return a function that knows the probabilities of the golden frames by their pixels."""
    known = {}
    for frame, probability in zip(golden.frames, golden.probability, strict=True):
        image = geometry.normalise(frame, manifest.mean, manifest.std)
        known[image.tobytes()] = probability[np.newaxis, np.newaxis]
    return lambda image: known[image.tobytes()]


def _fault(
    golden: GoldenFrames, index: int, expected: NDArray[np.float32], came: NDArray[np.float32]
) -> str:
    """Say how two forms (S, S) differ by more than was promised; empty if they do not."""
    mean_abs, pixels = difference(came, expected, golden.threshold)
    allowed = golden.tolerance
    if allowed.keeps(mean_abs, pixels):
        return ""
    return (
        f"on golden frame {index} its probability differs by {mean_abs:.2g} in the mean and its "
        f"mask in {pixels:.2%} of the pixels, where {allowed.mean_abs:.2g} and "
        f"{allowed.pixels:.2%} are allowed"
    )


class _Forms:
    """The forms of a network that can be run here, each with the one it is compared with.

    Attributes:
        rungs: The forms.
        looks: For each form a function that tells which of its tensors can be read, and how;
            called only where a difference is looked for, because it reads the graph again.
        skipped: Forms that cannot be run.
        refused: Forms that refused to run, as they do not reproduce a golden frame; what they said.
    """

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self.bundle = bundle
        self.threads = threads
        self.rungs: list[Rung] = []
        self.looks: dict[str, Callable[[], tuple[list[str], Look]]] = {}
        self.skipped: list[Skipped] = []
        self.refused: dict[str, str] = {}

    def add(
        self,
        name: str,
        open_form: Callable[[], Infer],
        *,
        same: Sequence[str] = (),
        made_from: Sequence[str] = (),
        look: Callable[[], tuple[list[str], Look]] | None = None,
        frames: bool = False,
    ) -> None:
        """Add a form, or note why it cannot be run.

        Args:
            name: What is shown.
            open_form: Returns what runs it.
            same: Forms that compute the same numbers: it must agree with the first that is here.
            made_from: Forms of another precision: where there is none of ``same``, it is compared
                with the first of these that is here.
            look: Returns what reads its tensors.
            frames: It takes frames, see :class:`~edge_bts.export.parity.Rung`.
        """
        try:
            infer = open_form()
        except SelfTestError as error:
            self.refused[name] = str(error)
            return
        except EnvironmentMismatchError as error:
            self.skipped.append(Skipped(name=name, reason=str(error)))
            return
        here = {rung.name for rung in self.rungs}
        like = next((other for other in same if other in here), None)
        against = like or next((other for other in made_from if other in here), name)
        self.rungs.append(Rung(name, infer, against, gated=like is not None, frames=frames))
        if look is not None and find_spec("onnx") is not None:
            self.looks[name] = cache(look)

    def add_onnx(
        self,
        name: str,
        file: str,
        same: Sequence[str],
        made_from: Sequence[str] = (),
        *,
        plain: bool = False,
    ) -> None:
        """Add an ONNX file in ONNX Runtime."""
        content = read_model(self.bundle, file)
        assert isinstance(content, bytes)
        self.add(
            name,
            lambda: onnx_infer(content, plain=plain, threads=self.threads),
            same=same,
            made_from=made_from,
            look=lambda: (list(convolutions(content)), look_into_onnx(content, optimize=not plain)),
        )

    def add_openvino(
        self,
        name: str,
        file: str,
        twin: str,
        same: Sequence[str],
        made_from: Sequence[str] = (),
    ) -> None:
        """Add a file in OpenVINO; ``twin`` is the ONNX file that names its tensors."""
        source = read_model(self.bundle, file)
        content = self.bundle.read(twin)
        self.add(
            name,
            lambda: open_backend("openvino", source, threads=self.threads).infer,
            same=same,
            made_from=made_from,
            look=lambda: look_into_ir(content, source),
        )


def _forms(
    bundle: Bundle, golden: GoldenFrames | None, checkpoint: Path | None, threads: int | None
) -> _Forms:
    forms = _Forms(bundle, threads)
    manifest, own = bundle.manifest, bundle.manifest.precision
    models = manifest.models
    stored, torch_float = f"torch {own}, stored at export", "torch float"
    floats = [torch_float, "onnxruntime fp32", "openvino fp32"]
    if checkpoint is not None:
        forms.add(torch_float, lambda: _torch_float(bundle, checkpoint))
    if golden is not None and own == "fp32":
        forms.add(stored, lambda: _remembered(golden, manifest), same=floats)
        floats.insert(0, stored)
    forms.add_onnx("onnxruntime fp32", models[_REFERENCE], floats)
    forms.add_openvino("openvino fp32", models[_REFERENCE], models[_REFERENCE], floats)
    same = floats
    if own != "fp32":
        if golden is not None:
            forms.add(stored, lambda: _remembered(golden, manifest), made_from=floats)
        optimized, plain = f"onnxruntime {own}", f"onnx {own}, plain"
        same = [stored, plain, optimized]
        if (file := models.get("onnxruntime")) is not None:
            forms.add_onnx(plain, file, same, floats, plain=True)
            if models.get("tensorrt", file) != file:
                half = "onnx fp16-typed, plain"
                forms.add_onnx(half, models["tensorrt"], same, floats, plain=True)
            forms.add_onnx(optimized, file, same, floats)
            if "openvino" in models:
                forms.add_openvino(f"openvino {own}", models["openvino"], file, same, floats)
    if models.get("openvino", "").endswith(".xml"):
        runtime = f"C++ runtime {own}"
        forms.add(
            runtime, lambda: _native(bundle, threads), same=same, made_from=floats, frames=True
        )
    if "tensorrt" in models or own == "fp32":
        forms.add(f"tensorrt {own}", lambda: _engine(bundle, own), same=same, made_from=floats)
    return forms


def _native(bundle: Bundle, threads: int | None) -> Infer:
    from edge_bts.runtime.native import session_of

    session = session_of(bundle, threads=threads, largest=(4096, 4096))
    return lambda frame: session.segment(frame).probability


def _engine(bundle: Bundle, precision: str) -> Infer:
    from edge_bts.runtime._tensorrt import EngineSource

    return open_backend("tensorrt", EngineSource(bundle, None), precision=precision).infer


def _torch_float(bundle: Bundle, checkpoint: Path) -> Infer:
    expected = bundle.manifest.provenance.checkpoint_sha256
    if checkpoint.is_file() and (came := sha256_file(checkpoint)) != expected:
        raise InputError(
            f"Expected the checkpoint that {bundle.path} was made from, SHA-256 {expected[:12]}, "
            f"but {checkpoint} has {came[:12]}; give that one, or leave --checkpoint out."
        )
    return open_checkpoint(checkpoint).backend.infer


def _divergences(
    forms: _Forms, worst: dict[str, Worst], tolerance: float, failing: set[str]
) -> list[Divergence]:
    """Find where each form parts from the one it must agree with, on its worst image."""
    manifest = forms.bundle.manifest
    graph = convolutions(forms.bundle.read(manifest.models[_REFERENCE]))  # as in every file
    found = []
    for rung in forms.rungs:
        if not rung.gated or rung.name not in forms.looks:
            continue
        # What was stored has no tensors, and torch names them otherwise: the first form that was
        # compared with the same one stands for it.
        others = (r.name for r in forms.rungs if r.against == rung.against and r.gated)
        against = next((name for name in (rung.against, *others) if name in forms.looks), None)
        if against in (None, rung.name):
            continue
        (known, look), (other, reference) = forms.looks[rung.name](), forms.looks[against]()
        both = set(known) & set(other)
        tensors = {
            t: [f for f in feeding if f in both] for t, feeding in graph.items() if t in both
        }
        if not tensors:
            continue
        square = geometry.letterbox(worst[rung.name].frame, manifest.imgsz)
        image = geometry.normalise(square, manifest.mean, manifest.std)[np.newaxis, np.newaxis]
        part = bisect(
            tensors,
            look,
            reference,
            image,
            name=rung.name,
            against=against,
            tolerance=tolerance,
            thorough=rung.name in failing,
        )
        found.append(part)
    return found


def _disagrees(row: ParityRow, least: float | None) -> bool:
    # NaN fails too. Masks of phantoms may be a few pixels, whose Dice says nothing.
    return least is not None and row.gated and not row.dice >= least


def _failures(
    parity: ParityReport,
    least: float | None,
    broken: dict[str, str],
    divergences: Sequence[Divergence],
) -> list[str]:
    parts = {part.name: part for part in divergences if part.tensor is not None}
    failures = []
    for row in parity.rows:
        reasons = [broken[row.name]] if row.name in broken else []
        if _disagrees(row, least):
            reasons.append(
                f"its masks agree with those of {row.against} to a mean Dice of {row.dice:.4f}, "
                f"where {least} is the least"
            )
        if not reasons:
            continue
        where = ""
        if (part := parts.get(row.name)) is not None:
            where = f"; the first tensor that differs is {part.tensor} (by {part.error:.2g})"
        failures.append(f"{row.name}: {' and '.join(reasons)}{where}")
    return failures
