"""`medslip_plus` against faithful MeDSLIP on one synthetic hospital: existence of findings on test patients.

Run: python tests/benchmarks/medslip_plus.py HOSPITAL [key.path=value ...] --out FOLDER --seeds 0 1 2

Both shipped configurations are trained alike for each seed, on the same patients; prints one JSON line a run and a last
one with the difference (plus minus faithful) of the macro AUROC of existence, averaged over seeds, with a 95 % interval
by resampling patients (pairs stay pairs), and the seeds' own differences. The sign is reported, not required. A finding
counts with `--fewest` positive test films. Synthetic patients: it proves the machinery.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads

import time
from pathlib import Path

import numpy as np
from _report import print_report

from medvlp.answers.asking.ask import answered
from medvlp.answers.asking.model import load
from medvlp.config.tree import load_config
from medvlp.core.answers import Ask
from medvlp.core.table import FeatureTable
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.features.feature_pass import feature_pass
from medvlp.runs.data import build_views
from medvlp.runs.train import train
from medvlp.statistics.metrics import auroc

RESAMPLES = 500
RECIPES = ("medslip", "medslip_plus")


def scores_of(recipe: str, seed: int, asked: argparse.Namespace) -> tuple[Manifest, dict[str, np.ndarray], float]:
    """Train one recipe with one seed and score the test films."""
    run, start = asked.out / f"{recipe}-{seed}", time.perf_counter()
    words = [f"run={run}", f"seed={seed}", f"data.root={asked.hospital}", f"data.cache={asked.out / 'cache'}"]
    words.append("data.split={name: patient, fractions: {train: 0.6, validate: 0.05, test: 0.35}}")
    done = train(load_config(f"pretrain/phantom_{recipe}.yaml", [*words, *asked.overrides]))
    model = load(done.bundle)
    views = build_views(model.bundle.preprocessing, where="preprocessing")
    test = prepare(done.manifest.split_of("test"), views, cache=asked.out / "cache")
    answer = model.answers["existence"]
    table: FeatureTable = feature_pass(model.model, in_order(test), answer.needs(model.model))
    asked_of = Ask(findings=answer.labels)
    scores = answered(answer, model.model, table, asked_of).scores or {}
    return test.manifest, dict(scores), time.perf_counter() - start


def macro(scores: dict[str, np.ndarray], truth: dict[str, np.ndarray], rows: np.ndarray) -> float:
    """Mean AUROC over findings, of some rows."""
    found = [auroc(t[rows], scores[label][rows]) for label, t in truth.items() if 0 < t[rows].sum() < len(rows)]
    return float(np.mean(found))


def main() -> None:
    """Train, compare, print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("hospital", type=Path)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    words.add_argument("--fewest", type=int, default=10)
    words.add_argument("overrides", nargs="*", default=[])
    asked = words.parse_intermixed_args()
    found: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    truth: dict[str, np.ndarray] = {}
    patients = np.zeros(0)
    for seed in asked.seeds:
        for recipe in RECIPES:
            manifest, scores, seconds = scores_of(recipe, seed, asked)
            labels = [label for label in scores if f"label.{label}" in manifest]
            facts = {label: np.asarray(manifest.column(f"label.{label}"), float) for label in labels}
            truth = {label: t for label, t in facts.items() if t.sum() >= asked.fewest}
            patients = np.asarray(manifest.column("id.patient"))
            found[recipe, seed] = scores
            each = {label: round(float(auroc(t, scores[label])), 3) for label, t in truth.items()}
            value = round(macro(scores, truth, np.arange(len(patients))), 4)
            n = {"films": len(patients), "patients": len(set(patients))}
            line = {"recipe": recipe, "seed": seed, "macro": value, "seconds": round(seconds), "findings": each}
            print_report("medslip_plus", n=n, packages=("torch",), **line)
    people = [np.flatnonzero(patients == person) for person in sorted(set(patients))]

    def difference(rows: np.ndarray, seed: int) -> float:
        plus, plain = (macro(found[recipe, seed], truth, rows) for recipe in reversed(RECIPES))
        return plus - plain

    every = np.arange(len(patients))
    by_seed = [difference(every, seed) for seed in asked.seeds]
    draw, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = np.concatenate([people[i] for i in draw.integers(len(people), size=len(people))])
        drawn.append(float(np.mean([difference(rows, seed) for seed in asked.seeds])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    print_report(
        "medslip_plus",
        n={"films": len(patients), "patients": len(people), "seeds": len(asked.seeds), "findings": len(truth)},
        packages=("torch",),
        difference=round(float(np.mean(by_seed)), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        by_seed=[round(value, 4) for value in by_seed],
        method="patient bootstrap, paired, mean over seeds",
    )


if __name__ == "__main__":
    main()
