"""Evaluation against scores computed image by image, and the table of a report."""

from __future__ import annotations

import io
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

from edge_bts import metrics
from edge_bts.data import Sample
from edge_bts.errors import InputError
from edge_bts.evaluate import Report, Reports, SegmenterLike, evaluate
from edge_bts.metrics.table import render_comparison, render_table


def test_rows_and_means_equal_a_plain_loop(by_gray: SegmenterLike, samples: list[Sample]) -> None:
    """Rows hold each image's own scores; the summaries are their means by part."""
    report = evaluate(by_gray, samples)
    scores = {}
    for sample, row in zip(samples, report.rows, strict=True):
        image, mask = sample.read()
        prediction = image >= 127.5
        assert (row.id, row.group, row.category) == (sample.id, sample.group, sample.category)
        assert (row.height, row.width) == mask.shape
        assert row.dice == metrics.dice(prediction, mask)
        assert row.iou == metrics.iou(prediction, mask)
        assert (row.hd95_px is None) == (prediction.any() != mask.any())
        assert row.predicted == prediction.any()
        scores[sample.id] = row.dice
    lesions = [scores[s.id] for s in samples if s.category != "normal"]
    malignant = [scores[s.id] for s in samples if s.category == "malignant"]
    assert report.lesions is not None
    assert report.lesions.scores["dice"].value == pytest.approx(np.mean(lesions))
    assert (report.lesions.images, report.lesions.groups) == (9, 5)
    assert report.by_category["malignant"].scores["dice"].value == pytest.approx(np.mean(malignant))
    assert report.by_category.keys() == {"benign", "malignant"}
    assert sum(part.images for part in report.by_size.values()) == 9
    assert report.lesions.missed == report.lesions.empty == 1


def test_false_positives_on_normals(by_gray: SegmenterLike, samples: list[Sample]) -> None:
    """A normal counts when it has any predicted component above the area asked for."""
    report = evaluate(by_gray, samples)
    assert report.normals is not None
    assert report.normals.rate.value == pytest.approx(1 / 3)
    assert report.normals.images == 3
    tolerant = evaluate(by_gray, samples, min_area_px=6).normals
    assert tolerant is not None
    assert tolerant.rate.value == 0.0
    strict = evaluate(by_gray, samples, min_area_px=5).normals
    assert strict is not None
    assert strict.rate.value == pytest.approx(1 / 3)


def test_report_survives_json(by_gray: SegmenterLike, samples: list[Sample]) -> None:
    """A report written as strict JSON reads back equal; the same call gives the same report."""
    report = evaluate(by_gray, samples, dataset="made", part="test", split_hash="ab")
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert Report.model_validate_json(text) == report
    assert evaluate(by_gray, samples, dataset="made", part="test", split_hash="ab") == report
    assert report.model == {"name": "GrayIsProbability"}


def test_threshold_override(by_gray: SegmenterLike, samples: list[Sample]) -> None:
    """The threshold can be given; at 1.0 nothing is found."""
    report = evaluate(by_gray, samples, threshold=1.0)
    assert report.threshold == 1.0
    assert report.lesions is not None
    assert report.lesions.empty == report.lesions.images


def test_nothing_to_evaluate(by_gray: SegmenterLike) -> None:
    """No samples is one sentence."""
    with pytest.raises(InputError, match="at least one sample"):
        evaluate(by_gray, [])


def test_presence_gate_and_its_cost_are_reported(
    by_gray: SegmenterLike, samples: list[Sample]
) -> None:
    """Emptied masks count in every figure; AUC is scikit-learn's; the ungated Dice is the old."""
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    free = evaluate(by_gray, samples)
    gated = evaluate(by_gray, samples, presence_threshold=0.75)
    assert gated.presence_threshold == 0.75
    scores, kept = [], []
    for sample, before, row in zip(samples, free.rows, gated.rows, strict=True):
        image, mask = sample.read()
        scores.append(np.sort(image.ravel())[-22:].mean() / 255)  # 0.002 of 10800 pixels
        kept.append(scores[-1] >= 0.75)
        assert row.presence == pytest.approx(scores[-1], abs=1e-6)
        assert row.dice_ungated == before.dice
        if kept[-1]:
            assert row == before
        else:
            assert row.true_positive + row.false_positive == 0
            assert not row.predicted
            assert row.dice == float(not mask.any())
    assert 0 < sum(kept) < sum(row.predicted for row in free.rows)
    lesion = [sample.category != "normal" for sample in samples]
    assert free.presence.auc is not None
    assert free.presence.auc.value == pytest.approx(roc_auc_score(lesion, scores))
    assert gated.presence.auc == free.presence.auc
    assert gated.presence.sensitivity is not None
    assert gated.presence.sensitivity.value == pytest.approx(np.array(kept)[lesion].mean())
    assert free.lesions is not None
    assert gated.presence.dice_ungated == free.lesions.scores["dice"]
    assert gated.normals is not None
    assert gated.normals.rate.value == 0.0


