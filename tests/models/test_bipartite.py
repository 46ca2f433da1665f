"""The score ``bipartite``: which tokens are matched, and how it meets what it is relaxed from and to."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.models.scores.bipartite import Bipartite
from medvlp.models.scores.late_interaction import LateInteraction


def tokens(rows: int, length: int, seed: int, *, real: list[int] | None = None) -> dict[str, Tensor]:
    values = torch.randn(rows, length, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    count = torch.tensor(real or [length] * rows)
    return {"local": values, "mask": torch.arange(length)[None] < count[:, None]}


def by_hand(one: Tensor, two: Tensor, capacity: int) -> float:
    """The best matching of all, tried one by one."""
    cosines = unit(one) @ unit(two).T
    cosines = cosines if len(one) <= len(two) else cosines.T
    few, many = cosines.shape
    places = list(range(many)) * capacity
    return max(sum(cosines[i, j].item() for i, j in enumerate(chosen)) / few for chosen in permutations(places, few))


PATCHES, WORDS = tokens(3, 5, 0), tokens(2, 4, 1, real=[4, 2])


@pytest.mark.parametrize("words", [WORDS, tokens(2, 4, 2, real=[1, 3])], ids=["words", "a_single_word"])
@pytest.mark.parametrize("patches", [PATCHES, tokens(3, 1, 3)], ids=["patches", "a_single_patch"])
@pytest.mark.parametrize("capacity", [1, 2])
def test_hard_and_one_to_one_it_is_the_best_of_all_matchings(
    patches: dict[str, Tensor], words: dict[str, Tensor], capacity: int
) -> None:
    got = Bipartite(temperature=0.0, capacity=capacity)(patches, words)
    for r in range(3):
        for c in range(2):
            expected = by_hand(patches["local"][r], words["local"][c][words["mask"][c]], capacity)
            assert got[r, c].item() == pytest.approx(expected, rel=1e-12)


def test_without_capacity_it_is_late_interaction_of_the_shorter_side() -> None:
    """Words are fewer than patches, whichever of them are rows."""
    expected = LateInteraction()(WORDS, PATCHES)
    free = Bipartite(temperature=0.0, capacity=None)
    torch.testing.assert_close(free(PATCHES, WORDS), expected.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(free(WORDS, PATCHES), expected, rtol=1e-12, atol=1e-12)
    soft = Bipartite(temperature=0.02, capacity=None)(PATCHES, WORDS)
    torch.testing.assert_close(soft, expected.T, rtol=0, atol=0.02)


def test_cold_plans_come_near_the_assignment_and_never_above_it() -> None:
    exact = Bipartite(temperature=0.0)(PATCHES, WORDS)
    cold, warm = (Bipartite(temperature=t, iterations=500)(PATCHES, WORDS) for t in (0.02, 0.5))
    torch.testing.assert_close(cold, exact, rtol=0, atol=0.02)
    assert (cold <= exact + 1e-9).all()
    assert (warm < cold).all()


@pytest.mark.parametrize("capacity", [1, 2, None])
def test_a_plan_gives_each_of_the_shorter_side_one_and_none_of_the_longer_more_than_its_capacity(
    capacity: int | None,
) -> None:
    score = Bipartite(capacity=capacity, iterations=500)
    one, two = tokens(2, 4, 2, real=[4, 2]), tokens(2, 3, 3)
    cosines = torch.einsum("rnd,cld->rcnl", unit(one["local"]), unit(two["local"]))
    real = one["mask"][:, None, :, None] & two["mask"][None, :, None, :]
    fewer = one["mask"].sum(1)[:, None] <= two["mask"].sum(1)[None]
    assert fewer.tolist() == [[False, False], [True, True]]
    plan = score._plan(cosines, real, fewer)
    most = capacity or 4
    torch.testing.assert_close(plan[0].sum(1), torch.ones(2, 3, dtype=torch.float64))
    assert plan[0].sum(2).max() <= most + 0.02
    torch.testing.assert_close(plan[1, :, :2].sum(2), torch.ones(2, 2, dtype=torch.float64))
    assert plan[1, :, 2:].abs().max() == 0
    assert plan[1].sum(1).max() <= most + 0.02


@pytest.mark.parametrize("temperature", [0.0, 0.05])
def test_padding_tiles_and_the_order_of_the_sides_change_nothing(temperature: float) -> None:
    score = Bipartite(temperature=temperature)
    whole = score(PATCHES, WORDS)
    torch.testing.assert_close(score(WORDS, PATCHES), whole.T, rtol=1e-9, atol=1e-9)
    tiled = Bipartite(temperature=temperature, tile=1)(PATCHES, WORDS)
    torch.testing.assert_close(tiled, whole, rtol=1e-12, atol=1e-12)
    longer = {"local": torch.cat([WORDS["local"], torch.ones(2, 3, 5)], dim=1)}
    longer["mask"] = torch.cat([WORDS["mask"], torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(score(PATCHES, longer), whole, rtol=1e-12, atol=1e-12)
    empty = {"local": WORDS["local"], "mask": torch.zeros_like(WORDS["mask"])}
    assert score(PATCHES, empty).tolist() == [[0.0, 0.0]] * 3


def test_the_gradient_is_that_of_the_matching() -> None:
    one, two = (tokens(1, 3, seed)["local"].requires_grad_() for seed in (4, 5))
    real = torch.ones(1, 3, dtype=torch.bool)

    def score(one: Tensor, two: Tensor) -> Tensor:
        return Bipartite(temperature=0.0)({"local": one, "mask": real}, {"local": two, "mask": real})

    assert torch.autograd.gradcheck(score, (one, two))


def test_a_temperature_that_float32_has_no_plan_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"temperature of score 'bipartite' is 0.01: use 0, or 0.02 or more"):
        Bipartite(temperature=0.01)
