from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_bts.benchmarks.interleave import plan_rounds
from edge_bts.benchmarks.result import latency, load_result, ratio
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.benchmarks.worker import steady
from edge_bts.errors import InputError


def test_percentiles_are_those_of_numpy() -> None:
    """Nothing is clipped: the tail that came is the tail that is reported."""
    samples = np.random.default_rng(0).gamma(2.0, 3.0, 1000)
    samples[17] = 500.0
    summary = latency(list(samples))
    assert summary.frames == 1000
    assert summary.mean == pytest.approx(samples.mean())
    for share, value in ((50, summary.p50), (90, summary.p90), (95, summary.p95)):
        assert value == pytest.approx(np.percentile(samples, share))
    assert summary.p99 == pytest.approx(np.percentile(samples, 99))
    assert summary.p999 == pytest.approx(np.percentile(samples, 99.9))
    assert summary.max == 500.0


@pytest.mark.parametrize(
    ("frames", "known"), [(9, 0), (10, 1), (20, 2), (99, 2), (100, 3), (999, 3), (1000, 4)]
)
def test_percentiles_need_enough_frames(frames: int, known: int) -> None:
    """A percentile is given from the count on at which one frame lies above it."""
    summary = latency([float(n) for n in range(frames)])
    tail = (summary.p90, summary.p95, summary.p99, summary.p999)
    assert [value is not None for value in tail] == [True] * known + [False] * (4 - known)


def test_no_frame_is_an_error() -> None:
    """An empty measurement has no summary."""
    with pytest.raises(InputError, match="at least one measured frame"):
        latency([])


def test_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down in one round slows both rows, and the ratio stands."""
    reference = [1.0, 1.0, 3.0, 1.0]
    row = [10.0, 11.0, 30.0, 9.0]
    found = ratio(row, reference)
    assert found.median == pytest.approx(10.0)
    assert (found.low, found.high, found.rounds) == (9.0, 11.0, 4)


def test_rounds_spread_every_row() -> None:
    """Slow rows take three frames a turn, quick rows as many as they need to be done together."""
    settings = BenchSettings()
    plan = plan_rounds({"teacher": 1700.0, "student": 5.0}, settings)
    assert plan.frames["teacher"] == 3
    # Also if it is a fifth quicker than it was while it warmed up.
    assert plan.rounds * plan.frames["teacher"] * 0.8 * 1.7 >= settings.seconds
    assert plan.rounds * plan.frames["student"] >= settings.frames
    assert plan.lead == {"teacher": 0, "student": 5}
    shortest = plan_rounds({"a": 5000.0}, BenchSettings(seconds=1.0))
    assert (shortest.rounds, shortest.frames["a"]) == (3, 1)


def test_steady_compares_the_last_thirds() -> None:
    """Falling times are not steady; level ones with an outlier are."""
    assert not steady([1.0, 1.0])
    assert not steady([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert steady([50.0, 9.0, 5.0, 5.0, 5.1, 5.0, 5.0, 99.0, 5.0])


def test_other_files_are_no_results(tmp_path: Path) -> None:
    """A missing file, no JSON and another schema are each named."""
    with pytest.raises(InputError, match="No such file"):
        load_result(tmp_path / "absent.json")
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"Expected .* benchmark result"):
        load_result(path)
    path.write_text("no json")
    with pytest.raises(InputError, match="JSON"):
        load_result(path)
