"""How often nominal 95 % intervals hold the truth, and whether DeLong's p is uniform under the null: JSON lines.

Cohorts of the binormal model: 160 patients with 1 to 8 images each, one label a patient, images of a patient alike
(60 % of the variance is the patient's own). The true AUROC is Phi(shift / sqrt 2), the true average precision an
integral; seeds are fixed, so the same table comes out again. Usage: python tests/benchmarks/interval_coverage.py
[--simulations 4000] [--resamples 1000]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy.special import expit, logit
from scipy.stats import kstest, norm

from medvlp.evaluation.metric_row import with_draws
from medvlp.evaluation.results import Counts, Metric
from medvlp.statistics.bootstrap import Interval, bootstrap, patient_clusters, percentile_interval
from medvlp.statistics.confusion import Confusion
from medvlp.statistics.delong import compare_areas, delong, delong_interval
from medvlp.statistics.influence import acceleration, by_patient, influence_rows
from medvlp.statistics.intervals import bca_interval, logit_interval
from medvlp.statistics.proportions import clopper_pearson, share_of
from medvlp.statistics.ranked import rank_rows

SHIFT, OWN, PATIENTS = 1.2, 0.6, 160
REGIMES: Mapping[str, tuple[int, int]] = {"many": (60, 90), "few": (12, 30)}


def cohort(generator: np.random.Generator, positives: int, *, scores: int = 1) -> tuple[np.ndarray, ...]:
    """Return labels, scores ``(n, scores)`` that share nothing but the label, and patient codes."""
    patient = np.repeat(np.arange(PATIENTS), generator.integers(1, 9, PATIENTS))
    label = (np.arange(PATIENTS) < positives)[patient]
    own = generator.normal(size=(PATIENTS, scores))[patient] * np.sqrt(OWN)
    return label, SHIFT * label[:, None] + own + generator.normal(size=own.shape) * np.sqrt(1 - OWN), patient


def true_precision(prevalence: float) -> float:
    """Return the average precision of the binormal model, the integral of precision over recall."""
    recall = (np.arange(20000) + 0.5) / 20000
    false = norm.sf(norm.isf(recall) + SHIFT)
    return float((prevalence * recall / (prevalence * recall + (1 - prevalence) * false)).mean())


def intervals(
    label: np.ndarray, score: np.ndarray, unit: np.ndarray, resamples: int, seed: int
) -> dict[tuple[str, str], Interval]:
    """Return each interval of AUROC and average precision, by name."""
    clusters = patient_clusters(unit, label)
    ranked = rank_rows(label, score, clusters.patient)
    draws = bootstrap(
        lambda weights: ranked.draws(np.ascontiguousarray(weights.T, np.int32)),
        clusters,
        resamples=resamples,
        seed=seed,
    )
    value = ranked.values(np.ones(clusters.patients, np.int32))
    smaller = min(len(np.unique(unit[label])), len(np.unique(unit[~label])))
    moved = by_patient(influence_rows(label, score), clusters.patient, clusters.patients)
    found = {}
    for at, metric in enumerate(("auroc", "average_precision")):
        found[metric, "percentile"] = percentile_interval(draws[:, at])
        speed = acceleration(moved[:, at], clusters)
        found[metric, "bca"] = bca_interval(draws[:, at], value=value[at], acceleration=speed)
        found[metric, "logit"] = logit_interval(draws[:, at], value=value[at], patients=smaller)
    return found


def called_and_calibrated(
    label: np.ndarray, score: np.ndarray, patient: np.ndarray, prevalence: float, resamples: int, seed: int
) -> dict[tuple[str, str], Interval]:
    """Return intervals of F1 and MCC at the middle of both classes, and of the true probability's Brier score."""
    probability, called = true_probability(score, prevalence), score >= SHIFT / 2
    cells = [(label == truth) & (called == call) for truth in (1, 0) for call in (1, 0)]
    # In the order tp, fn, fp, tn.
    columns = [np.ones(len(label)), (label - probability) ** 2, *cells]
    sums = np.stack([np.bincount(patient, weights=column, minlength=PATIENTS) for column in columns])

    def statistic(weights: np.ndarray) -> np.ndarray:
        n, square, tp, fn, fp, tn = sums @ weights
        tables = Confusion(tp, fp, fn, tn)
        return np.stack([tables.metric("f1"), tables.metric("mcc"), square / n], axis=1)

    draws = bootstrap(statistic, patient_clusters(patient, label), resamples=resamples, seed=seed)
    value = statistic(np.ones((PATIENTS, 1)))[0]
    smaller = min(len(np.unique(patient[label])), len(np.unique(patient[~label])))
    found = {}
    for at, metric in enumerate(("f1", "mcc", "brier")):
        row = Metric(metric=metric, label="", value=float(value[at]), counts=Counts(n=len(label), patients=PATIENTS))
        for form in ("percentile", "logit"):
            made = with_draws(row, draws[:, at], form=form, patients=smaller, signed=metric == "mcc")
            found[metric, form] = Interval(made.interval.low, made.interval.high, resamples, 0)
    return found


