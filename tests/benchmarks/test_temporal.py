"""The temporal evaluation on loops whose figures can be worked out by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_bts.benchmarks import temporal
from edge_bts.benchmarks.temporal import Loop, Seen, choose_keep, figures, pan, phantom, trace
from edge_bts.data import Sample
from edge_bts.metrics.temporal import Trace
from edge_bts.runtime import Prediction


class Bright:
    """A network in place of ours: probability is brightness, presence the brightest pixel."""

    threshold = 0.5
    presence_threshold = 0.8

    def predict(self, frame: np.ndarray, /) -> Prediction:
        probability = frame.astype(np.float32) / 255
        return Prediction(probability, float(probability.max()))


def sample(folder: Path, image: np.ndarray, mask: np.ndarray, name: str = "one") -> Sample:
    """An image on disk."""
    paths = folder / f"{name}.png", folder / f"{name}_mask.png"
    cv2.imwrite(str(paths[0]), image)
    cv2.imwrite(str(paths[1]), mask * 255)
    masks = (paths[1],) if mask.any() else ()
    return Sample(name, name, "benign" if masks else "normal", paths[0], masks)


def lesion(side: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """A dark image of 100 x 150 with a bright square."""
    mask = np.zeros((100, 150), np.uint8)
    mask[40 : 40 + side, 60 : 60 + side] = 1
    return np.where(mask, 230, 40).astype(np.uint8), mask


def test_a_pan_moves_a_window_and_keeps_the_lesion_inside(tmp_path: Path) -> None:
    """Every frame is a window of the image with the whole lesion, and motions are the window's."""
    image, mask = lesion()
    loop = pan(sample(tmp_path, image, mask), 12, seed=3)
    assert loop is not None
    assert loop.lesion
    assert {frame.shape for frame in loop.frames} == {(80, 120)}
    corners = []
    for frame, truth in zip(loop.frames, loop.masks, strict=True):
        assert truth.sum() == mask.sum()
        top, left = np.argwhere(truth)[0]
        corner = (60 - left, 40 - top)
        window = image[corner[1] : corner[1] + 80, corner[0] : corner[0] + 120]
        assert np.abs(frame.astype(int) - window).max() <= 12  # six standard deviations of noise
        assert (frame != window).any()
        corners.append(corner)
    went = [(a[0] - b[0], a[1] - b[1]) for a, b in pairwise(corners)]
    assert loop.motions == went
    assert len(set(corners)) > 6


def test_a_lesion_that_fills_the_window_has_no_pan(tmp_path: Path) -> None:
    """Where a window cannot move without cutting the lesion there is no loop."""
    mask = np.ones((100, 150), np.uint8)
    assert pan(sample(tmp_path, np.full_like(mask, 200), mask), 12, seed=0) is None


def test_a_pan_of_a_clear_image_is_perfectly_calm(tmp_path: Path) -> None:
    """A model that finds the square in every frame has no flicker: the known motion is out."""
    loop = pan(sample(tmp_path, *lesion()), 12, seed=0)
    assert loop is not None
    seen = trace(Bright(), loop)
    assert seen.trace.change.tolist() == [0.0] * 11
    said = figures([seen], 0.8, None, 30.0)
    assert (said["flicker"], said["toggles_per_minute"], said["area_jitter"]) == (0.0, 0.0, 0.0)
    assert said["frames_shown"] == 1.0
    assert said["flicker_interval"] == [None, None]  # one group tells no spread


@pytest.mark.parametrize("number", range(5))
def test_phantoms_move_as_they_say(number: int) -> None:
    """With the motion taken out the true masks change less than without it, or there is none."""
    loop = phantom(number, 4)
    with_motion = trace(Bright(), loop).truth.change
    still = trace(Bright(), Loop(**{**vars(loop), "motions": [(0, 0)] * 3})).truth.change
    assert loop.lesion == any(mask.any() for mask in loop.masks)
    if loop.kind == "breathing":
        assert with_motion.mean() < still.mean()
    else:
        assert loop.motions == [(0, 0)] * 3


def seen(presence: list[float], *, is_lesion: bool, group: str = "a") -> Seen:
    """A loop with these scores, a mask of 10 pixels that never changes."""
    count = len(presence)
    stays = Trace(np.array(presence), np.full(count, 10), np.zeros(count - 1))
    true = np.full(count, float(is_lesion))
    truth = Trace(true, np.full(count, 10 * is_lesion), np.zeros(count - 1))
    return Seen("pan", "one", group, is_lesion, stays, truth)


