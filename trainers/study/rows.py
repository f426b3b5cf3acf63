"""The row of a finished run: what made it and what it reached on every test image.

Rows are small and stay in a repository; tables, tests and plots are made of them alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from edge_bts.errors import InputError
from edge_bts.files import write_text
from edge_bts.metrics import ImageRow

__all__ = ["Images", "StudyRow", "read_rows", "write_row"]


class Images(BaseModel):
    """Scores of the test part in source geometry, a column each; lists of one length.

    All are of masks that no presence threshold has emptied; presence and threshold say which it
    would.

    Attributes:
        id: The sample.
        group: Its patient or duplicate group.
        category: benign, malignant, normal or lesion.
        share: Lesion pixels as a share of the image, 0 where there is none.
        dice: In [0, 1].
        iou: In [0, 1].
        hd95_px: 95th-percentile Hausdorff distance, None where a mask is empty.
        presence: Presence score in [0, 1].
        predicted: 1 where a lesion is predicted, else 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: list[str]
    group: list[str]
    category: list[str]
    share: list[float]
    dice: list[float]
    iou: list[float]
    hd95_px: list[float | None]
    presence: list[float]
    predicted: list[Literal[0, 1]]

    @model_validator(mode="after")
    def _one_length(self) -> Images:
        if len({len(column) for _, column in self}) != 1:
            raise ValueError("the columns differ in length")
        return self

    @classmethod
    def of(cls, rows: list[ImageRow]) -> Images:
        """Take the columns of an evaluation's rows, rounded to what is significant."""
        return cls(
            id=[row.id for row in rows],
            group=[row.group for row in rows],
            category=[row.category for row in rows],
            share=[round(row.target_px / (row.height * row.width), 5) for row in rows],
            dice=[round(row.dice, 5) for row in rows],
            iou=[round(row.iou, 5) for row in rows],
            hd95_px=[None if row.hd95_px is None else round(row.hd95_px, 2) for row in rows],
            presence=[round(row.presence, 7) for row in rows],  # many are close to 1
            predicted=[1 if row.predicted else 0 for row in rows],
        )


class StudyRow(BaseModel):
    """One finished run; ``OUT/rows/NAME.json``.

    Attributes:
        study: Name of the study.
        name: Name of the run.
        kind: Compared student, or teacher.
        label: Variant, or name of the teacher.
        fold: Official fold that is the test part, or None.
        seed: Of weights, order and augmentation.
        category: Class of the images that it was trained on.
        dataset: Name of the data set.
        split_hash: Hash of the split.
        leaks: Why its figures flatter, in words; empty where they do not.
        fingerprint: Hash of settings, split and origins (:meth:`.plan.Run.fingerprint`).
        settings: Complete settings of the training.
        origins: SHA-256 of the checkpoints that it took: of both teachers, or of its start.
        checkpoint_sha256: Of the file that was evaluated.
        epoch: Kept epoch, counted from 1.
        epochs_run: Epochs trained.
        validation: Metrics of the kept epoch on validation, in model geometry.
        threshold: Probability from which a pixel is lesion, chosen on validation.
        presence_threshold: Presence from which a mask is kept, chosen on validation.
        minutes: Of training steps, of all sessions together; without validation.
        device: Where it was trained.
        versions: Of Python and packages.
        commit: Of the checkout, with ``-dirty`` where it was changed; None outside one.
        images: The test part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["edge-bts study row 1"] = "edge-bts study row 1"
    study: str
    name: str
    kind: Literal["teacher", "student"]
    label: str
    fold: int | None
    seed: int
    category: str
    dataset: str
    split_hash: str
    leaks: str = ""
    fingerprint: str
    settings: dict[str, Any]
    origins: list[str]
    checkpoint_sha256: str
    epoch: int
    epochs_run: int
    validation: dict[str, float]
    threshold: float
    presence_threshold: float
    minutes: float
    device: str
    versions: dict[str, str]
    commit: str | None
    images: Images


def write_row(folder: Path, row: StudyRow) -> None:
    """Write ``row`` to ``folder`` atomically, one line a field and a column of images."""
    content = row.model_dump(mode="json")
    images = ",\n".join(f'  "{k}": {_compact(v)}' for k, v in content.pop("images").items())
    fields = "".join(f'"{k}": {_compact(v)},\n' for k, v in content.items())
    write_text(folder / f"{row.name}.json", f'{{\n{fields}"images": {{\n{images}\n}}\n}}\n')


def read_rows(folder: Path) -> dict[str, StudyRow]:
    """Read the rows of a folder by name; none where there is no such folder.

    Raises:
        InputError: A file is not a row.
    """
    rows = {}
    for path in sorted(folder.glob("*.json")):
        try:
            row = StudyRow.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except ValueError as error:
            fault = f"it is not JSON ({error})"
        else:
            rows[row.name] = row
            continue
        raise InputError(
            f"Expected a row of a study in {path}, but {fault}; remove the file, and the study "
            "does the run again."
        )
    return rows


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
