"""Splits: whole groups, balanced parts, the same bytes for the same seed, refused when stale."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_bts.cli import app
from edge_bts.data import (
    Category,
    Dataset,
    Sample,
    Split,
    load_split,
    make_split,
    open_dataset,
    select,
    split_from_lists,
    write_split,
)
from edge_bts.data.split import PARTS, _allot, verify
from edge_bts.errors import InputError, IntegrityError

Make = Callable[..., Path]
FRACTIONS = dict(zip(PARTS, (0.7, 0.1, 0.2), strict=True))


@pytest.fixture
def busi(make_busi: Make) -> Dataset:
    """A BUSI of 24 images with a twin within a class and a twin across classes."""
    root = make_busi(benign=12, malignant=8, normal=4)
    shutil.copy(root / "benign" / "benign (1).png", root / "benign" / "benign (12).png")
    shutil.copy(root / "benign" / "benign (2).png", root / "malignant" / "malignant (8).png")
    return open_dataset(root)


def _part_of(split: object) -> dict[str, str]:
    return {name: part for part in PARTS for name in getattr(split, part)}


def test_every_sample_is_in_one_part(busi: Dataset) -> None:
    """The parts are disjoint and together the whole."""
    split = make_split(busi)
    assert sorted([*split.train, *split.val, *split.test]) == sorted(s.id for s in busi.samples)


@pytest.mark.parametrize("seed", range(8))
def test_a_group_is_never_separated(busi: Dataset, seed: int) -> None:
    """Twins, even of different class, land in the same part under every seed."""
    split = make_split(busi, seed=seed)
    part = _part_of(split)
    assert part["benign/benign (1)"] == part["benign/benign (12)"]
    assert part["benign/benign (2)"] == part["malignant/malignant (8)"]
    homes = {(split.groups[name], part[name]) for name in part}
    assert len(homes) == len(set(split.groups.values()))


def _invented(seed: int, tmp_path: Path) -> Dataset:
    """A data set of patients with one to five images of one or two categories."""
    rng = random.Random(seed)
    samples = []
    for patient in range(rng.randint(60, 200)):
        first = rng.choices(("benign", "malignant", "normal"), (6, 3, 1))[0]
        for view in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            category = rng.choice(("benign", "malignant")) if rng.random() < 0.05 else first
            name = f"p{patient}v{view}"
            samples.append(Sample(name, f"p{patient}", category, tmp_path, ()))
    return Dataset("invented", "plain", tmp_path, tuple(samples), has_patients=True)


@pytest.mark.parametrize("seed", range(25))
def test_every_category_is_balanced_within_a_group(seed: int, tmp_path: Path) -> None:
    """No part misses its due of a category by more than the size of the largest group."""
    dataset = _invented(seed, tmp_path)
    groups = {sample.id: sample.group for sample in dataset.samples}
    parts = _allot(dataset.samples, groups, FRACTIONS, seed)
    largest = max(Counter(groups.values()).values())
    total = Counter(sample.category for sample in dataset.samples)
    for part in PARTS:
        held = Counter(s.category for s in dataset.samples if parts[s.id] == part)
        for category, count in total.items():
            assert abs(held[category] - FRACTIONS[part] * count) <= largest


def test_large_groups_are_spread_too(tmp_path: Path) -> None:
    """Duplicates do not pile up in training: the pairs are shared out as the singles are."""
    samples = [Sample(f"d{n}", f"d{n // 2}", "benign", tmp_path, ()) for n in range(100)]
    samples += [Sample(f"s{n}", f"s{n}", "benign", tmp_path, ()) for n in range(100)]
    parts = _allot(samples, {s.id: s.group for s in samples}, FRACTIONS, 0)
    assert [sum(parts[f"d{n}"] == part for n in range(100)) for part in PARTS] == [70, 10, 20]
    assert [sum(parts[f"s{n}"] == part for n in range(100)) for part in PARTS] == [70, 10, 20]


def test_the_same_seed_gives_the_same_bytes(busi: Dataset, tmp_path: Path) -> None:
    """Two runs with one seed write equal files; another seed draws other parts."""
    write_split(tmp_path / "a.json", make_split(busi, seed=3))
    write_split(tmp_path / "b.json", make_split(open_dataset(busi.root), seed=3))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert make_split(busi, seed=4).train != make_split(busi, seed=3).train


def test_the_draw_does_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    """Samples listed backwards get the same parts."""
    samples = _invented(0, tmp_path).samples
    groups = {sample.id: sample.group for sample in samples}
    forwards = _allot(samples, groups, FRACTIONS, 7)
    assert _allot(samples[::-1], groups, FRACTIONS, 7) == forwards


def test_the_draw_is_pinned() -> None:
    """The allotment of a fixed set never changes: published split hashes stay reproducible."""
    here = Path()
    samples = [Sample(f"x{n}", f"x{n}", "benign", here, ()) for n in range(10)]
    parts = _allot(samples, {s.id: s.group for s in samples}, FRACTIONS, 0)
    assert [name for name, part in parts.items() if part == "test"] == ["x8", "x9"]
    assert [name for name, part in parts.items() if part == "val"] == ["x6"]


def test_a_split_survives_its_file(busi: Dataset, tmp_path: Path) -> None:
    """Writing and loading gives the same split and the same hash."""
    split = make_split(busi)
    write_split(tmp_path / "s.json", split)
    loaded = load_split(tmp_path / "s.json")
    assert loaded == split
    assert loaded.hash == split.hash == json.loads((tmp_path / "s.json").read_text())["hash"]


@pytest.mark.parametrize("fold", [1, 5])
def test_an_official_fold_is_the_test_part(make_busbra: Make, fold: int) -> None:
    """With --fold the test part is that fold, and training and validation share the rest."""
    dataset = open_dataset(make_busbra(patients=40))
    split = make_split(dataset, fold=fold)
    assert set(split.test) == {s.id for s in dataset.samples if s.fold == fold}
    assert len(split.val) / (len(split.val) + len(split.train)) == pytest.approx(1 / 8, abs=0.04)
    part = _part_of(split)
    assert all(part[f"bus_{n:04d}-l"] == part[f"bus_{n:04d}-r"] for n in range(1, 41))


def test_folds_that_are_not_there(busi: Dataset, make_busbra: Make) -> None:
    """A fold of a data set without folds, or beyond them, is refused."""
    with pytest.raises(InputError, match=r"BUSI has none.*leave --fold out"):
        make_split(busi, fold=1)
    with pytest.raises(InputError, match="fold of 1 to 5, but got 6"):
        make_split(open_dataset(make_busbra()), fold=6)


@pytest.mark.parametrize("fractions", [(0.5, 0.1, 0.2), (0.7, 0.3), (0, 0.5, 0.5), (1.2, -0.2, 0)])
def test_fractions_that_are_none(busi: Dataset, fractions: tuple[float, ...]) -> None:
    """Fractions must be three, not negative, sum to one, and leave something to train on."""
    with pytest.raises(InputError, match="three fractions"):
        make_split(busi, fractions=fractions)


def test_a_part_of_fraction_zero_is_empty(busi: Dataset) -> None:
    """A fraction of 0 is allowed, and asking for that part later says that it is empty."""
    split = make_split(busi, fractions=(0.8, 0.2, 0))
    assert split.test == []
    with pytest.raises(InputError, match="it holds nothing"):
        select(busi, split, "test")


def test_too_few_groups(make_busi: Make) -> None:
    """A data set with fewer groups than parts cannot be split."""
    with pytest.raises(InputError, match="enough groups"):
        make_split(open_dataset(make_busi(benign=2, malignant=0, normal=0)))


def test_select_keeps_category_and_group(busi: Dataset) -> None:
    """Selected samples are those of the part and the category, with the split's groups."""
    split = make_split(busi)
    chosen = select(busi, split, "train", {"normal"})
    assert [s.id for s in chosen] == [n for n in split.train if n.startswith("normal/")]
    everything = {s.id: s for part in PARTS for s in select(busi, split, part)}
    assert everything["benign/benign (12)"].group == "benign/benign (1)"


