"""Recall at 1, 5, 10 both ways over 10,000 x 10,000 with duplicates and ties: equal to brute force, then a race.

CLIP_benchmark's computation (``clip_benchmark.metrics.zeroshot_retrieval``: top k, one-hot, product with the positive
pairs, in batches of 64) is run from its package where that is on the path (``pip install --no-deps clip-benchmark``).

Usage: python tests/benchmarks/retrieval_speed.py [--studies 10000] [--queries 10000]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time

import numpy as np
import torch
from _report import print_report

from medvlp.statistics.ranks import Ranks, rank_embeddings

KS = (1, 5, 10)


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
    both: dict[str, Ranks] = {
        "text": rank_embeddings(image, text, group),
        "image": rank_embeddings(text, image, group),
    }
    return {f"{what}@{k}": float(ranks.recall(k).mean()) for what, ranks in both.items() for k in KS}


def theirs(image: np.ndarray, text: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """Return theirs, as `evaluate` of the package computes them behind the encoders."""
    module = importlib.import_module("clip_benchmark.metrics.zeroshot_retrieval")
    scores = torch.from_numpy(text) @ torch.from_numpy(image).t()
    pairs = torch.from_numpy(group)[:, None] == torch.from_numpy(group)[None]
    found = {}
    for k in KS:
        for what, x, y in (("image", scores, pairs), ("text", scores.T, pairs.T)):
            recall = module.batchify(module.recall_at_k, x, y.contiguous(), 64, "cpu", k=k)
            found[f"{what}@{k}"] = (recall > 0).float().mean().item()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=10_000, help="that are checked by brute force, each way")
    options = parser.parse_args()
    worst = differences(options.studies, options.queries)
    image, text, group = cohort(options.studies, ties=False)
    start = time.perf_counter()
    found = ours(image, text, group)
    seconds = {"ours_s": round(time.perf_counter() - start, 2)}
    if importlib.util.find_spec("clip_benchmark") is not None:
        start = time.perf_counter()
        other = theirs(image, text, group)
        seconds["clip_benchmark_s"] = round(time.perf_counter() - start, 2)
        seconds["ratio"] = round(seconds["ours_s"] / seconds["clip_benchmark_s"], 3)
        seconds["largest_difference"] = max(abs(found[key] - other[key]) for key in found)
        if seconds["largest_difference"] > 1e-6:
            raise SystemExit(f"The recalls differ: {found} and {other}")
    print_report(
        "retrieval_speed",
        n={"studies": options.studies, "brute_force_queries": 2 * options.queries},
        packages=("numpy", "torch"),
        largest_difference_from_brute_force=worst,
        **seconds,
    )


if __name__ == "__main__":
    main()
