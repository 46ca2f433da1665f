"""Retrieval of 10,000 x 10,000: ranks equal to brute force, recalls equal to two peers', then time; one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/retrieval_speed.py [--studies 10000] [--queries 1000] [--repeats 3]

Ours is all that `evaluate_retrieval` reports without its bootstrap: recall at 1, 5 and 10, median and mean rank both
ways, for all queries and for those of rare reports, chances, and the table of cases. The peers give the recalls:

* CLIP_benchmark: the computation of its ``zeroshot_retrieval.evaluate`` behind the encoders (top k, one-hot, product
  with the positive pairs, in batches of 64), from its package where that can be imported
  (``pip install ".[bench]"``).
* torchmetrics: ``retrieval_hit_rate`` of each query, as its class computes them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _report import interleaved_ratio, print_report
from torch import Tensor

from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.statistics.ranks import rank_embeddings

KS = (1, 5, 10)
Recall = Callable[[Tensor, Tensor, int], Tensor]


def cohort(studies: int, *, ties: bool, width: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, reports and groups: half as many distinct reports as studies, some images twice."""
    draws = np.random.default_rng(0)
    group = draws.integers(0, studies // 2, studies)
    text = draws.normal(size=(studies // 2, width)).astype(np.float32)[group]
    image = (text + 3 * draws.normal(size=text.shape)).astype(np.float32)
    if ties:  # every tenth study has the image of another; and few values, so that unlike ones tie too
        image[::10] = image[draws.integers(0, studies, len(image[::10]))]
        # Sixteen signs over 4 are unit vectors whose products are exact, so that a tie is one for every arithmetic.
        return np.sign(image[:, :16]) / 4, np.sign(text[:, :16]) / 4, group
    image, text = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (image, text))
    return image, text, group


def brute_force(query: np.ndarray, candidate: np.ndarray, group: np.ndarray, at: int) -> tuple[float, list[float]]:
    """Return expected rank and recall at k of one query, by sorting and counting."""
    scores = (candidate.astype(np.float64) * query[at]).sum(axis=1)
    relevant = group == group[at]
    best = scores[relevant].max()
    above = int((scores[~relevant] > best).sum())
    tied, mates = int((scores[~relevant] == best).sum()), int((scores[relevant] == best).sum())
    found = []
    for k in KS:
        missed = 1.0
        for place in range(max(0, k - above)):
            missed *= max(tied - place, 0) / (tied + mates - place) if tied + mates > place else 0.0
        found.append(1 - missed)
    return 1 + above + tied / (mates + 1), found


def differences(studies: int, queries: int) -> float:
    """Return the largest difference from brute force, both directions."""
    image, text, group = cohort(studies, ties=True)
    worst = 0.0
    for query, candidate in ((image, text), (text, image)):
        ranks = rank_embeddings(query, candidate, group)
        ours = np.stack([ranks.expected_rank(), *(ranks.recall(k) for k in KS)])
        for at in np.random.default_rng(1).permutation(studies)[:queries]:
            rank, recalls = brute_force(query, candidate, group, int(at))
            worst = max(worst, float(np.abs(ours[:, at] - [rank, *recalls]).max()))
    return worst


def ours(image: np.ndarray, text: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """Return our recalls."""
    reports, patients = [f"report {each}" for each in group], [str(each) for each in range(len(group))]
    found = evaluate_retrieval(image, text, reports, patients, seed=0, ks=KS, resamples=0)
    ways = {"text": "image_to_report", "image": "report_to_image"}
    values = {f"{what}@{k}": found.find(f"recall@{k}", way).value for what, way in ways.items() for k in KS}
    return {name: float(value) for name, value in values.items() if value is not None}


def by_matrix(image: np.ndarray, text: np.ndarray, group: np.ndarray, recall: Recall) -> dict[str, float]:
    """Return the recalls of a peer that takes scores and pairs, both (Q, C)."""
    scores, groups = torch.from_numpy(text) @ torch.from_numpy(image).T, torch.from_numpy(group)
    pairs = groups[:, None] == groups
    ways = (("image", scores, pairs), ("text", scores.T, pairs.T.contiguous()))
    return {f"{what}@{k}": recall(x, y, k).mean().item() for what, x, y in ways for k in KS}


def clip_benchmark(scores: Tensor, pairs: Tensor, k: int) -> Tensor:
    """Return (Q,) as `evaluate` of the package has it."""
    module = importlib.import_module("clip_benchmark.metrics.zeroshot_retrieval")
    return (module.batchify(module.recall_at_k, scores, pairs, 64, "cpu", k=k) > 0).float()


def torchmetrics(scores: Tensor, pairs: Tensor, k: int) -> Tensor:
    """Return (Q,) as `RetrievalHitRate` computes them, one query after the other."""
    module = importlib.import_module("torchmetrics.functional.retrieval")
    return torch.stack([module.retrieval_hit_rate(*both, top_k=k) for both in zip(scores, pairs, strict=True)])


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=1000, help="that are checked by brute force, each way")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    worst = differences(options.studies, options.queries)
    cohorts = cohort(options.studies, ties=False)
    peers = [each for each in (clip_benchmark, torchmetrics) if importlib.util.find_spec(each.__name__)]
    works: dict[str, Callable[[], dict[str, float]]] = {"ours": partial(ours, *cohorts)}
    works |= {each.__name__: partial(by_matrix, *cohorts, each) for each in peers}
    found = {name: work() for name, work in works.items()}
    apart = {name: max(abs(each[key] - found["ours"][key]) for key in each) for name, each in found.items()}
    if max(apart.values()) > 1e-6:
        raise SystemExit(f"The recalls differ: {found}")
    print_report(
        "retrieval_speed",
        n={"studies": options.studies, "brute_force_queries": 2 * options.queries},
        packages=("numpy", "torch", *(each.__name__ for each in peers if each is torchmetrics)),
        largest_difference_from_brute_force=worst,
        recalls_apart=apart,
        **interleaved_ratio(works, repeats=options.repeats),
    )


if __name__ == "__main__":
    main()
