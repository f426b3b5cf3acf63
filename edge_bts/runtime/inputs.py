"""What a user names on the command line, turned into frames: images, videos, DICOM, folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_bts.data.images import IMAGE_SUFFIXES, read_gray
from edge_bts.dicom.reading import DICOM_SUFFIXES, Cine, is_dicom, open_cine, read_cine
from edge_bts.errors import InputError

__all__ = ["VIDEO_SUFFIXES", "Frame", "Input", "list_inputs", "read_frames"]

VIDEO_SUFFIXES = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".mpg", ".mpeg", ".webm")


@dataclass(frozen=True)
class Input:
    """One image, one video, or one DICOM file of either kind.

    Attributes:
        path: The file.
        kind: What it is.
        name: Unique among the inputs of a run; names the outputs.
        frames: Of a video as its header says, which may be wrong; None where it does not say.
        fps: Of a video or cine loop; None where it does not say.
        cine: Of DICOM: what the file says of itself.
    """

    path: Path
    kind: Literal["image", "video", "dicom"]
    name: str
    frames: int | None = 1
    fps: float | None = None
    cine: Cine | None = None

    @property
    def moves(self) -> bool:
        """Whether it is a sequence of frames, be it one: a video or a cine loop."""
        return self.kind == "video" or (self.kind == "dicom" and self.frames != 1)


@dataclass(frozen=True)
class Frame:
    """One frame of an input: its number from 0, its time in a video, uint8 H x W."""

    index: int
    time_s: float | None
    image: NDArray[np.uint8]


def list_inputs(paths: Iterable[Path]) -> list[Input]:
    """List images, videos and DICOM, those of a folder (not of folders in it) sorted by name.

    Videos and DICOM are opened once to see that they can be; images are read only when their turn
    comes.

    Raises:
        InputError: A path does not exist, is empty or of an unknown kind, a folder holds no input,
            or a video or DICOM file cannot be opened. Nothing has been computed by then.
        EnvironmentMismatchError: A DICOM file without the extra ``[dicom]``.
    """
    found: list[Input] = []
    names: set[str] = set()
    for path in paths:
        for file in _files(path):
            name = _unique(file.stem, names)
            suffix = file.suffix.lower()
            if suffix in VIDEO_SUFFIXES:
                found.append(_video(file, name))
            elif suffix in IMAGE_SUFFIXES:
                found.append(Input(file, "image", name))
            else:
                cine = open_cine(file)
                found.append(Input(file, "dicom", name, cine.frames, cine.fps, cine))
    return found


def read_frames(source: Input) -> Iterator[Frame]:
    """Yield the frames of an input.

    Raises:
        InputError: An image or a frame of DICOM that is damaged, or a video without a single
            readable frame.
    """
    if source.kind == "image":
        yield Frame(0, None, read_gray(source.path))
        return
    import cv2

    if source.cine is not None:
        times = source.cine.times_s
        for index, pixels in enumerate(read_cine(source.cine)):
            gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            time_s = times[index] if times else None
            yield Frame(index, time_s, np.asarray(gray, np.uint8))
        return
    capture = cv2.VideoCapture(str(source.path))
    try:
        index = 0
        while True:
            came, image = capture.read()
            if not came:
                break
            gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            time_s = index / source.fps if source.fps else None
            yield Frame(index, time_s, np.asarray(gray, np.uint8))
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise InputError(
            f"Expected a video in {source.path}, but not one frame could be decoded; "
            "convert or copy it again."
        )


def _files(path: Path) -> list[Path]:
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *DICOM_SUFFIXES)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in known and p.is_file())
        if not files:
            raise InputError(
                f"Expected images, videos or DICOM in the folder {path}, but it holds none "
                f"({', '.join(known)}); folders inside it are not searched."
            )
        return files
    if not path.is_file():
        raise InputError(f"Expected an image, a video or a folder at {path}, but nothing is there.")
    if path.suffix.lower() not in known and not is_dicom(path):
        raise InputError(
            f"Expected a file of one of the kinds {', '.join(known)}, but got {path.name}; "
            "convert it."
        )
    if path.stat().st_size == 0:
        raise InputError(f"Expected an image or a video in {path}, but the file is empty.")
    return [path]


def _unique(stem: str, names: set[str]) -> str:
    name, number = stem, 1
    while name.casefold() in names:  # some file systems do not tell cases apart
        number += 1
        name = f"{stem}_{number}"
    names.add(name.casefold())
    return name


def _video(path: Path, name: str) -> Input:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(
                f"Expected a video that OpenCV reads in {path}, but it cannot be opened; "
                "it is damaged or of another codec: convert it."
            )
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
    finally:
        capture.release()
    return Input(path, "video", name, frames if frames > 0 else None, fps if fps > 0 else None)
