"""Does the model tell a true sentence from one that is false in a single fact?

Every sentence of a report that the rules of `medvlp.text.hard_negatives` can falsify (the other side, the denial, the
other degree) stands against its false copies, before the image. A cosine alone ranks wordings as much as facts, so a
sentence is judged by its margin over its own false copies: of a false sentence the true one is such a copy. That needs
no truth and is how a sentence of an unknown report can be checked.

Words alone can give much of it away: most reports deny most findings, and a model may like denials whatever it sees.
The same margin before the mean image says how much, and what is left of a margin without it was seen. Two numbers
rest on that alone. Like for like: true against false sentences that say the same of the same finding, where neither
words nor base rates help. Calibrated: the probability that a sentence is true, against what base rates alone give,
both fitted on the sentences of validation patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.answers.sentences.calibration import SentenceCalibration, sentence_names
from medvlp.answers.sentences.evaluator import SentenceEvaluator, evidence
from medvlp.answers.sentences.rows import Sentences, Studies, evaluate_sentences, sentence_pairs
from medvlp.core.errors import DataError
from medvlp.core.unit import unit_embeddings
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.linear_classifier import fit_classifiers
from medvlp.evaluation.metric_row import corrected, mean_metric, share_row, with_draws, with_paired_test
from medvlp.evaluation.results import AVERAGES, ConfidenceInterval, Counts, Metric, Result
from medvlp.statistics.bootstrap import bootstrap, count_patients, patient_clusters
from medvlp.statistics.conformal import fit_sets
from medvlp.statistics.delong import compare_areas
from medvlp.statistics.few import few_reason
from medvlp.statistics.intervals import DEFAULT_FORM
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError
from medvlp.statistics.proportions import share_of
from medvlp.statistics.stratified import stratify

COVERAGE = 0.9  # of the conformal sets of true and of false sentences
_FOLDS = 10


def evaluate_sentence_check(
    image: ArrayLike,
    reports: Sequence[str],
    patients: Sequence[str],
    embed_text: Callable[[Sequence[str]], np.ndarray],
    *,
    seed: int,
    validation: Studies | None = None,
    resamples: int = 1000,
    split: str = "",
) -> Result:
    """Return AUROC of true against false sentences by margin and by cosine, and hard-negative retrieval.

    Over all and by kind (``kind=side``): ``auroc`` of ``sentence_margin``, ``sentence_cosine`` and ``sentence_blind``
    (the margin before the mean image: what words alone give away); of ``sentence_alike``, by what was seen, within
    strata of equal kind, finding and what is said of it; with validation studies of ``sentence_calibrated`` and
    ``sentence_prior`` and their ``auroc_difference``, the first less the second, ``unknown_share``, of sentences that
    say what no validation sentence says, and of ``sentence_verdict`` the two errors of `SentenceEvaluator`,
    ``true_contradicted`` and ``false_supported``. ``recall@1`` of ``hard_negatives``: the chance that the true sentence
    stands before all its false copies, ties shared, whose `chance` is the mean of 1 / (1 + copies) and whose `pool` is
    the largest of them.

    Args:
        image: (S, D) embeddings, one a study.
        reports: (S,).
        patients: (S,).
        embed_text: texts -> (T, D) unit embeddings.
        validation: studies of other patients, for all that is fitted, and whose mean image is the one that words stand
            before; None fits nothing, and takes the mean of `image`.
        resamples: of the bootstrap.
        split: written into the rows.

    Raises:
        DataError: if lengths disagree, no sentence can be falsified, or a patient is in both parts.
    """
    own = Studies(image, reports, patients)
    known = validation if validation is not None and sentence_pairs(validation.reports) else None
    both = set() if known is None else set(map(str, known.patients)) & set(map(str, patients))
    if both:
        raise DataError(f"Patients in both parts: {len(both)}. Calibrate sentences on other patients.")
    mean_image = unit_embeddings((known or own).image, "Image").mean(axis=0)
    sentences = evaluate_sentences(own, embed_text, mean_image=mean_image)
    rows = sentences.table
    scores = {f"sentence_{part}": rows[part].to_numpy() for part in ("margin", "cosine", "blind")}
    checker: SentenceEvaluator | None = None
    if known is not None:
        fitted_on = evaluate_sentences(known, embed_text, mean_image=mean_image)
        checker = _fit_checker(fitted_on.table, mean_image)
        scores["sentence_calibrated"] = checker.calibration.probabilities(rows)
        scores["sentence_prior"] = checker.prior.probabilities(rows)
    cases = rows[["id", "patient_id", "finding", "said", "seen"]].assign(
        **{"group:kind": rows["kind"]},
        **({"split": split} if split else {}),
        **{f"label:{label}": rows["true"] for label in scores},
        **{f"score:{label}": values for label, values in scores.items()},
    )
    result = evaluate_scores(
        cases, name="sentence_check", title="True sentence against one fact changed", seed=seed, resamples=resamples,
    )  # fmt: skip
    metrics = [row for row in result.metrics if row.label not in AVERAGES]
    metrics += [_alike_row(rows[inside], kind, seed, resamples, split) for kind, inside in _by_kind(rows)]
    if checker is not None:
        metrics += _difference_rows(rows, scores, split)
        share = 1 - float(checker.calibration.knows(rows).mean())
        unknown = _row("unknown_share", "sentence_calibrated", rows, None, split)
        metrics.append(replace(unknown, value=share, reason=None))
        metrics += _verdict_rows(rows, checker, split)
        sides = {"first": {"name": "Base rates alone"}, "second": {"name": "Calibrated probability"}}
        result = replace(result, fitted={"sentences": checker.to_plain()}, options=sides)
    drawn = partial(mean_metric, "recall@1", "hard_negatives", seed=seed, resamples=resamples, split=split)
    metrics += _hard_rows(sentences, patients, drawn)
    return replace(result, metrics=tuple(metrics))


def _fit_checker(rows: pd.DataFrame, mean_image: np.ndarray) -> SentenceEvaluator:
    """Fit probabilities, their prior and the conformal rule of each kind on validation sentences.

    The rule is of evidence by maps that were fitted to other patients: by its own a sentence would look surer than a
    new one.
    """
    people, names = pd.factorize(rows["patient_id"])
    moved, folds = np.full(len(rows), np.nan), min(_FOLDS, len(names))
    for fold in range(folds):
        held = people % folds == fold
        if not held.all():
            moved[held] = evidence(*_fitted(rows[~held]), rows[held])
    kinds, truth, known = rows["kind"].to_numpy(), rows["true"].to_numpy() == 1, np.isfinite(moved)
    sets = {}
    for kind in sorted(set(kinds[known])):
        own = known & (kinds == kind)
        sets[kind] = fit_sets(truth[own], moved[own], patients=people[own], level=COVERAGE)
    return SentenceEvaluator(mean_image, *_fitted(rows), sets)


def _fitted(rows: pd.DataFrame) -> tuple[SentenceCalibration, SentenceCalibration]:
    return fit_sentence_calibration(rows), fit_sentence_calibration(rows, sees=False)


def _row(metric: str, label: str, rows: pd.DataFrame, kind: str | None, split: str) -> Metric:
    """Return a row without a number over these sentences."""
    truth, (patient, _) = rows["true"].to_numpy() == 1, pd.factorize(rows["patient_id"])
    return Metric(
        metric=metric,
        label=label,
        value=None,
        split=split,
        group=None if kind is None else f"kind={kind}",
        reason=few_reason(count_patients(patient[truth]), count_patients(patient[~truth])),
        counts=Counts(n=len(rows), positives=int(truth.sum()), patients=count_patients(patient)),
        interval=ConfidenceInterval(method="none", form="none"),
    )


def _by_kind(rows: pd.DataFrame) -> list[tuple[str | None, NDArray[np.bool_]]]:
    """Return all rows, and those of each kind."""
    kinds = rows["kind"].to_numpy()
    return [(None, np.ones(len(rows), bool)), *((kind, kinds == kind) for kind in sorted(set(kinds)))]


def _alike_row(rows: pd.DataFrame, kind: str | None, seed: int, resamples: int, split: str) -> Metric:
    names = list(rows[["kind", "finding", "said"]].itertuples(index=False, name=None))
    clusters = patient_clusters(rows["patient_id"].to_numpy(str))
    ranks = stratify(rows["true"], rows["seen"], names, clusters.patient)
    used = rows[ranks.used]
    row = _row("auroc", "sentence_alike", used, kind, split)
    strata = replace(row.counts, strata=len(ranks.strata), strata_left_out=ranks.left_out, pairs=ranks.pairs)
    row = replace(row, counts=strata)
    if not ranks.pairs:
        return replace(row, reason="no_labels")
    value = float(ranks.auroc(np.ones((clusters.patients, 1)))[0])
    row = replace(row, value=value, chance=0.5, counts=replace(row.counts, prevalence=float(used["true"].mean())))
    if value in (0.0, 1.0):  # every resample has it too, which is no sign of how sure it is
        return replace(row, reason="separated")
    draws = bootstrap(
        lambda weights: ranks.auroc(weights)[:, None], clusters, resamples=resamples, seed=seed, height=len(used)
    )
    smaller = int(used.groupby("true")["patient_id"].nunique().min())
    return with_draws(row, draws[:, 0], form=DEFAULT_FORM, patients=smaller)


def _difference_rows(rows: pd.DataFrame, scores: dict[str, FloatArray], split: str) -> list[Metric]:
    """Return what sight adds to base rates, by DeLong's paired test; those of the kinds corrected for each other."""
    first, second = scores["sentence_prior"], scores["sentence_calibrated"]
    made = []
    for kind, inside in _by_kind(rows):
        row = _row("auroc_difference", "sentence_calibrated", rows[inside], kind, split)
        people = rows["patient_id"].to_numpy(str)[inside]
        try:
            test = compare_areas(rows["true"].to_numpy()[inside], first[inside], second[inside], people)
        except UndefinedMetricError:  # a single patient
            made.append(row)
            continue
        row = replace(row, value=test.difference, test=replace(row.test, first=test.first, second=test.second))
        made.append(with_paired_test(row, test))
    return corrected(made, lambda row: row.group is None)


