"""Grades: the loss of each step among those that reached it, its order, chunks, and a line of grades learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.answers.findings import Findings
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Column
from medvlp.objectives.ordinal import Ordinal
from tests.objectives.pictures import batch_of, discs, fit, make_task
from tests.objectives.test_classify import context
from tests.objectives.test_dice_ce import rand, same

NAN = float("nan")
STEPS = torch.tensor(
    [[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [NAN, NAN, NAN], [1, -1, NAN], [NAN, 1, 1], [1, 1, NAN]]
)


def test_a_step_is_asked_of_those_that_reached_the_one_before() -> None:
    logits = rand(8, 3)
    term = Ordinal(labels=list("abc"))(context(logits, STEPS))["ordinal"]
    pairs = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (5, 0), (6, 2), (7, 0), (7, 1)]
    total = 0.0
    for i, k in pairs:
        p = 1 / (1 + math.exp(-float(logits[i, k])))
        total -= math.log(p if STEPS[i, k] == 1 else 1 - p)
    assert term.count == len(pairs)
    assert float(term.value()) == pytest.approx(total / len(pairs))


def test_mixed_grades_are_taught_as_both_in_their_shares() -> None:
    logits, share = rand(1, 3), 0.3
    mixed, low, high = (
        Ordinal(labels=list("abc"))(context(logits, steps[None]))["ordinal"]
        for steps in (share * STEPS[1] + (1 - share) * STEPS[3], STEPS[1], STEPS[3])
    )
    assert float(mixed.count) == pytest.approx(share * 2 + (1 - share) * 3)
    assert float(mixed.sum) == pytest.approx(share * float(low.sum) + (1 - share) * float(high.sum))


def test_what_cannot_be_is_refused() -> None:
    broken = torch.tensor([[1.0, 0.0, 1.0]])
    with pytest.raises(DataError, match="A sample has a step of a, b, c and not the one before it"):
        Ordinal(labels=list("abc"))(context(rand(1, 3), broken))
    with pytest.raises(ConfigError, match="A grade of one step is a finding"):
        Ordinal(labels=["a"])


def graded(count: int) -> tuple[dict[str, Column], Tensor]:
    """Pictures whose disc is brighter with each of four grades."""
    pixels, disc, _ = discs(count)
    grade, every = torch.arange(count) % 4, torch.arange(count)
    bright = torch.where(disc[:, None], 0.25 * (grade + 0.5)[:, None, None, None], pixels)
    labels = {f"label.{name}": Column((grade > k).float(), every) for k, name in enumerate("abc")}
    return {"image": Column(bright, every), **labels}, grade


def test_one_chunk_is_four() -> None:
    def step(chunks: int) -> dict[str, Any]:
        task = make_task([{"name": "ordinal", "labels": list("abc")}], chunks=chunks, dtype=torch.float64)
        with torch.no_grad():
            for name, parameter in task.named_parameters():
                if "heads" in name:  # linear layers start at zero
                    parameter.add_(0.1 * rand(*parameter.shape))
        log = task.backward(batch_of(graded(8)[0], 8), {"ordinal": 1.0}, samples_seen=0)
        return {"terms": dict(log.terms)} | {
            n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None
        }

    same(step(1), step(4))


def test_grades_are_learnt_and_no_step_is_likelier_than_the_one_before() -> None:
    columns, grade = graded(16)
    task = make_task([{"name": "ordinal", "labels": list("abc")}])
    fit(task, batch_of(columns, 16), steps=60, rate=1e-2)
    with torch.no_grad():
        logits = task.model.eval()(batch_of(columns, 16), task.plan)["image"].part("findings").numpy()
    (spec,) = task.objectives["ordinal"].answers()
    answer = Findings(**spec.options)  # type: ignore[arg-type]
    shares = answer.shares(logits.astype(np.float64))
    assert bool((np.diff(shares, axis=1) <= 0).all())
    assert ((shares > 0.5).sum(axis=1) == grade.numpy()).mean() >= 0.9
