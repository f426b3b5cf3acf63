"""The page: its head, one section a data set, and how each figure is defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from edge_bts.metrics import LESION_SIZES, Score, Summary
from edge_bts.metrics.table import report_name
from edge_bts.page.charts import agreement_chart, dice_chart, legend, presence_chart, size_chart
from edge_bts.page.html import document, table
from edge_bts.page.pictures import choose, draw

if TYPE_CHECKING:
    from edge_bts.data import Sample
    from edge_bts.evaluate import Report, SegmenterLike

__all__ = ["Section", "render_page"]


@dataclass(frozen=True)
class Section:
    """A report, and its figures of images by kind, as HTML."""

    report: Report
    pictures: dict[str, list[str]]

    @classmethod
    def of(cls, report: Report, samples: Sequence[Sample], segmenter: SegmenterLike) -> Section:
        """Draw the images of a report; the network runs once more on these.

        Args:
            report: Of ``segmenter`` on ``samples``.
            samples: In the order of the report's rows.
            segmenter: What was evaluated.
        """
        by_id = {sample.id: sample for sample in samples}
        chosen = choose(report.rows)
        pictures = {
            kind: [draw(row, by_id[row.id], segmenter, report) for row in rows]
            for kind, rows in chosen.items()
        }
        return cls(report, pictures)


def render_page(sections: Sequence[Section]) -> str:
    """Return the page of one model: HTML in one piece; equal sections give equal bytes."""
    first = sections[0].report
    name = escape(str(first.model.get("name") or "a segmenter"))
    body = [
        f"<h1>{name}</h1>",
        f'<p class="soft">{escape(_what_ran(first.model))}</p>',
        '<p class="warn"><b>Research software, not a medical device.</b> This page holds images '
        "of the data sets that it names: share it only as their licences allow.</p>",
    ]
    if len(sections) > 1:
        body.append(_comparison([section.report for section in sections]))
    for number, section in enumerate(sections):
        body.append(_section(section, number))
    body.append(_definitions())
    return document(f"{name}: evaluation", body)


def _what_ran(model: dict[str, Any]) -> str:
    backend = " ".join(str(model[k]) for k in ("backend", "backend_version") if k in model)
    parts = [backend, str(model.get("precision", ""))]
    if "imgsz" in model:
        parts.append(f"{model['imgsz']} x {model['imgsz']} pixels")
    return ", ".join(filter(None, parts))


def _comparison(reports: Sequence[Report]) -> str:
    heads = ("data set", "images", "Dice", "FP rate", "sensitivity", "presence AUC", "area ratio")
    rows = []
    for number, report in enumerate(reports):
        link = f'<a href="#set{number}">{escape(report_name(report))}</a>'
        scores = (
            report.lesions.scores["dice"] if report.lesions else None,
            report.normals.rate if report.normals else None,
            report.presence.sensitivity,
            report.presence.auc,
        )
        cells = [link, str(len(report.rows)), *map(_score, scores), _ratio(report)]
        rows.append(cells)
    return f"<h2>All data sets</h2>{table(heads, rows)}"


def _section(section: Section, number: int) -> str:
    report = section.report
    parts = [f'<h2 id="set{number}">{escape(report_name(report))}</h2>']
    parts.append(f'<p class="soft">{_counts(report)}</p>')
    if report.leaks:
        parts.append(f'<p class="warn"><b>These figures flatter:</b> {escape(report.leaks)}.</p>')
    parts.append(_tiles(report))
    parts.append(_strata(report))
    parts.append(_charts(report))
    parts.append(
        '<p class="legend"><span><i class="key truth"></i>true outline</span>'
        '<span><i class="key found"></i>predicted outline</span></p>'
    )
    for kind, pictures in section.pictures.items():
        parts.append(f'<h3>{kind}</h3><div class="pictures">{"".join(pictures)}</div>')
    parts.append(f"<h3>What ran</h3>{_facts(report)}")
    return "\n".join(parts)


def _counts(report: Report) -> str:
    parts = [f"{len(report.rows)} images"]
    if report.lesions is not None:
        parts.append(f"{report.lesions.images} with a lesion, {report.lesions.missed} missed")
    if report.normals is not None:
        parts.append(f"{report.normals.images} normals")
    return "; ".join(parts)


def _tiles(report: Report) -> str:
    tiles: list[tuple[str, str, str]] = []
    scores: list[tuple[str, Score | None, int]] = []
    if report.lesions is not None:
        found = report.lesions.scores
        unit = "mm" if "hd95_mm" in found else "px"
        scores += [("Dice", found["dice"], 3), (f"HD95, {unit}", found.get(f"hd95_{unit}"), 1)]
    scores.append(("lesions found", report.presence.sensitivity, 3))
    if report.normals is not None:
        scores.append(("false positives", report.normals.rate, 3))
    scores.append(("presence AUC", report.presence.auc, 3))
    for label, score, digits in scores:
        if score is not None:
            tiles.append((label, f"{score.value:.{digits}f}", _interval(score, digits)))
    if report.area is not None:
        ratio = report.area.ratio
        limits = "" if ratio.low is None else f"limits {ratio.low:.2f} to {ratio.high:.2f}"
        tiles.append(("area ratio", f"{ratio.bias:.2f}", limits))
    cells = (
        f'<div class="tile"><span>{label}</span><b>{value}</b><span>{below}</span></div>'
        for label, value, below in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _strata(report: Report) -> str:
    if report.lesions is None:
        return ""
    names = ("dice", "iou", "precision", "recall", "pooled_dice", "hd95_px", "assd_px")
    labels = ("Dice", "IoU", "precision", "recall", "pooled Dice", "HD95 px", "ASSD px")
    heads = ("", "images", *labels, "missed")
    by_size = {str(name): report.by_size[name] for name in LESION_SIZES if name in report.by_size}
    groups: list[dict[str, Summary]]
    groups = [{"all lesions": report.lesions}, report.by_category, by_size]

    def cells(name: str, summary: Summary) -> list[str]:
        scores = (
            _score(summary.scores.get(quantity), 1 if quantity.endswith("px") else 3)
            for quantity in names
        )
        return [escape(name), str(summary.images), *scores, str(summary.missed)]

    rows = [[cells(name, summary) for name, summary in group.items()] for group in groups]
    starts = {len(rows[0]), len(rows[0]) + len(rows[1])}
    return table(heads, [row for group in rows for row in group], starts)


def _charts(report: Report) -> str:
    lesions = [row for row in report.rows if row.target_px]
    names = sorted({row.category for row in lesions})
    charts: list[tuple[str, str, str]] = []
    if lesions:
        charts.append(("Dice of each lesion", dice_chart(lesions), legend(names, points=False)))
        small, medium = (f"{100 * LESION_SIZES[size][1]:g}" for size in ("small", "medium"))
        below = f"<p>Dashed: {small} and {medium} % of the image part small, medium, large.</p>"
        charts.append(("Dice and size", size_chart(lesions), legend(names, points=True) + below))
    if report.area is not None:
        charts.append(
            ("Area: agreement with the truth", agreement_chart(report), _area_text(report))
        )
    kinds = [kind for kind, there in (("lesion", lesions), ("normal", report.normals)) if there]
    text = "<p>Images with a lesion upwards, normals downwards.</p>" if len(kinds) > 1 else ""
    charts.append(("Presence score", presence_chart(report), legend(kinds, points=False) + text))
    drawn = (
        f'<div class="chart"><h3>{title}</h3>{svg}{below}</div>' for title, svg, below in charts
    )
    return f'<div class="charts">{"".join(drawn)}</div>'


def _area_text(report: Report) -> str:
    assert report.area is not None  # the caller looked
    texts = []
    for limits, unit, digits in ((report.area.px2, "px²", 0), (report.area.mm2, "mm²", 1)):
        if limits is not None and limits.low is not None:
            texts.append(
                f"{limits.bias:+,.{digits}f} {unit} ({limits.low:+,.{digits}f} to "
                f"{limits.high:+,.{digits}f}, {limits.n} images)"
            )
    left_out = f" {report.area.left_out} without a find left out." if report.area.left_out else ""
    difference = f" Predicted - true: {'; '.join(texts)}." if texts else ""
    return f"<p>Dashed: 95 % limits of agreement.{difference}{left_out}</p>"


def _facts(report: Report) -> str:
    model = report.model
    threads = model.get("threads", "")
    facts = {
        "model": model.get("name", ""),
        "run by": _what_ran(model),
        "threads": "as the library likes" if threads is None else threads,
        "geometry": model.get("geometry", ""),
        "notes": "; ".join(model.get("notes", [])),
        "data set": report.dataset,
        "part": report.part,
        "split": report.split_hash,
        "threshold": f"{report.threshold:g}",
        "presence threshold": f"{report.presence_threshold:.4g}",
        "finds forgiven on normals": f"up to {report.min_area_px} px" if report.min_area_px else "",
        "bootstrap": f"{report.resamples} resamples, seed {report.seed}",
        "edge-bts": report.edge_bts_version,
    }
    rows = (
        f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
        if value != ""
    )
    return f'<table class="facts">{"".join(rows)}</table>'


def _definitions() -> str:
    sizes = ", ".join(f"{name} from {low:.0%}" for name, (low, _) in LESION_SIZES.items())
    terms = {
        "Geometry": "Every image is scored at the size in which it was stored.",
        "Dice, IoU, precision, recall": "Per image, over the images with a lesion, averaged; "
        "a missed lesion counts 0. Pooled: of the summed pixels of all images.",
        "HD95, ASSD": "95th-percentile Hausdorff and average symmetric distance of the outlines, "
        "over the images with a find.",
        "Intervals": "95 % bootstrap percentiles; whole groups (patients or near-duplicate images) "
        "are drawn.",
        "Sizes": f"By the lesion's share of its image: {sizes}.",
        "Lesions found, false positives": "Share of the lesion images, of the normals, with a find "
        "after both thresholds.",
        "Presence score": "Mean of the 0.2 % highest probabilities of the network's output; below "
        "the presence threshold a mask is emptied. Presence AUC: chance that an image with a "
        "lesion scores above one without.",
        "Area": "Bland-Altman of predicted against true area, over the images with a find: "
        "mean and mean ± 1.96 standard deviations, of the logarithm of the ratio and of the "
        "difference.",
        "Thresholds": "Chosen on validation images, never on these, unless the page says so.",
    }
    entries = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in terms.items())
    return f"<h2>How the figures are defined</h2><dl>{entries}</dl>"


def _score(score: Score | None, digits: int = 3) -> str:
    if score is None:
        return "–"
    interval = _interval(score, digits)
    below = f' <span class="interval">{interval}</span>' if interval else ""
    return f"{score.value:.{digits}f}{below}"


def _interval(score: Score, digits: int) -> str:
    if score.low is None or score.high is None:
        return ""
    return f"{score.low:.{digits}f}–{score.high:.{digits}f}"


def _ratio(report: Report) -> str:
    if report.area is None:
        return "–"
    ratio = report.area.ratio
    limits = "" if ratio.low is None else f"{ratio.low:.2f}–{ratio.high:.2f}"
    return f'{ratio.bias:.2f} <span class="interval">{limits}</span>'
