"""Which part of a network loses Dice in INT8, and what it saves: ``export --sensitivity``.

Every group of layers is quantized alone, and everything but it. The first tells where INT8 hurts;
the second what the network would get back, and pay, if the group stayed float: that is what
``export.quantize.keep_float`` does. Dice is of validation images in source geometry at the
checkpoint's threshold, without the presence threshold; times are of OpenVINO with one thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from edge_bts import geometry
from edge_bts.data import Sample
from edge_bts.errors import InputError
from edge_bts.export.calibration import draw_covering, traits_of
from edge_bts.export.fold import fold_batch_norm
from edge_bts.export.latency import Ratio, time_ratio
from edge_bts.export.openvino_ir import ir_from_model
from edge_bts.export.quantize import quantize
from edge_bts.export.request import Prepared, Request, open_request
from edge_bts.export.sensitivity_plot import draw_sensitivity, sensitivity_table
from edge_bts.files import sha256_file, write_json
from edge_bts.metrics import Difference, dice, paired_difference
from edge_bts.runtime import Segmenter, open_backend

__all__ = ["Group", "Sensitivity", "Variant", "analyse", "groups_of"]

_LEAST_GAIN = 1e-3  # of the time; below it a gain is noise and would make the quotient endless


class Variant(BaseModel):
    """One network: Dice of each image, and its time against the network it is compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dice: list[float]
    time: Ratio


class Group(BaseModel):
    """A group of layers: it alone in INT8 (time: to float), all but it (time: to all in INT8)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    layers: list[str]
    only: Variant
    all_but: Variant

    @property
    def pattern(self) -> str:
        """What ``keep_float`` takes to keep this group float."""
        return self.name if self.name in self.layers else f"{self.name}.*"


class Sensitivity(BaseModel):
    """The whole analysis, or what of it is done; written after every group.

    Attributes:
        inputs: What it was made from; a file of other inputs is not continued.
        images: Ids of the validation images.
        patients: Their groups, for the intervals.
        expected: Names of all groups, in the network's order.
        floating: Layers that stay float by rule, and why.
        float_dice: Dice of the float model, one an image.
        int8: Everything in INT8 that may be (time: to float).
        groups: Those that are measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["edge-bts sensitivity 1"] = "edge-bts sensitivity 1"
    inputs: dict[str, Any]
    images: list[str]
    patients: list[str]
    expected: list[str]
    floating: dict[str, str]
    float_dice: list[float]
    int8: Variant
    groups: list[Group] = []

    def lost(self, variant: Variant) -> Difference:
        """Dice that the float model has more than ``variant``."""
        return paired_difference(self.float_dice, variant.dice, self.patients)

    def recovered(self, group: Group) -> Difference:
        """Dice that comes back when ``group`` stays float and the rest is INT8."""
        return paired_difference(group.all_but.dice, self.int8.dice, self.patients)

    def drop_per_gain(self, group: Group) -> float:
        """Dice that the group costs in the whole network, for each share of the time it saves."""
        saved = group.all_but.time.median - 1
        return self.recovered(group).mean / max(saved, _LEAST_GAIN)

    def ranked(self) -> list[Group]:
        """Return the groups, the worst bargain first."""
        return sorted(self.groups, key=self.drop_per_gain, reverse=True)

    def proposal(self, recovery: float) -> list[str]:
        """Return what ``keep_float`` should hold: groups that surely give back ``recovery``."""
        return [
            group.pattern
            for group in self.ranked()
            if (back := self.recovered(group)).mean >= recovery and back.lower_bound > 0
        ]


def groups_of(layers: Mapping[str, str]) -> dict[str, list[str]]:
    """Group the INT8 convolutions by name, up to the first number: ``encoder.0``, ``head``.

    Args:
        layers: Of :class:`edge_bts.export.layers.LayerPlan`.
    """
    groups: dict[str, list[str]] = {}
    for name, kind in layers.items():
        if kind == "int8":
            match = re.match(r".*?\.\d+(?=\.|$)", name)
            groups.setdefault(match.group() if match else name, []).append(name)
    return groups


def analyse(request: Request, say: Callable[[Any], None] = print) -> Sensitivity:
    """Measure every group; ``request.output`` is the JSON file, a PNG is drawn beside it.

    A file of the same inputs is continued after its last group.

    Raises:
        InputError: As :func:`edge_bts.export.request.prepare`; the output is no ``.json``, or is
            of other inputs and ``force`` is not given; no group or too few images.
    """
    output = request.output
    if output.suffix != ".json":
        raise InputError(
            f"Expected --output NAME.json with --sensitivity, which makes no bundle, but got "
            f"{output.name!r}."
        )
    if request.settings.precision != "int8":
        raise InputError(
            f"Expected --int8 with --sensitivity, but got {request.settings.precision}: there is "
            "nothing to quantize."
        )
    picture = output.with_suffix(".png")
    if picture.exists() and not (output.exists() or request.force):
        raise InputError(
            f"Expected {picture} not to exist, because the plot goes there, but it does; choose "
            "another name or pass --force."
        )
    prepared = open_request(request)
    inputs = _inputs(prepared)
    found = None if request.force else _resume(output, inputs)
    if found is None or len(found.groups) < len(found.expected):
        found = _measure(prepared, inputs, found, say)
    draw_sensitivity(found, picture)
    say(sensitivity_table(found))
    proposal = found.proposal(request.settings.sensitivity.recovery)
    if proposal:
        say(f"Proposal: --set 'export.quantize.keep_float={_toml(proposal)}'")
    else:
        say(
            "Proposal: keep no further layer float; none gives back Dice that "
            f"{len(found.images)} images can show."
        )
    say(f"Wrote {output} and {picture}.")
    return found


