"""The report in words: a table, tests, and a verdict in plain sentences, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_bts.metrics import Score
from edge_bts.trainers.study.report import ALPHA, Comparison, StudyReport, VariantResult

__all__ = ["to_markdown", "verdict"]

_SHOWN = 8  # missing runs that are spelled out; the JSON names all


def to_markdown(report: StudyReport) -> str:
    """Return the whole report; a study with missing runs says so first."""
    folds = f"folds {_list(report.folds)}" if report.folds else "one split"
    sections = [
        f"# Study {report.study}\n",
        *_missing(report),
        *(f"**Leaks: {why}.**\n" for why in report.leaks),
        f"{report.dataset}, {folds}, seeds {_list(report.seeds)}: {report.images} test images in "
        f"{report.groups} groups. Mean [95 % bootstrap interval by group] over lesion images, "
        "each image's score averaged over the seeds first; in points of 100.\n",
        _table(_variant_header(report), _variant_rows(report)),
        "SD of seeds: standard deviation of the mean Dice over seeds. HD95: pixels of the source "
        "image, over images with a prediction; in brackets the share of lesions without any. Up to "
        "here no presence threshold has emptied a mask. Gated Dice, false finds (images without "
        "lesion in which one is predicted): with the threshold that each run chose on validation. "
        "AUC: of the presence score.\n",
    ]
    if report.comparisons:
        header = ("compared", "difference", "p", "p (Holm)", "each seed", "runs", "images / groups")
        sections += [
            "## Paired differences of Dice\n",
            _table(header, (_comparison_cells(pair) for pair in report.comparisons)),
            "p: two-sided, sign flips by group; Holm: corrected for all comparisons of this "
            "table.\n",
            "\n".join(f"- {verdict(pair)}" for pair in report.comparisons) + "\n",
            "Interval and p are about other patients, with these trained networks; what other "
            "seeds would change, the differences of each seed show. Teachers were trained once "
            "a fold.\n",
        ]
    if report.teachers:
        sections += ["## Teachers on the test images\n", _teachers(report)]
    sections.append(_provenance(report))
    return "\n".join(sections)


def verdict(pair: Comparison) -> str:
    """Return what a comparison shows, in one sentence."""
    phrase = {"better": "beats", "worse": "is worse than", "open": "does not beat"}[pair.outcome]
    ahead = sum(value > 0 for value in pair.by_seed.values())
    seeds = f"; ahead in {ahead} of {len(pair.by_seed)} seeds" if pair.by_seed else ""
    p = _p(pair.p_holm)
    return (
        f"{pair.first} {phrase} {pair.second}: {_points(pair.difference, signed=True)} points, "
        f"p {p if p[0] == '<' else f'= {p}'}{seeds}."
    )


def _missing(report: StudyReport) -> Iterator[str]:
    if not report.missing:
        return
    named = ", ".join(report.missing[:_SHOWN])
    more = len(report.missing) - _SHOWN
    yield (
        f"**Not finished: {len(report.missing)} of {report.expected} runs ({named}"
        f"{f' and {more} more' if more > 0 else ''}). The figures are of the others.**\n"
    )


def _variant_header(report: StudyReport) -> list[str]:
    header = ["variant", "runs", "Dice", "SD of seeds", *_categories(report), "IoU", "HD95"]
    if _any_normals(report):
        header += ["gated Dice", "false finds", "AUC"]
    return [*header, "minutes"]


def _variant_rows(report: StudyReport) -> Iterator[list[str]]:
    for row in report.variants:
        cells = [row.label, str(row.runs), _points(row.dice), _percent(row.seed_sd)]
        cells += [_points(row.by_category.get(name)) for name in _categories(report)]
        cells += [_points(row.iou), _distance(row)]
        if _any_normals(report):
            cells += [_points(row.gated_dice), _points(row.false_positive_rate)]
            cells.append(_percent(row.presence_auc))
        yield [*cells, f"{row.minutes:.0f}"]


def _categories(report: StudyReport) -> list[str]:
    names = {name: None for row in report.variants for name in row.by_category}
    return list(names) if len(names) > 1 else []


def _any_normals(report: StudyReport) -> bool:
    return any(row.false_positive_rate is not None for row in report.variants)


def _comparison_cells(pair: Comparison) -> list[str]:
    return [
        f"{pair.first} - {pair.second}",
        _points(pair.difference, signed=True),
        _p(pair.p),
        _p(pair.p_holm),
        ", ".join(f"{100 * value:+.1f}" for value in pair.by_seed.values()) or "-",
        str(pair.runs),
        f"{pair.difference.n} / {pair.groups}",
    ]


def _teachers(report: StudyReport) -> str:
    names = list(dict.fromkeys(name for row in report.teachers for name in row.by_category))
    rows = (
        [row.label, row.category, str(row.runs), _percent(row.dice)]
        + [_percent(row.by_category.get(name)) for name in names]
        for row in report.teachers
    )
    return _table(("teacher", "trained on", "runs", "Dice", *names), rows)


def _provenance(report: StudyReport) -> str:
    versions = ", ".join(f"{name} {'/'.join(v)}" for name, v in report.versions.items())
    splits = ", ".join(f"{name} {digest[:12]}" for name, digest in report.splits.items())
    commits = ", ".join(commit[:12] + commit[40:] for commit in report.commits)
    devices = ", ".join(report.devices)
    return (
        f"Splits: {splits}. Trained on: {devices}. Commit: {commits}. {versions}.\n\n"
        "Research software.\n"
    )


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [header, rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _points(score: Score | None, *, signed: bool = False) -> str:
    if score is None:
        return "-"
    sign = "+" if signed else ""
    text = f"{100 * score.value:{sign}.1f}"
    if score.low is None or score.high is None:
        return text
    return f"{text} [{100 * score.low:{sign}.1f}, {100 * score.high:{sign}.1f}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _distance(row: VariantResult) -> str:
    return "-" if row.hd95_px is None else f"{row.hd95_px.value:.1f} ({row.empty:.1%})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < ALPHA else f"{value:.2f}"


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
