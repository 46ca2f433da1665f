"""Adapters of frozen features on real films, chosen as `medvlp adapt` chooses.

    python tests/benchmarks/adapters.py kinds|shots|nih OUT --data ../shared/data

``kinds``: bacterial against viral, five outer folds of children, the adapter chosen on folds inside each, beside the
linear probe. ``shots``: learning curves on a third of the patients of the NIH training list, held out for it. ``nih``:
everything chosen on folds of that list, then the test list once; with what `view_position` and the picture's source
tell alone, and on films of one source. Feature tables are kept in OUT. ``--bars`` exits 1 below .78 and .84.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from _report import print_report

from medvlp.adaptation._adapter import Adapted, Candidate, applied
from medvlp.adaptation._release import scaled
from medvlp.core.answers import ProbeTable
from medvlp.core.registry import build
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.few_shot import draw_patients
from medvlp.evaluation.few_shot_results import evaluate_few_shot
from medvlp.evaluation.results import Result
from medvlp.models.bundle import save_bundle
from medvlp.runs.adapt_choice import Tried, choose_adapter, folds_of
from medvlp.runs.embed import embed_manifest
from medvlp.runs.index import index_cohort
from medvlp.statistics.attribute import attribute_scores
from medvlp.zoo import convert

FIVE = ("no_finding", "pneumonia", "infiltration", "atelectasis", "edema")
SHOTS = (1, 2, 4, 8, 16, 64)
SHARES = {"1 %": 0.01, "10 %": 0.1, "all": 1.0}
SEEDS = 3
NAMES = ("linear", "gda", "tip")


def features(out: Path, root: Path, layout: str) -> tuple[Manifest, np.ndarray]:
    """Index a pack and return its records with the starter's features at 320 px, four stages pooled."""
    if not (out / "starter").is_dir():
        options = {"size": 320, "stages": 4}
        save_bundle(out / "starter", convert(Path("efficientnet_lite0"), name="starter", options=options))
    manifest = index_cohort(layout, root, [])
    manifest.save(out / f"{layout}.manifest.parquet")
    path = out / f"{layout}.features.parquet"
    if not path.is_file():
        embed_manifest(out / "starter", out / f"{layout}.manifest.parquet", root=root, workers=2).save(path)
    found = FeatureTable.load(path)
    place = {name: row for row, name in enumerate(found.ids)}
    rows = [place[name] for name in manifest.column("id")]
    return manifest, found["image/embedding"][rows].astype(np.float64)


def table_of(manifest: Manifest, rows: np.ndarray, labels: tuple[str, ...]) -> ProbeTable:
    """Return features and labels of records."""
    found = {name: np.asarray(manifest.column(f"label.{name}"), dtype=float) for name in labels}
    return ProbeTable(rows, found, manifest.column("id.patient").tolist())


def result_of(manifest: Manifest, labels: tuple[str, ...], scores: np.ndarray, name: str) -> Result:
    """Judge scores (N, K)."""
    columns: dict[str, object] = {"id": manifest.column("id"), "patient_id": manifest.column("id.patient")}
    for k, label in enumerate(labels):
        columns |= {f"label:{label}": manifest.column(f"label.{label}"), f"score:{label}": scores[:, k]}
    return evaluate_scores(pd.DataFrame(columns), seed=0, name=name)


def numbers(result: Result, metric: str = "auroc") -> dict[str, dict[str, object]]:
    """Return each label's number with its interval."""
    return {
        row.label: {
            "value": row.value,
            "low": row.interval.low,
            "high": row.interval.high,
            "n": row.counts.n,
            "positives": row.counts.positives,
        }
        for row in result.metrics
        if row.metric == metric and row.group is None and row.label not in ("micro", "weighted")
    }


def released(each: Tried, table: ProbeTable) -> tuple[Adapted, Candidate]:
    """Return an adapter as it would be released."""
    return each.folded.answer, scaled(each.folded, table.labels)


def judge(each: Tried, table: ProbeTable, rows: np.ndarray) -> np.ndarray:
    """Return the log-odds (N, K) of a released adapter."""
    answer, tensors = released(each, table)
    return applied(answer.head, tensors, rows)


