"""The gate on the page: how many pictures it would hold back, and the numbers of those that it lets in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.rank_metrics import ALIKE
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.rows import headline_of, only
from medvlp.evaluation.words import finding, name_of

GATE = "gate_held_back"
_GROUPS = ("gate=let in", "gate=held back")


@dataclass(frozen=True, slots=True)
class GateTable:
    """What a result says of the gate.

    Attributes:
        name: of the scores.
        share: how many are held back.
        rows: finding -> AUROC of all, of those let in, of those held back.
        macro: the mean of those let in, and that of all over the same findings; None where there is none.
    """

    name: str
    share: Metric
    rows: tuple[tuple[str, tuple[Metric | None, ...]], ...]
    macro: tuple[Metric | None, Metric | None] | None


def of_gate(result: Result) -> bool:
    """Tell whether a result is the gate's."""
    return any(row.metric == GATE for row in result.metrics)


def gate_tables(results: Sequence[Result]) -> list[GateTable]:
    """Return one table for each result of the gate, beside the result over all pictures."""
    return [_table(result, results) for result in results if of_gate(result)]


def _table(result: Result, results: Sequence[Result]) -> GateTable:
    whole = next((each for each in results if each.name == result.name.removeprefix("gate_")), None)

    def everybody(metric: str, label: str) -> Metric | None:
        return None if whole is None else only(whole, metric, label)

    labels = dict.fromkeys(row.label for row in result.metrics if row.metric == "auroc" and row.label != "macro")
    let_in = only(result, "auroc", "macro", _GROUPS[0])
    macro = None
    if let_in is not None and let_in.value is not None:
        alike = only(result, f"auroc{ALIKE}", "macro", _GROUPS[0])
        macro = (alike or everybody("auroc", "macro"), let_in)
    return GateTable(
        name=name_of(result.name, result.title),
        share=next(row for row in result.metrics if row.metric == GATE),
        rows=tuple(
            (finding(label), (everybody("auroc", label), *(only(result, "auroc", label, each) for each in _GROUPS)))
            for label in labels
        ),
        macro=macro,
    )


_FEW = 4


def caveats_of(results: Sequence[Result]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the caveats for the head of the page, and the others; each sentence once.

    In the head are those of the gate, of the headline and of every result; where there are few all of them.

    Example:
        >>> one = Result(name="a", metrics=(), caveats=("A leak.", "Five of 9."))
        >>> caveats_of([one])
        (('A leak.', 'Five of 9.'), ())
    """
    every = tuple(dict.fromkeys(caveat for result in results for caveat in result.caveats))
    if len(every) <= _FEW:
        return every, ()
    headline = headline_of(results) or results[0]
    foremost = {caveat for result in results if of_gate(result) or result is headline for caveat in result.caveats}
    foremost |= {caveat for caveat in every if all(caveat in result.caveats for result in results)}
    return tuple(each for each in every if each in foremost), tuple(each for each in every if each not in foremost)
