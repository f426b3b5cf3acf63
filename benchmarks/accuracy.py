"""The Dice beside the speed: from reports of ``edge-bts eval`` to the rows they are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edge_bts.benchmarks.result import Dice
from edge_bts.errors import InputError

if TYPE_CHECKING:
    from edge_bts.benchmarks.rows import PlannedRow

__all__ = ["read_dice"]


def read_dice(evaluations: Sequence[str]) -> Callable[[PlannedRow], Dice | None]:
    """Read reports, and return what tells the Dice of a row.

    A report is of the rows whose bundle or checkpoint has its name, or of those of ``WHO``, in
    its precision: backends of one precision agree, precisions do not.

    Args:
        evaluations: ``FILE``, or ``WHO=FILE``; of several data sets in one file the first counts.

    Raises:
        InputError: Not the report of an evaluation, or one without lesion images.
    """
    known: dict[tuple[str, str], Dice] = {}
    for text in evaluations:
        who, equals, name = text.partition("=")
        model, precision, dice = _read(Path(name if equals else text))
        known[who if equals else model, precision] = dice

    def find(row: PlannedRow) -> Dice | None:
        source = row.source
        path = source.bundle or source.checkpoint or source.foreign
        names = [row.who] + ([Path(path).stem] if path and row.trained else [])
        return next(
            (known[k, source.precision] for k in names if (k, source.precision) in known), None
        )

    return find


def _read(path: Path) -> tuple[str, str, Dice]:
    from edge_bts.evaluate import Report, Reports

    try:
        content = path.read_bytes()
        try:
            report = Reports.model_validate_json(content).reports[0]
        except ValidationError:
            report = Report.model_validate_json(content)
    except OSError as error:
        raise InputError(
            f"Expected a report of `edge-bts eval` at {path}, but reading it failed: "
            f"{error.strerror}."
        ) from None
    except (ValidationError, IndexError):
        raise InputError(
            f"Expected {path} to be a report of `edge-bts eval`, but it is not; "
            "make it with `edge-bts eval ... -o FILE`."
        ) from None
    if report.lesions is None:
        raise InputError(f"Expected {path} to hold lesion images, but it has normals alone.")
    score = report.lesions.scores["dice"]
    dice = Dice(
        value=score.value,
        low=score.low,
        high=score.high,
        images=report.lesions.images,
        dataset=report.dataset,
        part=report.part,
    )
    return str(report.model.get("name")), str(report.model.get("precision", "fp32")), dice
