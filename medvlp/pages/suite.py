"""The page of a suite: the numbers of every data set with their intervals, what others published, and the runs."""

from __future__ import annotations

from dataclasses import dataclass

from medvlp.data.reproduction import Reported
from medvlp.evaluation.results import Metric
from medvlp.evaluation.suite import PublishedRow, Suite, SuiteLine, SuiteNumber
from medvlp.evaluation.words import REASONS, finding, integer, interval, name_of, number
from medvlp.pages.forest import Forest, ForestRow, Mark
from medvlp.pages.render import environment

__all__ = ["render_suite"]

_TICKS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_STATES = {"finished": "judged", "failed": "failed", "begun": "begun, not finished", "not begun": "left out"}
_SPLITS = 12  # digits of a hash that are shown


@dataclass(frozen=True, slots=True)
class _Row:
    """A number in words."""

    result: str
    metric: str
    usual: bool
    label: str
    value: str
    interval: str
    note: str
    n: str
    positives: str
    patients: str
    labels: str


@dataclass(frozen=True, slots=True)
class _Set:
    """A data set with its numbers."""

    name: str
    split: str
    rows: tuple[_Row, ...]


@dataclass(frozen=True, slots=True)
class _Published:
    """A claim in words."""

    model: str
    data: str
    split: str
    what: str
    about: str
    paper: str
    released: str
    quoted: str
    ours: str
    interval: str
    n: str
    sources: tuple[str, ...]
    note: str


def render_suite(suite: Suite) -> str:
    """Return the page as HTML; every label and message is escaped.

    Example:
        >>> empty = Suite(title="a <b>", model="x", bundle="", lines=(), numbers=(), published=())
        >>> "<h1>a &lt;b&gt;</h1>" in render_suite(empty)
        True
    """
    lines = {line.name: line for line in suite.lines}
    return (
        environment()
        .get_template("suite.html.jinja")
        .render(
            suite=suite,
            summary=_summary(suite),
            forest=_forest(suite, lines),
            sets=[_set(line, suite) for line in suite.lines if any(each.run == line.name for each in suite.numbers)],
            published=[_published(row, lines) for row in suite.published],
            lines=[
                (line, _STATES[line.state], integer(round(line.seconds)) if line.seconds else "")
                for line in suite.lines
            ],
            caveats=[(line.title or line.name, text) for line in suite.lines for text in line.caveats],
            shown=_SPLITS,
        )
    )


def _summary(suite: Suite) -> str:
    done = [line for line in suite.lines if line.state == "finished"]
    words = f"One bundle on {len(done)} of {len(suite.lines)} data sets."
    areas = [each for each in suite.numbers if each.wanted.usual and _value(each.row) is not None]
    if not areas:
        return words
    missing = len([each for each in suite.numbers if each.row is None])
    rest = f" {missing} more {'was' if missing == 1 else 'were'} asked for and not measured." if missing else ""
    there = len(suite.numbers) - missing
    return f"{words} {there} numbers, {len(areas)} of them such as papers report.{rest}"


def _value(row: Metric | None) -> float | None:
    return None if row is None else row.value


def _forest(suite: Suite, lines: dict[str, SuiteLine]) -> Forest | None:
    """AUROC of each data set, the usual one where there is one."""
    rows, few = [], False
    for line in suite.lines:
        areas = [each for each in suite.numbers if each.run == line.name and each.wanted.metric == "auroc"]
        areas = [each for each in areas if _value(each.row) is not None]
        chosen = next((each for each in areas if each.wanted.usual), areas[0] if areas else None)
        if chosen is None or chosen.row is None:
            continue
        row = chosen.row
        few |= row.reason in ("few_positives", "few_negatives")
        mark = Mark(
            series="auroc",
            style="series0",
            at=_place(row.value) or 0.0,
            low=_place(row.interval.low),
            high=_place(row.interval.high),
            value=number(row.value),
            interval=interval(row),
            few=row.reason in ("few_positives", "few_negatives"),
        )
        words = finding(row.label) if row.counts.labels_used is None else f"macro of {row.counts.labels_used}"
        rows.append(ForestRow(line.title or line.name, f"{words}, {integer(row.counts.n)} cases", (mark,), "", False))
    if not rows:
        return None
    ticks = tuple((_place(tick) or 0.0, f"{tick:.1f}") for tick in _TICKS)
    return Forest(tuple(rows), ticks, _place(0.5) or 0.0, (("series0", "AUROC"),), few)


def _place(value: float | None) -> float | None:
    """Percent of an axis from 0.4 to 1; what lies below stands at its start."""
    return None if value is None else round(100 * (max(value, _TICKS[0]) - _TICKS[0]) / (1 - _TICKS[0]), 2)


def _set(line: SuiteLine, suite: Suite) -> _Set:
    rows = tuple(_row(each) for each in suite.numbers if each.run == line.name)
    return _Set(line.title or line.name, line.split, rows)


def _row(asked: SuiteNumber) -> _Row:
    row, wanted = asked.row, asked.wanted
    label = finding(wanted.label) + (f", {wanted.group}" if wanted.group else "")
    if row is None:
        return _Row(
            name_of(wanted.result), name_of(wanted.metric), wanted.usual, label, "–", "", "not measured", *[""] * 4
        )
    return _Row(
        result=name_of(wanted.result, asked.title),
        metric=name_of(wanted.metric),
        usual=wanted.usual,
        label=label,
        value=number(row.value),
        interval=interval(row),
        note=REASONS.get(row.reason or "", row.reason or ""),
        n=integer(row.counts.n),
        positives=""
        if row.counts.positives is None or row.counts.labels_used is not None
        else integer(row.counts.positives),
        patients=integer(row.counts.patients),
        labels="" if row.counts.labels_used is None else integer(row.counts.labels_used),
    )


def _published(row: PublishedRow, lines: dict[str, SuiteLine]) -> _Published:
    claim = row.claim
    titles = {line.card: line.title for line in lines.values()}
    told = (*([claim.paper] if claim.paper else []), *claim.released, *claim.quoted)
    ours = claim.ours
    return _Published(
        model=row.title,
        data=titles.get(claim.data, claim.data),
        split=claim.split,
        what=f"{name_of(claim.task)}, {name_of(claim.metric)}, {finding(claim.label)}",
        about=claim.about,
        paper=_values([claim.paper] if claim.paper else []),
        released=_values(claim.released),
        quoted=_values(claim.quoted),
        ours="" if ours is None else number(ours.value),
        interval="" if ours is None or ours.low is None else f"{number(ours.low)} to {number(ours.high)}",
        n="" if ours is None else f"n {integer(ours.n)}",
        sources=tuple(f"{number(each.value)}: {each.source}{' (recalled)' if each.recalled else ''}" for each in told),
        note=claim.note,
    )


def _values(some: tuple[Reported, ...] | list[Reported]) -> str:
    return ", ".join(number(each.value) + ("*" if each.recalled else "") for each in some)
