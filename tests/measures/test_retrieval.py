"""Retrieval is one number for embeddings and for any other score of the same value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.measures.retrieval import Retrieval

FACTS = {"seed": 0, "resamples": 50}


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_similarity_gives_the_rows_that_its_embeddings_give() -> None:
    images, texts = unit(12, 4), unit(12, 4, seed=1)
    reports, patients = [f"report {i // 2}" for i in range(12)], [f"p{i // 3}" for i in range(12)]
    labels = np.arange(12)[:, None] % 3
    by_vectors = evaluate_retrieval(images, texts, reports, patients, labels=labels, **FACTS)
    by_scores = evaluate_retrieval(images @ texts.T, None, reports, patients, labels=labels, **FACTS)
    assert by_scores.metrics == by_vectors.metrics
    # And no score is compared by its scale.
    assert evaluate_retrieval(7 * images @ texts.T - 3, None, reports, patients, labels=labels, **FACTS).metrics == (
        by_vectors.metrics
    )


def test_a_similarity_of_another_shape_or_with_gaps_is_refused() -> None:
    with pytest.raises(DataError, match=r"Images are \(3, 2\), reports \(2, 3\), texts 3, patients 3"):
        evaluate_retrieval(np.zeros((3, 2)), None, list("abc"), list("abc"), ks=(1,), **FACTS)
    with pytest.raises(DataError, match="The similarity holds NaN"):
        evaluate_retrieval(np.full((3, 3), np.nan), None, list("abc"), list("abc"), ks=(1,), **FACTS)


def told(similarity: np.ndarray, texts: list[str]) -> dict[str, float]:
    ids = tuple(str(i) for i in range(len(similarity)))
    said = Predictions(ids, similarity=similarity, compared=tuple(texts))
    return Retrieval().values(said, Manifest.of({"id": list(ids), "text": texts}, root=Path()))


def by_hand(similarity: np.ndarray, texts: list[str], k: int) -> float:
    """Mean of both directions; a query is answered by any text with its own words. No ties here."""
    words = [" ".join(text.lower().split()) for text in texts]
    found = []
    for near in (similarity, similarity.T):
        for at, row in enumerate(near):
            first = np.argsort(-row)[:k]
            found.append(any(words[other] == words[at] for other in first))
    return float(np.mean(found))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_in_training_is_by_the_words_of_records(k: int) -> None:
    similarity = np.random.default_rng(3).normal(size=(20, 20))
    texts = [f"Report {i % 14}" for i in range(20)]
    texts[1] = "report   1"
    assert told(similarity, texts)[f"recall@{k}"] == pytest.approx(by_hand(similarity, texts, k))


def test_records_without_a_picture_or_a_text_take_no_part_and_what_is_undefined_is_absent() -> None:
    similarity = np.random.default_rng(4).normal(size=(12, 12))
    texts = [f"report {i}" for i in range(12)]
    gaps = similarity.copy()
    gaps[3], gaps[:, 7] = np.nan, np.nan
    kept = [i for i in range(12) if i not in (3, 7)]
    assert told(gaps, texts) == told(similarity[np.ix_(kept, kept)], [texts[i] for i in kept])
    four = told(similarity[:4, :4], texts[:4])
    assert (four["recall@5"], four["recall@10"]) == (1.0, 1.0)  # all of a pool of four
    assert told(similarity, ["the same"] * 12) == {}
    sentences = Predictions(("a", "b"), similarity=np.zeros((2, 3)), compared=("x", "y", "z"))
    assert Retrieval().values(sentences, Manifest.of({"id": ["a", "b"], "text": ["", ""]}, root=Path())) == {}
