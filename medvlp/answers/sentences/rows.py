"""Sentences of reports and their false copies before the images: cosines, margins, and what of a margin was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.core.unit import unit_embeddings
from medvlp.text.hard_negatives import Kind, false_copies

SENTENCE_KINDS: tuple[Kind, ...] = ("side", "negation", "severity")
# Equal images differ by the rounding of float32, which must not pass for something seen.
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Studies:
    """Images and reports, one of each a study.

    Attributes:
        image: ``(S, D)`` embeddings.
        reports: ``(S,)``.
        patients: ``(S,)``.

    Raises:
        DataError: if lengths disagree.
    """

    image: ArrayLike
    reports: Sequence[str]
    patients: Sequence[str]

    def __post_init__(self) -> None:
        images = len(np.asarray(self.image))
        if not images == len(self.reports) == len(self.patients):
            raise DataError(
                f"There are {images} images, {len(self.reports)} reports, {len(self.patients)} patients: one a study."
            )


@dataclass(frozen=True, slots=True)
class Pair:
    """A true sentence and one false copy.

    Attributes:
        study: its place among the studies.
        kind: what was changed.
        finding: of which finding.
        true: as the report says it.
        false: one fact changed.
        said: what the true sentence says of the finding: ``left``, ``absent``, ``mild``.
        said_falsely: what the copy says.
    """

    study: int
    kind: Kind
    finding: str
    true: str
    false: str
    said: str
    said_falsely: str


@dataclass(frozen=True, slots=True)
class Sentences:
    """Both sentences of every pair before their image.

    Attributes:
        pairs: what was changed.
        table: two rows a pair: ``id``, ``patient_id``, ``kind``, ``finding``, ``said``, ``true`` (1.0 or 0.0),
            ``cosine``, ``margin`` (the cosine less the mean of its own false copies), ``blind`` (the margin before the
            mean image), ``seen`` (margin less blind).
        near: cosine of a study's image and a sentence.
    """

    pairs: tuple[Pair, ...]
    table: pd.DataFrame
    near: dict[tuple[int, str], float]


def sentence_pairs(reports: Sequence[str], kinds: Sequence[Kind] = SENTENCE_KINDS) -> tuple[Pair, ...]:
    """Return the sentences of reports that can be falsified, each with each of its false copies.

    Example:
        >>> [(pair.kind, pair.false, pair.said_falsely) for pair in sentence_pairs(["Small left effusion."], ("side",))]
        [('side', 'Small right effusion.', 'right')]
    """
    pairs: dict[Pair, None] = {}
    for study, report in enumerate(reports):
        for copy in false_copies(report, kinds):
            words = copy.statement, copy.false_statement
            pairs[Pair(study, copy.kind, copy.finding, *words, copy.before, copy.after)] = None
    return tuple(pairs)


def evaluate_sentences(
    studies: Studies, embed_text: Callable[[Sequence[str]], np.ndarray], *, mean_image: np.ndarray
) -> Sentences:
    """Return every sentence that can be falsified, and its false copies, before the study's image.

    Args:
        studies: with their reports.
        embed_text: texts -> (T, D) unit embeddings.
        mean_image: ``(D,)`` mean of unit embeddings; what a sentence gains before it, words alone gain.

    Raises:
        DataError: if no sentence can be falsified.
    """
    rows = unit_embeddings(studies.image, "Image")
    pairs = sentence_pairs(studies.reports)
    if not pairs:
        raise DataError("No sentence of these reports can be falsified by the rules: there is nothing to check.")
    copies = {text: _copies(text) for text in {t for pair in pairs for t in (pair.true, pair.false)}}
    # A false copy's own copies need not hold the sentence that it was made of, where that had to be reworded.
    for pair in pairs:
        copies[pair.true].add(pair.false)
        copies[pair.false].add(pair.true)
    texts = sorted({*copies, *(text for many in copies.values() for text in many)})
    at = {text: i for i, text in enumerate(texts)}
    words = unit_embeddings(embed_text(texts), "Sentence")
    away = {text: float(mean_image @ words[i]) for text, i in at.items()}
    near = {(pair.study, t): float(rows[pair.study] @ words[at[t]]) for pair in pairs for t in _all(pair, copies)}
    table = []
    for number, pair in enumerate(pairs):
        for text, true, said in ((pair.true, 1.0, pair.said), (pair.false, 0.0, pair.said_falsely)):
            cosine = near[pair.study, text]
            others = sorted(copies[text])
            margin = cosine - float(np.mean([near[pair.study, other] for other in others]))
            blind = away[text] - float(np.mean([away[other] for other in others]))
            facts = (f"{number}/{int(true)}", str(studies.patients[pair.study]), pair.kind, pair.finding, said)
            table.append((*facts, true, cosine, margin, blind, round(margin - blind, _DECIMALS)))
    columns = ["id", "patient_id", "kind", "finding", "said", "true", "cosine", "margin", "blind", "seen"]
    return Sentences(pairs, pd.DataFrame(table, columns=columns), near)


def _copies(text: str) -> set[str]:
    return {copy.false_statement for copy in false_copies(text, SENTENCE_KINDS)}


def _all(pair: Pair, copies: dict[str, set[str]]) -> set[str]:
    return {pair.true, pair.false, *copies[pair.true], *copies[pair.false]}