def _verdict_rows(rows: pd.DataFrame, checker: SentenceEvaluator, split: str) -> list[Metric]:
    """Return how often a true sentence is contradicted, and a false one supported."""
    verdicts, made = checker.verdicts(rows), []
    for kind, inside in _by_kind(rows):
        for metric, true, wrong in (("true_contradicted", 1, "contradicted"), ("false_supported", 0, "supported")):
            own = inside & (rows["true"].to_numpy() == true)
            people = pd.factorize(rows["patient_id"].to_numpy()[own])[0]
            row = _row(metric, "sentence_verdict", rows[own], kind, split)
            row = replace(row, counts=replace(row.counts, positives=None), reason=None)
            made.append(share_row(row, share_of(verdicts[own] == wrong, people)))
    return made


def _hard_rows(sentences: Sentences, patients: Sequence[str], drawn: Callable[..., Metric]) -> list[Metric]:
    pairs, near, metrics = sentences.pairs, sentences.near, []
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
        row = drawn(np.array(hits), people)
        counts = replace(row.counts, pool=round(1 / min(chances)))
        group = None if kind is None else f"kind={kind}"
        metrics.append(replace(row, group=group, chance=float(np.mean(chances)), counts=counts))
    return metrics


STRENGTH = 1.0  # C, the inverse of the L2 penalty


