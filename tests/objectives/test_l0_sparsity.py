"""TinyCLIP's Lagrangian: its value, what it sends to the gates, and that its multipliers climb under any optimiser."""

from __future__ import annotations

import pytest
import torch

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.l0_sparsity import L0Sparsity

SIZES = torch.tensor([30.0, 70.0])  # weights of two gated layers


def context(shares: torch.Tensor, *, rows: int = 3, seen: int = 1000) -> Context:
    """Expected shares of open weights in both layers, the same in every row."""
    part = torch.stack([shares * SIZES, SIZES]).expand(rows, 2, 2)
    parts = {parse_key("text/open"): Part(part, torch.arange(rows))}
    return Context(parts=parts, batch=Batch.of({"text": ["a"] * rows}), samples_seen=seen)


@pytest.mark.parametrize(("seen", "target"), [(0, 0.0), (100, 0.0), (350, 0.25), (600, 0.5), (9000, 0.5)])
def test_what_is_missing_to_the_rising_target_costs_by_both_multipliers(seen: int, target: float) -> None:
    shares = torch.tensor([0.9, 0.8])
    closed = 1 - (0.9 * 30 + 0.8 * 70) / 100
    term = L0Sparsity(target=0.5, start=100, until=500)(context(shares, seen=seen))["sparsity"]
    missing = max(0.0, target - closed)
    assert term.value().item() == pytest.approx(10 * missing + 10 * missing**2, abs=1e-5)
    assert term.count.item() == 3
    weak = L0Sparsity(target=0.5, start=100, until=500, multiplier=0.4)(context(shares, seen=seen))["sparsity"]
    assert weak.value().item() == pytest.approx(0.4 * missing + 0.4 * missing**2, abs=1e-6)


def test_a_step_down_raises_the_multipliers_and_closes_gates() -> None:
    """Ascent in the multipliers, descent in the gates: dL/ds = -(l_1 + 2 l_2 g), and the other way round for l."""
    shares = torch.tensor([0.9, 0.8]).requires_grad_()
    objective = L0Sparsity(target=0.5, until=1)
    objective(context(shares))["sparsity"].value().backward()
    missing = 0.5 - (1 - (0.9 * 30 + 0.8 * 70) / 100)
    torch.testing.assert_close(objective.multipliers.grad, -torch.tensor([missing, missing**2]))
    torch.testing.assert_close(shares.grad, (10 + 20 * missing) * SIZES / 100)
    torch.optim.SGD(objective.parameters(), lr=1.0).step()
    assert (objective.multipliers > 10).all()


def test_a_tower_that_is_small_enough_costs_nothing_and_keeps_its_multipliers() -> None:
    shares = torch.tensor([0.2, 0.1]).requires_grad_()
    objective = L0Sparsity(target=0.5, until=1)
    term = objective(context(shares))["sparsity"]
    term.value().backward()
    assert term.sum.item() == 0
    assert not objective.multipliers.grad.any()  # pyrefly: ignore
    assert not shares.grad.any()  # pyrefly: ignore
