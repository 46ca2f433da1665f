"""A model that knows the facts tells true sentences from false ones; one that does not is at chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from medvlp.answers.sentences.rows import sentence_pairs
from medvlp.core.errors import DataError
from medvlp.evaluation.sentence_check import evaluate_sentence_check

TRUE = ["Small left pleural effusion.", "Moderate right pneumothorax.", "No pneumothorax.", "There is no effusion."] * 6
PATIENTS = [str(i) for i in range(len(TRUE))]


def vector(text: str) -> np.ndarray:
    return np.random.Generator(np.random.Philox(sum(i * ord(c) for i, c in enumerate(text)))).normal(size=64)


def embed(texts: Sequence[str]) -> np.ndarray:
    rows = np.stack([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_pairs_differ_in_one_fact_of_the_kinds_asked_for() -> None:
    pairs = sentence_pairs(TRUE[:3])
    assert {pair.kind for pair in pairs} == {"side", "negation", "severity"}
    assert all(pair.true in TRUE and pair.false not in TRUE for pair in pairs)
    assert {pair.kind for pair in sentence_pairs(TRUE[:3], ("side",))} == {"side"}
    assert len(set(pairs)) == len(pairs)


def test_a_model_that_knows_is_perfect_and_its_mirror_always_wrong() -> None:
    for sign, expected in ((1.0, 1.0), (-1.0, 0.0)):
        found = evaluate_sentence_check(sign * embed(TRUE), TRUE, PATIENTS, embed, seed=0, resamples=50)
        assert found.find("auroc", "sentence_margin").value == expected
        assert found.find("recall@1", "hard_negatives").value == expected
        assert found.find("recall@1", "hard_negatives", group="kind=side").counts.n == 12


def test_a_liking_for_denials_is_seen_by_the_blind_margin() -> None:
    """Every image is alike and likes the word "no"; reports deny: words alone tell true from false."""

    def likes(texts: Sequence[str]) -> np.ndarray:
        return np.stack([[0.6, 0.8] if "no" in text.lower().split() else [0.8, 0.6] for text in texts])

    deny = ["No pneumothorax.", "There is no effusion."] * 4
    found = evaluate_sentence_check(np.tile([0.0, 1.0], (8, 1)), deny, PATIENTS[:8], likes, seed=0, resamples=50)
    assert found.find("auroc", "sentence_margin").value == found.find("auroc", "sentence_blind").value == 1.0


def test_one_embedding_for_every_sentence_is_chance() -> None:
    found = evaluate_sentence_check(embed(TRUE), TRUE, PATIENTS, lambda t: np.ones((len(t), 64)), seed=0, resamples=50)
    assert found.find("auroc", "sentence_margin").value == 0.5
    row = found.find("recall@1", "hard_negatives")
    assert row.value == pytest.approx(row.chance)
    assert row.counts.pool is not None
    assert row.counts.pool > 2
    assert found.cases is not None
    assert len(found.cases) == 2 * len(sentence_pairs(TRUE))


def test_the_margin_forgets_what_belongs_to_the_wording() -> None:
    """A constant a topic added to all its sentences moves the cosine and not the margin."""
    topics = np.eye(4)

    def shifted(texts: Sequence[str]) -> np.ndarray:
        rows = np.stack([np.concatenate([3 * topics[int("effusion" in t)], embed([t])[0]]) for t in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    image = np.concatenate([np.tile(topics[1] * 3, (len(TRUE), 1)), embed(TRUE)], axis=1)
    found = evaluate_sentence_check(image, TRUE, PATIENTS, shifted, seed=0, resamples=50)
    assert found.find("auroc", "sentence_margin").value == 1.0
    assert found.find("auroc", "sentence_cosine").value < 1.0


def test_reports_that_cannot_be_falsified_are_told() -> None:
    with pytest.raises(DataError, match="No sentence of these reports can be falsified"):
        evaluate_sentence_check(np.eye(2), ["Hello.", ""], ["a", "b"], embed, seed=0)
    with pytest.raises(DataError, match="2 images, 1 reports, 2 patients"):
        evaluate_sentence_check(np.eye(2), ["Hello."], ["a", "b"], embed, seed=0)


@pytest.mark.slow
def test_like_for_like_a_model_that_knows_is_perfect_and_one_that_knows_wordings_is_at_chance() -> None:
    knows = evaluate_sentence_check(embed(TRUE), TRUE, PATIENTS, embed, seed=0, resamples=50)
    row = knows.find("auroc", "sentence_alike")
    assert (row.value, row.reason, row.interval.low) == (1.0, "separated", None)
    # Whatever it likes, it likes before every image: an alike image is one for all, or one of nothing in the report.
    alike = evaluate_sentence_check(np.tile(embed(["x"]), (len(TRUE), 1)), TRUE, PATIENTS, embed, seed=0, resamples=50)
    assert alike.find("auroc", "sentence_alike").value == 0.5
    values = []
    for seed in range(40):
        image = np.random.default_rng(seed).normal(size=(len(TRUE), 64))
        found = evaluate_sentence_check(image, TRUE, PATIENTS, embed, seed=0, resamples=2)
        values.append(found.find("auroc", "sentence_alike").value)
    assert abs(np.mean(values) - 0.5) < 3 * np.std(values) / np.sqrt(40)


def test_like_for_like_is_the_loop_over_sentences_that_say_the_same() -> None:
    image = np.random.default_rng(3).normal(size=(len(TRUE), 64)) + 4 * embed(TRUE)
    found = evaluate_sentence_check(image, TRUE, PATIENTS, embed, seed=0, resamples=50)
    cases = found.cases
    assert cases is not None
    for kind in (None, "side", "negation", "severity"):
        rows = cases if kind is None else cases[cases["group:kind"] == kind]
        hits, pairs, mixed, single = 0.0, 0, 0, 0
        for _, same in rows.groupby(["group:kind", "finding", "said"]):
            true, false = (same["seen"][same["label:sentence_margin"] == label] for label in (1, 0))
            hits += sum((a > b) + 0.5 * (a == b) for a in true for b in false)
            pairs += len(true) * len(false)
            mixed, single = mixed + bool(len(true) and len(false)), single + (not (len(true) and len(false)))
        row = found.find("auroc", "sentence_alike", group=None if kind is None else f"kind={kind}")
        assert (row.counts.pairs, row.counts.strata, row.counts.strata_left_out) == (pairs, mixed, single)
        assert row.value == (pytest.approx(hits / pairs) if pairs else None)
        assert row.reason == "no_labels" if not pairs else row.counts.n > 0
        if row.interval.low is not None and row.interval.high is not None:
            assert row.interval.low < row.value < row.interval.high
