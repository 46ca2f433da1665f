"""How often the default report raises a flag: on clean cohorts, and on cohorts with one planted fault.

A cohort is the first 600 studies of a phantom hospital: its patients (two studies each on average), ages, sexes,
views, sites and scanners, and the labels of its 12 findings (11 to 20 % of the studies; sites see some findings more
often than others). Nothing is rendered: scores are drawn by the binormal model, AUROC 0.85, 30 % of their variance the
patient's own, and are the probabilities that this model implies. Planted:

- ``gap``: AUROC 0.75 in women, for all findings; the probabilities stay right in each sex. ``gap_site``: at one of
  three sites. ``gap_one``: in women, for effusion only.
- ``temperature``: log-odds times 2; ``temperature_half``: times 0.5; ``temperature_one``: times 2, for effusion only.
- ``shortcut``: at one of three sites the score of effusion is higher, so that it tells the site among cases without
  effusion with AUROC 0.8.

A planted cohort counts if a flag of its own kind, and of its own column, is raised; a clean one if any is. Usage:
python tests/benchmarks/default_report.py [--cohorts 40] [--first 0]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from medvlp.evaluation.audit.audit import audit_split
from medvlp.evaluation.results import Flag
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import split_data
from medvlp.phantom.facts import FINDINGS
from medvlp.phantom.priors import PRIORS
from medvlp.phantom.sampling import age_at, sample_cohort

STUDIES, PATIENTS, OWN = 600, 340, 0.3
GOOD, POOR, KNOWN = 0.85, 0.75, 0.8
EXPECTED: Mapping[str, tuple[str, str] | None] = {
    "clean": None,
    "gap": ("subgroup_gap", "sex"),
    "temperature": ("miscalibration", "scores"),
    "shortcut": ("shortcut", "site"),
    "gap_site": ("subgroup_gap", "site"),
    "gap_one": ("subgroup_gap", "sex"),
    "temperature_half": ("miscalibration", "scores"),
    "temperature_one": ("miscalibration", "scores"),
}


def facts(seed: int) -> pd.DataFrame:
    """Return patients, groups and labels of a phantom cohort's first 600 studies."""
    studies = sample_cohort(patients=PATIENTS, seed=seed, modality="cxr")[:STUDIES]
    first = {study.patient.id: study.date for study in reversed(studies)}
    rows = [
        {
            "id": study.id,
            "patient_id": study.patient.id,
            "group:sex": study.patient.sex,
            "group:age": age_at(study, first[study.patient.id]),
            "group:view_position": study.views[0],
            "group:site": study.site,
            "group:scanner": study.scanner,
            **{f"label:{name}": int(any(each.name == name for each in study.findings)) for name in FINDINGS},
        }
        for study in studies
    ]
    return pd.DataFrame(rows)


def predictions(table: pd.DataFrame, kind: str, seed: int) -> pd.DataFrame:
    """Return the table with scores, one fault planted; the draws of all kinds are the same."""
    generator = np.random.default_rng([seed, 18])
    patient = np.unique(table["patient_id"], return_inverse=True)[1]
    women, north = (table["group:sex"] == "F").to_numpy(), (table["group:site"] == "north").to_numpy()
    found = table.copy()
    for name in FINDINGS:
        truth = table[f"label:{name}"].to_numpy() == 1
        own = generator.normal(size=patient.max() + 1)[patient]
        noise = np.sqrt(OWN) * own + np.sqrt(1 - OWN) * generator.normal(size=len(truth))
        poor = {"gap": women, "gap_site": north, "gap_one": women & (name == "effusion")}.get(kind, False & women)
        shift = np.sqrt(2) * norm.ppf(np.where(poor, POOR, GOOD))
        odds = logit(PRIORS[name].target) + shift * (noise + shift * truth) - shift**2 / 2
        if kind == "shortcut" and name == "effusion":
            odds += shift * np.sqrt(2) * norm.ppf(KNOWN) * north
        if kind in ("temperature", "temperature_half") or (kind == "temperature_one" and name == "effusion"):
            odds *= 0.5 if kind == "temperature_half" else 2.0
        found[f"score:{name}"] = expit(odds)
    return found


def flags(table: pd.DataFrame) -> tuple[Flag, ...]:
    """Return the flags of a table whose scores are probabilities."""
    data = split_data(table, list(FINDINGS), name="test", options=ScoreOptions(probabilities=True, resamples=0))
    return audit_split(data).flags


def raised(kind: str, found: Sequence[Flag]) -> bool:
    """Return whether a cohort counts."""
    expected = EXPECTED[kind]
    return bool(found) if expected is None else expected in [(flag.kind, flag.name) for flag in found]


def main() -> None:
    """Print one line a kind: cohorts that count, and the flags of all kinds that were raised."""
    from tests.benchmarks._report import print_report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="seed of the first cohort")
    parser.add_argument("--kinds", nargs="*", default=list(EXPECTED), choices=list(EXPECTED))
    asked = parser.parse_args()
    counted: dict[str, list[int]] = {kind: [] for kind in asked.kinds}
    other: dict[str, Counter[str]] = {kind: Counter() for kind in asked.kinds}
    for seed in range(asked.first, asked.first + asked.cohorts):
        table = facts(seed)
        for kind in asked.kinds:
            found = flags(predictions(table, kind, seed))
            counted[kind].append(seed) if raised(kind, found) else None
            other[kind].update(f"{flag.kind}:{flag.name}" for flag in found)
    for kind in asked.kinds:
        print_report(
            "default_report",
            n={"cohorts": asked.cohorts, "studies": STUDIES, "first seed": asked.first},
            packages=("numpy", "scipy"),
            kind=kind,
            counted=len(counted[kind]),
            not_counted=sorted(set(range(asked.first, asked.first + asked.cohorts)) - set(counted[kind]))
            if kind != "clean"
            else [],
            flags=dict(other[kind]),
        )


if __name__ == "__main__":
    main()
