"""Studies: the grid, the rows, and figures against direct computation."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_bts.config import recipe_names
from edge_bts.errors import InputError
from edge_bts.files import sha256_file
from edge_bts.metrics import bootstrap_ci
from edge_bts.models import checkpoint_info
from edge_bts.trainers import log
from edge_bts.trainers.settings import LoopSettings
from edge_bts.trainers.study.plan import Run, make_plan, narrow
from edge_bts.trainers.study.plot import draw_report
from edge_bts.trainers.study.report import StudyReport, make_report
from edge_bts.trainers.study.rows import Images, StudyRow, read_rows, write_row
from edge_bts.trainers.study.run import Study, estimate, run_here
from edge_bts.trainers.study.settings import StudySettings, load_study
from edge_bts.trainers.study.text import to_markdown, verdict

RECIPE = """
[train]
model = { name = "attention_unet", options = { width = 8 } }
imgsz = 32
loop = { epochs = 1, batch = 4, precision = "fp32", device = "cpu" }
[distill]
model = { name = "simplified_unet", options = { base = 16 } }
imgsz = 32
loop = { epochs = 2, batch = 8, precision = "fp32", device = "cpu", warmup_epochs = 0 }
"""
STUDY = """
name = "tiny"
config = "recipe.toml"
data = "DATA"
seeds = [0, 1]
baseline = "alone"
[teachers]
joint = { seed = 11 }
benign = { category = "benign", seed = 12, start = "joint", set = { loop = { lr = 1e-4 } } }
malignant = { category = "malignant", seed = 13 }
[variants]
alone = {}
routed = { teachers = ["benign", "malignant"] }
mean = { teachers = ["benign", "malignant"], set = { route = "mean" } }
"""


def write_study(folder: Path, data: str, text: str = STUDY) -> str:
    """Write a study and its recipe and return the study's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "study.toml").write_text(text.replace("DATA", data))
    return str(folder / "study.toml")


def open_study(
    file: str, data: Path, out: Path, *overrides: str, only: tuple[str, ...] = ()
) -> Study:
    """Open a study as the command does."""
    settings, recipe = load_study(file, list(overrides))
    chosen = {run.name for run in make_plan(narrow(settings, only), recipe)}
    return Study(settings, make_plan(settings, recipe), data, out, chosen=chosen)


@pytest.fixture
def plan(tmp_path: Path) -> tuple[StudySettings, list[Run]]:
    """The study above and its runs."""
    settings, recipe = load_study(write_study(tmp_path, "blobs"), [])
    return settings, make_plan(settings, recipe)


