"""Splits into training, validation and test that never tear a group apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edge_bts.data.duplicates import METHOD, duplicate_groups, label_conflicts
from edge_bts.data.sample import Category, Dataset, Sample
from edge_bts.data.split_file import PARTS, Part, Split, load_split, write_split
from edge_bts.errors import InputError, IntegrityError
from edge_bts.files import sha256_bytes, sha256_file

__all__ = [
    "PARTS",
    "Part",
    "Split",
    "evenly",
    "load_split",
    "make_split",
    "select",
    "verify",
    "write_split",
]


def make_split(
    dataset: Dataset,
    *,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    fold: int | None = None,
) -> Split:
    """Draw a split: grouped, stratified by category, the same for the same seed.

    Groups are the patients where the data set names them, else duplicate groups (see
    :func:`edge_bts.data.duplicate_groups`; every image is read). They are handed out one by one,
    those of mixed category first, then from large to small, equals in the order of the SHA-256 of
    seed and group, each to the part that is furthest behind its due of the group's categories
    (Webster's method of apportionment). So each part is within a group's size of its due.

    Args:
        dataset: The data set.
        seed: Seed of the draw.
        fractions: Of training, validation and test; sum 1. A part of fraction 0 stays empty.
        fold: Take the official fold of this number as the test part; training and validation
            share the rest as their fractions stand to each other.

    Raises:
        InputError: Fractions that are no fractions, a fold that the data set does not have, fewer
            groups than parts, an image that cannot be read.
    """
    weights = _weights(fractions)
    groups, duplicates = find_groups(dataset)
    parts: dict[str, Part] = {}
    rest = dataset.samples
    if fold is not None:
        rest = _outside_fold(dataset, fold)
        inside = {sample.id for sample in dataset.samples} - {sample.id for sample in rest}
        parts = dict.fromkeys(inside, "test")
        weights["test"] = 0.0
    parts |= draw_parts(rest, groups, weights, seed)
    method = _method(dataset, weights, fold)
    return assemble(dataset, parts, groups, duplicates, method=method, seed=seed, fold=fold)


def find_groups(dataset: Dataset) -> tuple[dict[str, str], list[list[str]]]:
    """Return the group of each id, and the duplicate groups; every image is read."""
    duplicates = duplicate_groups(dataset.samples)
    if dataset.has_patients:
        return {sample.id: sample.group for sample in dataset.samples}, duplicates
    leader = {name: group[0] for group in duplicates for name in group}
    return {sample.id: leader.get(sample.id, sample.id) for sample in dataset.samples}, duplicates


def assemble(
    dataset: Dataset,
    parts: Mapping[str, Part],
    groups: Mapping[str, str],
    duplicates: Sequence[Sequence[str]],
    *,
    method: str,
    seed: int,
    fold: int | None = None,
    leaks: str = "",
    merged: Mapping[str, str] | None = None,
) -> Split:
    """Put a split together, in the order of the data set; ids without a part stay out."""
    samples = [sample for sample in dataset.samples if sample.id in parts]
    conflicts = label_conflicts(dataset, duplicates)
    return Split(
        dataset=dataset.name,
        method=method,
        seed=seed,
        fold=fold,
        leaks=leaks,
        train=[sample.id for sample in samples if parts[sample.id] == "train"],
        val=[sample.id for sample in samples if parts[sample.id] == "val"],
        test=[sample.id for sample in samples if parts[sample.id] == "test"],
        categories={sample.id: sample.category for sample in samples},
        groups={sample.id: groups[sample.id] for sample in samples},
        conflicts={name: there for name, there in conflicts.items() if name in parts},
        sha256={sample.id: _digest(sample.image_path) for sample in samples},
        masks_sha256={sample.id: _mask_hash(sample) for sample in samples},
        merged=dict(merged or {}),
    )


def verify(dataset: Dataset, split: Split) -> None:
    """Check that ``dataset`` has the files of ``split`` byte for byte, under the same categories.

    Further samples of the data set, which no part names, are allowed.

    Raises:
        InputError: The split was made of another data set.
        IntegrityError: A file of the split is missing or has another content.
    """
    samples = {sample.id: sample for sample in dataset.samples}
    if not samples.keys() & split.sha256.keys():
        raise InputError(
            f"Expected a split of {dataset.name}, but it was made of {split.dataset} and no id is "
            "the same; pass the split of this data set."
        )
    missing = [name for name in split.sha256 if name not in samples]
    changed = [
        name
        for name, digest in split.sha256.items()
        if name in samples
        and (
            samples[name].category != split.categories[name]
            or _digest(samples[name].image_path) != digest
            or _mask_hash(samples[name]) != split.masks_sha256[name]
        )
    ]
    if bad := missing or changed:
        what = "is missing" if missing else "has another content or category"
        raise IntegrityError(
            f"Expected {dataset.root} to hold the {len(split.sha256)} samples of the split, but "
            f"{bad[0]} {what}{_more(bad)}; restore the data or make a new split."
        )


def select(
    dataset: Dataset,
    split: Split,
    part: Part,
    categories: Collection[Category] | None = None,
) -> list[Sample]:
    """Return the samples of one part, after :func:`verify`.

    With ``categories`` only these are returned, and of them those in label conflict are left out:
    a sample whose duplicate carries a category that is not asked for must not teach a class. So
    ``{"benign"}`` drops a benign image that BUSI also holds as malignant, ``{"benign",
    "malignant"}`` keeps it.

    Args:
        dataset: The data set that the split was made of.
        split: The split.
        part: train, val or test.
        categories: Categories to keep; all by default.

    Returns:
        At least one sample, in the order of the split, with ``group`` as the split has it.

    Raises:
        InputError: Nothing is left, or the split is of another data set.
        IntegrityError: The data are not those of the split.
    """
    verify(dataset, split)
    samples = {sample.id: sample for sample in dataset.samples}
    chosen = [
        replace(samples[name], group=split.groups[name])
        for name in split.part(part)
        if categories is None
        or set(split.conflicts.get(name, [split.categories[name]])) <= set(categories)
    ]
    if not chosen:
        wanted = "any category" if categories is None else ", ".join(sorted(categories))
        there = Counter(split.categories[name] for name in split.part(part))
        held = ", ".join(f"{count} {name}" for name, count in sorted(there.items())) or "nothing"
        raise InputError(
            f"Expected samples of {wanted} in the {part} part of {split.dataset}, but it holds "
            f"{held}; choose another category or make another split."
        )
    return chosen


def evenly(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return ``limit`` of the samples, evenly drawn, or all if they are fewer."""
    count = min(limit, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _weights(fractions: Sequence[float]) -> dict[Part, float]:
    if (
        len(fractions) != 3
        or not all(0 <= value <= 1 for value in fractions)
        or abs(sum(fractions) - 1) > 1e-6
        or fractions[0] == 0
    ):
        text = ",".join(f"{value:g}" for value in fractions)
        raise InputError(
            "Expected three fractions for train, val and test that sum to 1 with train above 0, "
            f"but got {text}; for example 0.7,0.1,0.2."
        )
    return dict(zip(PARTS, (float(value) for value in fractions), strict=True))


def _outside_fold(dataset: Dataset, fold: int) -> tuple[Sample, ...]:
    there = sorted({sample.fold for sample in dataset.samples if sample.fold is not None})
    if not there:
        raise InputError(
            f"Expected a data set with official folds for --fold, but {dataset.name} has none; "
            "leave --fold out."
        )
    if fold not in there:
        raise InputError(f"Expected a fold of {there[0]} to {there[-1]}, but got {fold}.")
    return tuple(sample for sample in dataset.samples if sample.fold != fold)


def draw_parts(
    samples: Sequence[Sample], groups: Mapping[str, str], weights: Mapping[Part, float], seed: int
) -> dict[str, Part]:
    """Give each group to a part as :func:`make_split` says; return the part of each id.

    Raises:
        InputError: There are too few groups: a part with a weight got none.
    """
    parts = _allot(samples, groups, weights, seed)
    for name in PARTS:
        if weights[name] > 0 and name not in parts.values():
            count = len({groups[sample.id] for sample in samples})
            raise InputError(
                f"Expected enough groups for each part, but there are only {count} and {name} "
                "got none; add data or set its fraction 0."
            )
    return parts


def _allot(
    samples: Sequence[Sample], groups: Mapping[str, str], weights: Mapping[Part, float], seed: int
) -> dict[str, Part]:
    """Give each group to a part; return the part of each id."""
    members: dict[str, list[Sample]] = {}
    for sample in samples:
        members.setdefault(groups[sample.id], []).append(sample)

    def order(group: str) -> tuple[bool, int, str]:
        # A hash instead of a generator: the draw does not depend on a library's version, nor on
        # the order of the files.
        mixed = len({sample.category for sample in members[group]}) > 1
        return not mixed, -len(members[group]), sha256_bytes(f"{seed}:{group}".encode())

    open_parts = [part for part in PARTS if weights[part] > 0]
    held: dict[Part, Counter[Category]] = {part: Counter() for part in open_parts}
    result: dict[str, Part] = {}
    for group in sorted(members, key=order):
        counts = Counter(sample.category for sample in members[group])

        def lead(part: Part, counts: Counter[Category] = counts) -> float:
            due = weights[part]
            return sum(n * (held[part][c] + n / 2) / due for c, n in counts.items())

        part = min(open_parts, key=lead)
        held[part].update(counts)
        result.update((sample.id, part) for sample in members[group])
    return result


def _method(dataset: Dataset, weights: Mapping[Part, float], fold: int | None) -> str:
    groups = "patients" if dataset.has_patients else f"duplicates ({METHOD})"
    shares = ",".join(f"{weights[part]:g}" for part in PARTS)
    test = "" if fold is None else f"; test = official fold {fold}"
    return f"groups: {groups}; stratified by category; shares {shares}{test}"


def _mask_hash(sample: Sample) -> str:
    return sha256_bytes("".join(map(_digest, sample.mask_paths)).encode())


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise InputError(
            f"Expected to read {path}, but it failed ({error.strerror or error}); restore the file."
        ) from error


def _more(bad: Sequence[str]) -> str:
    return f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