def _measure(
    prepared: Prepared,
    inputs: dict[str, Any],
    found: Sensitivity | None,
    say: Callable[[Any], None],
) -> Sensitivity:
    """Measure the groups that ``found`` lacks, and write the file after each."""
    output = prepared.request.output
    say("Measuring the float model, and all in INT8.")
    bench = _Bench(prepared)
    if found is None:
        found = bench.start(inputs)
        write_json(output, found.model_dump(mode="json"))
    for number, name in enumerate(found.expected, start=1):
        if number <= len(found.groups):
            continue
        say(f"{number} of {len(found.expected)}: {name}")
        found = found.model_copy(update={"groups": [*found.groups, bench.measure(name)]})
        write_json(output, found.model_dump(mode="json"))
    return found


def _toml(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _inputs(prepared: Prepared) -> dict[str, Any]:
    """Return what the figures depend on, JSON-able."""
    request, inputs = prepared.request, prepared.inputs
    assert inputs is not None  # open_request() saw to it: the precision is int8
    settings = request.settings.model_dump(mode="json")
    return {
        "checkpoint_sha256": sha256_file(request.checkpoint),
        "split_hash": inputs.split_hash,
        **{name: settings[name] for name in ("seed", "quantize", "sensitivity", "latency")},
    }


def _resume(output: Path, inputs: dict[str, Any]) -> Sensitivity | None:
    if not output.exists():
        return None
    try:
        found = Sensitivity.model_validate_json(output.read_bytes())
    except (OSError, ValidationError):
        found = None
    if found is None or found.inputs != inputs:
        raise InputError(
            f"Expected {output} not to exist or to be a sensitivity analysis of the same "
            "checkpoint, data and settings, but it is another; choose another name or pass "
            "--force."
        )
    return found


class _Bench:
    """What is measured on: the float model, images to calibrate with and images to score."""

    def __init__(self, prepared: Prepared) -> None:
        request, self.checkpoint = prepared.request, prepared.checkpoint
        self.settings = request.settings
        inputs = prepared.inputs
        assert inputs is not None  # as above
        own = self.settings.sensitivity
        self.student = fold_batch_norm(prepared.module)
        traits = traits_of(inputs.train)
        drawn = draw_covering(traits, own.calibration_images, self.settings.seed)
        self.calibration = [self._image(inputs.train[index]) for index in drawn]
        lesions = [sample for sample in inputs.val if sample.category != "normal"]
        if len(lesions) < 2:
            raise InputError(
                f"Expected at least 2 validation images with a lesion, but {inputs.dataset} has "
                f"{len(lesions)}; pass a larger data set."
            )
        order = np.random.default_rng(self.settings.seed).permutation(len(lesions))
        self.samples = [lesions[index] for index in sorted(order[: own.images].tolist())]
        self._float = self._open(self.student, "fp32")
        whole, plan = quantize(self.student, self.calibration, self.settings.quantize)
        self.layers = plan.layers
        self._groups = {
            name: layers
            for name, layers in groups_of(plan.layers).items()
            if not own.groups or any(fnmatchcase(name, pattern) for pattern in own.groups)
        }
        if not self._groups:
            raise InputError(
                "Expected a group of layers that may be INT8, but there is none; see "
                "export.quantize.min_channels, keep_float and export.sensitivity.groups."
            )
        self._int8 = self._open(whole, "int8")

    def start(self, inputs: dict[str, Any]) -> Sensitivity:
        """Measure the two networks that the others are compared with."""
        return Sensitivity(
            inputs=inputs,
            images=[sample.id for sample in self.samples],
            patients=[sample.group for sample in self.samples],
            expected=list(self._groups),
            floating={name: why for name, why in self.layers.items() if why != "int8"},
            float_dice=self._dice(self._float),
            int8=self._variant(self._int8, self._float),
        )

    def measure(self, name: str) -> Group:
        """Quantize a group alone, and everything but it."""
        layers, quantizing = self._groups[name], self.settings.quantize
        alone, _ = quantize(self.student, self.calibration, quantizing, layers)
        kept = quantizing.model_copy(update={"keep_float": (*quantizing.keep_float, *layers)})
        rest, _ = quantize(self.student, self.calibration, kept)
        return Group(
            name=name,
            layers=layers,
            only=self._variant(self._open(alone, "int8"), self._float),
            all_but=self._variant(self._open(rest, "int8"), self._int8),
        )

    def _image(self, sample: Sample) -> Tensor:
        square = geometry.letterbox(sample.read_image(), self.checkpoint.imgsz)
        frame = geometry.normalise(square, self.checkpoint.mean, self.checkpoint.std)
        return torch.from_numpy(frame)[None, None]

    def _open(self, module: nn.Module, precision: str) -> Segmenter:
        ir = ir_from_model(module, self.checkpoint.imgsz)
        return Segmenter(
            open_backend("openvino", ir, precision=precision, threads=1),
            imgsz=self.checkpoint.imgsz,
            mean=self.checkpoint.mean,
            std=self.checkpoint.std,
            threshold=self.checkpoint.threshold,
        )

    def _variant(self, network: Segmenter, against: Segmenter) -> Variant:
        image = self.calibration[0].numpy()
        ratio = time_ratio(
            lambda: network.backend.infer(image),
            lambda: against.backend.infer(image),
            self.settings.latency,
        )
        return Variant(dice=self._dice(network), time=ratio)

    def _dice(self, network: Segmenter) -> list[float]:
        scores = []
        for sample in self.samples:
            image, mask = sample.read()
            found = network.predict(image).probability
            scores.append(dice(geometry.threshold(found, network.threshold), mask))
        return scores
