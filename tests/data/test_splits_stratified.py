"""Multi-label stratification over groups: against a plain draw, scikit-learn, and what cannot be done better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split
from medvlp.data.splits.stratified import iterative_stratification

SHARES = {"train": 0.7, "validate": 0.1, "test": 0.2}


def sick(patients: int, prevalence: tuple[float, ...], *, seed: int = 5) -> Manifest:
    """Patients with one to twenty films; the sick have many findings, so labels and films come together."""
    draws = np.random.Generator(np.random.Philox(seed))
    ids, who, labels = [], [], []
    for patient in range(patients):
        severity = draws.normal()
        for film in range(min(int(draws.geometric(0.35)), 20)):
            odds = np.log(np.array(prevalence) / (1 - np.array(prevalence))) - 0.5 + severity
            ids.append(f"i{patient}-{film}")
            who.append(f"p{patient}")
            labels.append((draws.random(len(prevalence)) < 1 / (1 + np.exp(-odds))).astype(float))
    columns = {f"label.l{k}": [float(row[k]) for row in labels] for k in range(len(prevalence))}
    return Manifest.of({"id": ids, "id.patient": who, "text": ["x"] * len(ids), **columns}, root=Path())


def deviation(manifest: Manifest, sides: np.ndarray, shares: dict[str, float]) -> float:
    """Mean over labels and parts of |share of the label's positives - wanted share|, relative to the wanted one."""
    found = []
    for name in manifest.names_of("label"):
        positive = manifest.column(name) == 1
        found += [abs(positive[sides == part].sum() / positive.sum() - share) / share for part, share in shares.items()]
    return float(np.mean(found))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return sick(1500, (0.3, 0.15, 0.08, 0.04, 0.02))


def test_labels_are_met_ten_times_better_than_by_a_plain_draw(manifest: Manifest) -> None:
    plain, stratified = (
        np.mean(
            [
                deviation(manifest, make_split(manifest, {"name": name, "seed": s, "fractions": SHARES}).apply(manifest)
                          .column("split"), SHARES)
                for s in range(3)
            ]
        )
        for name in ("patient", "stratified")
    )  # fmt: skip
    assert stratified < plain / 10


def test_a_single_label_is_met_as_well_as_by_scikit_learn(manifest: Manifest) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    one = Manifest.of({n: manifest.column(n).tolist() for n in ("id", "id.patient", "text", "label.l2")}, root=Path())
    parts = {f"fold{k}": 0.2 for k in range(5)}
    theirs = np.empty(len(one), dtype=object)
    folds = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=0)
    for k, (_, rows) in enumerate(folds.split(np.zeros(len(one)), one.column("label.l2"), one.column("id.patient"))):
        theirs[rows] = f"fold{k}"
    ours = make_split(one, {"name": "stratified", "fractions": parts}).apply(one).column("split")
    assert deviation(one, ours, parts) <= deviation(one, theirs, parts)


def test_pairs_of_labels_are_met_better_when_they_are_stratified() -> None:
    manifest = sick(800, (0.3, 0.25, 0.2))
    together = (manifest.column("label.l0") == 1) & (manifest.column("label.l1") == 1)
    pair = manifest.with_column("label.pair", together.astype(float))
    found = []
    for pairs in (False, True):
        sides = [
            make_split(manifest, {"name": "stratified", "seed": s, "pairs": pairs}).apply(manifest).column("split")
            for s in range(4)
        ]
        only = Manifest.of({n: pair.column(n).tolist() for n in ("id", "text", "label.pair")}, root=Path())
        found.append(np.mean([deviation(only, side, SHARES) for side in sides]))
    assert found[1] < found[0]


def test_single_records_with_one_label_each_are_parted_exactly() -> None:
    """100 and 40 positives, one a group, by 0.7, 0.1 and 0.2: nothing but 70, 10, 20 and 28, 4, 8 is right."""
    counts = np.zeros((200, 2), dtype=np.int64)
    counts[:100, 0], counts[100:140, 1] = 1, 1
    part = iterative_stratification(
        counts, np.ones(200, dtype=np.int64), np.array([0.7, 0.1, 0.2]), stages=(np.arange(2),), seed=0
    )
    assert [np.bincount(part[rows]).tolist() for rows in (slice(100), slice(100, 140), slice(140, 200))] == [
        [70, 10, 20],
        [28, 4, 8],
        [42, 6, 12],
    ]


def test_ties_go_to_the_part_that_wants_most_records_and_who_has_no_label_fills_up() -> None:
    for seed in range(8):
        # One label in groups of 9 records and of 1, another in two of 1: the first of these goes where there is room.
        counts = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        halves = {"shares": np.array([0.5, 0.5]), "stages": (np.arange(2),), "seed": seed}
        part = iterative_stratification(counts, np.array([9, 1, 1, 1]), **halves)
        assert part[2] == part[1] != part[0]
        none = iterative_stratification(np.zeros((6, 2), int), np.array([1, 1, 5, 1, 1, 1]), **halves)
        assert [int((none == none[2]).sum()), int((none != none[2]).sum())] == [1, 5]  # five records each


def test_uncertain_ones_are_a_stratum_of_their_own() -> None:
    values = [1.0] * 100 + [-1.0] * 50 + [0.0] * 850
    columns = {"id": [f"i{k}" for k in range(1000)], "id.patient": [f"p{k}" for k in range(1000)], "text": ["x"] * 1000}
    manifest = Manifest.of({**columns, "label.edema": values}, root=Path())
    sides = make_split(manifest, {"name": "stratified", "fractions": SHARES}).apply(manifest).column("split")
    for value, wanted in ((1, [70, 10, 20]), (-1, [35, 5, 10])):
        rows = manifest.column("label.edema") == value
        assert [int((sides[rows] == part).sum()) for part in SHARES] == wanted


def test_labels_that_are_too_rare_are_refused_when_named_and_told_otherwise() -> None:
    columns = {"id": list("abcdef"), "id.patient": list("pqrstu"), "text": ["x"] * 6}
    labels = {"label.edema": [1, 1, 1, 0, 0, 0], "label.hernia": [1, 0, 0, 0, 0, 0]}
    manifest = Manifest.of({**columns, **labels}, root=Path())
    with pytest.raises(DataError, match=r"Too few groups of id\.patient are positive .* 3 parts: hernia \(1\); leave"):
        make_split(manifest, {"name": "stratified", "labels": ["edema", "hernia"]})
    split = make_split(manifest, "stratified")
    assert split.options["labels"] == ["edema"]
    assert split.notes == ("Not stratified, because fewer groups than parts are positive: hernia 1.",)
    with pytest.raises(DataError, match="has no label 'edma': did you mean 'edema'"):
        make_split(manifest, {"name": "stratified", "labels": ["edma"]})
    with pytest.raises(DataError, match="No label has a positive in 3 groups"):
        make_split(manifest.take([3, 4, 5]), "stratified")
    with pytest.raises(DataError, match="The manifest has no label column"):
        make_split(Manifest.of(columns, root=Path()), "stratified")
