"""GRIP: boards grow as on its card and pick the same rows in any order; rounds beat one static set."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.adaptation._adapter import applied
from medvlp.adaptation._training import trained
from medvlp.adaptation.grip import Grip, board_sizes, leaderboards
from medvlp.core.answers import ProbeTable
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.statistics.metrics import auroc


def test_boards_grow_evenly_to_all_rows() -> None:
    uniform = board_sizes(1000, [0.1] * 10, 10)
    assert uniform.tolist() == [[10 * (i + 1)] * 10 for i in range(10)]  # K_i = i floor(U / 10) / C
    for rows, shares in ((103, (0.95, 0.05)), (7, (0.5, 0.5)), (0, (0.3, 0.7))):
        sizes = board_sizes(rows, shares, 10)
        assert sizes[-1].sum() == rows
        assert sizes[:-1].sum(axis=1).tolist() == [i * (rows // 10) for i in range(1, 10)]
    assert board_sizes(200, (0.95, 0.05), 10)[:, 1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("seed", range(5))
def test_who_misses_a_board_enters_the_next_best_one_and_no_order_matters(seed: int) -> None:
    draw = np.random.default_rng(seed)
    scores, sizes = draw.normal(size=(40, 4)), draw.integers(0, 9, size=4)
    found = leaderboards(scores, sizes)
    order = draw.permutation(40)
    assert np.array_equal(leaderboards(scores[order], sizes), found[order])
    assert [int((found == c).sum()) for c in range(4)] == sizes.tolist()  # 40 rows fill all boards
    for row in range(40):
        mine = -np.inf if found[row] < 0 else scores[row, found[row]]
        for c in np.flatnonzero(scores[row] > mine):  # each board that it would rather be on holds better rows alone
            assert (scores[found == c, c] > scores[row, c]).all()
    assert np.array_equal(leaderboards(scores, [40] * 4), scores.argmax(axis=1))


def world(seed: int, *, share: float = 0.5, labelled: int = 8) -> tuple[ProbeTable, np.ndarray, np.ndarray]:
    """A finding along one direction, in a space where words point beside it; few labels; a test set."""
    draw = np.random.default_rng(seed)
    truth = (draw.random(1200) < share).astype(float)
    truth[:4] = [0, 1, 0, 1]
    rows = draw.normal(size=(1200, 24))
    rows[:, 0] += 2.4 * (truth - 0.5)
    rows[:, 1] += 3.0 * (truth - 0.5)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    told = truth[:600].copy()
    told[labelled:] = np.nan
    return ProbeTable(rows[:600], {"edema": told}, [str(i) for i in range(600)]), rows[600:], truth[600:]


WORDS = 0.3 * np.eye(24)[:1] + 0.6 * np.eye(24)[5:6]


def of_test(tensors: dict[str, np.ndarray], rows: np.ndarray, truth: np.ndarray) -> float:
    return auroc(truth, applied("linear", tensors, rows)[:, 0])


@pytest.mark.parametrize(
    ("prior", "rooms"),
    [(0.25, ((140, 46), (279, 93), (420, 140))), (None, ((102, 84), (205, 167), (308, 252)))],  # of 40 labels 18 are 1
)
def test_each_round_begins_with_the_words_and_labels_weigh_as_much_as_pseudo_labels_do(
    prior: float | None, rooms: tuple[tuple[int, int], ...]
) -> None:
    table, _, _ = world(2, labelled=40)
    rows, labels = table.features, table.labels["edema"][:, None]
    start = {"output.weight": 100 * WORDS, "output.bias": np.zeros(1)}
    tuned, known = start, np.isfinite(labels)
    for room in rooms:  # a third, two thirds and all of 560 rows
        present = applied("linear", tuned, rows)[40:, 0]
        boards = leaderboards(np.stack([-present, present], axis=1), room)
        guessed = labels.copy()
        guessed[40:, 0] = np.where(boards < 0, np.nan, boards)
        own = {"only": list(start), "epochs": [3], "rate": 0.05, "weight": np.where(known, sum(room) / 40, 1.0)}
        tuned = trained("linear", start, rows, guessed, **own)[3]
    [found] = Grip(rounds=3, prior=prior, rate=0.05).candidates(rows, labels, WORDS, [3])
    for name, value in tuned.items():
        assert np.array_equal(found[name], value)


def test_what_is_trained_is_the_weighted_cross_entropy_in_which_both_classes_of_a_finding_weigh_alike() -> None:
    """Of one batch the first step of AdamW is its rate times the sign of the gradient."""
    table, _, _ = world(5, labelled=40)  # without weights, or unbalanced, a sign differs
    rows, labels = table.features[:200], table.labels["edema"][:200, None]
    weight = np.random.default_rng(0).uniform(0.5, 2, size=labels.shape)
    start = {"output.weight": 5 * WORDS, "output.bias": np.full(1, 0.3)}
    own = {"only": list(start), "epochs": [1], "rate": 1e-3, "weight": weight}
    after = trained("linear", start, rows, labels, **own)[1]
    truth, seen = labels[:40, 0], rows[:40]
    share = weight[:40, 0] * np.where(truth == 1, 20 / truth.sum(), 20 / (1 - truth).sum())
    error = share * (1 / (1 + np.exp(-(seen @ start["output.weight"][0] + 0.3))) - truth)
    moved = {name: after[name] - value * (1 - 1e-3 * 1e-4) for name, value in start.items()}
    assert moved["output.weight"][0] == pytest.approx(-1e-3 * np.sign(error @ seen), abs=2e-6)
    assert moved["output.bias"] == pytest.approx(-1e-3 * np.sign(error.sum()), abs=2e-6)


@pytest.mark.slow
def test_rounds_beat_words_all_rows_at_once_and_one_static_set() -> None:
    found = []
    for seed in range(5):
        table, rows, truth = world(seed)
        labels = np.stack([table.labels["edema"]], axis=1)
        start = {"output.weight": 100 * WORDS, "output.bias": np.zeros(1)}
        said = applied("linear", start, table.features)[8:, 0]
        tried = [start]
        for room in (len(said) // 2, 16):  # all at once; FPL: K = 16, once
            told = leaderboards(np.stack([-said, said], axis=1), [room, room])
            static = labels.copy()
            static[8:, 0] = np.where(told < 0, np.nan, told)
            own = {"only": ["output.weight", "output.bias"], "epochs": [40], "rate": 1e-1}
            tried.append(trained("linear", start, table.features, static, **own)[40])
        tried += Grip(epochs=(40,)).candidates(table.features, labels, WORDS, [40])
        found.append([of_test(each, rows, truth) for each in tried])
    words_alone, at_once, fixed, rounds = np.mean(found, axis=0)
    assert words_alone < at_once < fixed < rounds
    assert rounds > words_alone + 0.05


def test_a_rare_finding_keeps_the_share_of_its_labels() -> None:
    table, rows, truth = world(3, share=0.06, labelled=60)
    labels = np.stack([table.labels["edema"]], axis=1)
    known, even = (
        of_test(Grip(epochs=(40,), prior=prior).candidates(table.features, labels, WORDS, [40])[0], rows, truth)
        for prior in (None, 0.5)
    )
    assert known > even


def test_it_needs_words_and_refuses_no_rounds() -> None:
    assert Grip.needs_words
    with pytest.raises(ConfigError, match=r"probe.rounds is 0: input should be greater than or equal to 1"):
        build("adaptation", {"name": "grip", "rounds": 0}, where="probe")
    with pytest.raises(ConfigError, match=r"probe.prior is 1\.5: input should be less than 1"):
        build("adaptation", {"name": "grip", "prior": 1.5}, where="probe")