def kinds(out: Path, data: Path) -> dict[str, object]:
    """Bacterial against viral: each outer fold by what the others chose and fitted."""
    manifest, rows = features(out, data / "pneumonia-kermany", "pneumonia_kermany")
    ill = np.asarray(manifest.column("label.pneumonia"), dtype=float) == 1
    manifest, rows = manifest.take(np.flatnonzero(ill)), rows[ill]
    labels, outer = ("bacterial_pneumonia",), folds_of(manifest, 5, seed=0)
    scores = {name: np.zeros((len(rows), 1)) for name in ("chosen", "linear")}
    chosen = []
    for fold in range(5):
        inside = np.flatnonzero(outer != fold)
        own = manifest.take(inside)
        table = table_of(own, rows[inside], labels)
        best, tried = choose_adapter(table, folds_of(own, 5, seed=1), {}, names=NAMES, folder=out / "kept")
        chosen.append({"chosen": best.name, **{each.name: each.macro for each in tried}})
        for name, each in (("chosen", best), ("linear", tried[0])):
            scores[name][outer == fold] = judge(each, table, rows[outer == fold])
    results = {name: result_of(manifest, labels, each, name) for name, each in scores.items()}
    gain = compare_results(results["linear"], results["chosen"])
    found = {name: numbers(each)["bacterial_pneumonia"] for name, each in results.items()}
    gained = numbers(gain, "auroc_difference") or numbers(gain)
    return {"n": len(rows), "children": len(set(manifest.column("id.patient"))), "auroc": found, "gain": gained,
            "folds": chosen, "bar": 0.78, "value": found["chosen"]["value"]}  # fmt: skip


def nih(out: Path, data: Path) -> dict[str, object]:
    """Choose on folds of the training list; judge the test list once."""
    root = data / "nih-cxr14"
    manifest, rows = features(out, root, "nih_chestxray14")
    side = manifest.column("split")
    train, test = (np.flatnonzero(side == name) for name in ("train", "test"))
    own, judged = manifest.take(train), manifest.take(test)
    table = table_of(own, rows[train], FIVE)
    best, tried = choose_adapter(table, folds_of(own, 5, seed=0), {}, names=NAMES, folder=out / "kept")
    scores = {"chosen": judge(best, table, rows[test]), "linear": judge(tried[0], table, rows[test])}
    for column in ("view_position", "source"):
        values, known = judged.column(column).tolist(), own.column(column).tolist()
        scores[column] = np.stack([attribute_scores(values, known, table.labels[name]) for name in FIVE], axis=1)
    results = {name: result_of(judged, FIVE, each, name) for name, each in scores.items()}
    gain = compare_results(results["linear"], results["chosen"])
    sources = pd.Series(judged.column("source"))
    largest = np.flatnonzero(sources == sources.value_counts().index[0])
    one = {
        name: numbers(result_of(judged.take(largest), FIVE, scores[name][largest], name))
        for name in ("chosen", "linear", "view_position")
    }
    return {
        "n": {"train": len(train), "test": len(test), "of one source": len(largest)},
        "chosen": best.name,
        "folds": {each.name: {"macro": each.macro, **each.folded.answer.validation_auroc} for each in tried},
        "auroc": {name: numbers(each) for name, each in results.items()},
        "gain": numbers(gain, "auroc_difference") or numbers(gain),
        "one_source": one,
        "bar": 0.84,
        "value": numbers(results["chosen"])["macro"]["value"],
    }


