"""Every gate against a computation written out here, at its limit and one step beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts.errors import AccuracyGateError, InputError
from edge_bts.export.gates import (
    GateSettings,
    Verdict,
    check_gates,
    compare_rows,
    excess_flicker,
    gates_table,
    limits_of,
    run_gates,
    threshold_shift,
)
from edge_bts.manifest import Gate
from edge_bts.measure import components
from edge_bts.metrics import ImageRow, score_image
from edge_bts.runtime import Prediction

HEIGHT, WIDTH = 60, 80
DIAGONAL = math.hypot(HEIGHT, WIDTH)


def box(width: int, height: int, x: int = 5, y: int = 5) -> NDArray[np.uint8]:
    """Return a mask with one rectangle; of width 0 an empty one."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


def row(number: int, mask: NDArray[np.uint8], truth: NDArray[np.uint8], **fields: Any) -> ImageRow:
    """Score a mask as the evaluation does."""
    parts, true_parts = components(mask), components(truth)
    values: dict[str, Any] = {"group": f"g{number}", "category": "benign", "spacing_mm": 0.2}
    values |= {
        "predicted": bool(mask.any()),
        "presence": 0.9,
        "dice_ungated": 1.0,
        "longest_px": parts[0].longest_px if parts else None,
        "true_longest_px": true_parts[0].longest_px if true_parts else None,
    }
    return score_image(mask, truth, id=f"i{number}", **(values | fields))


@dataclass
class Study:
    """Random rectangles: what is true, what each of two models found."""

    truth: list[NDArray[np.uint8]] = field(default_factory=list)
    first: list[NDArray[np.uint8]] = field(default_factory=list)
    second: list[NDArray[np.uint8]] = field(default_factory=list)

    @classmethod
    def draw(cls, lesions: int, normals: int, seed: int = 0) -> Study:
        """Draw lesions of 6 to 40 pixels, found with some pixels too many or too few."""
        rng = np.random.default_rng(seed)
        study = cls()
        for _ in range(lesions):
            w, h = (int(v) for v in rng.integers(6, 40, 2))
            study.truth.append(box(w, h))
            for found in (study.first, study.second):
                a, b = (int(v) for v in rng.integers(-3, 4, 2))
                found.append(box(w + a, h + b))
        for _ in range(normals):
            study.truth.append(box(0, 0))
            study.first.append(box(0, 0))
            study.second.append(box(0, 0))
        return study

    def rows(self, masks: Sequence[NDArray[np.uint8]], **fields: Any) -> list[ImageRow]:
        """Score the masks of one model."""
        return [
            row(i, m, t, **fields) for i, (m, t) in enumerate(zip(masks, self.truth, strict=True))
        ]

    def verdicts(self, limits: GateSettings | None = None, **fields: Any) -> dict[str, Verdict]:
        """Judge the second model against the first."""
        first, second = self.rows(self.first, **fields), self.rows(self.second, **fields)
        return compare_rows(first, second, limits or GateSettings())


