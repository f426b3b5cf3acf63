"""Checkpoints: one safetensors file with the weights and, in its header, what made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from edge_bts.errors import InputError
from edge_bts.files import canonical_json, write_bytes
from edge_bts.models.registry import ModelSpec, build_model
from edge_bts.provenance import Origin

__all__ = ["Checkpoint", "checkpoint_info", "load_checkpoint", "save_checkpoint"]

_KEY = "edge_bts"


class Checkpoint(BaseModel):
    """What a checkpoint says of itself.

    ``imgsz``, ``mean`` and ``std`` fix the input: a letterboxed square of ``imgsz`` pixels, scaled
    ``(v/255 - mean)/std``. ``threshold`` turns probability into mask and ``presence_threshold``
    empties the masks of frames without a lesion (:mod:`edge_bts.presence`; 0: none); both are
    chosen on validation. ``metrics`` are those of the validation split at the kept epoch.
    ``origins`` are what it learnt from besides: first weights, teachers, parts of merged data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    model: ModelSpec
    role: Literal["teacher", "student"]
    category: Literal["benign", "malignant", "all"]
    imgsz: int
    mean: float
    std: float
    threshold: float = 0.5
    presence_threshold: float = 0.0
    epoch: int = 0
    seed: int = 0
    dataset: str = ""
    split_hash: str = ""
    edge_bts_version: str = ""
    metrics: dict[str, float] = {}
    config: dict[str, Any] = {}
    origins: tuple[Origin, ...] = ()


def save_checkpoint(path: str | Path, module: nn.Module, checkpoint: Checkpoint) -> None:
    """Write weights (as they are, on the CPU) and description to ``path``, atomically.

    Raises:
        EdgeBtsError: The system refused to write; what stood at ``path`` stands.
    """
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    header = {_KEY: canonical_json(checkpoint.model_dump(mode="json")).decode()}
    # Not save_file: what it raises on a full disk is no OSError.
    write_bytes(path, save(tensors, header))


def checkpoint_info(path: str | Path) -> Checkpoint:
    """Read what a checkpoint says of itself, without its weights.

    Raises:
        InputError: As :func:`load_checkpoint`, but for the weights.
    """
    return _read(Path(path), weights=False)[1]


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Checkpoint]:
    """Read a checkpoint and build its module, in ``eval`` mode on the CPU.

    Raises:
        InputError: The file is missing, truncated, not a checkpoint of edge-bts, or its weights
            are those of another model.
    """
    path = Path(path)
    tensors, checkpoint = _read(path, weights=True)
    module = build_model(checkpoint.model, trusted=False)
    expected = module.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    shapes = [k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape]
    if missing or unknown or shapes:
        raise InputError(
            f"Expected {path} to hold the weights of {checkpoint.model}, but {len(missing)} "
            f"tensors are missing, {len(unknown)} unknown and {len(shapes)} of another shape "
            f"(first: {(missing + unknown + sorted(shapes))[0]}): it is another model's checkpoint."
        )
    module.load_state_dict(tensors)
    return module.eval(), checkpoint


def _read(path: Path, *, weights: bool) -> tuple[dict[str, Tensor], Checkpoint]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"Expected a checkpoint at {path}, but there is no such file.")
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {}).get(_KEY)
            keys = stream.keys() if weights else ()
            tensors = {key: stream.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"Expected {path} to be a whole safetensors file, but reading it failed ({error}); "
            "it is truncated or something else: copy or train it again."
        ) from None
    if header is None:
        raise InputError(
            f"Expected {path} to be a checkpoint of edge-bts, but its header lacks the entry "
            f"{_KEY!r}; train with `edge-bts train` or `edge-bts distill`."
        )
    return tensors, _describe(path, header)


def _describe(path: Path, header: str) -> Checkpoint:
    try:
        return Checkpoint.model_validate(json.loads(header))
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r:.60})"
    except ValueError as error:
        fault = f"it is not JSON ({error})"
    raise InputError(
        f"Expected a description of schema version 1 in the checkpoint {path}, but {fault}; "
        "use the version of edge-bts that wrote it, or train again."
    )
