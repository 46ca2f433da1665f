"""A finding graded falsely, in words that are said as often falsely as truly: words alone give nothing away.

A false grade drawn from the other two is told without an image: where most effusions are small, "large" is mostly
false, and "trace" is always true if no copy says it. So a false word is drawn from the words that reports use for the
finding, with the frequency n of each, and there is no copy where it is of the true grade: "small" for "large" then
comes n(small) n(large) / n times, as often as "large" for "small", whatever the frequencies are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from medvlp.text.hard_negatives.copies import FalseCopy, Plan, copy_by, false_copies, plans_of
from medvlp.text.hard_negatives.wording import GradeWord, as_grade_word, change_severity, grade_word

if TYPE_CHECKING:
    import torch

Shares = Mapping[str, Mapping[str, float]]
"""Finding -> word of grade -> how often it is said."""
_MOST = 20_000  # texts that are counted: the shares are then known to a hundredth


@dataclass(frozen=True, slots=True)
class _Statement:
    """A finding whose only grade can be changed into either other one; `plan` makes one of these."""

    said: GradeWord
    plan: Plan


def grade_shares(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Count with which words reports grade their findings, where these can be changed; of 20,000 texts at most.

    A text with several such findings counts for each by its share: that is how often it is drawn for it.

    Example:
        >>> grade_shares(["Small left effusion. No nodule.", "Large right effusion.", "Small effusion. Mild edema."])
        {'edema': {'mild': 0.5}, 'effusion': {'large': 1.0, 'small': 1.5}}
    """
    counts: dict[str, dict[str, float]] = {}
    for text in islice(texts, _MOST):
        found = _statements(text)
        for each in found:
            words = counts.setdefault(each.plan.finding, {})
            words[each.said.word] = words.get(each.said.word, 0.0) + 1 / len(found)
    return {finding: dict(sorted(words.items())) for finding, words in sorted(counts.items())}


def misgraded(text: str, generator: torch.Generator, shares: Shares) -> FalseCopy | None:
    """Draw one graded finding of a text and a word for it; return the copy that says so, None if the word is true.

    Over texts that the shares were counted on P(word | true) = P(word | false), of the texts that have a copy.

    Args:
        text: the whole report: what is false of a sentence may be true by another one.
        generator: what is drawn is a function of its state alone.
        shares: from `grade_shares`.

    Example:
        >>> import torch
        >>> draw = torch.Generator().manual_seed(1)
        >>> copies = [misgraded("Small effusion.", draw, {"effusion": {"small": 2, "large": 1}}) for _ in range(6)]
        >>> [copy and copy.text for copy in copies]
        [None, 'Large effusion.', 'Large effusion.', 'Large effusion.', None, None]
    """
    import torch

    found = _statements(text)
    if not found:
        return None
    which, where = torch.rand(2, generator=generator).tolist()
    statement = found[int(which * len(found))]
    words = _words_beside(statement, shares)
    point, total = where * sum(words.values()), 0.0
    for word, share in words.items():
        total += share
        if point < total:
            return _reworded(text, statement.plan.finding, word)
    return None


def _words_beside(statement: _Statement, shares: Shares) -> dict[GradeWord, float]:
    """Return the words that can stand in the place of the true one, itself among them."""
    finding = statement.plan.finding
    known = {as_grade_word(word, finding): share for word, share in shares.get(finding, {}).items()}
    return {word: share for word, share in known.items() if word and word.family == statement.said.family}


@lru_cache(maxsize=1 << 13)
def _statements(text: str) -> tuple[_Statement, ...]:
    clean = Counter(copy.finding for copy in false_copies(text, ("severity",)))
    plans = {plan.finding: plan for plan in plans_of(text) if plan.kind == "severity" and clean[plan.finding] == 2}
    said = {finding: grade_word(plan.mentions[0].sentence, finding) for finding, plan in plans.items()}
    return tuple(_Statement(word, plans[finding]) for finding, word in said.items() if word is not None)


@lru_cache(maxsize=1 << 14)
def _reworded(text: str, finding: str, word: GradeWord) -> FalseCopy | None:
    plan = next(each.plan for each in _statements(text) if each.plan.finding == finding)
    if word.grade == plan.before:
        return None
    return copy_by(
        text,
        replace(
            plan,
            after=word.grade,
            change=lambda mention: change_severity(mention.sentence, finding, word.grade, word.word),
        ),
    )