def test_label_conflicts_teach_no_class(busi: Dataset) -> None:
    """An image that is benign here and malignant there reaches neither class teacher."""
    split = make_split(busi, fractions=(1, 0, 0))
    torn = {"benign/benign (2)", "malignant/malignant (8)"}
    assert set(split.conflicts) == torn

    def ids(*categories: Category) -> set[str]:
        return {s.id for s in select(busi, split, "train", categories or None)}

    assert torn <= ids()
    assert torn <= ids("benign", "malignant")
    assert not torn & ids("benign")
    assert not torn & ids("malignant", "normal")
    assert len(ids("benign")) == 11


def test_a_category_without_samples(busi: Dataset) -> None:
    """Asking for a class that the part does not hold says what it does hold."""
    split = make_split(busi)
    with pytest.raises(InputError, match=r"samples of lesion in the train part.*benign"):
        select(busi, split, "train", {"lesion"})


def test_changed_data_are_refused(busi: Dataset) -> None:
    """A changed image, a changed mask or a missing image fails with the integrity error."""
    split = make_split(busi)
    verify(busi, split)
    mask = busi.samples[0].mask_paths[0]
    for path in (busi.samples[3].image_path, mask):
        kept = path.read_bytes()
        path.write_bytes(kept + b"\0")
        with pytest.raises(IntegrityError, match="another content") as caught:
            select(busi, split, "train")
        assert caught.value.exit_code == 7
        path.write_bytes(kept)
    fewer = Dataset(busi.name, busi.layout, busi.root, busi.samples[1:])
    with pytest.raises(IntegrityError, match=r"benign \(1\) is missing"):
        select(fewer, split, "train")


