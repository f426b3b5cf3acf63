"""One image with its masks, and a data set of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edge_bts.data.images import read_gray, read_mask
from edge_bts.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    U8 = npt.NDArray[np.uint8]

__all__ = ["CATEGORIES", "Category", "Dataset", "Sample"]

Category = Literal["benign", "malignant", "normal", "lesion"]
"""What an image shows; ``lesion`` where nobody has said of which class it is."""

CATEGORIES: tuple[Category, ...] = get_args(Category)


@dataclass(frozen=True)
class Sample:
    """One ultrasound image, its masks and what is known about it.

    Attributes:
        id: Name within the data set: relative, with ``/``, without suffix; the same on every
            machine.
        group: What must not be torn apart by a split: a patient, or a group of duplicates. Where
            the data set names no patients this is ``id`` until
            :func:`edge_bts.data.duplicates.with_groups` has looked for duplicates.
        category: benign, malignant, normal (no lesion), or lesion (class unknown).
        image_path: The image file.
        mask_paths: The mask files, joined with OR; empty only for a normal image.
        spacing_mm: Millimetres per pixel, or None where unknown.
        fold: Number of the official cross-validation fold, or None.
        device: Scanner or transducer, as the data set names it; empty where it does not.
    """

    id: str
    group: str
    category: Category
    image_path: Path
    mask_paths: tuple[Path, ...]
    spacing_mm: float | None = None
    fold: int | None = None
    device: str = ""

    def read(self) -> tuple[U8, U8]:
        """Read the pixels.

        Returns:
            The image, uint8 gray H x W, and the mask, uint8 0/1 H x W.

        Raises:
            InputError: A file is missing, damaged, or a mask is not of the image's size.
        """
        image = self.read_image()
        return image, self.read_mask((image.shape[0], image.shape[1]))

    def read_image(self) -> U8:
        """Read the image alone: uint8 gray, H x W."""
        return read_gray(self.image_path)

    def read_mask(self, shape: tuple[int, int]) -> U8:
        """Read the masks alone, joined with OR: uint8 0/1 of ``shape`` (height, width)."""
        import numpy as np

        joined = np.zeros(shape, np.uint8)
        for path in self.mask_paths:
            mask = read_mask(path)
            if mask.shape != shape:
                raise InputError(
                    f"Expected the mask {path} to be {shape[1]}x{shape[0]} pixels as its image, "
                    f"but it is {mask.shape[1]}x{mask.shape[0]}; restore the pair."
                )
            joined |= mask
        return joined


@dataclass(frozen=True)
class Dataset:
    """The samples of one folder, in the natural order of their ids.

    Attributes:
        name: BUSI, BUS-BRA, Dataset B, or the folder's name for the plain layout.
        layout: busi, busbra, datasetb or plain.
        root: The folder.
        samples: All samples; ids are unique.
        has_patients: The data set itself says which images belong together.
    """

    name: str
    layout: str
    root: Path
    samples: tuple[Sample, ...]
    has_patients: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def count(self, category: Category) -> int:
        """Return how many samples are of ``category``."""
        return sum(sample.category == category for sample in self.samples)
