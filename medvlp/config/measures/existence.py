"""Findings that a dual-stream model says are there."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp.config.judge import Judge
from medvlp.config.measures.zero_shot import group_columns
from medvlp.evaluation.results import Result

__all__ = ["existence"]


def existence(judge: Judge) -> Iterator[Result]:
    """Yield the scores of existence."""
    if judge.streams is not None and judge.sees:
        scores = judge.existence_scores()
        held = None if judge.validation is None else judge.existence_scores(judge.validation[1])
        title, groups = "Existence of findings", group_columns(judge)
        yield judge.scores("existence", scores, title, groups=groups, chosen_on=held)