def test_a_split_of_another_data_set(busi: Dataset, make_plain: Make) -> None:
    """A split whose ids are all strange was made of something else."""
    with pytest.raises(InputError, match="split of mine, but it was made of BUSI"):
        select(open_dataset(make_plain()), make_split(busi), "train")


def test_files_that_are_no_split(busi: Dataset, tmp_path: Path) -> None:
    """A missing file, no JSON, other JSON and an edited split each have their sentence."""
    path = tmp_path / "s.json"
    with pytest.raises(InputError, match="No such file"):
        load_split(path)
    for content, message in (("{", "not JSON"), ("[1]", "the whole"), ('{"a": 1}', "dataset")):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_split(path)
    write_split(path, make_split(busi))
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "seed": 9}))
    with pytest.raises(IntegrityError, match="it was edited"):
        load_split(path)
    moved = {**whole, "train": whole["train"] + whole["test"][:1]}
    path.write_text(json.dumps(moved))
    with pytest.raises(InputError, match="in two parts"):
        load_split(path)


def test_the_command_writes_and_refuses(busi: Dataset, tmp_path: Path) -> None:
    """`data split` writes the file, prints counts and hash, and overwrites only with --force."""
    out = tmp_path / "s.json"
    command = ["data", "split", str(busi.root), "-o", str(out), "--seed", "5"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    split = load_split(out)
    assert split == make_split(busi, seed=5)
    assert split.hash in result.output
    assert "benign" in result.output
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, InputError)
    forced = CliRunner().invoke(app, [*command, "--force", "--json"])
    assert json.loads(forced.output)["hash"] == split.hash


def _lists(folder: Path, train: str, test: str) -> tuple[Path, Path]:
    paths = folder / "train.txt", folder / "test.txt"
    for path, text in zip(paths, (train, test), strict=True):
        path.write_bytes(text.replace("\n", "\r\n").encode())
    return paths


def _names(category: str, *numbers: int) -> str:
    return "".join(f"{category} ({number})\n" for number in numbers)


def test_lists_give_train_and_test(busi: Dataset, tmp_path: Path) -> None:
    """The second list is the test part, the first one training and validation; torn twins show."""
    train = _names("benign", *range(1, 11)) + _names("malignant", *range(1, 8))
    lists = _lists(tmp_path, train, _names("benign", 11, 12) + _names("malignant", 8))
    split = split_from_lists(busi, *lists, val_fraction=0.2)
    assert set(split.test) == {
        "benign/benign (11)",
        "benign/benign (12)",
        "malignant/malignant (8)",
    }
    assert len(split.train) + len(split.val) == 17
    assert 2 <= len(split.val) <= 5
    assert not any(name.startswith("normal") for name in split.sha256)
    # (12) is a twin of benign (1), malignant (8) one of benign (2): both are torn.
    assert split.leaks.startswith("2 of 3 test images have a duplicate in training or validation")
    assert len(select(busi, split, "test")) == 3
    write_split(tmp_path / "s.json", split)
    assert load_split(tmp_path / "s.json") == split
    assert split == split_from_lists(busi, *lists, val_fraction=0.2)
    assert split.val != split_from_lists(busi, *lists, val_fraction=0.2, seed=1).val


def test_the_rule_of_published_tables_is_told_as_a_leak(busi: Dataset, tmp_path: Path) -> None:
    """With ``select_on_test`` the second list validates and nothing is tested; the split tells."""
    train = _names("benign", *range(1, 11)) + _names("malignant", *range(1, 8))
    lists = _lists(tmp_path, train, _names("benign", 11, 12) + _names("malignant", 8))
    split = split_from_lists(busi, *lists, select_on_test=True)
    assert (len(split.train), len(split.val), split.test) == (17, 3, [])
    assert "chosen on the images that are reported" in split.leaks
    assert "2 of these 3 have a duplicate" in split.leaks
    write_split(tmp_path / "s.json", split)
    assert load_split(tmp_path / "s.json") == split
    with pytest.raises(ValueError, match="a group is in two parts"):
        Split.model_validate(split.model_dump() | {"leaks": ""})
    command = ["data", "split", str(busi.root), "-o", str(tmp_path / "t.json"), "--select-on-test"]
    refused = CliRunner().invoke(app, command)
    assert "Expected --lists with --select-on-test" in str(refused.exception)
    made = CliRunner().invoke(app, [*command, "--lists", *map(str, lists)])
    assert made.exit_code == 0, made.output
    assert load_split(tmp_path / "t.json") == split


