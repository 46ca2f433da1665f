"""Of a schedule-free optimiser the average is validated, released and handed on; what it trains goes on untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.protocols import Model
from medvlp.training.averaging import averaged
from medvlp.training.checkpoints import Checkpoint, latest, load_checkpoint
from medvlp.training.optimisation import OptimiserOptions, make_optimiser, set_rate
from medvlp.training.trainer import Trainer
from tests.training.runs import BATCH, final_hashes, make_setup, weights_of
from tests.training.test_optimisers import net

FREE = OptimiserOptions(name="schedule_free", schedule="constant", rate=3e-3, warmup=16)


def averages(checkpoint: Checkpoint, beta: float = FREE.betas[0]) -> dict[str, Tensor]:
    """x of each weight that has one, solved from y = (1 - beta) z + beta x."""
    iterates = {n.removesuffix("|iterate"): z for n, z in checkpoint.optimiser.items() if n.endswith("|iterate")}
    return {name: (checkpoint.weights[name] - (1 - beta) * z) / beta for name, z in iterates.items()}


def test_its_steps_are_those_of_the_algorithm() -> None:
    """Defazio et al. 2024, algorithm 1 with Adam's scaling, by the three sequences, over a warm-up."""
    module = net().double()
    options = FREE.model_copy(update={"rate": 0.05, "weight_decay": 0.1, "warmup": 3})
    optimiser = make_optimiser(module, options)
    beta, decay = options.betas
    z = x = {name: p.detach().clone() for name, p in module.named_parameters()}
    v = {name: torch.zeros_like(p) for name, p in z.items()}
    weights = 0.0
    draws = torch.Generator().manual_seed(4)
    for step in range(1, 7):
        rate = set_rate(optimiser, options, samples=step, horizon=6)
        weights += rate**2
        y = {name: (1 - beta) * z[name] + beta * x[name] for name in z}
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(parameter, y[name], rtol=1e-12, atol=1e-14)
            parameter.grad = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
            v[name] = decay * v[name] + (1 - decay) * parameter.grad**2
            own = parameter.grad / ((v[name] / (1 - decay**step)).sqrt() + options.eps)
            z = z | {name: z[name] - rate * (own + (0.1 if parameter.dim() > 1 else 0.0) * y[name])}
            x = x | {name: x[name] + rate**2 / weights * (z[name] - x[name])}
        optimiser.step()
    with averaged(optimiser):
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(parameter, x[name], rtol=1e-12, atol=1e-14)


def test_validation_sees_the_average_and_moves_nothing(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    def validate(model: Model, samples_seen: int) -> dict[str, float]:
        seen.append(weights_of(model))
        return {"score": float(samples_seen)}

    def fit(run: Path, **changes: Any) -> None:
        setup = make_setup(run, **changes)
        phases = [replace(phase, optimiser=FREE) for phase in setup.phases]
        Trainer(replace(setup, phases=phases, released=None, states={})).fit()

    fit(tmp_path / "judged", validate=validate)
    fit(tmp_path / "plain")
    assert final_hashes(tmp_path / "judged") == final_hashes(tmp_path / "plain")
    end = load_checkpoint(latest(tmp_path / "judged"))
    expected = {name.removeprefix("model."): x for name, x in averages(end).items() if name.startswith("model.")}
    assert expected
    for name, x in expected.items():
        torch.testing.assert_close(seen[-1][name], x, rtol=1e-5, atol=1e-6)
    assert not all(torch.equal(seen[-1][name], end.weights[f"model.{name}"]) for name in expected)


@pytest.mark.parametrize("own_optimiser", [True, False])
def test_another_phase_starts_from_averages_of_what_does_not_train_on(tmp_path: Path, own_optimiser: bool) -> None:
    """With an optimiser of its own all weights; with the same one those that it freezes: the image tower's."""

    def trainer() -> Trainer:
        setup = make_setup(tmp_path / "run")
        one, two = (replace(phase, optimiser=FREE) for phase in setup.phases)
        return Trainer(replace(setup, phases=[one, replace(two, own_optimiser=own_optimiser)]))

    with pytest.raises(UserError, match="after 40 samples"):
        trainer().fit(stop_at=40)
    before = load_checkpoint(latest(tmp_path / "run"))
    expected = averages(before)
    begun = trainer()
    begun.resume()
    begun.rehearsal(1)
    for name, parameter in begun.root.named_parameters():
        if name not in expected:
            continue
        x, y = expected[name], before.weights[name]
        handed_on = own_optimiser or "towers.image" in name
        torch.testing.assert_close(parameter.detach(), x if handed_on else y, rtol=1e-5, atol=1e-6)
        assert handed_on or torch.equal(parameter, y)
    assert any("towers.image" in name and not torch.equal(x, before.weights[name]) for name, x in expected.items())
    assert begun.samples_seen % BATCH == 0
