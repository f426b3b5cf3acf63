"""Splits from published lists of names, which may tear duplicates apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge_bts.data.sample import Dataset, Sample
from edge_bts.data.split import Split, assemble, draw_parts, find_groups
from edge_bts.data.split_file import Part
from edge_bts.errors import InputError

__all__ = ["split_from_lists"]


def split_from_lists(
    dataset: Dataset,
    train: str | Path,
    test: str | Path,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    select_on_test: bool = False,
) -> Split:
    """Make the split that two published lists describe, with an honest validation part.

    Such protocols know two lists, and choose the epoch on the images that they report. Here the
    second list is the test part, and validation is drawn from the first by whole groups, so that
    selection at least is honest. What the lists do to duplicates cannot be mended: where a test
    image has a duplicate on the other side, ``Split.leaks`` says so, and every report repeats it.
    Samples that no list names are in no part.

    Args:
        dataset: The data set.
        train: Text file with one name a line: an id, or its last part where that is unique.
        test: The other list.
        val_fraction: Share of ``train`` that becomes validation, in (0, 1).
        seed: Seed of that draw.
        select_on_test: Do as such protocols do: the second list is the validation part, which
            chooses epoch and threshold, and there is no test part. For a comparison with their
            tables alone; ``leaks`` says that figures of that part flatter.

    Raises:
        InputError: A list cannot be read, names a sample twice, or one that the data set does not
            have or the other list has too; or too few groups for a validation part.
    """
    learned, tested = _named(dataset, Path(train)), _named(dataset, Path(test))
    if both := sorted({s.id for s in learned} & {s.id for s in tested}):
        raise InputError(
            f"Expected lists without a common name, but {both[0]} is in {train} and in {test} "
            f"({len(both)} in all); pass the two lists of one split."
        )
    groups, duplicates = find_groups(dataset)
    inside = {groups[sample.id] for sample in learned}
    torn = sum(groups[sample.id] in inside for sample in tested)
    lists = f"published lists {Path(train).name}, {Path(test).name}"
    if select_on_test:
        parts: dict[str, Part] = {sample.id: "train" for sample in learned}
        parts |= {sample.id: "val" for sample in tested}
        leaks = (
            "epoch and thresholds are chosen on the images that are reported, as the published "
            f"tables do, and {torn} of these {len(tested)} have a duplicate in training"
        )
        method = f"{lists}; validation: the second"
        return assemble(dataset, parts, groups, duplicates, method=method, seed=seed, leaks=leaks)
    weights: dict[Part, float] = {"train": 1 - val_fraction, "val": val_fraction, "test": 0.0}
    parts = draw_parts(learned, groups, weights, seed)
    parts |= {sample.id: "test" for sample in tested}
    leaks = (
        f"{torn} of {len(tested)} test images have a duplicate in training or validation "
        "(published lists); epoch and thresholds are chosen on a part of the training list"
    )
    method = (
        f"{lists}; validation: {val_fraction:g} of the first, whole groups, stratified by category"
    )
    return assemble(
        dataset, parts, groups, duplicates, method=method, seed=seed, leaks=leaks if torn else ""
    )


def _named(dataset: Dataset, path: Path) -> list[Sample]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"Expected a list of names in {path}, but {reason}.") from None
    names = [name for line in lines if (name := line.strip())]
    short = Counter(sample.id.rpartition("/")[2] for sample in dataset.samples)
    known = {sample.id: sample for sample in dataset.samples}
    known |= {
        name: sample
        for sample in dataset.samples
        if short[name := sample.id.rpartition("/")[2]] == 1
    }
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"Expected {path} to name samples of {dataset.name}, but it does not have "
            f"{unknown[0]!r}{_more(unknown)}; pass the list of this data set."
        )
    chosen = [known[name] for name in names]
    if twice := [name for name, count in Counter(s.id for s in chosen).items() if count > 1]:
        raise InputError(
            f"Expected {path} to name a sample once, but it names {twice[0]} more often"
            f"{_more(twice)}; mend the list."
        )
    if not chosen:
        raise InputError(f"Expected names in {path}, one a line, but it is empty.")
    return chosen


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