def test_lists_without_torn_groups_do_not_leak(busi: Dataset, tmp_path: Path) -> None:
    """Where no duplicate crosses the lists nothing is said, and groups are whole as always."""
    lists = _lists(tmp_path, _names("benign", *range(3, 12)), _names("benign", 1, 12, 2))
    assert split_from_lists(busi, *lists).leaks == ""


def test_validation_drawn_from_a_list_keeps_groups(busi: Dataset, tmp_path: Path) -> None:
    """Between training and validation no twins are torn, and a split that does so is refused."""
    train = "\n".join(s.id for s in busi.samples if s.id != "normal/normal (1)")
    lists = _lists(tmp_path, train, "normal (1)\n")
    for seed in range(6):
        split = split_from_lists(busi, *lists, val_fraction=0.3, seed=seed)
        part = _part_of(split)
        assert part["benign/benign (1)"] == part["benign/benign (12)"]
    twins = {"benign/benign (1)", "benign/benign (12)"}
    rest = [name for name in (*split.train, *split.val) if name not in twins]
    content = split.model_dump() | {"leaks": "they do"}
    content |= {"train": [*rest, "benign/benign (1)"], "val": ["benign/benign (12)"]}
    with pytest.raises(ValueError, match="a group is in two parts"):
        Split.model_validate(content)


def test_no_leak_leaves_hash_and_file_alone(busi: Dataset, tmp_path: Path) -> None:
    """A split that does not leak has the hash and the bytes that it had before leaks were known."""
    split = make_split(busi)
    write_split(tmp_path / "s.json", split)
    content = json.loads((tmp_path / "s.json").read_text())
    stored = content.pop("hash")
    assert "leaks" not in content
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == stored == split.hash


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("benign (1)\nbenign (99)\nx\n", "benign (2)\n", r"'benign \(99\)' \(and 1 more\)"),
        ("benign (1)\nbenign (3)\n", "benign (3)\n", "without a common name"),
        ("benign (1)\nbenign (1)\n", "benign (2)\n", "more often"),
        ("\n", "benign (2)\n", "it is empty"),
        ("benign (1)\n", "benign (2)\n", "val got none"),
    ],
)
def test_lists_that_do_not_fit(
    busi: Dataset, tmp_path: Path, train: str, test: str, message: str
) -> None:
    """Unknown, common or repeated names, an empty list and one too short have one sentence each."""
    with pytest.raises(InputError, match=message):
        split_from_lists(busi, *_lists(tmp_path, train, test))
    with pytest.raises(InputError, match="No such file"):
        split_from_lists(busi, tmp_path / "absent.txt", tmp_path / "test.txt")


def test_the_command_takes_lists(busi: Dataset, tmp_path: Path) -> None:
    """`data split --lists` writes that split, shows the leak, and refuses shares or a fold."""
    train = _names("benign", *range(1, 11)) + _names("malignant", *range(1, 8))
    lists = _lists(tmp_path, train, _names("benign", 12))
    out = tmp_path / "s.json"
    command = ["data", "split", str(busi.root), "-o", str(out), "--lists", *map(str, lists)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert load_split(out) == split_from_lists(busi, *lists)
    assert "leaks   1 of 1 test images" in result.output
    refused = CliRunner().invoke(app, [*command, "--force", "--fold", "1"])
    assert isinstance(refused.exception, InputError)
    assert "--lists alone" in str(refused.exception)


@pytest.mark.realdata
def test_misb_lists_of_busi(real_data: Path) -> None:
    """The published lists have 452 and 195 lesion images, no normals, and torn duplicates."""
    dataset = open_dataset(real_data / "Dataset_BUSI_with_GT")
    lists = (real_data / "splits" / f"busi_misb_{part}1.txt" for part in ("train", "val"))
    split = split_from_lists(dataset, *lists)
    assert (len(split.train) + len(split.val), len(split.test)) == (452, 195)
    assert Counter(split.categories[n] for n in split.test) == {"benign": 134, "malignant": 61}
    assert Counter(split.categories.values()) == {"benign": 437, "malignant": 210}
    assert len(split.val) == pytest.approx(45, abs=3)
    torn = int(split.leaks.split()[0])
    assert 40 <= torn <= 80


@pytest.mark.realdata
def test_busi_is_balanced_to_the_image(real_data: Path) -> None:
    """On BUSI each part holds its due of benign, malignant and normal within one image."""
    split = make_split(open_dataset(real_data / "Dataset_BUSI_with_GT"), seed=0)
    total = Counter(split.categories.values())
    for part, fraction in FRACTIONS.items():
        held = Counter(split.categories[name] for name in split.part(part))
        assert all(abs(held[c] - fraction * total[c]) <= 1 for c in total)
