"""What a release may claim: the findings that the texts of training name."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medvlp.answers.asking.declared import Declared
from medvlp.core.views import View
from medvlp.data.pipeline import added_fields
from medvlp.data.prepare import Prepared
from medvlp.models.bundle import load_bundle

__all__ = ["taught_answers"]

logger = logging.getLogger(__name__)


def taught_answers(
    answers: Sequence[Declared],
    train: Prepared,
    *,
    suffix: Sequence[View] = (),
    start: Path | None,
) -> list[Declared]:
    """Return the answers about findings that a training text names, or that the bundle it started from claims.

    Args:
        answers: of the recipe; those that ask by no words stay as they are.
        train: training records; where they have no texts, nothing is left out.
        suffix: views of training, of which some may write the texts (`captions`).
        start: bundle that training started from.
    """
    writers = [view for view in suffix if "text" in added_fields([view])]
    if not any(each.answer.prompts for each in answers) or not (writers or "text" in train.manifest):
        return list(answers)
    before = () if start is None else load_bundle(start).labels
    found = []
    for each in answers:
        answer = each.answer.taught_by(_texts(train, writers), known=before)
        unknown = [name.replace("_", " ") for name in each.answer.labels if name not in answer.labels]
        if unknown:
            logger.info(f"Not asked for by {each.name}, because no training text names it: {', '.join(unknown)}.")
        if answer.labels or not unknown:
            found.append(replace(each, answer=answer))
    return found


def _texts(prepared: Prepared, writers: Sequence[View]) -> Iterator[str]:
    """Yield the words of each record as they were trained on: after the prefix, or once as they are drawn."""
    draw = torch.Generator().manual_seed(0)
    for index in range(len(prepared)):
        sample = prepared.sample(index)
        for view in writers:
            sample = view(sample, draw)
        text = sample.fields.get("text")
        if isinstance(text, str):
            yield text