def overlap(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Dice by its definition."""
    return 2 * float(np.logical_and(a, b).sum()) / float(a.sum() + b.sum())


def test_dice_gates_are_those_of_the_paired_differences() -> None:
    """Mean, worst tenth and small lesions, each from the masks by hand."""
    study = Study.draw(lesions=75, normals=0)
    gains = np.array(
        [
            overlap(b, t) - overlap(a, t)
            for a, b, t in zip(study.first, study.second, study.truth, strict=True)
        ]
    )
    small = np.array([t.sum() / t.size < 0.03 for t in study.truth])
    verdicts = study.verdicts()
    assert 10 <= small.sum() < 75
    assert verdicts["dice_mean_drop"].gate.value == pytest.approx(-gains.mean())
    tenth = sorted(gains.tolist())[:8]  # 7.5 images, rounded up
    assert verdicts["dice_worst_decile"].gate.value == pytest.approx(sum(tenth) / 8)
    assert verdicts["dice_small_lesions"].gate.value == pytest.approx(gains[small].mean())
    assert verdicts["dice_small_lesions"].gate.n == small.sum()
    worst = verdicts["dice_worst_decile"].worst
    assert [w.id for w in worst] == [f"i{i}" for i in np.argsort(gains, kind="stable")[:5]]
    assert [w.value for w in worst] == pytest.approx(tenth[:5])


def test_lower_bound_is_the_bootstrap_quantile_by_group() -> None:
    """The one-sided bound agrees with scipy's bootstrap, and groups make it wider."""
    from scipy.stats import bootstrap

    study = Study.draw(lesions=60, normals=0)
    gains = np.array([r.dice for r in study.rows(study.second)]) - np.array(
        [r.dice for r in study.rows(study.first)]
    )
    expected = bootstrap(
        (gains,), np.mean, confidence_level=0.90, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval.low
    alone = study.verdicts()["dice_lower_bound"].gate.value
    assert alone is not None
    assert alone == pytest.approx(expected, abs=0.1 * abs(expected - gains.mean()))
    # The same image six times over is not six images.
    copied = Study(study.truth[:10] * 6, study.first[:10] * 6, study.second[:10] * 6)

    def bound(grouped: bool) -> float:
        first, second = (
            [
                row(i, m, t, group=f"g{i % 10 if grouped else i}")
                for i, (m, t) in enumerate(zip(masks, copied.truth, strict=True))
            ]
            for masks in (copied.first, copied.second)
        )
        value = compare_rows(first, second, GateSettings())["dice_lower_bound"].gate.value
        assert value is not None
        return value

    assert bound(grouped=True) < bound(grouped=False)


def test_error_gates_are_of_area_diameter_and_outline() -> None:
    """Area and diameter: rise of the error against truth, relative and in mm; HD95 in diagonals."""
    study = Study.draw(lesions=30, normals=0)
    triples = list(zip(study.first, study.second, study.truth, strict=True))

    def longest(mask: NDArray[np.uint8]) -> float:
        # Outlines are diamonds: the corners' midpoints of a w x h box lie w and h - 1 apart, or
        # w - 1 and h.
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        return max(math.hypot(rows, columns - 1), math.hypot(rows - 1, columns))

    area = [abs(int(b.sum()) - int(t.sum())) - abs(int(a.sum()) - int(t.sum()))
            for a, b, t in triples]  # fmt: skip
    size = [abs(longest(b) - longest(t)) - abs(longest(a) - longest(t)) for a, b, t in triples]
    verdicts = study.verdicts()
    values = {name: verdict.gate.value for name, verdict in verdicts.items()}
    truth = study.truth
    assert values["area"] == pytest.approx(
        np.mean([d / t.sum() for d, t in zip(area, truth, strict=True)])
    )
    assert values["area_mm2"] == pytest.approx(np.mean(area) * 0.2**2)
    assert values["longest_diameter"] == pytest.approx(
        np.mean([d / longest(t) for d, t in zip(size, truth, strict=True)])
    )
    assert values["longest_diameter_mm"] == pytest.approx(np.mean(size) * 0.2)
    first, second = study.rows(study.first), study.rows(study.second)
    hd95 = [(b.hd95_px or 0) - (a.hd95_px or 0) for a, b in zip(first, second, strict=True)]
    assert values["hd95"] == pytest.approx(np.mean(hd95) / DIAGONAL)


def test_missed_lesions_and_false_masks_are_counted() -> None:
    """A lesion that the reference did not find either is no loss; a mended normal pays back."""
    study = Study.draw(lesions=40, normals=20)
    study.second[3] = box(0, 0)
    study.second[7] = box(4, 4, x=60, y=50)  # beside the lesion
    study.first[9] = study.second[9] = box(0, 0)
    for normal in (41, 45, 50):
        study.second[normal] = box(3, 3)
    study.first[52] = box(3, 3)
    verdicts = study.verdicts()
    missed, false = verdicts["missed_lesions"], verdicts["false_masks"]
    assert (missed.gate.value, missed.gate.n) == (pytest.approx(2 / 39), 39)
    assert [w.id for w in missed.worst] == ["i3", "i7"]
    assert (false.gate.value, false.gate.n) == (pytest.approx((3 - 1) / 20), 20)
    assert [w.id for w in false.worst] == ["i41", "i45", "i50"]
    assert missed.gate.failed
    assert not false.gate.failed


@pytest.mark.parametrize("name", ["dice_lower_bound", "dice_mean_drop", "area", "missed_lesions"])
def test_a_value_at_its_limit_passes_and_beyond_it_fails(name: str) -> None:
    """Limits belong to what is allowed."""
    study = Study.draw(lesions=40, normals=0, seed=3)
    study.second[0] = box(0, 0)
    if name == "area":
        study.second[1] = box(60, 50)
    value = study.verdicts()[name].gate.value
    assert value is not None
    assert value != 0
    for limit, fails in ((value, False), (0.99 * value, True)):
        verdict = study.verdicts(GateSettings.model_validate({name: limit}))[name]
        assert verdict.gate.failed is fails


def test_equal_models_pass_with_no_worst_image() -> None:
    """A model compared with itself is no worse anywhere."""
    study = Study.draw(lesions=75, normals=20)
    study.second = study.first
    for name, verdict in study.verdicts().items():
        assert verdict.gate.judged, name
        assert not verdict.gate.failed
        assert verdict.gate.value == 0
        assert verdict.worst == []


def test_too_few_images_are_not_judged_and_say_so() -> None:
    """Few lesions, no normals, no spacing, one group: each has its reason and never fails."""
    study = Study.draw(lesions=8, normals=0)
    study.second = [box(0, 0)] * 8
    verdicts = study.verdicts(spacing_mm=None)
    assert not any(verdict.gate.judged or verdict.gate.failed for verdict in verdicts.values())
    assert verdicts["dice_mean_drop"].gate.reason == "8 lesion images, at least 20 are needed"
    assert verdicts["dice_mean_drop"].gate.value is not None
    assert verdicts["false_masks"].gate.value is None
    assert "known spacing" in verdicts["longest_diameter_mm"].gate.reason
    many = Study.draw(lesions=30, normals=0)
    one = many.verdicts(group="patient")["dice_lower_bound"].gate
    assert not one.judged
    assert "one group" in one.reason


def test_a_failed_gate_names_value_limit_and_images() -> None:
    """The error is one sentence with every gate that failed."""
    study = Study.draw(lesions=40, normals=0)
    study.second[3] = study.second[4] = box(0, 0)
    verdicts = study.verdicts()
    with pytest.raises(
        AccuracyGateError, match=r"on 40 images, but .*missed_lesions is 0\.0500"
    ) as e:
        check_gates(verdicts, "40 images", "do something.")
    assert e.value.exit_code == 4
    assert "at most 0.02, worst: i3, i4" in str(e.value)
    check_gates({"false_masks": verdicts["false_masks"]}, "", "")  # not judged: no error
    assert gates_table(verdicts, "40 images").row_count == len(verdicts)


def test_rows_of_other_images_are_refused() -> None:
    """Pairs must be of one image each."""
    study = Study.draw(lesions=4, normals=0)
    rows = study.rows(study.first)
    with pytest.raises(ValueError, match="same images"):
        compare_rows(rows, rows[::-1], GateSettings())


class Drawn:
    """A stand-in for a segmenter: it finds the left half, and at times nothing."""

    threshold = 0.5

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen = 0

    def predict(self, frame: NDArray[np.uint8]) -> Prediction:
        """Return every frame's left half; each ``every``-th time nothing."""
        self.seen += 1
        probability = np.zeros(frame.shape, np.float32)
        if not self.every or self.seen % self.every:
            probability[:, : frame.shape[1] // 2] = 0.5
        return Prediction(probability, presence=0.0)


def test_flicker_counts_changes_of_the_deployed_model_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mask that vanishes every fourth frame changes wholly twice each time."""
    from edge_bts.data import phantom

    def loop(_seed: int, _category: str, frames: int, _motion: str, **_: int) -> list[Any]:
        image = np.zeros((64, 64), np.uint8)
        mask = np.zeros_like(image)
        mask[:, :32] = 1
        return [type("Frame", (), {"image": image, "mask": mask})] * frames

    monkeypatch.setattr(phantom, "simulate_cine", loop)
    limits = GateSettings(cine_loops=1, cine_frames=17)
    verdict = excess_flicker(Drawn(0), Drawn(4), limits)  # type: ignore[arg-type]
    # Frames 4, 8, 12 and 16 of 17 are empty: each change to and from it is 1, of 16 pairs.
    assert verdict.gate.value == pytest.approx(8 / 16)
    assert verdict.gate.failed
    assert verdict.worst[0].id == "benign breathing 0, frame 3"
    steady = excess_flicker(Drawn(4), Drawn(4), limits)  # type: ignore[arg-type]
    assert steady.gate.value == 0
    blind = excess_flicker(Drawn(1), Drawn(1), limits)  # type: ignore[arg-type]
    assert not blind.gate.judged
    assert "0 pairs" in blind.gate.reason


def test_threshold_shift_is_a_distance() -> None:
    """Up or down by more than the limit fails; where none was chosen nothing is judged."""
    limits = GateSettings(threshold_shift=0.2)
    for chosen, fails in (((0.5, 0.3), False), ((0.5, 0.7), False), ((0.5, 0.25), True)):
        verdict = threshold_shift(chosen, limits)
        assert verdict.gate.value == pytest.approx(abs(chosen[0] - chosen[1]))
        # 0.7 - 0.5 is a hair below 0.2 in binary, 0.5 - 0.3 exactly 0.2.
        assert verdict.gate.failed is fails
    assert not threshold_shift(None, limits).gate.judged


def test_gates_of_a_bundle_are_stored_and_can_be_run_again(bundle: Any, workshop: Any) -> None:
    """The export's own images give the same verdicts from the bundle alone; limits come along."""
    import json

    from edge_bts.data import make_split, open_dataset, select
    from edge_bts.evaluate import score_samples
    from edge_bts.export.gates import gate_bundle
    from edge_bts.runtime import open_network

    dataset = open_dataset(workshop.data)
    val = select(dataset, make_split(dataset, seed=0), "val")
    limits = limits_of(bundle, {})
    assert (limits.min_images, limits.cine_frames) == (2, 4)
    segmenter = open_network(bundle, backend="openvino", threads=1)
    rows = score_samples(segmenter, val)
    verdicts = gate_bundle(bundle, segmenter, rows, val, limits)
    stored = json.loads(bundle.read("report.json"))["gates"]
    assert stored["on"] == f"{len(val)} images of discs, val part"
    assert {k: v.model_dump() for k, v in verdicts.items()} == stored["verdicts"]
    for name, verdict in verdicts.items():
        assert bundle.manifest.gates[name] == verdict.gate
    assert bundle.manifest.gates["dice_mean_drop"].judged
    assert not bundle.manifest.gates["false_masks"].judged
    card = bundle.read("MODEL_CARD.md").decode()
    assert "| false_masks |  | at most 0.1 | 0 | not judged: 0 images without a lesion" in card
    with pytest.raises(InputError, match="no_such"):
        limits_of(bundle, {"export": {"gates": {"no_such": 1}}})


def test_a_float_model_has_no_other_to_be_judged_against(bundle: Any) -> None:
    """--gates with the reference itself is refused."""
    from edge_bts.export.gates import gate_bundle
    from edge_bts.runtime import open_network

    segmenter = open_network(bundle, backend="openvino", precision="fp32", threads=1)
    with pytest.raises(InputError, match="int8 or fp16 model"):
        gate_bundle(bundle, segmenter, [], [], GateSettings())


def test_eval_gates_exits_with_4_after_the_report_is_written(
    bundle: Any, workshop: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``eval --gates`` reports every gate; a limit that cannot be kept is an accuracy failure."""
    import json

    import typer
    from typer.testing import CliRunner

    from edge_bts.cli import _eval

    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.callback()(lambda: None)
    _eval.register(app)
    asked = ["eval", str(bundle.path), "--data", str(workshop.data), "--gates", "--part", "all"]
    asked += ["--allow-unsigned", "--threads", "1", "--limit", "6", "-o"]
    fine = CliRunner().invoke(app, [*asked, str(tmp_path / "a.json")])
    assert fine.exit_code == 0, fine.output
    assert "dice_lower_bound" in fine.output
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["gates"]["dice_mean_drop"]["n"] == 6
    strict = ["--set", "export.gates.min_images=7"]
    few = CliRunner().invoke(app, [*asked, str(tmp_path / "b.json"), *strict])
    assert few.exit_code == 0
    assert "6 lesion images, at least 7 are needed" in few.output
    monkeypatch.setattr(
        "edge_bts.export.gates.run_gates",
        lambda *_, **__: {"area": Verdict(gate=Gate(value=1.0, at_most=0.5, n=6))},
    )
    failed = CliRunner().invoke(app, [*asked, str(tmp_path / "c.json")])
    assert isinstance(failed.exception, AccuracyGateError)
    assert json.loads((tmp_path / "c.json").read_text())["gates"]["area"]["value"] == 1.0
    for flags in (["--threshold", "0.5"], ["--precision", "fp32"]):
        refused = CliRunner().invoke(app, [*asked, str(tmp_path / "d.json"), *flags])
        assert isinstance(refused.exception, InputError)


def test_no_images_leave_only_the_loops(bundle: Any) -> None:
    """Without data every gate of images is not judged, with its reason."""
    from edge_bts.runtime import open_network

    segmenter = open_network(bundle, backend="openvino", threads=1)
    verdicts = run_gates(segmenter, segmenter, [], GateSettings(cine_loops=0))
    assert not any(verdict.gate.judged for verdict in verdicts.values())
