"""AUROC and AP against scikit-learn, 100,000 predictions of 14 labels, and retrieval: prints one JSON line.

Usage: python tests/benchmarks/evaluation_statistics.py [--resamples 2000] [--studies 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.statistics.metrics import auroc, average_precision


def best_of(call: Callable[[], object], times: int = 5) -> float:
    """Return the shortest of several runs, in seconds."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return min(spent)


def against_scikit_learn(rows: int = 1_000_000) -> dict[str, float]:
    """Return our time over scikit-learn's at three prevalences, results asserted equal first."""
    generator = np.random.default_rng(0)
    ratios = {}
    for prevalence in (0.02, 0.1, 0.5):
        labels = generator.random(rows) < prevalence
        scores = labels + generator.normal(size=rows)
        for name, ours, theirs in (
            ("auroc", auroc, roc_auc_score),
            ("average_precision", average_precision, average_precision_score),
        ):
            assert abs(ours(labels, scores) - theirs(labels, scores)) < 1e-12
            ours_s = best_of(lambda ours=ours, labels=labels, scores=scores: ours(labels, scores))
            theirs_s = best_of(lambda theirs=theirs, labels=labels, scores=scores: theirs(labels, scores))
            ratios[f"{name}@{prevalence}"] = round(ours_s / theirs_s, 3)
    return ratios


def predictions(rows: int = 100_000, labels: int = 14) -> pd.DataFrame:
    """Return a table of probabilities, a fifth of the patients for validation."""
    generator = np.random.default_rng(1)
    patient = generator.integers(0, rows // 3, rows)
    table = pd.DataFrame(
        {"id": np.arange(rows), "patient_id": patient, "split": np.where(patient % 5 == 0, "validate", "test")}
    )
    for at, prevalence in enumerate(np.linspace(0.01, 0.4, labels)):
        label = (generator.random(rows) < prevalence).astype(float)
        table[f"label:{at}"] = label
        table[f"score:{at}"] = expit(label + generator.normal(size=rows) - 1)
    return table


def seconds_of(call: Callable[[], object]) -> dict[str, float]:
    """Return wall and processor seconds of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return {"wall": round(time.perf_counter() - wall, 1), "processor": round(time.process_time() - processor, 1)}


def rank_seconds(resamples: int) -> dict[str, float]:
    """Return the seconds of AUROC and AP of all labels with averages and intervals."""
    table = predictions().drop(columns="split")
    return seconds_of(lambda: evaluate_scores(table, seed=0, resamples=resamples))


def score_seconds(resamples: int) -> dict[str, float]:
    """Return the seconds of everything that `medvlp score` computes of the same table."""
    table = predictions()
    return seconds_of(lambda: score_predictions(table, options=ScoreOptions(resamples=resamples)))


def retrieval_seconds(studies: int, width: int = 128) -> float:
    """Return the seconds of both directions with duplicates and 1000 resamples."""
    generator = np.random.default_rng(2)
    report = generator.integers(0, studies // 2, studies)
    text = generator.normal(size=(studies // 2, width)).astype(np.float32)[report]
    image = text + generator.normal(size=text.shape).astype(np.float32)
    patients = [str(patient) for patient in generator.integers(0, studies // 3, studies)]
    start = time.perf_counter()
    evaluate_retrieval(image, text, [str(each) for each in report], patients, seed=0, resamples=1000)
    return round(time.perf_counter() - start, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--studies", type=int, default=10_000)
    options = parser.parse_args()
    found = {
        "benchmark": "evaluation_statistics",
        "time_over_scikit_learn_1e6": against_scikit_learn(),
        "auroc_ap_100000x14_s": rank_seconds(options.resamples),
        "peak_rss_auroc_ap_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "all_metrics_100000x14_s": score_seconds(options.resamples),
        "resamples": options.resamples,
        "retrieval_s": retrieval_seconds(options.studies),
        "studies": options.studies,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "numpy": metadata.version("numpy"),
        "scikit-learn": metadata.version("scikit-learn"),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
