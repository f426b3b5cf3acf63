"""The page, the table, the schema and the comparison of benchmarks, from results made by hand."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_tags import Tags

from edge_bts.benchmarks.charts import dice_chart, stage_chart, tail_chart
from edge_bts.benchmarks.compare import compare_results, render_comparison
from edge_bts.benchmarks.complexity import Complexity, Layer
from edge_bts.benchmarks.device import Device, State
from edge_bts.benchmarks.page import render_page
from edge_bts.benchmarks.report import markdown
from edge_bts.benchmarks.result import (
    BenchResult,
    Dice,
    Energy,
    Loaded,
    Machine,
    Row,
    Skipped,
    Subject,
    Throughput,
    deadline,
    latency,
    load_result,
    ratio,
    result_schema,
    write_result,
)
from edge_bts.benchmarks.roofline import Peaks, floor
from edge_bts.benchmarks.settings import BenchSettings, RegressSettings
from edge_bts.cli import main
from edge_bts.errors import InputError, MeasurementError

EVIL = "<script>alert('&')</script>"


def row(label: str, median: float, *, seed: int = 0, **fields: Any) -> Row:
    """A row of 700 frames in ten rounds, around a median."""
    who, _, rest = label.partition(", ")
    backend, precision = rest.split()
    random = np.random.default_rng(seed)
    engine = (median * random.lognormal(0, 0.05, 700) * 1e3).round().astype(int)
    frame = engine + 1500
    times = {
        "engine": engine.tolist(),
        "frame": frame.tolist(),
        "preprocess": [500] * 700,
        "postprocess": [1000] * 700,
    }
    parts = {name: latency([v / 1e3 for v in values]) for name, values in times.items()}
    medians = {
        name: np.median(np.reshape(times[name], (10, 70)), axis=1) / 1e3
        for name in ("engine", "frame")
    }
    whole: dict[str, Any] = {
        "label": label,
        "who": who,
        "role": "teacher" if who.startswith("teacher") else "student",
        "network": who,
        "trained": True,
        "backend": backend,
        "backend_version": "1.0",
        "precision": precision,
        "threads": 1,
        "imgsz": 256,
        "file_bytes": 1_500_000,
        "peak_rss_bytes": 150_000_000,
        "idle_rss_bytes": 90_000_000,
        "peak_device_bytes": None,
        "cold_start_ms": 800.0,
        "load_ms": 120.0,
        "first_ms": 9.0,
        "warmup_frames": 300,
        "steady": True,
        "engine": parts["engine"],
        "frame": parts["frame"],
        "stages": {name: parts[name] for name in ("preprocess", "postprocess")},
        "fps": 1e3 / parts["frame"].mean,
        "deadline": None,
        "after_idle": None,
        "loaded": None,
        "throughput": None,
        "floor": None,
        "energy": None,
        "dice": None,
        "rounds_engine_p50_ms": medians["engine"].tolist(),
        "rounds_frame_p50_ms": medians["frame"].tolist(),
        "engine_ratio": None,
        "frame_ratio": None,
        "times_us": times,
        "details": {},
        "reasons": [],
    }
    return Row(**{**whole, **fields})


def result(*rows: Row, **fields: Any) -> BenchResult:
    """A VALID result of rows on a machine."""
    whole: dict[str, Any] = {
        "edge_bts_version": "0.1.0",
        "date": "2026-01-02T03:04:05+00:00",
        "command": ["edge-bts", "bench", "x.ebts"],
        "subjects": [Subject(name="x.ebts", sha256="0" * 64)],
        "frames": "4 phantom frames",
        "settings": BenchSettings(),
        "machine": Machine(
            cpu="Some CPU",
            logical_cores=2,
            memory_bytes=8 << 30,
            system="Linux",
            python="3.11",
            versions={"openvino": "1.0"},
            environment={},
            load_average_before=[0.0, 0.0, 0.0],
            load_average_after=[1.0, 0.5, 0.2],
            foreign_load=0.01,
        ),
        "networks": {},
        "reference": rows[0].label,
        "rows": list(rows),
        "skipped": [],
        "verdict": "VALID",
        "reasons": [],
    }
    return BenchResult(**{**whole, **fields})


@pytest.fixture
def rich_result() -> BenchResult:
    """A result with every quantity: deadline, gap, load, streams, floor, energy, Dice, device."""
    peaks = Peaks(gmacs={"int8": 200.0, "fp32": 60.0}, gbytes=10.0)
    layer = Layer(name="stem", kind="conv 3x3", macs=536_000_000, parameters=9, output=[1, 8, 9, 9])
    cost = Complexity(parameters=10, macs=536_000_000, layers=[layer], activation_bytes=9_000_000)
    student = row(
        "student, openvino int8",
        5.0,
        deadline=deadline([5.0, 40.0], [0, 3], 33.0),
        after_idle=latency([9.0, 8.0]),
        loaded=Loaded(
            processes=2,
            engine=latency([9.0] * 3),
            frame=latency([11.0] * 3),
            deadline=deadline([11.0], [0], 33.0),
            ratio=ratio([11.0, 12.0], [5.5, 6.0]),
        ),
        throughput=Throughput(streams=2, fps=300.0),
        floor=floor(peaks, "int8", cost.macs, 1_500_000, 5.0),
        energy=Energy(joules=0.0254, of="RAPL: CPU package"),
        dice=Dice(value=0.78, low=0.73, high=0.83, images=129, dataset="BUSI", part="test"),
    )
    teacher = row(
        "teacher, openvino fp32",
        900.0,
        seed=1,
        dice=Dice(value=0.80, low=0.75, high=0.84, images=129, dataset="BUSI", part="test"),
    )
    states = [
        State(at_s=float(n), row="student", cpu_mhz=3000.0 + n, temperature_c=50.0, power_w=9.0)
        for n in range(9)
    ]
    return result(
        student,
        teacher,
        row("student, torch fp32", 30.0, seed=2, trained=False),
        networks={"student": cost},
        peaks=peaks,
        states=states,
        overhead_us=1.2,
        settings=BenchSettings(fps=30, idle_ms=1000, co_load=2, streams=2),
        skipped=[Skipped(label="teacher, int8", reason="export it")],
    )


def test_schema_is_the_published_one(repository: Path) -> None:
    """The file beside the code is what the code makes; a change of one is a change of both."""
    published = json.loads((repository / "benchmarks/result.schema.json").read_text())
    assert published == json.loads(json.dumps(result_schema()))


def test_results_follow_the_schema(rich_result: BenchResult, tmp_path: Path) -> None:
    """A validator that knows nothing of us accepts what is written, not what has no rows."""
    jsonschema = pytest.importorskip("jsonschema")
    write_result(tmp_path / "result.json", rich_result)
    content = json.loads((tmp_path / "result.json").read_text())
    jsonschema.Draft202012Validator.check_schema(result_schema())
    jsonschema.validate(content, result_schema())
    del content["rows"]
    with pytest.raises(jsonschema.ValidationError, match="rows"):
        jsonschema.validate(content, result_schema())
    assert load_result(tmp_path / "result.json") == rich_result


def test_percentiles_are_those_of_the_recorded_times(rich_result: BenchResult) -> None:
    """NumPy computes every percentile of a row again from the microseconds beside it."""
    for found in rich_result.rows:
        for name, summary in (("engine", found.engine), ("frame", found.frame)):
            times = np.array(found.times_us[name]) / 1e3
            given = [summary.p50, summary.p90, summary.p95, summary.p99]
            assert given == pytest.approx(np.percentile(times, (50, 90, 95, 99)).tolist())
            assert summary.p999 is None
            assert summary.max == times.max()


def test_page_stands_alone(rich_result: BenchResult) -> None:
    """No script, no address, and a policy that forbids the rest."""
    page = render_page(rich_result)
    tags = Tags(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "link", "iframe", "object", "img", "a"}
    assert "url(" not in page
    assert any("default-src 'none'" in (a.get("content") or "") for _, a in tags.found)
    assert render_page(rich_result) == page


def test_page_shows_every_quantity(rich_result: BenchResult) -> None:
    """Figures, conditions, plots and definitions; wide tables take the keyboard."""
    page = render_page(rich_result)
    text = " ".join(Tags(page).text.split())
    for words in (
        *("VALID", "Some CPU", "30 frames/s", "deadline 33.3 ms", "Roofline", "Dice and speed"),
        *("CPU clock", "Temperature", "Power", "Beside 2 processes", "Layer by layer", "stem"),
        *("1.072·10⁹ FLOPs", "25.4 mJ", "0.780", "4/5 (4)", "export it", "0000000000"),
        *("edge-bts bench x.ebts", "the harness adds 1.2 us", "How the figures are defined"),
    ):
        assert words in text, words
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert page.count('class="wide" tabindex="0"') == page.count('class="wide"')
    plots = re.findall(r'<svg class="plot".*?</svg>', page, re.DOTALL)
    assert len(plots) >= 9
    assert all(ET.fromstring(plot).attrib["aria-label"] for plot in plots)


def test_unknown_is_said(rich_result: BenchResult) -> None:
    """A machine that shows no clock, heat or power has no such plot, and no zero."""
    bare = result(row("student, openvino int8", 5.0), machine=rich_result.machine)
    text = " ".join(Tags(render_page(bare)).text.split())
    assert "Unknown on this device: CPU clock, Temperature, Power, Roofline." in text
    assert "governor unknown" in text
    assert "energy unknown" in text
    assert "energy unknown" in markdown(bare)


def test_verdict_and_reasons_are_on_the_page() -> None:
    """INVALID is said first, with every reason."""
    bad = result(
        row("student, openvino int8", 5.0),
        verdict="INVALID",
        reasons=["other processes used 40% of the machine", "throttled: power cap"],
    )
    text = " ".join(Tags(render_page(bad)).text.split())
    assert text.index("INVALID") < text.index("All rows")
    assert "throttled: power cap" in text
    assert "throttled: power cap." in markdown(bad)


def test_names_cannot_break_the_page() -> None:
    """Labels, files and reasons are text, whatever they hold."""
    plain = row("student, openvino int8", 5.0)
    evil = plain.model_copy(update={"label": EVIL, "who": EVIL, "network": EVIL})
    page = render_page(
        result(
            evil,
            subjects=[Subject(name=EVIL, sha256=EVIL, doubt=EVIL)],
            networks={EVIL: Complexity(parameters=1, macs=1)},
            command=[EVIL],
            skipped=[Skipped(label=EVIL, reason=EVIL)],
            verdict="INVALID",
            reasons=[EVIL],
        )
    )
    assert "script" not in {tag for tag, _ in Tags(page).found}


def test_tail_is_the_distribution(rich_result: BenchResult) -> None:
    """Each curve falls from all frames to one of them, and its points lie at their times."""
    student = rich_result.rows[0]
    svg = tail_chart([student])
    (path,) = re.findall(r'class="curve one" d="M([^"]+)"', svg)
    points = np.array([pair.split() for pair in path.split("L")], float)
    assert np.all(np.diff(points[:, 0]) >= -0.11)
    assert np.all(np.diff(points[:, 1]) >= -0.11)  # down the page is fewer frames
    times = np.sort(student.times_us["frame"])
    shares = 1 - np.arange(len(times)) / len(times)
    first, last = (np.log(times[0]), np.log(shares[0])), (np.log(times[-1]), np.log(shares[-1]))
    scale = (points[-1] - points[0]) / (np.array(last) - np.array(first))
    assert scale[0] > 0 > scale[1]


def test_no_bar_is_a_sliver(rich_result: BenchResult) -> None:
    """Rows of 900 ms and of 5 ms have panels of their own, each with a bar over the whole width."""
    quick, slow, torch = rich_result.rows
    chart = stage_chart([quick, slow, torch, row("student, native int8", 4.0)])
    plots = re.findall(r'<svg class="plot".*?</svg>', chart)
    assert [plot.count('class="note"') for plot in plots] == [1, 3]
    assert "scale of its own" in chart
    assert "scale of its own" not in stage_chart([quick, torch])
    for plot in plots:
        bars = [e.attrib for e in ET.fromstring(plot).iter("rect")]
        assert max(float(bar["x"]) + float(bar["width"]) for bar in bars) > 380


def test_numbers_of_the_dice_chart_do_not_meet() -> None:
    """Points that lie together have numbers apart, and the list says which row each is."""
    dice = Dice(value=0.78, low=0.73, high=0.83, images=129, dataset="BUSI", part="test")
    names = ("a, native int8", "b, openvino int8", "c, onnxruntime int8", "d, torch fp32")
    medians = (5.0, 5.1, 5.2, 30.0)
    rows = [row(n, m, dice=dice) for n, m in zip(names, medians, strict=True)]
    chart = dice_chart(result(*rows))
    plot = chart.partition("<ol")[0]
    notes = [e for e in ET.fromstring(plot).iter("text") if e.attrib["class"] == "note"]
    assert [note.text for note in notes] == ["1", "2", "3", "4"]
    places = [(float(note.attrib["x"]), float(note.attrib["y"])) for note in notes]
    for index, (x, y) in enumerate(places):
        assert all(abs(x - a) >= 14 or abs(y - b) >= 12 for a, b in places[:index])
    listed = re.findall(r"<li>(.*?): ", chart)
    assert listed == list(names)


def test_markdown_is_a_table(rich_result: BenchResult) -> None:
    """As many cells in every line, the deployed row bold, conditions and command below."""
    text = markdown(rich_result)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "| **student, openvino int8** |" in text
    assert "`edge-bts bench x.ebts`" in text


def test_the_same_benchmark_has_no_regression() -> None:
    """Of a result with itself the quotient is 1, inside its interval."""
    one = result(row("student, openvino int8", 5.0))
    found = compare_results(one, one, gate=True)
    assert found.regressions == []
    (change,) = found.rows
    assert change.engine.value == 1
    assert change.engine.low <= 1 <= change.engine.high


def test_slower_larger_and_later_are_worse() -> None:
    """A median whose interval is above the tolerance, memory, and misses beyond the old bound."""
    before = result(
        row("student, openvino int8", 5.0, deadline=deadline([1.0] * 900, [0] * 900, 9))
    )
    late = deadline([1.0] * 800 + [20.0] * 100, [0] * 900, 9)
    slow = row("student, openvino int8", 6.0, seed=3, deadline=late, peak_rss_bytes=200_000_000)
    found = compare_results(before, result(slow))
    (change,) = found.rows
    assert change.engine.value == pytest.approx(1.2, rel=0.02)
    assert change.engine.low < change.engine.value < change.engine.high
    assert len(change.worse) == 4
    assert "engine 1.2" in found.regressions[0]
    assert any("more misses" in text for text in found.regressions)
    assert compare_results(result(slow), before).regressions == []
    borne = RegressSettings(engine=0.9, frame=0.9, memory=0.9)
    assert compare_results(before, result(slow), shares=borne).regressions == [
        "student, openvino int8: more misses"
    ]
    larger = row("student, openvino int8", 5.0, file_bytes=1_600_000)
    (worse,) = compare_results(
        result(row("student, openvino int8", 5.0)), result(larger)
    ).regressions
    assert worse == "student, openvino int8: file 1.07 times as much, where 1.05 is borne"


@pytest.mark.parametrize(
    "changed", [{"threads": 2}, {"fps": 30.0}, {"idle_ms": 10.0}, {"width": 640}, {"co_load": 1}]
)
def test_unlike_protocols_are_refused(changed: dict[str, Any]) -> None:
    """What was not measured alike is not compared, and the error names the difference."""
    rows = row("student, openvino int8", 5.0)
    with pytest.raises(InputError, match="of one protocol"):
        compare_results(result(rows), result(rows, settings=BenchSettings(**changed)))


def test_unlike_machines_are_labelled_and_refused_by_a_gate() -> None:
    """Versions and machines are named; a gate does not decide between machines."""
    rows = row("student, openvino int8", 5.0)
    one = result(rows)
    other = one.machine.model_copy(
        update={
            "cpu": "Another CPU",
            "versions": {"openvino": "2.0"},
            "device": Device(power_mode="15W"),
        }
    )
    two = result(rows, machine=other)
    assert compare_results(one, two).unlike == [
        *("cpu: Some CPU, then Another CPU", "power mode: None, then 15W"),
        "openvino: 1.0, then 2.0",
    ]
    with pytest.raises(InputError, match="of one machine"):
        compare_results(one, two, gate=True)
    with pytest.raises(MeasurementError, match="second is QUICK"):
        compare_results(one, result(rows, verdict="QUICK"), gate=True)
    with pytest.raises(InputError, match="rows that both"):
        compare_results(one, result(row("other, torch fp32", 5.0)))


def test_a_row_that_is_gone_is_worse() -> None:
    """What can no longer be measured does not pass a gate by its absence."""
    kept, gone = row("student, openvino int8", 5.0), row("student, torch fp32", 30.0)
    found = compare_results(result(kept, gone), result(kept), gate=True)
    assert found.regressions == ["student, torch fp32: not measured any more"]
    assert compare_results(result(kept), result(kept, gone), gate=True).regressions == []


def compare_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str, str]:
    """Run `edge-bts compare`; exit code, output, error."""
    monkeypatch.setattr("sys.argv", ["edge-bts", "compare", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def test_the_gate_ends_with_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A regression is one sentence and exit code 5; the report and the page are written first."""
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path, median in zip(paths, (5.0, 6.0), strict=True):
        write_result(path, result(row("student, openvino int8", median)))
    report, page = tmp_path / "report.json", tmp_path / "page.html"
    code, out, err = compare_command(
        monkeypatch, capsys, *paths, "--gate", "-o", str(report), "--html", str(page)
    )
    assert code == 5
    assert "worse: student, openvino int8: engine 1.2" in out
    assert err.startswith("edge-bts: Expected nothing to be worse, but got student, openvino int8")
    assert "where 1.05 is borne" in err
    assert json.loads(report.read_text())["rows"][0]["worse"]
    assert "Two benchmarks" in Tags(page.read_text()).text
    shares = tmp_path / "regress.toml"
    shares.write_text("[regress]\nengine = 0.3\nframe = 0.3\n")
    code, _, _ = compare_command(monkeypatch, capsys, *paths, "--gate", "--config", str(shares))
    assert code == 0
    wrong = [*paths, "--gate", "--config", str(shares)]
    code, _, err = compare_command(monkeypatch, capsys, *wrong, "--set", "regress.engine=0.1")
    assert code == 5
    assert "engine" in err
    assert "frame" not in err
    code, _, err = compare_command(monkeypatch, capsys, *wrong, "--set", "regress.speed=1")
    assert code == 2
    assert "regress.speed" in err
    code, _, err = compare_command(monkeypatch, capsys, paths[0], str(tmp_path), "--gate")
    assert code == 2
    assert "two results of `edge-bts bench`" in err


def test_comparison_page_draws_intervals(rich_result: BenchResult) -> None:
    """Every row has both quotients with their intervals, and tips that name them."""
    page = render_comparison(compare_results(rich_result, rich_result))
    assert page.count('class="curve one"') == page.count('class="curve two"') == 3
    assert "Not the same" not in page