def true_probability(score: np.ndarray, prevalence: float) -> np.ndarray:
    """Return the probability of a positive at a score."""
    return expit(SHIFT * score - SHIFT**2 / 2 + logit(prevalence))


def called_and_calibrated_truths(prevalence: float) -> dict[str, float]:
    """Return what `called_and_calibrated` estimates."""
    quantile = norm.ppf((np.arange(5000) + 0.5) / 5000)
    hit = float(norm.sf(SHIFT / 2 - SHIFT))
    parts = (prevalence * hit, (1 - prevalence) * (1 - hit), prevalence * (1 - hit), (1 - prevalence) * hit)
    table = Confusion(*map(np.asarray, parts))
    present = np.mean((1 - true_probability(quantile + SHIFT, prevalence)) ** 2)
    absent = np.mean(true_probability(quantile, prevalence) ** 2)
    return {
        "f1": float(table.metric("f1")),
        "mcc": float(table.metric("mcc")),
        "brier": float(prevalence * present + (1 - prevalence) * absent),
    }


def coverage(positives: tuple[int, int], *, simulations: int, resamples: int, seed: int) -> dict[str, list[float]]:
    """Return for each interval the percentage of simulations in which it holds the truth, and its mean width."""
    held: Counter[str] = Counter()
    width: Counter[str] = Counter()
    area = float(norm.cdf(SHIFT / np.sqrt(2)))
    cut = SHIFT / 2
    truths = {"sensitivity": float(norm.sf(cut - SHIFT)), "specificity": float(norm.cdf(cut))}
    for simulation in range(simulations):
        generator = np.random.default_rng([seed, simulation])
        count = int(generator.integers(positives[0], positives[1] + 1))
        label, scores, patient = cohort(generator, count)
        score = scores[:, 0]
        truth = {"auroc": area, "average_precision": true_precision(count / PATIENTS)}
        truth |= called_and_calibrated_truths(count / PATIENTS)
        found = intervals(label, score, patient, resamples, simulation)
        found |= {
            (metric, f"{form}, images resampled"): interval
            for (metric, form), interval in intervals(
                label, score, np.arange(len(score)), resamples, simulation
            ).items()
        }
        found |= called_and_calibrated(label, score, patient, count / PATIENTS, resamples, simulation)
        areas = delong(label, score, patient)
        found["auroc", "delong, clustered"] = delong_interval(
            float(areas.value[0]), float(areas.covariance[0, 0]), patients=areas.patients
        )
        areas = delong(label, score)
        found["auroc", "delong, images"] = delong_interval(
            float(areas.value[0]), float(areas.covariance[0, 0]), patients=areas.patients
        )
        for metric, rows in (("sensitivity", label), ("specificity", ~label)):
            share = share_of((score[rows] >= cut) == label[rows], patient[rows])
            found[metric, "wilson, clustered"] = share.wilson()
            if share.value is not None:
                exact = clopper_pearson(share.value * share.effective, share.effective)
                found[metric, "clopper_pearson, clustered"] = exact
        for (metric, form), interval in found.items():
            name = f"{metric}: {form}"
            if interval.low is not None:
                held[name] += interval.low <= (truth | truths)[metric] <= interval.high
                width[name] += interval.high - interval.low
            else:
                held[name] += 0
    return {name: [round(100 * n / simulations, 2), round(width[name] / simulations, 4)] for name, n in held.items()}


def null_distance(positives: tuple[int, int], *, simulations: int, seed: int) -> float:
    """Return the Kolmogorov-Smirnov distance of clustered paired DeLong p values from uniform, both AUROCs equal."""
    p = []
    for simulation in range(simulations):
        generator = np.random.default_rng([seed, simulation])
        count = int(generator.integers(positives[0], positives[1] + 1))
        label, scores, patient = cohort(generator, count, scores=2)
        p.append(compare_areas(label, scores[:, 0], scores[:, 1], patient).p)
    return round(float(kstest(p, "uniform").statistic), 4)


def main() -> None:
    """Simulate and print."""
    from _report import print_report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--regime", choices=("many", "few"), help="one of them; default both")
    options = parser.parse_args()
    for seed, (regime, positives) in enumerate(REGIMES.items(), start=20261):
        if options.regime not in (None, regime):
            continue
        table = coverage(positives, simulations=options.simulations, resamples=options.resamples, seed=seed)
        print_report(
            "interval_coverage",
            n={"simulations": options.simulations, "resamples": options.resamples, "patients": PATIENTS},
            packages=("numpy", "scipy"),
            regime=regime,
            positive_patients=positives,
            coverage_percent_and_width=table,
            delong_p_ks_distance=null_distance(positives, simulations=options.simulations, seed=seed + 100),
        )


if __name__ == "__main__":
    main()