def test_figures_are_those_worked_out_by_hand() -> None:
    """Two loops of 4 frames at 30 fps: 3 toggles in 6 steps are 900 a minute; flicker 1 and 0."""
    blinks = seen([0.9, 0.7, 0.9, 0.7], is_lesion=True)
    calm = seen([0.9, 0.9, 0.9, 0.9], is_lesion=True, group="b")
    said = figures([blinks, calm], 0.8, None, 30.0)
    assert said["toggles_per_minute"] == pytest.approx(3 / (6 / 30) * 60)
    assert said["flicker"] == 0.5
    assert said["frames_shown"] == 6 / 8
    assert said["flicker_of_truth"] == said["toggles_per_minute_of_truth"] == 0.0
    assert said["area_jitter"] == 0.0  # of the calm one: the other never shows three in a row
    low, high = said["flicker_interval"]
    assert low == 0.0
    assert high == 1.0
    assert figures([blinks, calm], 0.8, 0.7, 30.0)["toggles_per_minute"] == 0.0
    nothing = figures([seen([0.1, 0.1, 0.1], is_lesion=False)], 0.8, None, 30.0)
    assert nothing["flicker"] is None
    assert nothing["toggles_per_minute"] == 0.0


def test_the_hysteresis_is_the_calmest_that_normals_allow() -> None:
    """A lesion blinks between 0.9 and 0.62; normals sink from 0.9 to 0.5, shown for ever below it.

    Thresholds go by 0.04 from 0.8: 0.6 is the first that holds the lesion, and 0.48 the first that
    also holds the normals' last frame.
    """
    lesions = seen([0.9, 0.62] * 4, is_lesion=True)
    normals = seen([0.9, 0.75, 0.7, 0.66, 0.55, 0.5, 0.5, 0.5], is_lesion=False)
    free = choose_keep([lesions, normals], 0.8, 30.0, cost=1.0)
    assert free.keep == pytest.approx(0.48)  # then not even the normal toggles
    strict = choose_keep([lesions, normals], 0.8, 30.0, cost=0.0)
    assert strict.keep == pytest.approx(0.8)
    some = choose_keep([lesions, normals], 0.8, 30.0, cost=3 / 8)
    assert some.keep == pytest.approx(0.6)
    assert [row["keep"] for row in some.tried][:2] == pytest.approx([0.8, 0.76])
    rows = {round(row["keep"] or 0, 2): row for row in some.tried}
    assert rows[0.6]["normal_frames_shown"] == 4 / 8
    assert rows[0.6]["toggles_per_minute"] == pytest.approx(1 / (14 / 30) * 60)
    assert choose_keep([lesions], 0.8, 30.0, cost=0.0).keep == pytest.approx(0.6)


def test_measure_table_and_plot_hang_together(tmp_path: Path) -> None:
    """A run over images and phantoms gives a report for JSON, a row a part, and a picture."""
    image, mask = lesion()
    none = np.zeros_like(mask)
    samples = [sample(tmp_path, image, mask), sample(tmp_path, image // 2, none, "two")]
    found = temporal.measure(
        {"int8": Bright(), "fp32": Bright()}, samples, samples, frames=4, fps=30.0, phantoms=5,
        cost=0.01, seed=0,
    )  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    parts = found["models"]["int8"]["parts"]
    assert list(parts) == ["pans of lesions", "pans of normals", "phantom sweeps",
                           "phantoms breathing", "phantom normals"]  # fmt: skip
    assert parts["pans of lesions"]["alone"]["frames_shown"] == 1.0
    assert parts["pans of normals"]["alone"]["frames_shown"] == 0.0
    differences = found["flicker_difference"]
    assert differences["int8 - fp32, pans of lesions"]["mean"] == 0.0
    assert differences["int8 - fp32, pans of normals"] is None
    rows = temporal.table(found).splitlines()
    assert len(rows) == 2 + 2 * len(parts)
    pytest.importorskip("matplotlib")
    temporal.plot(found, tmp_path / "plot.png")
    assert cv2.imread(str(tmp_path / "plot.png")) is not None


@pytest.mark.slow
@pytest.mark.realdata
def test_a_released_bundle_is_measured_by_the_command(
    repository: Path, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command in the docs runs on a few images, and says what hysteresis it chose."""
    models = repository / "models"
    temporal.main([
        str(models / "busi-default.ebts"), "--trust", str(models / "release.pub"), "--data",
        str(real_data / "Dataset_BUSI_with_GT"), "--limit", "2", "--frames", "3", "--phantoms", "0",
        "-o", str(tmp_path / "t.json"),
    ])  # fmt: skip
    said = json.loads((tmp_path / "t.json").read_text())
    assert set(said["models"]) == {"int8", "fp32"}
    assert "int8: presence_keep" in capsys.readouterr().out