def fit_sentence_calibration(table: pd.DataFrame, *, sees: bool = True) -> SentenceCalibration:
    """Fit the map on validation sentences.

    Args:
        table: as of `SentenceCalibration.probabilities`, with ``true`` of both classes and ``patient_id``.
        sees: with slopes; without them it is the prior.

    Example:
        >>> table = pd.DataFrame({"kind": "side", "finding": "effusion", "said": ["left", "right"] * 2,
        ...                       "true": [1, 0, 0, 1], "seen": [0.2, -0.2, -0.1, 0.1], "patient_id": list("aabb")})
        >>> fit_sentence_calibration(table).probabilities(table).round(2).tolist()
        [0.85, 0.15, 0.26, 0.74]
    """
    kinds, findings, said = sentence_names(table)
    seen = table["seen"].to_numpy(np.float64)
    scale = float(seen.std()) or 1.0
    z = (seen / scale)[:, None]
    groups = [said, kinds, findings] if sees else [said]
    names = [sorted(set(group)) for group in groups]
    parts = [_one_hot(group, order) for group, order in zip(groups, names, strict=True)]
    design = np.concatenate([parts[0], *(part * z for part in parts[1:])], axis=1)
    found = fit_classifiers(design, table["true"].to_numpy() == 1, strengths=[STRENGTH])[0]
    ends = np.cumsum([0, *map(len, names)])
    weights = [
        dict(zip(order, map(float, found.weight[start:end]), strict=True))
        for order, start, end in zip(names, ends[:-1], ends[1:], strict=True)
    ]
    return SentenceCalibration(
        intercept=found.bias,
        said=weights[0],
        slope=weights[1] if sees else {},
        finding_slope=weights[2] if sees else {},
        scale=scale,
        strength=STRENGTH,
        n=len(table),
        patients=table["patient_id"].nunique(),
    )


def _one_hot(group: list[str], order: list[str]) -> FloatArray:
    return (np.array(group, dtype=object)[:, None] == np.array(order, dtype=object)[None, :]).astype(np.float64)
