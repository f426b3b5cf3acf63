"""The page of an evaluation, parsed again."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from html_tags import Tags

from edge_bts.data import Sample
from edge_bts.evaluate import Report, SegmenterLike, evaluate
from edge_bts.metrics import ImageRow, score_image
from edge_bts.page import Section, render_page
from edge_bts.page.charts import agreement_chart, dice_chart, presence_chart, size_chart
from edge_bts.page.pictures import choose
from edge_bts.page.plot import log


class PageTags(Tags):
    """Of a page with pictures and an icon."""

    void = Tags.void | {"img", "link"}


@pytest.fixture
def report(by_gray: SegmenterLike, samples: list[Sample]) -> Report:
    """A report with lesions of two classes, a missed one, normals, and an emptied mask."""
    return evaluate(by_gray, samples, presence_threshold=0.72, dataset="made", part="test")


@pytest.fixture
def page(report: Report, samples: list[Sample], by_gray: SegmenterLike) -> str:
    """The page of that report."""
    return render_page([Section.of(report, samples, by_gray)])


def test_page_stands_alone(page: str) -> None:
    """Nothing is fetched: no script, no address but data; a policy forbids the rest."""
    tags = PageTags(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "link", "iframe", "object", "img"}
    addresses = [
        value or ""
        for _, attributes in tags.found
        for name, value in attributes.items()
        if name in ("href", "src", "xlink:href")
    ]
    assert addresses
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)
    assert "url(" not in page
    assert "@import" not in page
    assert any("default-src 'none'" in (a.get("content") or "") for _, a in tags.found)


def test_page_says_what_it_must(page: str, report: Report) -> None:
    """Figures with intervals, what ran, both warnings and the definitions are on the page."""
    text = " ".join(PageTags(page).text.split())
    assert report.lesions is not None
    score = report.lesions.scores["dice"]
    assert f"Dice {score.value:.3f} {score.low:.3f}–{score.high:.3f}" in text
    assert report.presence.auc is not None
    assert f"presence AUC {report.presence.auc.value:.3f}" in text
    for words in (
        "Research software, not a medical device.", "share it only as their licences allow",
        "GrayIsProbability", "benign", "malignant", "small", "presence threshold 0.72",
        "How the figures are defined", "limits of agreement", "mask emptied",
    ):  # fmt: skip
        assert words in text
    assert "These figures flatter" not in text


def test_page_is_the_same_twice(
    page: str, report: Report, samples: list[Sample], by_gray: SegmenterLike
) -> None:
    """Equal reports give equal bytes, and a report read back from its file the same page."""
    again = Report.model_validate_json(report.model_dump_json())
    assert render_page([Section.of(again, samples, by_gray)]) == page


def test_pictures_show_the_image_and_both_outlines(
    page: str, report: Report, samples: list[Sample]
) -> None:
    """Each picture is its sample; filling its outlines gives the masks back."""
    figures = re.findall(r'<figure class="picture">.*?</figure>', page, re.DOTALL)
    by_id = {sample.id: sample for sample in samples}
    seen = set()
    for figure in figures:
        (name,) = re.findall(r"<b>(.*?)</b>", figure)
        image, mask = by_id[name].read()
        seen.add(name)
        (content,) = re.findall(r"base64,([^\"]+)", figure)
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), 0)
        assert decoded.shape == image.shape
        assert np.abs(decoded.astype(int) - image).mean() < 12  # noise survives no JPEG
        row = next(row for row in report.rows if row.id == name)
        found = (image >= 127.5) & (row.presence >= 0.72)
        for kind, expected in (("truth", mask.astype(bool)), ("found", found)):
            drawn = np.zeros_like(image)
            paths = re.findall(rf'class="{kind}" d="([^"]+)"', figure)
            assert len(paths) == int(expected.any())
            borders = [
                np.array(part.split(), float).reshape(-1, 2) - 0.5
                for path in paths
                for part in re.findall(r"M([^z]+)z", path)
            ]
            cv2.drawContours(drawn, [b.astype(np.int32)[:, None] for b in borders], -1, 1, -1)
            assert np.count_nonzero(drawn.astype(bool) != expected) <= 0.02 * expected.size
    assert {"l7", "missed", "n1"} <= seen


def test_names_cannot_break_the_page(
    write_sample: Callable[..., Sample], by_gray: SegmenterLike, tmp_path: Path
) -> None:
    """Ids, data sets and models are text, whatever they hold."""
    mask = np.zeros((40, 50), bool)
    mask[10:20, 10:30] = True
    written = write_sample(tmp_path, "a", mask.astype(np.uint8) * 255, mask)
    evil = "<script>&\"'"
    sample = Sample(evil, evil, "benign", written.image_path, written.mask_paths)
    report = evaluate(by_gray, [sample], dataset=evil, leaks=evil)
    report = report.model_copy(update={"model": {"name": evil, "backend": evil}})
    tags = PageTags(render_page([Section.of(report, [sample], by_gray)]))
    assert "script" not in {tag for tag, _ in tags.found}
    assert tags.text.count(evil) >= 4


@pytest.mark.parametrize("part", [slice(0, 9), slice(9, None), slice(8, 9), slice(0, 1)])
def test_any_set_has_a_page(by_gray: SegmenterLike, samples: list[Sample], part: slice) -> None:
    """Lesions alone, normals alone, one missed lesion and one found give whole pages."""
    some = samples[part]
    one = Section.of(evaluate(by_gray, some), some, by_gray)
    text = PageTags(render_page([one, one])).text
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "All data sets" in text


def _row(name: str, dice: float, group: str = "", lesion: bool = True) -> ImageRow:
    mask = np.ones((2, 2), np.uint8) if lesion else np.zeros((2, 2), np.uint8)
    row = score_image(
        mask, mask, id=name, group=group or name, category="benign", spacing_mm=None,
        predicted=True, presence=dice, dice_ungated=dice,
    )  # fmt: skip
    return row.model_copy(update={"dice": dice})


def test_chosen_images() -> None:
    """The best, the middle and the worst are those of a sort; of a group one is shown."""
    rows = [_row(f"i{n:02d}", n / 100) for n in range(21)]
    rows.append(_row("twin", 0.2001, group="i20"))
    rows += [_row(f"n{n}", n / 10, lesion=False) for n in range(5)]
    chosen = {kind: [row.id for row in found] for kind, found in choose(rows).items()}
    assert list(chosen) == ["Best", "Median", "Worst", "Normals with the highest presence"]
    assert chosen["Best"] == ["twin", "i19", "i18"]
    assert chosen["Worst"] == ["i00", "i01", "i02"]
    assert sorted(chosen["Median"]) == ["i10", "i11", "i12"]
    assert chosen["Normals with the highest presence"] == ["n4", "n3", "n2"]
    few = choose(rows[:2])
    assert [row.id for found in few.values() for row in found] == ["i01", "i00"]


def _points(svg: str) -> list[tuple[float, float]]:
    root = ET.fromstring(svg)
    return [(float(e.attrib["cx"]), float(e.attrib["cy"])) for e in root.iter("circle")]


def test_points_lie_where_their_values_are(report: Report) -> None:
    """Places in the plots are linear in Dice and in the logarithms of size and ratio."""
    lesions = [row for row in report.rows if row.target_px]
    round_ones = [row for row in lesions if row.category == "benign"]
    xy = np.array(_points(size_chart(lesions)))
    assert len(xy) == len(round_ones)
    shares = np.log([row.target_px / (row.height * row.width) for row in round_ones])
    assert abs(np.corrcoef(xy[:, 0], shares)[0, 1]) > 0.9999
    assert np.corrcoef(xy[:, 1], [row.dice for row in round_ones])[0, 1] < -0.9999
    measured = [row for row in round_ones if row.predicted_px]
    xy = np.array(_points(agreement_chart(report)))
    ratios = [math.log(row.predicted_px / row.target_px) for row in measured]
    assert np.corrcoef(xy[:, 1], ratios)[0, 1] < -0.9999


def test_bars_count_the_images(report: Report) -> None:
    """The histogram's bars add up to the lesion images, those of the scores to 100 % each."""
    lesions = [row for row in report.rows if row.target_px]
    tips = re.findall(r": (\d+) (benign|malignant)</title>", dice_chart(lesions))
    assert sum(int(count) for count, _ in tips) == len(lesions)
    tips = re.findall(r": ([\d.]+) % of (lesion|normal) images", presence_chart(report))
    for kind in ("lesion", "normal"):
        assert sum(float(share) for share, of in tips if of == kind) == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("values", [(10.1, 19.0), (50.0, 99.0), (5.0, 60.0), (0.3, 4000.0)])
def test_a_logarithmic_axis_has_ticks_that_tell_its_scale(values: tuple[float, float]) -> None:
    """At least three and at most seven, within the axis, whatever its range."""
    axis = log(values)
    assert 3 <= len(axis.ticks) <= 7
    assert all(axis.low <= tick <= axis.high for tick, _ in axis.ticks)
