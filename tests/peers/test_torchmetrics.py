"""Numbers of torchmetrics are ours: rankings with ties and without, calls at a threshold, recalls of retrieval.

What it releases holds no tests, so its functions stand here themselves.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.statistics.confusion import call_counts
from medvlp.statistics.metrics import auroc, average_precision
from medvlp.statistics.ranks import rank_embeddings

peer = pytest.importorskip("torchmetrics.functional", reason="torchmetrics, a peer of the extra `bench`")
CALLS = {
    "sensitivity": "binary_recall",
    "specificity": "binary_specificity",
    "ppv": "binary_precision",
    "npv": "binary_negative_predictive_value",
    "f1": "binary_f1_score",
    "mcc": "binary_matthews_corrcoef",
    "accuracy": "binary_accuracy",
}


def cases(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    labels = draws.random(200) < 0.2
    scores = 1 / (1 + np.exp(-draws.normal(labels, 1.5)))
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_areas_under_curves(seed: int, ties: bool) -> None:
    labels, scores = cases(seed, ties=ties)
    given = torch.from_numpy(scores), torch.from_numpy(labels.astype(np.int64))
    assert auroc(labels, scores) == pytest.approx(peer.auroc(*given, task="binary").item(), abs=1e-6)
    theirs = peer.average_precision(*given, task="binary").item()
    assert average_precision(labels, scores) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_calls_at_a_threshold(name: str) -> None:
    labels, scores = cases(7, ties=False)
    counts = call_counts(labels, scores, [0.6], np.arange(len(labels)), len(labels))
    mine = counts.tables(np.ones((len(labels), 1))).metric(name).item()
    function = getattr(peer.classification, CALLS[name])
    theirs = function(torch.from_numpy(scores), torch.from_numpy(labels.astype(np.int64)), threshold=0.6)
    assert mine == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_of_retrieval_is_its_hit_rate_where_several_candidates_are_right(k: int) -> None:
    draws = np.random.default_rng(3)
    group = draws.integers(0, 40, 80)
    text = draws.normal(size=(40, 12))[group]
    image = text + 2 * draws.normal(size=text.shape)
    scores, pairs = torch.from_numpy(text @ image.T), torch.from_numpy(group)[:, None] == torch.from_numpy(group)
    theirs = [peer.retrieval.retrieval_hit_rate(*both, top_k=k).item() for both in zip(scores, pairs, strict=True)]
    np.testing.assert_allclose(rank_embeddings(text, image, group).recall(k), theirs, atol=1e-6)
    assert 0 < np.mean(theirs) < 1
