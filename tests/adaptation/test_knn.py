"""The nearest-neighbour probe is its formula, chooses k on validation, and takes no part of unknown labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medvlp.adaptation import knn
from medvlp.adaptation.knn import Knn, KnnProbe
from medvlp.core.answers import FEATURES, Ask, ProbeTable, Rows
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import build
from medvlp.core.table import FeatureTable
from medvlp.features.nearest import Neighbours, nearest
from medvlp.statistics.metrics import auroc


def table(seed: int, rows: int = 90, width: int = 5) -> ProbeTable:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, width))
    edema = (features[:, 0] + 0.7 * generator.normal(size=rows) > 0).astype(float)
    edema[::9], edema[4::9] = -1, np.nan
    return ProbeTable(features, {"edema": edema}, [f"{seed}-{row}" for row in range(rows)])


def by_hand(train: ProbeTable, features: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """Wu et al. 2018, eq. 8, one row at a time, over the rows whose label is known."""
    found = []
    for row in features:
        votes = []
        for other, label in zip(train.features, train.labels["edema"], strict=True):
            if label in (0.0, 1.0):
                cosine = row @ other / np.linalg.norm(row) / np.linalg.norm(other)
                votes.append((cosine, label))
        votes = sorted(votes, reverse=True)[:k]
        weights = [np.exp(cosine / temperature) for cosine, _ in votes]
        found.append(sum(w * label for w, (_, label) in zip(weights, votes, strict=True)) / sum(weights))
    return np.array(found)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (10, 0.07), (25, 1.0)])
def test_votes_are_the_formula(k: int, temperature: float) -> None:
    train, test = table(0), table(2, rows=300)  # more rows than are compared at a time
    probe = Knn(neighbours=(k,), temperature=temperature, refit=False).fit(train, table(1), {})
    said = probe.answer(Rows(FeatureTable(test.patients, {FEATURES: test.features})), Ask(), None)
    assert said.scores is not None
    assert said.scores["edema"] == pytest.approx(by_hand(train, test.features, k, temperature), abs=1e-12)


def test_validation_rows_vote_once_k_is_chosen() -> None:
    train, validation, test = table(0), table(1), table(2)
    chosen = Knn(neighbours=(3, 9), refit=False).fit(train, validation, {})
    probe = Knn(neighbours=(3, 9)).fit(train, validation, {})
    both = ProbeTable(
        np.concatenate([train.features, validation.features]),
        {"edema": np.concatenate([train.labels["edema"], validation.labels["edema"]])},
        [*train.patients, *validation.patients],
    )
    k = chosen.neighbours["edema"].k
    assert probe.neighbours["edema"].k == k
    assert probe.neighbours["edema"].validation_auroc == chosen.neighbours["edema"].validation_auroc
    assert probe.votes(["edema"], test.features)["edema"] == pytest.approx(
        by_hand(both, test.features, k, 0.07), abs=1e-12
    )
    assert probe.title == "Nearest neighbours, fitted on training and validation patients"
    assert chosen.title == "Nearest neighbours"


def test_the_length_of_features_does_not_matter_and_a_black_picture_has_some_answer() -> None:
    train, test = table(0), table(2).features
    probe = Knn(neighbours=(5,)).fit(train, table(1), {})
    assert probe.votes(["edema"], 1000 * test)["edema"] == pytest.approx(
        probe.votes(["edema"], test)["edema"], abs=1e-12
    )
    assert 0 <= probe.votes(["edema"], np.zeros((1, 5)))["edema"][0] <= 1


def test_k_is_the_best_on_validation_and_the_largest_of_equal_ones() -> None:
    train, validation = table(0), table(1)
    truth = validation.labels["edema"]
    known = np.isin(truth, (0, 1))
    ks = (1, 3, 9, 27)
    values = [auroc(truth[known], by_hand(train, validation.features, k, 0.07)[known]) for k in ks]
    chosen = Knn(neighbours=ks).fit(train, validation, {}).neighbours["edema"]
    assert chosen.k == max(k for k, value in zip(ks, values, strict=True) if value == max(values))
    assert chosen.validation_auroc == pytest.approx(max(values))
    # All known rows and more than there are: one k, and it is that of all.
    assert Knn(neighbours=(500, 400)).fit(train, validation, {}).neighbours["edema"].k == 70
    easy = [
        ProbeTable(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), {"edema": np.array([1.0, 1, 0, 0])}, list(each))
        for each in ("abcd", "efgh")
    ]
    assert Knn(neighbours=(1, 2)).fit(*easy, {}).neighbours["edema"].k == 2


def test_findings_that_the_same_rows_are_labelled_for_share_one_search_and_one_array(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, validation, test = table(0), table(1), table(2)
    alone = Knn(neighbours=(3, 9)).fit(train, validation, {}).votes(["edema"], test.features)["edema"]
    for number, each in enumerate((train, validation)):
        other = np.random.default_rng(number).integers(0, 2, 90).astype(float)
        each.labels["mass"] = np.where(np.isin(each.labels["edema"], (0, 1)), other, -1)
        each.labels["nodule"] = other
    calls = []

    def counted(*args: Any, **options: Any) -> Neighbours:
        calls.append(args[2])
        return nearest(*args, **options)

    monkeypatch.setattr(knn, "nearest", counted)
    probe = Knn(neighbours=(3, 9)).fit(train, validation, {})
    assert calls == [9, 9]  # one of edema and mass, one of the nodule, which is known of every row
    said = probe.answer(Rows(FeatureTable(test.patients, {FEATURES: test.features})), Ask(), None).scores
    assert said is not None
    assert list(said) == ["edema", "mass", "nodule"]
    assert len(calls) == 4
    assert said["edema"].tolist() == alone.tolist()
    assert len({id(own.features) for own in probe.neighbours.values()}) == 1


def test_findings_of_one_class_are_left_out_by_name() -> None:
    train, validation = table(0), table(1)
    train.labels["mass"] = np.zeros(90)
    validation.labels["mass"] = np.zeros(90)
    probe = Knn().fit(train, validation, {})
    assert (probe.labels, probe.left_out) == (("edema",), {"mass": "no_positives"})
    rows = Rows(FeatureTable(["a"], {FEATURES: np.ones((1, 5))}))
    assert probe.answer(rows, Ask(), None).notes == ("No neighbours vote on mass: no positives in training.",)
    assert isinstance(probe, KnnProbe)
    del train.labels["edema"]
    with pytest.raises(DataError, match="No finding has both classes among the training rows"):
        Knn().fit(train, validation, {})


def test_shared_patients_and_faulty_options_are_refused() -> None:
    with pytest.raises(DataError, match=r"Patients in training and in validation: 90\."):
        Knn().fit(table(0), table(0), {})
    with pytest.raises(ConfigError, match=r"probe\.neighbours\[0\] is 0: input should be greater than or equal to 1"):
        build("adaptation", {"name": "knn", "neighbours": [0]}, where="probe")
    with pytest.raises(ConfigError, match=r"probe.temperature is 0.0: input should be greater than 0"):
        build("adaptation", {"name": "knn", "temperature": 0.0}, where="probe")
