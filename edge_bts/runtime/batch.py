"""Many inputs through one segmenter into one folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_bts.dicom.regions import Region
from edge_bts.dicom.seg import Segmentation
from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.files import new_folder, write_json, write_text
from edge_bts.runtime.inputs import Input, read_frames
from edge_bts.runtime.measurements import (
    FrameRecord,
    InputRecord,
    Problem,
    RegionRecord,
    RunRecord,
    frame_record,
    to_csv,
)
from edge_bts.runtime.overlay import draw_overlay
from edge_bts.runtime.regions import common_spacing, segment_regions
from edge_bts.runtime.segmenter import FramePath, check_spacing

__all__ = ["check_output", "segment_inputs"]

_RECORD = "measurements.json"


def segment_inputs(
    segmenter: FramePath,
    inputs: Sequence[Input],
    output: Path,
    *,
    spacing_mm: float | None = None,
    overlay: bool = True,
    force: bool = False,
    progress: Callable[[Input], None] | None = None,
) -> RunRecord:
    """Segment every input and write masks, overlays and measurements to a new folder.

    The folder appears when all is done: ``masks/NAME.png`` (0/255, source geometry; of a video
    ``masks/NAME/000000.png`` and on, which no codec blurs), ``overlays/NAME.png`` (of a video
    ``.mp4``, or ``.avi`` where OpenCV cannot write it), of DICOM also a DICOM SEG
    ``segmentations/NAME.dcm``, ``measurements.csv`` and ``measurements.json``. Of DICOM the 2D
    tissue regions are segmented, each for itself. An input that turns out to be damaged is
    skipped, leaves nothing and stands in ``problems``.

    Args:
        segmenter: What finds the lesions.
        inputs: From ``list_inputs``.
        output: The folder to make.
        spacing_mm: Millimetres per pixel of all inputs; None: unknown but for the calibrated
            regions of DICOM.
        overlay: Draw overlays.
        force: Replace an earlier run in ``output``.
        progress: Called after each frame with its input.

    Raises:
        InputError: ``output`` exists and is neither an empty folder nor, with ``force``, an
            earlier run; or an input lies in it; or the spacing is not positive.
        EdgeBtsError: The system refused to write.
    """
    check_spacing(spacing_mm)
    replace = check_output(output, inputs, force)
    records: list[InputRecord] = []
    problems: list[Problem] = []
    with new_folder(output, force=replace) as folder:
        (folder / "masks").mkdir()
        for source in inputs:
            try:
                record = _segment_input(segmenter, source, folder, spacing_mm, overlay, progress)
                records.append(record)
            except InputError as error:
                _discard(source, folder)
                problems.append(Problem(input=str(source.path), reason=str(error)))
        run = RunRecord(segmenter=segmenter.describe(), inputs=records, problems=problems)
        write_json(folder / _RECORD, run.model_dump(mode="json"))
        write_text(folder / "measurements.csv", to_csv(run))
    return run


def check_output(output: Path, inputs: Sequence[Input], force: bool) -> bool:
    """Say whether ``output`` exists and may go; only what this command wrote may.

    Raises:
        InputError: It exists and must stay, or an input lies in it.
    """
    if not output.exists():
        return False
    resolved = output.resolve()
    if inside := next((i.path for i in inputs if resolved in i.path.resolve().parents), None):
        raise InputError(
            f"Expected an output folder without inputs, but {inside} lies in {output}; "
            "choose another folder."
        )
    if output.is_dir() and not any(output.iterdir()):
        return True
    if not force:
        raise InputError(
            f"Expected {output} not to exist or to be empty, but it is neither; choose another "
            "folder, or pass --force to replace an earlier run."
        )
    if not (output / _RECORD).is_file():
        raise InputError(
            f"Expected an earlier run in {output} to replace, but it holds no {_RECORD}; "
            "choose another folder."
        )
    return True


def _segment_input(
    segmenter: FramePath,
    source: Input,
    folder: Path,
    spacing_mm: float | None,
    overlay: bool,
    progress: Callable[[Input], None] | None,
) -> InputRecord:
    frames: list[FrameRecord] = []
    regions = _regions(source, spacing_mm)
    segmentation = None if source.cine is None else Segmentation(source.cine, segmenter.describe())
    with _Overlay(folder, source) as pictures:
        for frame in read_frames(source):
            result = (
                segment_regions(segmenter, frame.image, regions)
                if regions
                else segmenter.segment(frame.image, spacing_mm)
            )
            mask = folder / _mask_name(source, frame.index)
            mask.parent.mkdir(exist_ok=True)
            _write_png(mask, result.mask * np.uint8(255))
            if segmentation is not None:
                segmentation.add(result.mask)
            if overlay:
                pictures.add(draw_overlay(frame.image, result))
            frames.append(frame_record(frame, result))
            if progress is not None:
                progress(source)
    if segmentation is not None:
        (folder / _seg_name(source)).parent.mkdir(exist_ok=True)
        segmentation.write(folder / _seg_name(source))
    measured = common_spacing(regions) if regions else spacing_mm
    known = measured or any(region.spacing_mm for region in regions)
    return InputRecord(
        input=str(source.path),
        kind=source.kind,
        masks=f"masks/{source.name}/" if source.moves else _mask_name(source, 0),
        overlay=pictures.name,
        segmentation=None if segmentation is None else _seg_name(source),
        spacing_mm=measured,
        spacing_source=None if not known else "region" if spacing_mm is None else "option",
        regions=[RegionRecord(**dataclasses.asdict(region)) for region in regions],
        frames=frames,
        notes=_notes(source, len(frames)),
    )


def _regions(source: Input, spacing_mm: float | None) -> list[Region]:
    """Return the regions to segment, none for the whole frame; the user's spacing goes first."""
    found = [] if source.cine is None else list(source.cine.regions)
    if spacing_mm is None:
        return found
    return [dataclasses.replace(region, spacing_mm=spacing_mm) for region in found]


