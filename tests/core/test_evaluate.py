"""Evaluation against scores computed image by image, and the table of a report."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts import metrics
from edge_bts.data import Sample
from edge_bts.errors import InputError
from edge_bts.evaluate import THRESHOLD_GRID, Report, evaluate, pick_threshold, render_table


class GrayIsProbability:
    """A segmenter whose probability is the gray value: what it finds is drawn by the test."""

    threshold = 0.5

    def probability(self, frame: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return gray/255."""
        return (frame / np.float32(255)).astype(np.float32)


def _disc(x: int, radius: float) -> NDArray[np.bool_]:
    yy, xx = np.mgrid[:90, :120]
    return np.asarray(np.hypot(yy - 45, xx - x) < radius)


def _sample(
    folder: Path, name: str, image: NDArray[np.uint8], mask: NDArray[np.bool_], **fields: object
) -> Sample:
    paths = folder / f"{name}.png", folder / f"{name}_mask.png"
    cv2.imwrite(str(paths[0]), image)
    cv2.imwrite(str(paths[1]), mask.astype(np.uint8) * 255)
    values = {"group": name, "category": "benign", "spacing_mm": None} | fields
    return Sample(id=name, image_path=paths[0], mask_paths=(paths[1],), **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Eight lesions with noisy, shifted predictions, one missed lesion, three normals."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(0)
    made = []
    for number in range(8):
        mask = _disc(50, 6 + 4 * number)
        hit = _disc(50 + number, 6 + 3 * number)
        image = np.clip(rng.normal(60, 20, mask.shape) + 120 * hit, 0, 255).astype(np.uint8)
        category = "malignant" if number % 2 else "benign"
        made.append(
            _sample(folder, f"l{number}", image, mask, category=category, spacing_mm=0.1 + number,
                    group=f"g{number // 2}")
        )  # fmt: skip
    dark = np.zeros((90, 120), np.uint8)
    made.append(_sample(folder, "missed", dark, _disc(60, 9), category="malignant"))
    speck = dark.copy()
    speck[3:5, 7:10] = 200
    for name, image in (("n0", dark), ("n1", speck), ("n2", dark)):
        made.append(_sample(folder, name, image, _disc(0, 0), category="normal"))
    return made


def test_rows_and_means_equal_a_plain_loop(samples: list[Sample]) -> None:
    """Rows hold each image's own scores; the summaries are their means by part."""
    report = evaluate(GrayIsProbability(), samples)
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


def test_false_positives_on_normals(samples: list[Sample]) -> None:
    """A normal counts when it has any predicted component above the area asked for."""
    report = evaluate(GrayIsProbability(), samples)
    assert report.normals is not None
    assert report.normals.rate.value == pytest.approx(1 / 3)
    assert report.normals.images == 3
    tolerant = evaluate(GrayIsProbability(), samples, min_area_px=6).normals
    assert tolerant is not None
    assert tolerant.rate.value == 0.0
    strict = evaluate(GrayIsProbability(), samples, min_area_px=5).normals
    assert strict is not None
    assert strict.rate.value == pytest.approx(1 / 3)


def test_report_survives_json(samples: list[Sample]) -> None:
    """A report written as strict JSON reads back equal; the same call gives the same report."""
    report = evaluate(GrayIsProbability(), samples, dataset="made", part="test", split_hash="ab")
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert Report.model_validate_json(text) == report
    assert (
        evaluate(GrayIsProbability(), samples, dataset="made", part="test", split_hash="ab")
        == report
    )
    assert report.model == {"name": "GrayIsProbability"}


def test_threshold_override(samples: list[Sample]) -> None:
    """The threshold can be given; at 1.0 nothing is found."""
    report = evaluate(GrayIsProbability(), samples, threshold=1.0)
    assert report.threshold == 1.0
    assert report.lesions is not None
    assert report.lesions.empty == report.lesions.images


def test_picked_threshold_is_the_best_of_the_grid(samples: list[Sample]) -> None:
    """No threshold of the grid has a higher mean Dice, and the Dice given is evaluate's."""
    threshold, dice = pick_threshold(GrayIsProbability(), samples)
    reached = {}
    for candidate in THRESHOLD_GRID:
        lesions = evaluate(GrayIsProbability(), samples, threshold=candidate, resamples=1).lesions
        assert lesions is not None
        reached[candidate] = lesions.scores["dice"].value
    assert reached[threshold] == max(reached.values())
    assert dice == pytest.approx(reached[threshold])


def test_equal_thresholds_go_to_the_middle(tmp_path: Path) -> None:
    """Where every threshold gives the same masks, 0.5 is chosen."""
    mask = _disc(50, 10)
    sample = _sample(tmp_path, "a", mask.astype(np.uint8) * 255, mask)
    assert pick_threshold(GrayIsProbability(), [sample]) == (0.5, 1.0)


def test_nothing_to_evaluate(samples: list[Sample]) -> None:
    """No samples, or none with a lesion to choose a threshold on, is one sentence."""
    with pytest.raises(InputError, match="at least one sample"):
        evaluate(GrayIsProbability(), [])
    with pytest.raises(InputError, match="with a lesion"):
        pick_threshold(GrayIsProbability(), samples[-3:])


@pytest.mark.parametrize("part", [slice(None), slice(0, 9), slice(9, None), slice(0, 1)])
def test_table_fits_the_terminal(samples: list[Sample], part: slice) -> None:
    """The table of any set of samples prints its figures in 80 columns, no line broken."""
    from rich.console import Console

    report = evaluate(GrayIsProbability(), samples[part], dataset="made", part="test")
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


def test_progress_is_plain_lines_off_a_terminal(
    samples: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    """With progress a redirected run prints some plain lines on standard error, else nothing."""
    evaluate(GrayIsProbability(), samples)
    assert capsys.readouterr().err == ""
    evaluate(GrayIsProbability(), samples, progress=True)
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
    found = segmenter.probability(image) >= 0.5  # type: ignore[arg-type]
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


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--threshold", "1.5"), "--threshold between 0 and 1"),
        (("--part", "all", "--split", "split.json"), "leave one of the two out"),
        (("--part", "all", "--backend", "openvino"), "export it for others"),
        (("--part", "all", "--backend", "tflite"), "'tflite'"),
        (("--part", "all", "--layout", "coco"), "coco"),
    ],
)
def test_command_refuses(folder: Path, options: tuple[str, ...], match: str) -> None:
    """Options that contradict each other or the model are one sentence, exit code 2."""
    error = _eval(folder, *options).exception
    assert isinstance(error, InputError)
    assert match in str(error)
    assert "\n" not in str(error)