@pytest.fixture(scope="module")
def finished(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A study file and the folder in which alone and routed were done with both seeds."""
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, blobs.name)
    study = open_study(file, blobs, folder / "out", only=("alone", "routed"))
    study.claim()
    assert len(list(run_here(study))) == 7
    return file, folder / "out"


def test_the_grid_goes_seed_by_seed_and_teachers_come_first(
    plan: tuple[StudySettings, list[Run]],
) -> None:
    """Every variant gets a seed before any gets the next; a teacher's start precedes it."""
    _, runs = plan
    assert [run.name for run in runs] == [
        "alone-seed0", "routed-seed0", "mean-seed0", "alone-seed1", "routed-seed1", "mean-seed1",
    ]  # fmt: skip
    assert [run.name for run in runs[0].before()] == []
    expected = ["teacher-joint", "teacher-benign", "teacher-malignant"]
    assert [run.name for run in runs[1].before()] == expected


def test_variants_differ_in_what_they_set_alone(plan: tuple[StudySettings, list[Run]]) -> None:
    """The student without teachers has the settings of the others; a set key changes itself."""
    _, (alone, routed, mean, again, *_) = plan
    assert alone.settings == routed.settings
    assert mean.settings == routed.settings.model_copy(update={"route": "mean"})
    assert again.settings.loop.seed == 1
    benign = list(routed.before())[1]
    assert (benign.settings.loop.lr, benign.settings.loop.epochs) == (1e-4, 1)


def test_folds_repeat_the_grid_with_teachers_of_their_own(tmp_path: Path) -> None:
    """With folds the names and the teachers carry the fold; a filter takes a part of the grid."""
    text = STUDY.replace("seeds =", "folds = [1, 2]\nseeds =")
    settings, recipe = load_study(write_study(tmp_path, "blobs", text), [])
    runs = make_plan(settings, recipe)
    assert len(runs) == 12
    names = {origin.name for run in runs for origin in run.before() if run.fold == 2}
    assert names == {"teacher-joint-fold2", "teacher-benign-fold2", "teacher-malignant-fold2"}
    part = make_plan(narrow(settings, ["mean"], [2], [1]), recipe)
    assert [run.name for run in part] == ["mean-fold2-seed1"]
    with pytest.raises(InputError, match=r"folds .*1, 2.* 3"):
        narrow(settings, folds=[3])


def test_a_variant_begins_with_a_given_checkpoint(
    blobs: Path, finished: tuple[str, Path], tmp_path: Path
) -> None:
    """``start`` is found beside the study file, leads to other weights, and its hash is told."""
    given = finished[1] / "runs" / "alone-seed0" / "checkpoint.safetensors"
    shutil.copy(given, tmp_path / "fold1.safetensors")
    text = STUDY.replace("alone = {}", 'alone = {}\nwarm = { start = "fold{fold}.safetensors" }')
    settings, recipe = load_study(write_study(tmp_path, blobs.name, text), [])
    both = make_plan(narrow(settings, ["alone", "warm"], seeds=[0]), recipe)
    folded = make_plan(settings.model_copy(update={"folds": [1]}), recipe)
    assert next(r for r in folded if r.label == "warm").start == tmp_path / "fold1.safetensors"
    shutil.copy(given, tmp_path / "foldNone.safetensors")
    study = Study(settings, both, blobs, tmp_path / "out")
    study.claim()
    rows = {row.label: row for row in run_here(study)}
    assert rows["warm"].origins == [sha256_file(given)]
    assert rows["warm"].checkpoint_sha256 != rows["alone"].checkpoint_sha256


def test_the_fingerprint_covers_settings_split_and_teachers(
    plan: tuple[StudySettings, list[Run]], tmp_path: Path
) -> None:
    """A change of the run, of the split or of a teacher's start changes it, and nothing else."""
    _, (alone, routed, *_) = plan
    text = STUDY.replace("seed = 11", "seed = 99").replace('name = "tiny"', 'name = "other"')
    settings, recipe = load_study(write_study(tmp_path / "b", "blobs", text), [])
    other_alone, other_routed, *_ = make_plan(settings, recipe)
    assert other_alone.fingerprint("s") == alone.fingerprint("s") != alone.fingerprint("t")
    assert other_routed.fingerprint("s") != routed.fingerprint("s") != alone.fingerprint("s")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds =", "seed = 3\nseeds =", r"study\.seed:"),
        ('["benign", "malignant"] }', '["benign", "other"] }', r"'routed'.*but got 'other'"),
        ('["benign", "malignant"] }', '["malignant", "benign"] }', "benign teacher stands"),
        ("seed = 11", 'seed = 11, start = "benign"', "start from each other"),
        ('start = "joint"', 'start = "nobody"', "but got 'nobody'"),
        ('baseline = "alone"', 'baseline = "alon"', "but got 'alon'"),
        ("[teachers]", 'compare = [["mean", "x"]]\n[teachers]', "but got 'x'"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "seeds that differ"),
        ("seed = 11", 'seed = 11, checkpoint = "c"', "checkpoint and seed"),
        ('route = "mean"', 'rout = "mean"', r"variants\.mean\.rout:"),
        ("lr = 1e-4", "lr = -1", r"teachers\.benign\.loop\.lr:"),
        ('"recipe.toml"', '"nowhere.toml"', r"nowhere\.toml"),
        ("alone = {}", '"a/b" = {}\nalone = {}', "'a/b'"),
    ],
)
def test_a_bad_study_is_one_sentence(old: str, new: str, words: str, tmp_path: Path) -> None:
    """What is wrong with the file is named before anything is opened."""
    assert old in STUDY
    file = write_study(tmp_path, "blobs", STUDY.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as raised:
        make_plan(*load_study(file, []))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", recipe_names("study"))
def test_shipped_studies_are_whole(name: str) -> None:
    """Each has a run for every variant, fold and seed, and teaches only with what it trains."""
    settings, recipe = load_study(name, [])
    assert settings.name == name
    folds = max(1, len(settings.folds))
    runs = make_plan(settings, recipe)
    assert len(runs) == len(settings.variants) * len(settings.seeds) * folds
    teachers = {origin.name for run in runs for origin in run.before()}
    trained = [spec for spec in settings.teachers.values() if spec.checkpoint is None]
    assert len(teachers) == len(trained) * folds


@pytest.mark.parametrize("name", ["busi-cpu", "busi-gpu", "busbra-cpu", "busbra-gpu"])
def test_the_ablations_begin_with_the_same_variants(name: str) -> None:
    """The rows of the paper's ablation come first, with three seeds."""
    settings, _ = load_study(name, [])
    rows = ["alone", "joint", "two_joint", "routed", "mean"]
    assert list(settings.variants)[:5] == rows
    assert len(settings.seeds) == 3


def test_every_finished_run_leaves_a_row(finished: tuple[str, Path], blobs: Path) -> None:
    """A row tells of the checkpoint that stands, of its origins and of every test image."""
    _, out = finished
    rows = read_rows(out / "rows")
    assert {row.kind for row in rows.values()} == {"teacher", "student"}
    row = rows["routed-seed1"]
    test = json.loads((out / "splits" / "split.json").read_text())["test"]
    assert row.images.id == test
    teachers = [rows[f"teacher-{name}"].checkpoint_sha256 for name in ("benign", "malignant")]
    assert row.origins == teachers
    assert rows["teacher-benign"].origins == [rows["teacher-joint"].checkpoint_sha256]
    info = checkpoint_info(out / "runs" / row.name / "checkpoint.safetensors")
    assert (row.epoch, row.threshold, row.validation) == (info.epoch, info.threshold, info.metrics)
    assert (row.seed, row.epochs_run, row.dataset) == (1, 2, blobs.name)
    assert rows["alone-seed0"].origins == []


def test_finished_runs_are_not_done_again(finished: tuple[str, Path], blobs: Path) -> None:
    """A second call has nothing to do; a further variant needs its students alone."""
    file, out = finished
    assert open_study(file, blobs, out, only=("alone", "routed")).missing() == []
    study = open_study(file, blobs, out)
    assert [run.name for run in study.missing()] == ["mean-seed0", "mean-seed1"]
    like = [row.minutes for row in study.rows.values() if row.kind == "student"]
    assert estimate(study.missing()[0], study.rows.values()) == pytest.approx(np.mean(like))


def test_a_lost_row_is_made_again_from_its_run(finished: tuple[str, Path], blobs: Path) -> None:
    """Without its row a finished run is evaluated again, to the same row."""
    file, out = finished
    path = out / "rows" / "alone-seed1.json"
    before = path.read_text()
    path.unlink()
    study = open_study(file, blobs, out, only=("alone",))
    assert [row.name for row in run_here(study)] == ["alone-seed1"]
    assert path.read_text() == before


def test_other_settings_are_refused(finished: tuple[str, Path], blobs: Path) -> None:
    """What a change would mix is named with the key, and nothing is touched."""
    file, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    study = open_study(file, blobs, out, "distill.loop.lr=0.5", only=("alone",))
    with pytest.raises(InputError, match=r"4 of its runs .*alone-seed0: loop.lr was .* is 0\.5"):
        study.claim()  # of the chosen variant and of the other, which the table would hold too
    teachers = open_study(file, blobs, out, "train.loop.lr=0.5", only=("alone", "routed"))
    with pytest.raises(InputError, match="5 of its runs"):
        teachers.claim()  # three teachers, and the students that heard two of them
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_force_does_again_what_changed_alone(blobs: Path, tmp_path: Path) -> None:
    """With force, runs of other settings are removed and the others stand."""
    text = STUDY.replace("seeds = [0, 1]", "seeds = [0]")
    file = write_study(tmp_path, blobs.name, text)
    out = tmp_path / "out"
    settings, recipe = load_study(file, [])
    study = Study(settings, make_plan(settings, recipe), blobs, out)
    study.claim()
    for run in (*study.teachers, *study.students):
        (out / "runs" / run.name).mkdir(parents=True)
        write_row(out / "rows", row(run, fingerprint=study.fingerprint(run)))
    changed = STUDY.replace("seeds = [0, 1]", "seeds = [0]").replace("seed = 13", "seed = 14")
    write_study(tmp_path, blobs.name, changed)
    again = open_study(file, blobs, out)
    again.claim(force=True)
    assert {path.stem for path in (out / "rows").iterdir()} == {
        "alone-seed0", "teacher-joint", "teacher-benign",
    }  # fmt: skip
    assert not (out / "runs" / "mean-seed0").exists()


def test_another_split_is_refused(finished: tuple[str, Path], blobs: Path, tmp_path: Path) -> None:
    """A folder keeps its split: another seed of it, or another data set, is an error."""
    file, out = finished
    text = Path(file).read_text().replace("seeds =", "split_seed = 5\nseeds =")
    other = write_study(tmp_path, blobs.name, text)
    with pytest.raises(InputError, match=r"split that .* was started with"):
        open_study(other, blobs, out)
    with pytest.raises(InputError, match=r"data set BUSI .* but got blobs"):
        open_study(write_study(tmp_path, "BUSI"), blobs, tmp_path / "new")


def test_given_teachers_are_taken_as_they_are(
    finished: tuple[str, Path], blobs: Path, tmp_path: Path
) -> None:
    """A checkpoint beside the study teaches without training; a wrong one is refused at once."""
    file, out = finished
    path = '{{ checkpoint = "{}/runs/teacher-{}/checkpoint.safetensors" }}'
    text = re.sub(r"^joint.*\n", "", Path(file).read_text(), flags=re.MULTILINE)
    for name in ("benign", "malignant"):
        text = re.sub(f"^{name} = .*", f"{name} = {path.format(out.name, name)}", text, flags=re.M)
    given = out.parent / "given.toml"
    given.write_text(text)
    study = open_study(str(given), blobs, tmp_path / "out", only=("mean",))
    assert [run.name for run in study.missing()] == ["mean-seed0", "mean-seed1"]
    study.claim()
    hashes = [
        read_rows(out / "rows")[f"teacher-{n}"].checkpoint_sha256 for n in ("benign", "malignant")
    ]
    assert next(run_here(study)).origins == hashes
    given.write_text(text.replace('["benign", "malignant"]', '["malignant", "benign"]'))
    with pytest.raises(InputError, match="exchange the teachers"):
        open_study(str(given), blobs, tmp_path / "swapped")
    given.write_text(text.replace("seeds =", "split_seed = 5\nseeds ="))
    with pytest.raises(InputError, match="may have seen test images"):
        open_study(str(given), blobs, tmp_path / "leaking")


def test_an_interrupted_study_continues_at_the_last_epoch(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch that was finished stands, the others are added, and the row counts all."""
    file = write_study(tmp_path, blobs.name)
    real = log.RunLog.epoch

    def stop(self: log.RunLog, history: Any, best: int) -> None:
        real(self, history, best)
        if len(history) == 2:  # the state of the first epoch stands
            raise KeyboardInterrupt

    study = open_study(file, blobs, tmp_path / "out", "distill.loop.epochs=3", only=("alone",))
    study.claim()
    monkeypatch.setattr(log.RunLog, "epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        list(run_here(study))
    monkeypatch.undo()
    metrics = tmp_path / "out" / "runs" / "alone-seed0" / "metrics.jsonl"
    first = metrics.read_text().splitlines()[0]
    again = open_study(file, blobs, tmp_path / "out", "distill.loop.epochs=3", only=("alone",))
    again.claim()
    made = next(run_here(again))
    assert made.epochs_run == 3
    assert metrics.read_text().startswith(first)


# Figures, from rows that are written down.


def images(rng: np.random.Generator, lift: float = 0.0) -> Images:
    """Forty lesion images of 20 patients and ten normals, of seeded identity."""
    dice = rng.beta(6, 2, 50) * (1 - lift) + lift
    normal = np.arange(50) >= 40
    predicted = np.where(normal, rng.random(50) < 0.4, dice > 0.05)
    return Images(
        id=[f"i{i}" for i in range(50)],
        group=[f"p{i // 2}" for i in range(50)],
        category=["normal" if n else ("benign", "malignant")[i % 2] for i, n in enumerate(normal)],
        share=[0.0 if n else 0.1 for n in normal],
        dice=[
            float(not p) if n else float(d) for d, n, p in zip(dice, normal, predicted, strict=True)
        ],
        iou=[float(d / (2 - d)) for d in dice],
        hd95_px=[
            None if n or i == 3 else float(10 * (1 - d))
            for i, (d, n) in enumerate(zip(dice, normal, strict=True))
        ],
        presence=[float(v) for v in np.where(normal, rng.random(50) * 0.6, rng.random(50))],
        predicted=[1 if p else 0 for p in predicted],
    )


def row(run: Run, scores: Images | None = None, **changes: Any) -> StudyRow:
    """A row of ``run`` as :func:`do` would write it."""
    content: dict[str, Any] = {
        "study": "tiny", "name": run.name, "kind": run.kind, "label": run.label, "fold": run.fold,
        "seed": run.settings.loop.seed, "category": run.category, "dataset": "blobs",
        "split_hash": f"{run.fold}" * 12, "fingerprint": "f",
        "settings": run.settings.model_dump(mode="json"), "origins": [], "checkpoint_sha256": "c",
        "epoch": 1, "epochs_run": 2, "validation": {"dice": 0.5}, "threshold": 0.5,
        "presence_threshold": 0.1, "minutes": 4.0, "device": "cpu", "versions": {"torch": "2"},
        "commit": None, "images": scores or images(np.random.default_rng(0)),
    }  # fmt: skip
    return StudyRow(**content | changes)


@pytest.fixture
def made(plan: tuple[StudySettings, list[Run]]) -> list[StudyRow]:
    """All students: routed is better than alone, mean is not."""
    lift = {"alone": 0.0, "routed": 0.5, "mean": 0.0}
    return [
        row(run, images(np.random.default_rng(n), lift[run.label])) for n, run in enumerate(plan[1])
    ]


def report_of(plan: tuple[StudySettings, list[Run]], rows: list[StudyRow]) -> StudyReport:
    """The report of the study above."""
    return make_report(plan[0], [run.name for run in plan[1]], rows)


def test_figures_are_those_of_the_rows(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow]
) -> None:
    """Means, classes, false finds, AUC and the seeds' spread equal a direct computation."""
    from sklearn.metrics import roc_auc_score

    report = report_of(plan, made)
    assert (report.missing, report.images, report.groups) == ([], 50, 25)
    own = [r.images for r in made if r.label == "routed"]
    dice = np.array([i.dice for i in own])
    result = next(r for r in report.variants if r.label == "routed")
    per_image = dice[:, :40].mean(0)
    assert result.dice.value == pytest.approx(per_image.mean())
    low, high = bootstrap_ci(per_image, own[0].group[:40], resamples=10_000)
    assert (result.dice.low, result.dice.high) == (low, high)
    assert result.by_category["benign"].value == pytest.approx(dice[:, :40:2].mean())
    assert result.by_category["malignant"].value == pytest.approx(dice[:, 1:40:2].mean())
    assert result.iou.value == pytest.approx(np.mean([i.iou[:40] for i in own]))
    assert result.seed_sd == pytest.approx(np.std(dice[:, :40].mean(1), ddof=1))
    distances = np.array([i.hd95_px[:40] for i in own], float)
    assert result.hd95_px is not None
    assert result.hd95_px.value == pytest.approx(np.nanmean(np.delete(distances, 3, 1).mean(0)))
    assert result.empty == pytest.approx(2 / 80)
    assert result.false_positive_rate is not None
    present = np.array([i.presence for i in own]) >= 0.1
    finds = np.array([i.predicted for i in own]) * present
    assert 0 < present.mean() < 1
    assert result.false_positive_rate.value == pytest.approx(finds[:, 40:].mean())
    assert result.gated_dice.value == pytest.approx((dice * present)[:, :40].mean())
    areas = [roc_auc_score([s > 0 for s in i.share], i.presence) for i in own]
    assert result.presence_auc == pytest.approx(np.mean(areas))


def test_differences_are_paired_and_corrected(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow]
) -> None:
    """Difference and p equal SciPy's on the groups' sums; Holm doubles the smaller of two."""
    from scipy.stats import permutation_test

    report = report_of(plan, made)
    routed, mean = report.comparisons
    assert [(c.first, c.second) for c in report.comparisons] == [
        ("routed", "alone"), ("mean", "alone"),
    ]  # fmt: skip

    def per_image(label: str) -> Any:
        return np.array([r.images.dice for r in made if r.label == label])[:, :40].mean(0)

    difference = per_image("mean") - per_image("alone")
    assert mean.difference.value == pytest.approx(difference.mean())
    sums = difference.reshape(20, 2).sum(1)  # two images a patient
    reference = permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=20_000,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert mean.p == pytest.approx(reference.pvalue, abs=0.015)
    assert (mean.groups, mean.runs) == (20, 2)
    first = {r.label: np.mean(r.images.dice[:40]) for r in made if r.seed == 0}
    assert mean.by_seed[0] == pytest.approx(first["mean"] - first["alone"])
    assert routed.p_holm == pytest.approx(2 * routed.p)
    assert mean.p_holm == mean.p
    assert (routed.outcome, mean.outcome) == ("better", "open")
    assert verdict(routed).startswith("routed beats alone: +")
    assert re.fullmatch(
        r"mean does not beat alone: [+-]\d\.\d \[[+-]\d\.\d, [+-]\d\.\d\] points, "
        r"p = 0\.\d\d; ahead in [012] of 2 seeds\.",
        verdict(mean),
    )


def test_missing_runs_are_named_first(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow], tmp_path: Path
) -> None:
    """A part of a study says what lacks, and compares the seeds that both variants have."""
    report = report_of(plan, [r for r in made if r.name != "alone-seed1"])
    assert report.missing == ["alone-seed1"]
    text = to_markdown(report)
    assert "Not finished: 1 of 6 runs (alone-seed1)." in text.split("|")[0]
    same = np.array([r.images.dice[:40] for r in made if r.seed == 0])
    assert report.comparisons[0].runs == 1
    assert report.comparisons[0].difference.value == pytest.approx((same[1] - same[0]).mean())
    draw_report(report, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="there is none"):
        report_of(plan, [])


