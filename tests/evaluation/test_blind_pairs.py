"""Questions about pairs: which are posed, and what an oracle, chance and a model without the fact get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medvlp.data.manifest import Manifest
from medvlp.evaluation.blind_pairs import blind_pair_metrics, posed_pairs, with_scores
from medvlp.evaluation.pair_patterns import PATTERNS, values_of
from medvlp.features.blind_pairs import BlindPairs

COUNT = 40
PATIENTS = [f"patient {i}" for i in range(COUNT)]


def cohort() -> Manifest:
    draw = np.random.default_rng(0)
    there = [[1.0, 1.0, 0.0, None][i] for i in draw.integers(0, 4, COUNT)]
    said: dict[str, Any] = {
        "side": ["left", "right", "both", None],
        "severity": ["mild", "moderate", "severe", ""],
        "lobe": ["upper", "lower", "upper, lower", None],
    }
    columns: dict[str, Any] = {"id": [f"s{i}" for i in range(COUNT)], "image": [f"{i}.png" for i in range(COUNT)]}
    for finding in ("effusion", "rib_fracture"):
        columns |= {f"label.{finding}": there}
        columns |= {f"{kind}.{finding}": draw.choice(np.array(v, object), COUNT).tolist() for kind, v in said.items()}
    columns |= {"label.endotracheal_tube": [1.0] * COUNT}
    columns |= {"size.endotracheal_tube": [20.0, 50.0, 75.0, None] * (COUNT // 4)}
    return Manifest.of(columns, root=Path())


def every_pair() -> BlindPairs:
    first, second = np.triu_indices(COUNT, 1)
    order = np.random.default_rng(1).permutation(len(first))
    names = [tuple(f"s{i}" for i in side[order]) for side in (first, second)]
    return BlindPairs(names[0], names[1], np.ones(len(order)), np.zeros(len(order)), 0.9, 0.5)


def posed(**options: Any) -> pd.DataFrame:
    return posed_pairs(every_pair(), cohort(), **{"patterns": tuple(PATTERNS), "words": {}, "most": 100, **options})


def test_every_question_is_of_pictures_that_differ_in_its_fact() -> None:
    found, manifest = posed(), cohort()
    assert set(found["pattern"]) == set(PATTERNS)
    for row in found.itertuples():
        label = manifest.column(f"label.{row.finding}")
        kind = {"presence": "label", "small": "severity", "count": "side", "size": "severity", "tip": "size"}
        value = [
            manifest.column(f"{kind.get(row.pattern, row.pattern)}.{row.finding}")[i] for i in (row.first, row.second)
        ]
        assert label[row.first] == 1
        assert label[row.second] == (0 if row.pattern in ("presence", "small") else 1)
        expected = {
            "small": value[0] == "mild",
            "side": value == ["left", "right"],
            "count": value[0] in ("left", "right") and value[1] == "both",
            "size": value == ["mild", "severe"],
            "lobe": value == ["upper", "lower"],
            "tip": value == [20.0, 75.0],
        }
        assert expected.get(row.pattern, True)
    assert set(found.loc[found["pattern"] == "tip", "finding"]) == {"endotracheal_tube"}


def test_pairs_are_taken_in_their_order_and_each_picture_once_a_pattern_and_finding() -> None:
    found = posed(patterns=("side",))
    pairs, sides = every_pair(), values_of(cohort(), "effusion", "side")
    assert sides is not None
    used: set[str] = set()
    by_hand = []
    for both in zip(pairs.first, pairs.second, strict=True):
        value = [sides[int(name[1:])] for name in both]
        if {"left", "right"} == set(value) and not used & set(both):
            used |= set(both)
            by_hand.append(tuple(int(name[1:]) for name in (both if value[0] == "left" else both[::-1])))
    own = found[found["finding"] == "effusion"]
    assert [*zip(own["first"], own["second"], strict=True)] == by_hand
    assert len(posed(patterns=("side",), most=2)) == 4  # of two findings
    assert posed(patterns=("side",), words={"rib_fracture": "fracture of a rib"})["statements"].iloc[-1][0] == (
        "Left fracture of a rib.",
        "Left-sided fracture of a rib.",
    )


def accuracy(
    found: pd.DataFrame, image: np.ndarray, vectors: dict[str, np.ndarray]
) -> dict[tuple[str, str | None], Any]:
    answered = with_scores(found, image, lambda texts: np.stack([vectors[text] for text in texts]))
    patients = [f"patient {i}" for i in range(len(image))]
    return {(row.metric, row.group): row for row in blind_pair_metrics(answered, patients, split="test")}


def texts_of(found: pd.DataFrame) -> list[str]:
    return sorted({text for both in found["statements"] for side in both for text in side})


def test_an_oracle_is_right_in_every_pair() -> None:
    found = posed()
    facts = {each: i for i, each in enumerate(dict.fromkeys(found["statements"]))}
    image, vectors = np.zeros((COUNT, 2 * len(facts))), {}
    for pattern, finding, both in zip(found["pattern"], found["finding"], found["statements"], strict=True):
        values = values_of(cohort(), finding, PATTERNS[pattern].column)
        assert values is not None
        for side, (wanted, texts) in enumerate(zip(PATTERNS[pattern].values, both, strict=True)):
            place = 2 * facts[both] + side
            image[[value in wanted for value in values], place] = 1.0
            for text in texts:  # some wordings serve two patterns
                vectors[text] = vectors.get(text, np.zeros(image.shape[1])) + np.eye(image.shape[1])[place]
    rows = accuracy(found[~found["pattern"].isin(["small", "size", "presence"])], image, vectors)
    assert all(row.value == 1.0 for row in rows.values())
    assert rows["pair_accuracy", None].interval.low < 1.0
    assert {group for _, group in rows} == {None, *(f"pattern={name}" for name in ("side", "count", "lobe", "tip"))}


def many(count: int) -> pd.DataFrame:
    """Pairs of pictures of their own, each with statements of its own."""
    statements = [((f"a{i}",), (f"b{i}",)) for i in range(count)]
    rows = {"pattern": "side", "finding": "x", "first": range(0, 2 * count, 2), "second": range(1, 2 * count, 2)}
    return pd.DataFrame({**rows, "ours": 1.0, "other": 0.0, "statements": statements})


def test_random_scores_are_right_in_a_quarter_of_the_pairs_and_half_of_the_statements() -> None:
    found, draw = many(4000), np.random.default_rng(0)
    vectors = {text: draw.normal(size=8) for text in texts_of(found)}
    rows = accuracy(found, draw.normal(size=(8000, 8)), vectors)
    pair, statement = rows["pair_accuracy", None], rows["statement_accuracy", "pattern=side"]
    assert pair.value == pytest.approx(0.25, abs=0.02)
    assert statement.value == pytest.approx(0.5, abs=0.02)
    assert (pair.chance, statement.chance, pair.counts.n, pair.counts.patients) == (0.25, 0.5, 4000, 8000)


def test_a_model_to_which_both_statements_are_one_is_right_in_no_pair() -> None:
    found, draw = many(200), np.random.default_rng(0)
    vectors = {text: np.ones(8) for text in texts_of(found)}
    rows = accuracy(found, draw.normal(size=(400, 8)), vectors)
    assert (rows["pair_accuracy", None].value, rows["statement_accuracy", None].value) == (0.0, 0.5)


def test_a_tie_is_wrong() -> None:
    found = many(3)
    rows = accuracy(found, np.ones((6, 2)), {text: np.ones(2) for text in texts_of(found)})
    assert rows["statement_accuracy", None].value == 0.0
