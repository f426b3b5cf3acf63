"""Open a data set: find its layout, read its lists, check that every mask is there."""

from __future__ import annotations

from pathlib import Path

from edge_bts.data import layouts, plain
from edge_bts.data.listing import Scan
from edge_bts.data.sample import Dataset
from edge_bts.errors import InputError

__all__ = ["LAYOUTS", "open_dataset", "scan"]

LAYOUTS = {
    "busbra": (layouts.is_busbra, layouts.scan_busbra),
    "busi": (layouts.is_busi, layouts.scan_busi),
    "datasetb": (layouts.is_datasetb, layouts.scan_datasetb),
    "plain": (plain.is_plain, plain.scan_plain),
}

_DESCRIPTION = (
    "busi: {benign,malignant,normal}/NAME.png + NAME_mask.png (NAME_mask_1.png, ...); "
    "busbra: Images/, Masks/, bus_data.csv, 5-fold-cv.csv; "
    "datasetb: original/, GT/, DatasetB.xlsx or DatasetB.csv; "
    "plain: images/ + masks/ (same name, or NAME_mask), optional samples.csv"
)


def open_dataset(path: str | Path, layout: str = "auto") -> Dataset:
    """Open a folder of ultrasound images with masks.

    Cheap: lists and file names are read, no pixel is. It is checked that every image has its mask;
    sizes and damage are checked when a sample is read. Groups are the patients where the data set
    names them, else every sample stands alone until :func:`edge_bts.data.with_groups`.

    Args:
        path: The data set's folder.
        layout: busi, busbra, datasetb, plain, or auto to find out.

    Returns:
        The data set.

    Raises:
        InputError: No such folder, unknown layout, no image, an empty category folder, a missing
            mask, a list that names what is not there.
        EnvironmentMismatchError: Dataset B's class list is .xlsx and openpyxl is missing.
    """
    result = scan(path, layout)
    if result.defects:
        more = len(result.defects) - 1
        hint = f" And {more} more: `edge-bts data inspect` lists all." if more else ""
        raise InputError(f"{result.defects[0].problem}{hint}")
    return result.dataset


def scan(path: str | Path, layout: str = "auto") -> Scan:
    """List a data set and its defects, without stopping at the first defect.

    Raises:
        InputError: As :func:`open_dataset`, but not for defects of single samples.
    """
    root = Path(path)
    if not root.is_dir():
        came = "is a file" if root.exists() else "does not exist"
        raise InputError(f"Expected the folder of a data set at {root}, but it {came}; check it.")
    name = _detect(root) if layout == "auto" else layout
    if name not in LAYOUTS:
        raise InputError(f"Expected a layout of auto, {', '.join(LAYOUTS)}, but got {layout!r}.")
    result = LAYOUTS[name][1](root)
    if not result.dataset.samples:
        first = f" ({result.defects[0].problem})" if result.defects else ""
        raise InputError(f"Expected images in {root}, but there is none{first}; check the folder.")
    return result


def _detect(root: Path) -> str:
    for name, (matches, _) in LAYOUTS.items():
        if matches(root):
            return name
    if not any(root.iterdir()):
        raise InputError(f"Expected images in {root}, but the folder is empty; check the path.")
    inside = next(
        (
            child
            for child in sorted(root.iterdir())
            if child.is_dir() and any(matches(child) for matches, _ in LAYOUTS.values())
        ),
        None,
    )
    hint = f"did you mean {inside}?" if inside else "arrange the folder so or name its layout."
    raise InputError(f"Expected one of the known layouts in {root} ({_DESCRIPTION}); {hint}")