def test_one_variant_has_no_panel_of_differences(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow], tmp_path: Path
) -> None:
    """Its picture is half as wide as that of two, which differ."""
    widths = []
    for labels in (["alone"], ["alone", "routed"]):
        report = report_of(plan, [row for row in made if row.label in labels])
        assert len(report.comparisons) == len(labels) - 1
        draw_report(report, tmp_path / "p.png")
        widths.append(cv2.imread(str(tmp_path / "p.png")).shape[1])
    assert widths[1] == 2 * widths[0]


def test_a_split_that_leaks_says_so_before_the_table(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow]
) -> None:
    """Rows of a leaking split put the reason above the figures; others put none."""
    leaking = [r.model_copy(update={"leaks": "twins in train and test"}) for r in made]
    assert (
        "**Leaks: twins in train and test.**" in to_markdown(report_of(plan, leaking)).split("|")[0]
    )
    assert "Leaks" not in to_markdown(report_of(plan, made))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study": "other"}, "one study"),
        ({"split_hash": "other"}, "one split"),
        ({"settings": {"loop": {"epochs": 9}}}, "one settings"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(
    changes: dict[str, Any],
    words: str,
    plan: tuple[StudySettings, list[Run]],
    made: list[StudyRow],
) -> None:
    """Rows of another study, split or settings end the report instead of being mixed in."""
    made[3] = made[3].model_copy(update=changes)
    with pytest.raises(InputError, match=f"{words}, but alone-seed1"):
        report_of(plan, made)


def test_a_setting_that_is_younger_than_a_row_has_its_default(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow]
) -> None:
    """Rows from before it are of the same study; with another value they are not."""
    younger = {**made[3].settings, "loop": {**made[3].settings["loop"], "devices": 1}}
    made[3] = made[3].model_copy(update={"settings": younger})
    report_of(plan, made)
    younger["loop"]["devices"] = 2
    with pytest.raises(InputError, match="one settings, but alone-seed1"):
        report_of(plan, made)