def shots(out: Path, data: Path) -> dict[str, object]:
    """AUROC by patients of each class, on patients of the training list that no shot is drawn from."""
    manifest, rows = features(out, data / "nih-cxr14", "nih_chestxray14")
    train = np.flatnonzero(manifest.column("split") == "train")
    manifest, rows = manifest.take(train), rows[train]
    held = folds_of(manifest, 3, seed=2) == 0
    own, judged = manifest.take(np.flatnonzero(~held)), manifest.take(np.flatnonzero(held))
    table, test = table_of(own, rows[~held], FIVE), rows[held]
    counts = {str(k): k for k in SHOTS} | dict.fromkeys(SHARES, -1)
    scores: dict[str, dict[str, dict[int, np.ndarray]]] = {name: {label: {} for label in FIVE} for name in NAMES}
    for place, (name, count) in enumerate(counts.items()):
        for label in FIVE:
            drawn = [_drawn(table, label, count, SHARES.get(name, 1.0), seed) for seed in range(SEEDS)]
            if any(each is None for each in drawn):
                continue
            for adapter in NAMES:
                made = {each.tobytes(): each for each in drawn if each is not None}  # all patients are one draw
                said = {key: _shot(adapter, table, label, each, test) for key, each in made.items()}
                scores[adapter][label][place] = np.stack([said[each.tobytes()] for each in drawn if each is not None])
        say(f"{name} shots done")
    found = {}
    for adapter, own_scores in scores.items():
        labels = {label: np.asarray(judged.column(f"label.{label}"), dtype=float) for label in FIVE}
        patients, ids = judged.column("id.patient").tolist(), judged.column("id").tolist()
        result = evaluate_few_shot(own_scores, labels, patients, ids, seed=0)
        found[adapter] = {
            name: next(
                {
                    "value": row.value,
                    "low": row.interval.low,
                    "high": row.interval.high,
                    "labels": row.counts.labels_used,
                }
                for row in result.metrics
                if row.metric == f"auroc@{place}" and row.label == "macro"
            )
            for place, name in enumerate(counts)
        }
    draw(found, out / "adapters.svg")
    return {"n": {"drawn from": len(own), "judged": len(judged)}, "seeds": SEEDS, "macro": found}


def draw(found: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> None:
    """Draw the learning curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    for at, (adapter, curve) in enumerate(found.items()):
        places = np.arange(len(curve)) + 0.08 * (at - 1)
        value, low, high = (np.array([each[key] for each in curve.values()]) for key in ("value", "low", "high"))
        axes.errorbar(places, value, yerr=(value - low, high - value), marker="o", markersize=3, label=adapter)
    names = list(next(iter(found.values())))
    axes.set(xticks=np.arange(len(names)), xticklabels=names, xlabel="patients of each class, or share of all")
    axes.set(ylabel="macro AUROC, 5 findings")
    axes.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def _drawn(table: ProbeTable, label: str, count: int, share: float, seed: int) -> np.ndarray | None:
    """Return rows: so many patients of each class, or a share of the patients with all their rows."""
    if count > 0:
        there = [len(np.unique(np.asarray(table.patients)[table.labels[label] == v])) for v in (0.0, 1.0)]
        if min(there) < count:
            return np.arange(len(table.patients))  # fewer patients than asked for: all
        return draw_patients(table.labels[label], table.patients, shots=count, seed=seed, draw=seed, name=label).ravel()
    people = np.unique(table.patients)
    taken = np.random.default_rng(seed).permutation(people)[: max(2, round(share * len(people)))]
    rows = np.flatnonzero(np.isin(table.patients, taken))
    return rows if len(np.unique(table.labels[label][rows])) == 2 else None


def _shot(adapter: str, table: ProbeTable, label: str, rows: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Fit on rows, strength by folds of their patients; with too few of them the middle of the grid."""
    patients = [table.patients[row] for row in rows]
    own = ProbeTable(table.features[rows], {label: table.labels[label][rows]}, patients)
    people = dict.fromkeys(patients, 0)
    truth = own.labels[label]
    for value in (0.0, 1.0):
        some = list(dict.fromkeys(who for who, v in zip(patients, truth, strict=True) if v == value))
        people |= {who: at for at, who in enumerate(some)}  # each class evenly over the folds
    folds = np.array([people[who] % 4 for who in patients])
    return build("adaptation", {"name": adapter}, where="shots").fit_folds(own, folds, {}).answer.log_odds(test)[:, 0]


def say(text: str) -> None:
    """Tell on standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["kinds", "shots", "nih"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bars", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    found = {"kinds": kinds, "shots": shots, "nih": nih}[asked.part](asked.out, asked.data)
    n = found.pop("n")
    packages = ("numpy", "scikit-learn", "torch", "timm")
    print_report("adapters", n=n, packages=packages, part=asked.part, cpu_s=time.process_time() - began, **found)
    if asked.bars and found.get("value", 1.0) < found.get("bar", 0.0):
        sys.exit(1)


if __name__ == "__main__":
    main()
