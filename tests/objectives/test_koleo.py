from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.koleo import Koleo


def context(rows: torch.Tensor, owner: list[int], patients: list[str] | None = None) -> Context:
    samples = max(owner) + 1
    batch = Batch.of({"text": ["a"] * samples, "id.patient": patients or [str(i) for i in range(samples)]})
    return Context(parts={parse_key("image/pooled"): Part(rows, torch.tensor(owner))}, batch=batch)


@pytest.mark.parametrize("count", [2, 3, 7, 40])
def test_points_on_a_circle_have_the_chord_between_neighbours(count: int) -> None:
    """The closed form: n equal steps round the unit circle are 2 sin(pi / n) apart, whatever their lengths."""
    angle = torch.arange(count, dtype=torch.float64) * 2 * math.pi / count
    rows = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.linspace(0.5, 4, count, dtype=torch.float64)[:, None]
    value = Koleo(view="image")(context(rows, list(range(count))))["spread"].value().item()
    assert value == pytest.approx(-math.log(2 * math.sin(math.pi / count)), abs=1e-7)


def test_it_is_the_loop_over_nearest_neighbours_of_other_samples() -> None:
    owner = [0, 0, 1, 1, 2, 3]
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    z = rows / rows.norm(dim=1, keepdim=True)
    total = torch.zeros(())
    for i in range(6):
        total = total - torch.stack([(z[i] - z[j]).norm() for j in range(6) if owner[j] != owner[i]]).min().log()
    term = Koleo(view="image")(context(rows, owner))["spread"]
    assert term.count == 6
    assert term.sum.item() == pytest.approx(total.item(), abs=1e-6)
    moved, expected = (torch.autograd.grad(value, rows, retain_graph=True)[0] for value in (term.sum, total))
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-6)  # both ends of a pair are pushed


def test_a_step_down_moves_crowded_rows_apart_and_crops_of_one_sample_may_stay_together() -> None:
    angles = torch.tensor([0.0, 0.05, 2.0, 4.0], dtype=torch.float64)
    rows = torch.stack([angles.cos(), angles.sin()], dim=1).requires_grad_()
    Koleo(view="image")(context(rows, [0, 1, 2, 3]))["spread"].sum.backward()
    moved = rows.detach() - 1e-4 * rows.grad
    assert (moved[0] - moved[1]).norm() > (rows[0] - rows[1]).norm()
    apart = Koleo(view="image")(context(rows.detach(), [0, 0, 1, 2]))["spread"]
    # The nearest of another sample: 1 to 2, 0 to 2, 2 to 1 and 3 to 2 radians.
    chords = [2 * math.sin(a / 2) for a in (2.0, 1.95, 1.95, 2.0)]
    assert apart.value().item() == pytest.approx(-sum(map(math.log, chords)) / 4, abs=1e-6)


def test_a_patients_own_films_are_no_neighbours_where_asked() -> None:
    angles = torch.tensor([0.0, 0.05, 1.0], dtype=torch.float64)
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    ctx = context(rows, [0, 1, 2], ["p", "p", "q"])
    nearest = Koleo(view="image", apart="patient")(ctx)["spread"].value().item()
    chords = [2 * math.sin(a / 2) for a in (1.0, 0.95, 0.95)]
    assert nearest == pytest.approx(-sum(map(math.log, chords)) / 3, abs=1e-6)


def test_equal_rows_and_a_single_sample_leave_finite_gradients() -> None:
    rows = torch.ones(3, 4, dtype=torch.float64).requires_grad_()
    Koleo(view="image")(context(rows, [0, 1, 2]))["spread"].sum.backward()
    assert torch.equal(rows.grad, torch.zeros_like(rows))
    term = Koleo(view="image")(context(rows, [0, 0, 0]))["spread"]
    assert (term.sum.item(), term.count.item()) == (0, 0)
