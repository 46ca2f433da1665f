"""Caveats on the page: those of the numbers that it begins with before them, those of single results further down."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp.evaluation.results import Result
from medvlp.evaluation.rows import headline_of
from medvlp.pages.gate import of_gate

__all__ = ["caveats_of"]

_FEW = 4


def caveats_of(results: Sequence[Result]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the caveats for the head of the page, and the others; each sentence once.

    In the head are those of the gate, of the headline and of every result; where there are few all of them.

    Example:
        >>> one = Result(name="a", recipe="", data="", metrics=(), caveats=("A leak.", "Five of 9."))
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
