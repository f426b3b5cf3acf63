"""The record of a run: one entry a frame and component, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from edge_bts import __version__
from edge_bts.measure import Component
from edge_bts.runtime.inputs import Frame
from edge_bts.runtime.segmenter import Result

__all__ = [
    "CSV_FIELDS",
    "ComponentRecord",
    "FrameRecord",
    "InputRecord",
    "Problem",
    "RegionRecord",
    "RunRecord",
    "frame_record",
    "to_csv",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ComponentRecord(_Model):
    """A connected part of a mask; diameters and the box in pixels of the source."""

    area_px: int
    area_mm2: float | None
    longest_px: float
    orthogonal_px: float
    longest_mm: float | None
    orthogonal_mm: float | None
    bbox: tuple[int, int, int, int]


class FrameRecord(_Model):
    """One frame; ``time_s`` of a video alone. Areas of all components are summed.

    ``presence`` is the score of :mod:`edge_bts.presence`; ``present``: any pixel is lesion;
    ``health``: words of the C++ library's health word, none if it is OK; null without that library.
    """

    frame: int
    time_s: float | None
    height: int
    width: int
    presence: float
    present: bool
    area_px: int
    area_mm2: float | None
    components: list[ComponentRecord]
    times_ms: dict[str, float]
    health: list[str] | None = None


class RegionRecord(_Model):
    """A 2D tissue region of DICOM, in pixels of the source."""

    left: int
    top: int
    width: int
    height: int
    spacing_mm: float | None


class InputRecord(_Model):
    """One image, video or DICOM file, with its outputs relative to the folder of the run.

    ``spacing_source`` says who gave the spacing: the user, or the calibrated regions of DICOM.
    Regions that differ give no ``spacing_mm`` in common; each component is measured by its own.
    """

    input: str
    kind: Literal["image", "video", "dicom"]
    masks: str
    overlay: str | None
    segmentation: str | None = None
    spacing_mm: float | None
    spacing_source: Literal["option", "region"] | None = None
    regions: list[RegionRecord] = []
    frames: list[FrameRecord]
    notes: list[str] = []


class Problem(_Model):
    """An input that was skipped, and why."""

    input: str
    reason: str


class RunRecord(_Model):
    """``measurements.json``."""

    schema_version: Literal[1] = 1
    kind: Literal["edge-bts.run"] = "edge-bts.run"
    notice: str = "Research software, not a medical device."
    edge_bts_version: str = __version__
    segmenter: dict[str, Any]
    inputs: list[InputRecord]
    problems: list[Problem]


CSV_FIELDS = (
    "input",
    "frame",
    "time_s",
    "height",
    "width",
    "spacing_mm",
    "presence",
    "present",
    "component",
    "area_px",
    "area_mm2",
    "longest_px",
    "orthogonal_px",
    "longest_mm",
    "orthogonal_mm",
    "left",
    "top",
    "box_width",
    "box_height",
    "preprocess_ms",
    "inference_ms",
    "postprocess_ms",
    "spacing_source",
    "health",
)
"""The columns of ``measurements.csv``; a frame without a lesion has one row, component 0."""


def frame_record(frame: Frame, result: Result) -> FrameRecord:
    """Put down what one frame gave."""
    parts = result.components
    area_mm2 = None if result.spacing_mm is None else sum(part.area_mm2 or 0.0 for part in parts)
    return FrameRecord(
        frame=frame.index,
        time_s=frame.time_s,
        height=result.height,
        width=result.width,
        presence=result.presence,
        present=result.present,
        area_px=sum(part.area_px for part in parts),
        area_mm2=area_mm2,
        components=[_component(part) for part in parts],
        times_ms=result.times_ms,
        health=None if result.health is None else result.health.words,
    )


def to_csv(record: RunRecord) -> str:
    """Return the table of a run, RFC 4180 with a header; empty cells where nothing is known."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_FIELDS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for source in record.inputs:
        for frame in source.frames:
            writer.writerows(_rows(source, frame))
    return stream.getvalue()


def _rows(source: InputRecord, frame: FrameRecord) -> list[dict[str, Any]]:
    shared = {
        "input": source.input,
        "frame": frame.frame,
        "time_s": _round(frame.time_s, 4),
        "height": frame.height,
        "width": frame.width,
        "spacing_mm": source.spacing_mm,
        "presence": _round(frame.presence, 4),
        "present": int(frame.present),
        "component": 0,
        "spacing_source": source.spacing_source,
        "health": None if frame.health is None else " ".join(frame.health) or "ok",
    } | {f"{stage}_ms": _round(value, 3) for stage, value in frame.times_ms.items()}
    return [
        shared
        | {
            "component": number,
            "area_px": part.area_px,
            "area_mm2": _round(part.area_mm2, 3),
            "longest_px": _round(part.longest_px, 2),
            "orthogonal_px": _round(part.orthogonal_px, 2),
            "longest_mm": _round(part.longest_mm, 3),
            "orthogonal_mm": _round(part.orthogonal_mm, 3),
        }
        | dict(zip(("left", "top", "box_width", "box_height"), part.bbox, strict=True))
        for number, part in enumerate(frame.components, 1)
    ] or [shared]


def _component(part: Component) -> ComponentRecord:
    names = ComponentRecord.model_fields
    return ComponentRecord.model_validate({name: getattr(part, name) for name in names})


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
