"""A DICOM ultrasound file as frames, decoded by a process that is not trusted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_bts.dicom.protocol import (
    ANSWER_S,
    FRAME_CPU_S,
    IDENTITY,
    LOSSY,
    MAX_FRAMES,
    MAX_HEADER,
    MAX_PIXELS,
    MAX_REGIONS,
    MAX_SIDE,
    MEND,
    MESSAGE,
    REGION,
)
from edge_bts.dicom.regions import Region, tissue_regions
from edge_bts.errors import InputError
from edge_bts.extras import DICOM_PACKAGES, need_extra

__all__ = ["DICOM_SUFFIXES", "Cine", "is_dicom", "open_cine", "read_cine"]

DICOM_SUFFIXES = (".dcm", ".dicom")
_MOST_REFUSAL = 4096  # bytes

_Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
_Text = Annotated[str, Field(max_length=1024)]
_Numbers = Annotated[list[float], Field(max_length=MAX_FRAMES)]


class _Said(BaseModel):
    """What the worker may say, checked before it is used."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Header(_Said):
    identity: dict[str, _Text]
    rows: _Side
    columns: _Side
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    channels: Literal[1, 3]
    times_s: _Numbers | None
    fps: Annotated[float, Field(gt=0)] | None
    regions: Annotated[list[dict[str, float | None]], Field(max_length=MAX_REGIONS)]
    pixel_spacing: _Numbers
    notes: Annotated[list[_Text], Field(max_length=64)]

    @model_validator(mode="after")
    def _fits(self) -> _Header:
        if self.rows * self.columns * self.frames > MAX_PIXELS:
            raise ValueError("too many pixels")
        if self.times_s is not None and len(self.times_s) != self.frames:
            raise ValueError("times of other frames")
        if set(self.identity) != {*IDENTITY, *LOSSY}:
            raise ValueError("another identity")
        if any(set(item) != set(REGION) for item in self.regions):
            raise ValueError("another region")
        return self


class _Refusal(_Said):
    why: _Text
    mend: _Text


@dataclass(frozen=True)
class Cine:
    """What a file says of itself before its frames.

    Attributes:
        path: The file.
        rows: Of every frame.
        columns: Of every frame.
        frames: How many.
        channels: 1 gray, 3 RGB.
        times_s: When each frame was taken, from the first; None where unknown, and of one frame.
        fps: Their mean rate; None where unknown, and of one frame.
        regions: 2D tissue; none: the whole frame.
        identity: Of patient, study, series and instance, and how it was compressed, by keyword;
            empty where not given.
        notes: What a user should know.
    """

    path: Path
    rows: int
    columns: int
    frames: int
    channels: int
    times_s: tuple[float, ...] | None
    fps: float | None
    regions: tuple[Region, ...]
    identity: dict[str, str]
    notes: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Say whether a file of any name starts as a DICOM file does."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def open_cine(path: Path) -> Cine:
    """Read what a file says of itself and check its pixels as far as that goes without decoding.

    Raises:
        InputError: It is damaged, not an ultrasound image, or asks for more than the limits.
        EnvironmentMismatchError: The extra ``[dicom]`` is not installed.
    """
    need_extra("dicom", *DICOM_PACKAGES)
    with _Worker(path, "describe") as worker:
        return _cine(path, worker.header())


def read_cine(cine: Cine) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames, uint8 H x W, or H x W x 3 (RGB), every one or an error.

    Raises:
        InputError: A frame cannot be decoded within the limits, or the file is another by now.
    """
    with _Worker(cine.path, "decode") as worker:
        if _cine(cine.path, worker.header()) != cine:
            raise _refused(cine.path, "it changed since it was opened", "run the command again")
        shape = (cine.rows, cine.columns) + ((3,) if cine.channels == 3 else ())
        size = cine.rows * cine.columns * cine.channels
        for _ in range(cine.frames):
            content = worker.content(b"F", size, size)
            yield np.frombuffer(content, np.uint8).reshape(shape)
        worker.content(b"Z", 0, 0)


def _cine(path: Path, said: _Header) -> Cine:
    regions, notes = tissue_regions(said.regions, said.rows, said.columns, said.pixel_spacing)
    return Cine(
        path=path,
        rows=said.rows,
        columns=said.columns,
        frames=said.frames,
        channels=said.channels,
        times_s=None if said.times_s is None else tuple(said.times_s),
        fps=said.fps,
        regions=regions,
        identity=said.identity,
        notes=(*said.notes, *notes),
    )


def _refused(path: Path, why: str, mend: str = MEND) -> InputError:
    return InputError(f"Expected a DICOM ultrasound image in {path}, but {why}; {mend}.")


class _Worker:
    """The child process of one file; it ends with the block."""

    def __init__(self, path: Path, task: Literal["describe", "decode"]) -> None:
        self._path = path
        # From the root, so that no module of the current folder is taken for one of ours; one
        # thread of BLAS, whose stacks would count as memory.
        try:
            with path.open("rb") as stream:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "edge_bts.dicom.worker", task],
                    stdin=stream,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
        except OSError as error:
            why = f"it cannot be read ({error.strerror or error})"
            raise _refused(path, why) from error
        assert self._process.stdout is not None
        self._answers = self._process.stdout

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def header(self) -> _Header:
        """Return what it says of the file."""
        try:
            return _Header.model_validate_json(self.content(b"H", 0, MAX_HEADER))
        except ValidationError as error:
            raise self._broken() from error

    def content(self, letter: bytes, least: int, most: int) -> bytearray:
        """Return the content of the next message, which is of this letter and so many bytes.

        Raises:
            InputError: The worker refuses the file, ended, or says something else.
        """
        mark, came, length = MESSAGE.unpack(self._read(MESSAGE.size))
        if mark == b"EBTS" and came == b"E" and length <= _MOST_REFUSAL:
            try:
                said = _Refusal.model_validate_json(self._read(length))
            except ValidationError as error:
                raise self._broken() from error
            raise _refused(self._path, _one_line(said.why), _one_line(said.mend))
        if mark != b"EBTS" or came != letter or not least <= length <= most:
            raise self._broken()
        return self._read(length)

    def _read(self, count: int) -> bytearray:
        content = bytearray(count)
        left = memoryview(content)
        until = time.monotonic() + ANSWER_S
        while left:
            patience = until - time.monotonic()
            if patience <= 0 or not select.select([self._answers], [], [], patience)[0]:
                why = f"its decoder gave no answer for {ANSWER_S:g} s"
                raise _refused(self._path, why)
            came = os.readv(self._answers.fileno(), [left])
            if came == 0:
                raise self._ended()
            left = left[came:]
        return content

    def _ended(self) -> InputError:
        """Say why the pipe was closed before its time."""
        try:
            code = self._process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            return self._broken()
        if code == -signal.SIGXCPU:
            return _refused(self._path, f"its decoder took more than {FRAME_CPU_S} s for a step")
        if code < 0:
            name = signal.Signals(-code).name
            return _refused(self._path, f"its decoder crashed on it ({name})")
        return _refused(
            self._path,
            f"its decoder ended with code {code} before it spoke",
            "run edge-bts doctor",
        )

    def _broken(self) -> InputError:
        return _refused(self._path, "its decoder did not keep to its protocol")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:400]