@pytest.mark.parametrize("part", [slice(None), slice(0, 9), slice(9, None), slice(0, 1)])
def test_table_fits_the_terminal(
    by_gray: SegmenterLike, samples: list[Sample], part: slice
) -> None:
    """The table of any set of samples prints its figures in 80 columns, no line broken."""
    from rich.console import Console

    report = evaluate(by_gray, samples[part], dataset="made", part="test")
    console = Console(width=80, file=io.StringIO())
    console.print(render_table(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    if report.lesions is not None:
        score = report.lesions.scores["dice"]
        shown = f"{score.value:.3f}"
        if score.low is not None:
            shown += f" [{score.low:.3f}–{score.high:.3f}]"
        assert re.search(rf"^Dice +{re.escape(shown)}", text, re.MULTILINE)
    assert ("FP rate (3)" in text) == (report.normals is not None)
    assert ("presence AUC" in text) == (report.presence.auc is not None)


def test_progress_is_plain_lines_off_a_terminal(
    by_gray: SegmenterLike, samples: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    """With progress a redirected run prints some plain lines on standard error, else nothing."""
    evaluate(by_gray, samples)
    assert capsys.readouterr().err == ""
    evaluate(by_gray, samples, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "evaluating: 12 of 12 images"
    assert len(lines) == 10


def test_needs_no_torch() -> None:
    """Evaluation and measures import neither torch nor SciPy: a device install has none."""
    code = (
        "import sys, edge_bts.evaluate, edge_bts.measure;"
        "print(sorted({'torch', 'scipy', 'nncf', 'onnx'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def folder(tmp_path: Path, samples: list[Sample]) -> Path:
    """The samples in the plain layout, and a small checkpoint trained on nothing."""
    import torch

    from edge_bts.models import Checkpoint, ModelSpec, build_model, save_checkpoint

    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    lines = ["id,category,group,spacing_mm"]
    for sample in samples:
        image, mask = sample.read()
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{sample.id}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{sample.id}.png"), mask * 255)
        lines.append(f"{sample.id},{sample.category},{sample.group},")
    (tmp_path / "data" / "samples.csv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    spec = ModelSpec(name="simplified_unet", options={"base": 16})
    save_checkpoint(
        tmp_path / "student.safetensors",
        build_model(spec),
        Checkpoint(
            model=spec, role="student", category="all", imgsz=64, mean=0.3, std=0.2, dataset="data"
        ),
    )
    return tmp_path


def _eval(folder: Path, *options: str) -> Any:
    from typer.testing import CliRunner

    from edge_bts.cli import app

    words = ["eval", str(folder / "student.safetensors"), "--data", str(folder / "data")]
    return CliRunner().invoke(app, [*words, *options])


def test_command_writes_the_report_and_prints_the_table(folder: Path) -> None:
    """The report file is evaluate's report of the part; an existing one stays unless forced."""
    from edge_bts.runtime import open_checkpoint

    path = folder / "report.json"
    result = _eval(folder, "--part", "all", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert "all lesions" in result.stdout
    report = Report.model_validate_json(path.read_text())
    assert len(report.rows) == 12
    segmenter = open_checkpoint(folder / "student.safetensors")
    image = cv2.imread(str(folder / "data" / "images" / f"{report.rows[3].id}.png"), 0)
    found = segmenter.predict(image).probability >= 0.5  # type: ignore[arg-type]
    row = report.rows[3]
    assert row.true_positive + row.false_positive == np.count_nonzero(found)
    assert "may be among these" in result.stderr
    before = path.read_bytes()
    assert isinstance(_eval(folder, "--part", "all", "-o", str(path)).exception, InputError)
    assert _eval(folder, "--part", "all", "-o", str(path), "--force").exit_code == 0
    assert path.read_bytes() == before


def test_command_follows_the_split(folder: Path) -> None:
    """With a split only its part is evaluated, limited evenly, as JSON on standard output."""
    from edge_bts.data import make_split, open_dataset, write_split

    split = make_split(open_dataset(folder / "data"), seed=3, fractions=(0.5, 0.2, 0.3))
    write_split(folder / "split.json", split)
    result = _eval(folder, "--split", str(folder / "split.json"), "--json")
    report = Report.model_validate_json(result.stdout)
    assert [row.id for row in report.rows] == split.test
    assert (report.part, report.split_hash) == ("test", split.hash)
    few = _eval(folder, "--part", "all", "--limit", "3", "--json", "--threshold", "0.2")
    report = Report.model_validate_json(few.stdout)
    assert [row.id for row in report.rows] == ["l0", "l4", "missed"]
    assert report.threshold == 0.2


def test_command_takes_external_data_sets(folder: Path) -> None:
    """With --external there are several reports, one table and one page; shared data are named."""
    shutil.copytree(folder / "data", folder / "elsewhere")
    path, page = folder / "reports.json", folder / "page.html"
    external = ("--external", str(folder / "elsewhere"))
    result = _eval(
        folder, "--part", "all", *external, "-o", str(path), "--html", str(page), "--limit", "6"
    )
    assert result.exit_code == 0, result.output
    first, second = Reports.model_validate_json(path.read_text()).reports
    assert (first.dataset, second.dataset) == ("data", "elsewhere")
    assert [row.dice for row in first.rows] == [row.dice for row in second.rows]
    assert "images that it was trained on may be among these" in first.leaks
    assert second.leaks == ""
    assert "data all" in result.stdout
    assert "elsewhere all" in result.stdout
    assert "Leaks: the model was trained on data" in result.stdout
    text = page.read_text()
    assert "These figures flatter" in text
    assert text.count('id="set') == 2
    assert isinstance(_eval(folder, "--part", "all", "--html", str(page)).exception, InputError)
    alone = Report.model_validate_json(_eval(folder, "--part", "all", "--json").stdout)
    assert len(alone.rows) == 12


def test_a_leaking_split_labels_every_report(folder: Path) -> None:
    """Report and table of a split whose duplicates are torn say so."""
    from edge_bts.data import open_dataset, split_from_lists, write_split

    (folder / "train.txt").write_text("l0\nl1\nl2\nl4\nl6\nmissed\n")
    (folder / "test.txt").write_text("l3\nl5\n")  # twins of l2 and l4 by their group
    lists = folder / "train.txt", folder / "test.txt"
    split = split_from_lists(open_dataset(folder / "data"), *lists, val_fraction=0.3)
    assert split.leaks.startswith("2 of 2 test images")
    write_split(folder / "split.json", split)
    report = folder / "report.json"
    result = _eval(folder, "--split", str(folder / "split.json"), "-o", str(report))
    assert result.exit_code == 0, result.output
    assert Report.model_validate_json(report.read_text()).leaks.startswith(split.leaks)
    assert "Leaks: 2 of 2 test images" in result.stdout


def test_comparison_shows_each_set_in_its_column(
    by_gray: SegmenterLike, samples: list[Sample]
) -> None:
    """The table of several reports has each one's figures, a dash where a set has none."""
    from rich.console import Console

    reports = [
        evaluate(by_gray, samples, dataset="whole"),
        evaluate(by_gray, samples[:9], dataset="lesions", leaks="it does [so]"),
    ]
    console = Console(width=100, file=io.StringIO())
    console.print(render_comparison(reports))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    (rate,) = re.findall(r"^FP rate .*$", text, re.MULTILINE)
    assert rate.split()[2:] == ["0.333", "[0.000–1.000]", "(3)", "-"]
    for report in reports:
        assert report.lesions is not None
        assert text.count(f"{report.lesions.scores['hd95_px'].value:.1f} [") >= 1
    assert "Leaks: it does [so]." in text


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--part", "all", "--external", "data"), "is given twice"),
        (("--threshold", "1.5"), "--threshold between 0 and 1"),
        (("--presence-threshold", "1"), "--presence-threshold of at least 0"),
        (("--part", "all", "--split", "split.json"), "leave one of the two out"),
        (("--part", "all", "--backend", "openvino"), "export it for others"),
        (("--part", "all", "--backend", "tflite"), "'tflite'"),
        (("--part", "all", "--layout", "coco"), "coco"),
    ],
)
def test_command_refuses(folder: Path, options: tuple[str, ...], match: str) -> None:
    """Options that contradict each other or the model are one sentence, exit code 2."""
    options = tuple(str(folder / word) if word == "data" else word for word in options)
    error = _eval(folder, *options).exception
    assert isinstance(error, InputError)
    assert match in str(error)
    assert "\n" not in str(error)