def _discard(source: Input, folder: Path) -> None:
    """Remove what was written of an input before it turned out to be damaged."""
    shutil.rmtree(folder / "masks" / source.name, ignore_errors=True)
    for suffix in (".png", ".mp4", ".avi"):
        for kind in ("masks", "overlays"):
            (folder / kind / f"{source.name}{suffix}").unlink(missing_ok=True)


def _seg_name(source: Input) -> str:
    return f"segmentations/{source.name}.dcm"


def _mask_name(source: Input, index: int) -> str:
    return f"masks/{source.name}/{index:06d}.png" if source.moves else f"masks/{source.name}.png"


def _notes(source: Input, decoded: int) -> list[str]:
    if source.cine is not None:
        return list(source.cine.notes)
    if source.frames is None or decoded >= source.frames:
        return []
    return [f"its header promises {source.frames} frames, {decoded} could be decoded"]


class _Overlay:
    """Where the overlays of one input go: a picture, or a video opened at its first frame."""

    def __init__(self, folder: Path, source: Input) -> None:
        self.name: str | None = None
        self._folder = folder
        self._source = source
        self._writer: Any = None

    def __enter__(self) -> _Overlay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def add(self, picture: NDArray[np.uint8]) -> None:
        (self._folder / "overlays").mkdir(exist_ok=True)
        if not self._source.moves:
            self.name = f"overlays/{self._source.name}.png"
            _write_png(self._folder / self.name, picture)
            return
        if self._writer is None:
            self._open(picture.shape[1], picture.shape[0])
        self._writer.write(picture)

    def _open(self, width: int, height: int) -> None:
        for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG")):
            self.name = f"overlays/{self._source.name}{suffix}"
            self._writer = cv2.VideoWriter(
                str(self._folder / self.name),
                cv2.VideoWriter.fourcc(*codec),
                self._source.fps or 25.0,
                (width, height),
            )
            if self._writer.isOpened():
                return
        raise EdgeBtsError(
            "Expected OpenCV to write mp4v or MJPG video, but it writes neither here; "
            "pass --no-overlay or install another build of OpenCV."
        )


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    done, content = cv2.imencode(".png", image)
    if not done:
        raise EdgeBtsError(f"Could not encode {path.name} as PNG; report this to the project.")
    path.write_bytes(content.tobytes())
