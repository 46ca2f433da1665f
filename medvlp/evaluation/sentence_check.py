"""Does the model tell a true sentence from one that is false in a single fact?

Every sentence of a report that the rules of `medvlp.text.hard_negatives` can falsify (the other side, the denial, the
other degree) stands against its false copies, before the image. A cosine alone ranks wordings as much as facts, so a
sentence is judged by its margin over its own false copies: of a false sentence the true one is such a copy. That needs
no truth and is how a sentence of an unknown report can be checked.

Words alone can give much of it away: most reports deny most findings, and a model may like denials whatever it sees.
The same margin before the mean of all images says how much: what a model sees is the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.evaluation.bootstrap import bootstrap, patient_clusters, percentile_interval
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.metrics import FloatArray
from medvlp.evaluation.ranks import unit_embeddings
from medvlp.evaluation.results import Metric, Result
from medvlp.text.hard_negatives import Kind, false_copies

__all__ = ["SENTENCE_KINDS", "Pair", "evaluate_sentence_check", "sentence_pairs"]

SENTENCE_KINDS: tuple[Kind, ...] = ("side", "negation", "severity")


@dataclass(frozen=True, slots=True)
class Pair:
    """A true sentence and one false copy.

    Attributes:
        study: its place among the studies.
        kind: what was changed.
        finding: of which finding.
        true: as the report says it.
        false: one fact changed.
    """

    study: int
    kind: Kind
    finding: str
    true: str
    false: str


def sentence_pairs(reports: Sequence[str], kinds: Sequence[Kind] = SENTENCE_KINDS) -> tuple[Pair, ...]:
    """Return the sentences of reports that can be falsified, each with each of its false copies.

    Example:
        >>> [(pair.kind, pair.false) for pair in sentence_pairs(["Small left effusion."], ("side",))]
        [('side', 'Small right effusion.')]
    """
    pairs: dict[Pair, None] = {}
    for study, report in enumerate(reports):
        for copy in false_copies(report, kinds):
            pairs[Pair(study, copy.kind, copy.finding, copy.statement, copy.false_statement)] = None
    return tuple(pairs)


def evaluate_sentence_check(
    image: ArrayLike,
    reports: Sequence[str],
    patients: Sequence[str],
    embed_text: Callable[[Sequence[str]], np.ndarray],
    *,
    seed: int,
    recipe: str,
    data: str,
    kinds: Sequence[Kind] = SENTENCE_KINDS,
    resamples: int = 1000,
    split: str = "",
    name: str = "sentence_check",
    title: str = "True sentence against one fact changed",
    synthetic: bool = False,
) -> Result:
    """Return AUROC of true against false sentences by margin and by cosine, and hard-negative retrieval.

    ``auroc`` of ``sentence_margin``, ``sentence_cosine`` and ``sentence_blind`` (the margin before the mean image: what
    words alone give away), over all and by kind (``kind=side``); ``recall@1`` of ``hard_negatives``: the chance that
    the true sentence stands before all its false copies, ties shared, whose `chance` is the mean of 1 / (1 + copies)
    and whose `pool` is the largest of them.

    Args:
        image: (S, D) embeddings, one a study.
        reports: (S,).
        patients: (S,).
        embed_text: texts -> (T, D) unit embeddings.
        seed: of the bootstrap.
        recipe: hash of what made the embeddings.
        data: hash of the data.
        kinds: of changes.
        resamples: of the bootstrap.
        split: written into the rows.
        name: of the result.
        title: its words for a page.
        synthetic: the data is synthetic.

    Raises:
        DataError: if lengths disagree, or no sentence can be falsified.
    """
    rows = unit_embeddings(image, "Image")
    if not len(rows) == len(reports) == len(patients):
        raise DataError(f"There are {len(rows)} images, {len(reports)} reports, {len(patients)} patients: one a study.")
    pairs = sentence_pairs(reports, kinds)
    if not pairs:
        raise DataError("No sentence of these reports can be falsified by the rules: there is nothing to check.")
    copies = {text: _copies(text, kinds) for text in {t for pair in pairs for t in (pair.true, pair.false)}}
    # A false copy's own copies need not hold the sentence that it was made of, where that had to be reworded.
    for pair in pairs:
        copies[pair.true].add(pair.false)
        copies[pair.false].add(pair.true)
    texts = sorted({*copies, *(text for many in copies.values() for text in many)})
    at = {text: i for i, text in enumerate(texts)}
    words = unit_embeddings(embed_text(texts), "Sentence")
    blind = rows.mean(axis=0)
    away = {text: float(blind @ words[i]) for text, i in at.items()}
    near = {(pair.study, t): float(rows[pair.study] @ words[at[t]]) for pair in pairs for t in _all(pair, copies)}
    table = []
    for number, pair in enumerate(pairs):
        for text, true in ((pair.true, 1.0), (pair.false, 0.0)):
            cosine = near[pair.study, text]
            others = sorted(copies[text])
            margin = cosine - float(np.mean([near[pair.study, other] for other in others]))
            unseen = away[text] - float(np.mean([away[other] for other in others]))
            facts = (f"{number}/{int(true)}", str(patients[pair.study]), pair.kind)
            table.append((*facts, true, margin, true, cosine, true, unseen))
    names = ("sentence_margin", "sentence_cosine", "sentence_blind")
    columns = ["id", "patient_id", "group:kind", *(f"{part}:{name}" for name in names for part in ("label", "score"))]
    result = evaluate_scores(
        pd.DataFrame(table, columns=columns).assign(**({"split": split} if split else {})),
        seed=seed,
        resamples=resamples,
        recipe=recipe,
        data=data,
        name=name,
        title=title,
        synthetic=synthetic,
    )
    kept = tuple(row for row in result.metrics if row.label != "macro")
    return replace(result, metrics=(*kept, *_hard_rows(pairs, near, patients, seed, resamples, split)))


def _copies(text: str, kinds: Sequence[Kind]) -> set[str]:
    return {copy.false_statement for copy in false_copies(text, kinds)}


def _all(pair: Pair, copies: dict[str, set[str]]) -> set[str]:
    return {pair.true, pair.false, *copies[pair.true], *copies[pair.false]}


def _hard_rows(
    pairs: Sequence[Pair],
    near: dict[tuple[int, str], float],
    patients: Sequence[str],
    seed: int,
    resamples: int,
    split: str,
) -> list[Metric]:
    metrics = []
    for kind in (None, *sorted({pair.kind for pair in pairs})):
        false: dict[tuple[int, str], set[str]] = {}
        for pair in pairs:
            if kind in (None, pair.kind):
                false.setdefault((pair.study, pair.true), set()).add(pair.false)
        hits, chances = [], []
        for (study, true), others in false.items():
            scores = [near[study, other] for other in others]
            best = max(scores)
            own = near[study, true]
            hits.append(1.0 if own > best else 1.0 / (1 + scores.count(best)) if own == best else 0.0)
            chances.append(1.0 / (1 + len(others)))
        people = [str(patients[study]) for study, _ in false]
        metrics.append(_hard_row(np.array(hits), np.array(people), chances, kind, seed, resamples, split))
    return metrics


def _hard_row(
    hits: FloatArray,
    people: NDArray[np.str_],
    chances: Sequence[float],
    kind: Kind | None,
    seed: int,
    resamples: int,
    split: str,
) -> Metric:
    clusters = patient_clusters(people)

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]
        return (hits @ row / row.sum(axis=0))[:, None]

    draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=len(hits))
    interval = percentile_interval(draws[:, 0])
    return Metric(
        metric="recall@1",
        label="hard_negatives",
        value=float(hits.mean()),
        low=interval.low,
        high=interval.high,
        n=len(hits),
        patients=clusters.patients,
        split=split,
        policy="none",
        group=None if kind is None else f"kind={kind}",
        chance=float(np.mean(chances)),
        pool=round(1 / min(chances)),
        resamples=interval.used,
        skipped=interval.skipped,
    )
