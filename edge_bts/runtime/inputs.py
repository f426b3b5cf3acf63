"""What a user names on the command line, turned into frames: images, folders, videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_bts.data.images import IMAGE_SUFFIXES, read_gray
from edge_bts.errors import InputError

__all__ = ["VIDEO_SUFFIXES", "Frame", "Input", "list_inputs", "read_frames"]

VIDEO_SUFFIXES = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".mpg", ".mpeg", ".webm")


@dataclass(frozen=True)
class Input:
    """One image or one video.

    Attributes:
        path: The file.
        kind: What it is.
        name: Unique among the inputs of a run; names the outputs.
        frames: Of a video as its header says, which may be wrong; None where it does not say.
        fps: Of a video; None where it does not say.
    """

    path: Path
    kind: Literal["image", "video"]
    name: str
    frames: int | None = 1
    fps: float | None = None


@dataclass(frozen=True)
class Frame:
    """One frame of an input: its number from 0, its time in a video, uint8 H x W."""

    index: int
    time_s: float | None
    image: NDArray[np.uint8]


def list_inputs(paths: Iterable[Path]) -> list[Input]:
    """List images and videos, those of a folder (not of folders in it) sorted by name.

    Videos are opened once to see that they can be; images are read only when their turn comes.

    Raises:
        InputError: A path does not exist, is empty or of an unknown kind, a folder holds neither
            images nor videos, or a video cannot be opened. Nothing has been computed by then.
    """
    found: list[Input] = []
    names: set[str] = set()
    for path in paths:
        for file in _files(path):
            name = _unique(file.stem, names)
            found.append(_video(file, name) if _is_video(file) else Input(file, "image", name))
    return found


def read_frames(source: Input) -> Iterator[Frame]:
    """Yield the frames of an input.

    Raises:
        InputError: An image that is damaged, or a video without a single readable frame.
    """
    if source.kind == "image":
        yield Frame(0, None, read_gray(source.path))
        return
    import cv2

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
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in known and p.is_file())
        if not files:
            raise InputError(
                f"Expected images or videos in the folder {path}, but it holds none "
                f"({', '.join(known)}); folders inside it are not searched."
            )
        return files
    if not path.is_file():
        raise InputError(f"Expected an image, a video or a folder at {path}, but nothing is there.")
    if path.suffix.lower() not in known:
        raise InputError(
            f"Expected a file of one of the kinds {', '.join(known)}, but got {path.name}; "
            "convert it."
        )
    if path.stat().st_size == 0:
        raise InputError(f"Expected an image or a video in {path}, but the file is empty.")
    return [path]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


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
