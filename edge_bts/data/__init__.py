"""Data sets of breast ultrasound: readers, duplicate groups, splits, phantoms.

dataset = open_dataset("Dataset_BUSI_with_GT")
split = make_split(dataset, seed=0)
image, mask = select(dataset, split, "train", {"benign"})[0].read()
"""

from edge_bts.data.duplicates import duplicate_groups, label_conflicts, with_groups
from edge_bts.data.readers import open_dataset
from edge_bts.data.sample import CATEGORIES, Category, Dataset, Sample
from edge_bts.data.split import Split, evenly, load_split, make_split, select, write_split
from edge_bts.data.split_lists import split_from_lists

__all__ = [
    "CATEGORIES",
    "Category",
    "Dataset",
    "Sample",
    "Split",
    "duplicate_groups",
    "evenly",
    "label_conflicts",
    "load_split",
    "make_split",
    "open_dataset",
    "select",
    "split_from_lists",
    "with_groups",
    "write_split",
]
