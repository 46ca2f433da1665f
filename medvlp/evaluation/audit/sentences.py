"""Flags in words, each with its numbers."""

from __future__ import annotations

from medvlp.evaluation.audit.miscalibration import MAP, LineTest
from medvlp.evaluation.results import Metric
from medvlp.evaluation.words import group_words, words_of


def gap_sentence(row: Metric) -> str:
    """Say where the AUROC of a group differs from that of the others.

    Example:
        >>> from medvlp.evaluation.results import Comparison, ConfidenceInterval, Counts
        >>> around, sides = ConfidenceInterval(low=-0.15, high=-0.05), Comparison(first=0.85, second=0.75)
        >>> gap_sentence(Metric(metric="auroc_gap", label="edema", group="sex=F", value=-0.1, interval=around,
        ...                     counts=Counts(n=300, patients=200), test=sides))
        'AUROC of edema: 0.75 for sex F (300 cases of 200 patients), 0.85 for all others, -0.10 (95 % -0.15 to -0.05)'
    """
    of = (
        f"Mean AUROC of {row.counts.labels_used} findings"
        if row.label == "macro"
        else f"AUROC of {words_of(row.label)}"
    )
    return (
        f"{of}: {row.test.second:.2f} for {group_words(row.group)} ({_cases(row)}), "
        f"{row.test.first:.2f} for all others, "
        f"{row.value:+.2f} ({_interval(row)})"
    )


def shortcut_sentence(row: Metric) -> str:
    """Say which score knows a group.

    Example:
        >>> from medvlp.evaluation.results import ConfidenceInterval, Counts
        >>> around, counts = ConfidenceInterval(low=0.75, high=0.85), Counts(n=500, patients=300)
        >>> shortcut_sentence(Metric(metric="shortcut_auroc", label="edema", group="site=north", value=0.8,
        ...                          interval=around, counts=counts))
        'The score of edema knows site north: without edema it tells these from the others with AUROC 0.80 \
(95 % 0.75 to 0.85; 500 cases of 300 patients)'
    """
    name = words_of(row.label)
    return (
        f"The score of {name} knows {group_words(row.group)}: without {name} it tells these from the others with AUROC "
        f"{row.value:.2f} ({_interval(row)}; {_cases(row)})"
    )


def line_sentence(test: LineTest, row: Metric) -> str:
    """Say what is wrong with probabilities."""
    line = test.line
    if abs(line.slope - 1) >= abs(line.intercept):
        wrong = "too extreme" if line.slope < 1 else "not extreme enough"
    else:
        wrong = "too high" if line.intercept < 0 else "too low"
    after = ", after Platt scaling," if test.calibration == MAP else ""
    low, high = line.intercept_interval.low, line.intercept_interval.high
    return (
        f"Probabilities of {words_of(row.label)}{after} are {wrong}: calibration slope {line.slope:.2f} "
        f"({_interval(row)}; 1 is right), intercept {line.intercept:+.2f} "
        f"({100 * row.interval.level:g} % {low:+.2f} to {high:+.2f}; 0 is right), {_cases(row)}"
    )


def p_words(p: float, corrected: float, tests: int) -> str:
    """Return p values in words.

    Example:
        >>> p_words(0.00123, 0.00984, 8), p_words(1e-9, 1e-9, 1)
        ('p 0.0012, corrected for 8 tests 0.0098', 'p < 0.0001')
    """
    single = _p(p)
    return single if tests == 1 else f"{single}, corrected for {tests} tests {_p(corrected).removeprefix('p ')}"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p {value:.2g}"


def _cases(row: Metric) -> str:
    return f"{row.counts.n} cases of {row.counts.patients} patients"


def _interval(row: Metric) -> str:
    sign = "+" if row.metric.endswith("_gap") else ""
    return f"{100 * row.interval.level:g} % {row.interval.low:{sign}.2f} to {row.interval.high:{sign}.2f}"
