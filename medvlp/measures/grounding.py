"""Maps of findings against boxes and masks, where they are known."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp.config.grounding import grounding_results
from medvlp.config.judge import Judge
from medvlp.evaluation.results import Result

__all__ = ["grounding"]


def grounding(judge: Judge) -> Iterator[Result]:
    """Yield every map, its sanity checks and the baselines."""
    if judge.prompts:
        yield from grounding_results(
            judge.model,
            judge.prepared,
            judge.manifest,
            judge.open,
            options=judge.options.grounding,
            split=judge.options.split,
            seed=judge.seed,
            resamples=judge.options.resamples,
            min_positives=judge.options.min_positives,
            recipe=judge.recipe,
            synthetic=judge.synthetic,
            say=judge.say,
        )