def test_a_cpu_may_finish_what_a_gpu_began(
    plan: tuple[StudySettings, list[Run]], made: list[StudyRow]
) -> None:
    """Where a run was trained is no setting that parts a study; the report tells the devices."""
    loop = {**made[3].settings["loop"], "device": "cuda", "state_seconds": 60.0}
    elsewhere = {"settings": {**made[3].settings, "loop": loop}, "device": "GPU of a kind"}
    made[3] = made[3].model_copy(update=elsewhere)
    report = report_of(plan, made)
    assert report.devices == ["GPU of a kind", "cpu"]
    assert "Trained on: GPU of a kind, cpu." in to_markdown(report)


def test_rows_survive_the_file(made: list[StudyRow], tmp_path: Path) -> None:
    """A row reads back equal; a damaged one is named."""
    write_row(tmp_path, made[0])
    assert read_rows(tmp_path) == {made[0].name: made[0]}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json"):
        read_rows(tmp_path)


# The command.


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run edge-bts and return what it printed."""
    alone = "-P" if sys.version_info >= (3, 11) else "-I"
    line = [sys.executable, alone, "-m", "edge_bts.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_reports_from_rows_alone(finished: tuple[str, Path], tmp_path: Path) -> None:
    """--report makes table, JSON and picture of a folder of rows, without data."""
    file, out = finished
    done = command("study", file, "--report", out / "rows", "-o", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "2 of 6 runs (mean-seed0, mean-seed1)" in done.stdout
    assert "| routed |" in done.stdout
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "report.md", "report.json", "report.png",
    }  # fmt: skip
    StudyReport.model_validate_json((tmp_path / "report" / "report.json").read_text())


@pytest.mark.slow
def test_the_command_plans_runs_and_continues(blobs: Path, tmp_path: Path) -> None:
    """--plan writes nothing, the study runs to its report, and a second call only reports."""
    file, out = write_study(tmp_path, blobs.name), tmp_path / "out"
    arguments = ("study", file, "--data", blobs, "-o", out, "--only", "alone", "--seeds", "0")
    planned = command(*arguments, "--plan")
    assert planned.returncode == 0, planned.stderr
    assert "runs to do: 1;" in planned.stdout
    assert not out.exists()
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "[1 of 1] alone-seed0" in done.stdout
    again = command(*arguments)
    assert again.returncode == 0, again.stderr
    assert "5 of 6 runs" in again.stdout
    assert "[1 of 1]" not in again.stdout
    bad = command(*arguments, "--set", "distill.loop.epoch=1")
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr


def test_runs_may_share_a_gpu() -> None:
    """Ray keeps a part of a GPU for each; runs of several GPUs have none to share."""
    from edge_bts.trainers.study.cluster import needs

    assert needs(LoopSettings()) == ({"num_gpus": 1, "num_cpus": 1}, {"num_cpus": 1})
    assert needs(LoopSettings(devices=4)) == ({"num_gpus": 4, "num_cpus": 1}, {"num_cpus": 4})
    assert needs(LoopSettings(), 16)[0] == {"num_gpus": 1 / 16, "num_cpus": 1}
    for loop, share in ((LoopSettings(devices=2), 2), (LoopSettings(), 0)):
        with pytest.raises(InputError, match=r"share \d and loop\.devices"):
            needs(loop, share)


def test_sharing_needs_ray(tmp_path: Path) -> None:
    """--share without --ray is one sentence: nothing would share."""
    refused = command("study", "busi-cpu", "-o", tmp_path / "out", "--share", "2")
    assert refused.returncode == 2
    assert "Expected --ray local with --share 2" in refused.stderr


@pytest.mark.slow
def test_ray_does_teachers_before_students(blobs: Path, tmp_path: Path) -> None:
    """Under Ray every run leaves its row, its teachers first; an error stays one sentence."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from edge_bts.trainers.study.cluster import run_on_ray

    text = STUDY.replace("seeds = [0, 1]", "seeds = [0]")
    file = write_study(tmp_path, blobs.name, text)
    study = open_study(file, blobs, tmp_path / "out", only=("alone", "routed"))
    study.claim()
    names = [made.name for made in run_on_ray(study, "local")]
    assert sorted(names) == sorted(run.name for run in (*study.teachers, *study.students))
    assert names.index("routed-seed0") > names.index("teacher-benign")
    assert study.missing() == []
    bad = open_study(
        file, blobs, tmp_path / "bad", "distill.model={name = 'nothing'}", only=("alone",)
    )
    bad.claim()
    with pytest.raises(InputError, match="but got 'nothing'"):
        list(run_on_ray(bad, "local"))
