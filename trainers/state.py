"""The state that an interrupted training continues from: one file, replaced whole each epoch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from edge_bts.errors import InputError
from edge_bts.files import is_leftover, write_bytes

__all__ = ["STATE_NAME", "load_state", "remove_leftovers", "save_state"]

STATE_NAME = "resume.pt"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, lists and dicts of them) to ``folder``."""
    # Into memory first: torch's own writer reports a full disk with an error of another kind,
    # and after the old file is gone.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / STATE_NAME, buffer.getvalue())


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files in ``folder``."""
    for path in folder.iterdir():
        if is_leftover(path):
            path.unlink()


def load_state(folder: Path, fingerprint: str, processes: int) -> dict[str, Any]:
    """Read the state of ``folder``.

    Raises:
        InputError: There is none, it is truncated, or it belongs to a run with other settings,
            data, split or number of processes.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        raise InputError(f"Expected {path} to resume from, but there is no such file.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler met: RuntimeError, EOFError, ...
        raise InputError(
            f"Expected {path} to be a whole state file, but reading it failed "
            f"({type(error).__name__}); remove the folder and train again."
        ) from None
    if state.get("fingerprint") != fingerprint:
        raise InputError(
            f"Expected {path} to come from the same settings, data and split, but they have "
            "changed; train into another folder, or use the old settings."
        )
    if state["processes"] != processes:
        raise InputError(
            f"Expected {state['processes']} processes, with which the run in {folder} began, but "
            f"there are {processes}: a step would take another number of images. Start as many."
        )
    return state
