"""What an export is asked for, opened and checked before anything slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from edge_bts.bundle import check_output
from edge_bts.data import Sample, load_split, make_split, open_dataset, select
from edge_bts.errors import InputError
from edge_bts.export.settings import ExportSettings
from edge_bts.models import Checkpoint, load_checkpoint
from edge_bts.signing import SigningKey, load_signing_key
from edge_bts.trainers.runs import Inputs, open_inputs

__all__ = ["Prepared", "Request", "open_request", "prepare"]


@dataclass(frozen=True)
class Request:
    """What is exported, from what, to where.

    Attributes:
        checkpoint: Path of the student.
        output: Folder ``NAME.ebts`` to make.
        settings: How.
        data: Folder of the data set; needed for INT8, else for parity on real images.
        split: Split file of it; None is the split of seed 0.
        teachers: Checkpoints of the benign and the malignant teacher, for the fine-tune.
        name: Of the model; None is the stem of ``output``.
        force: Replace a bundle at ``output``.
        sign: Private key that signs the bundle; None leaves it unsigned.
    """

    checkpoint: Path
    output: Path
    settings: ExportSettings
    data: Path | None = None
    split: Path | None = None
    teachers: tuple[Path, Path] | None = None
    name: str | None = None
    force: bool = False
    sign: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """Inputs that have been opened and checked; ``judged`` are the images of the gates."""

    request: Request
    module: nn.Module
    checkpoint: Checkpoint
    inputs: Inputs | None
    key: SigningKey | None = None
    judged: Sequence[Sample] = ()

    def __str__(self) -> str:
        """Return the plan, one line a step."""
        settings, request = self.request.settings, self.request
        lines = [
            f"{self.checkpoint.model} at {self.checkpoint.imgsz} px from {request.checkpoint} "
            f"to {request.output}, {settings.precision}",
            f"data: {self.inputs or 'none; parity on phantoms'}",
            "fold batch norms",
        ]
        if settings.precision == "int8" and self.inputs is not None:
            images = min(settings.quantize.calibration_images, len(self.inputs.train))
            taught = " and the two teachers" if request.teachers else ""
            lines.append(f"quantize, ranges from {images} training images")
            if settings.qat.epochs:
                lines.append(
                    f"fine-tune {settings.qat.epochs} epochs, taught by the masks, the float "
                    f"student{taught}"
                )
            lines.append("choose the threshold on validation")
        lines.append(f"write ONNX (opset {settings.opset}) and OpenVINO IR, check the graphs")
        lines.append(f"compare all forms, run {settings.golden_frames} golden phantoms")
        if settings.precision != "fp32":
            timed = ", and of latency" if settings.latency.gate else ""
            lines.append(f"gates of accuracy on {self.where}{timed}")
        lines.append("write the bundle" + (f", signed by {self.key.id}" if self.key else ""))
        return "\n".join(
            f"{number}. {line}" if number else line for number, line in enumerate(lines)
        )

    @property
    def where(self) -> str:
        """The images that the gates are judged on, in words."""
        if self.inputs is None:
            return "simulated loops alone"
        part = self.request.settings.gates.on
        return f"{len(self.judged)} images of {self.inputs.dataset}, {part} part"


def prepare(request: Request) -> Prepared:
    """Open and check everything that an export needs, before anything slow.

    Raises:
        InputError: Something stands at the output, INT8 is asked for without data, the checkpoint
            is damaged or of another split, the key is none, ...
        IntegrityError: The data are not those of the split.
    """
    check_output(request.output, force=request.force)
    key = None if request.sign is None else load_signing_key(request.sign)
    return replace(open_request(request), key=key)


def open_request(request: Request) -> Prepared:
    """Do what :func:`prepare` does, output and key apart."""
    if request.settings.precision == "int8" and request.data is None:
        raise InputError(
            "Expected --data PATH with --int8: ranges are taken from training images; pass the "
            "data set, or export with --fp32 or --fp16."
        )
    if request.teachers and request.settings.precision != "int8":
        raise InputError(
            f"Expected --teachers with --int8 only, but the precision is "
            f"{request.settings.precision}: nothing is trained there; leave one of them out."
        )
    if request.teachers and not request.settings.qat.epochs:
        raise InputError(
            "Expected --teachers with a fine-tune, but --ptq (or --qat-epochs 0) asks for none; "
            "leave one of them out."
        )
    module, checkpoint = load_checkpoint(request.checkpoint)
    inputs: Inputs | None = None
    judged: Sequence[Sample] = ()
    if request.data is not None:
        inputs = open_inputs(request.data, request.split)
        if inputs.split_hash != checkpoint.split_hash:
            raise InputError(
                f"Expected the split that {request.checkpoint} was trained on "
                f"({checkpoint.split_hash[:12] or 'none'}), but got {inputs.split_hash[:12]}: "
                "images would pass from one part into another; pass its --data and --split."
            )
        judged = inputs.val if request.settings.gates.on == "val" else _test_part(request)
    return Prepared(request, module, checkpoint, inputs, judged=judged)


def _test_part(request: Request) -> Sequence[Sample]:
    assert request.data is not None  # asked only where there are inputs
    dataset = open_dataset(request.data)
    split = make_split(dataset, seed=0) if request.split is None else load_split(request.split)
    return select(dataset, split, "test")
