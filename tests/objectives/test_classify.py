"""Labels: torch's losses, what is unknown, chunks and processes; focal loss against its equation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Context, Part, collectives
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import parse_key
from medvlp.core.protocols import Objective
from medvlp.core.sample import Batch, Column
from medvlp.data.batch_views.mixup import Mixup
from medvlp.objectives.classify import Classify
from medvlp.objectives.focal import Focal
from tests.objectives.pictures import batch_of, discs, make_task
from tests.objectives.test_dice_ce import apart, rand, same

NAN = float("nan")
LABELS = torch.tensor([[1.0, 0.0, 0.0], [0.0, NAN, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def context(logits: Tensor, labels: Tensor = LABELS, owner: list[int] | None = None) -> Context:
    batch = Batch.of({f"label.{name}": labels[:, k] for k, name in enumerate("abc")})
    rows = torch.arange(len(logits)) if owner is None else torch.tensor(owner)
    return Context(parts={parse_key("image/findings"): Part(logits, rows)}, batch=batch, chunk=True)


def test_binary_is_torchs_loss_over_the_known_pairs() -> None:
    logits = rand(4, 3)
    known = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.bool)
    weights = [2.0, 1.0, 0.5]
    term = Classify(labels=list("abc"), positive_weights=weights)(context(logits))["binary"]
    losses = F.binary_cross_entropy_with_logits(
        logits, LABELS.nan_to_num().clamp(min=0).double(), pos_weight=torch.tensor(weights).double(), reduction="none"
    )
    assert term.count == 10
    torch.testing.assert_close(term.value(), losses[known].mean())


def test_uncertain_and_blank_labels_are_taken_for_what_is_said() -> None:
    logits = rand(4, 3)
    term = Classify(labels=list("abc"), uncertain={"a": 0.25, "b": 1.0}, blank=0)(context(logits))["binary"]
    taken = LABELS.clone()
    taken[1, 1], taken[2, 0] = 0.0, 0.25
    torch.testing.assert_close(term.value(), F.binary_cross_entropy_with_logits(logits, taken.double()))
    with pytest.raises(ConfigError, match="uncertain of objective 'classify' names 'd', which is none of its labels"):
        Classify(labels=list("abc"), uncertain={"d": 1.0})


def test_exclusive_is_torchs_cross_entropy_over_the_rows_whose_class_is_known() -> None:
    logits, weights = rand(4, 3), [2.0, 1.0, 0.5]
    term = Classify(labels=list("abc"), exclusive=True, positive_weights=weights)(context(logits))["exclusive"]
    expected = F.cross_entropy(logits[[0, 1, 3]], torch.tensor([0, 2, 1]), weight=torch.tensor(weights).double())
    torch.testing.assert_close(term.value(), expected)


def test_classes_of_mixed_pictures_are_taught_by_their_shares() -> None:
    """mixup (Zhang et al. 2018): the mean of the pictures' own cross entropies, each as far as it is in the mixture."""
    logits, weights = rand(4, 3), [2.0, 1.0, 0.5]
    labels = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, NAN, 1.0]])
    batch = Batch.of(
        {"image": torch.zeros(4, 1, 2, 2), **{f"label.{name}": labels[:, k] for k, name in enumerate("abc")}}
    )
    mixed = Mixup(alpha=5.0)(batch, seed=0)
    ctx = Context(parts={parse_key("image/findings"): Part(logits, torch.arange(4))}, batch=mixed, chunk=True)
    term = Classify(labels=list("abc"), exclusive=True, positive_weights=weights)(ctx)["exclusive"]
    total = share = 0.0
    for row in range(4):
        for k, name in enumerate("abc"):
            y = float(mixed[f"label.{name}"].values[row])
            if y == y:
                total += weights[k] * y * float(F.cross_entropy(logits[row], torch.tensor(k)))
                share += weights[k] * y
    assert 0 < float(mixed["label.a"].values[0]) < 1
    assert float(term.count) == pytest.approx(share)
    assert float(term.value()) == pytest.approx(total / share)


def test_crops_of_a_picture_have_its_labels() -> None:
    logits = rand(3, 3)
    term = Classify(labels=list("abc"))(context(logits, owner=[0, 0, 3]))["binary"]
    again = Classify(labels=list("abc"))(context(logits, LABELS[[0, 0, 3]]))["binary"]
    torch.testing.assert_close(term.value(), again.value())


def test_focal_is_its_equation() -> None:
    logits = rand(4, 3)
    term = Focal(labels=list("abc"), truth="labels", alpha=0.3, gamma=1.5)(context(logits))["focal"]
    total = []
    for i in range(4):
        for k in range(3):
            y = float(LABELS[i, k])
            if y in (0.0, 1.0):
                p = 1 / (1 + math.exp(-float(logits[i, k])))
                right, share = (p, 0.3) if y == 1 else (1 - p, 0.7)
                total.append(-share * (1 - right) ** 1.5 * math.log(right))
    assert term.count == len(total) == 10
    assert float(term.value()) == pytest.approx(sum(total) / len(total))


def test_asymmetric_is_its_equation_and_hears_no_negative_below_the_margin() -> None:
    logits = rand(4, 3).requires_grad_()
    loss = Focal(labels=list("abc"), truth="labels", alpha=None, gamma=4, gamma_positive=1, margin=0.3)
    term = loss(context(logits))["focal"]
    term.value().backward()
    total, gradient = [], logits.grad
    assert gradient is not None
    for i in range(4):
        for k in range(3):
            y, p = float(LABELS[i, k]), 1 / (1 + math.exp(-float(logits[i, k].detach())))
            if y in (0.0, 1.0):
                shifted = max(p - 0.3, 0.0)
                total.append(-(1 - p) * math.log(p) if y == 1 else -(shifted**4) * math.log(1 - shifted))
                assert (float(gradient[i, k]) == 0) == (y == 0 and p < 0.3)
    assert float(term.value()) == pytest.approx(sum(total) / len(total))
    assert 0.0 in gradient


def test_a_logit_as_right_or_as_wrong_as_can_be_has_a_gradient() -> None:
    logits = torch.tensor([[500.0, -500.0, -500.0]] * 4).requires_grad_()
    Focal(labels=list("abc"), truth="labels", gamma=0.5)(context(logits))["focal"].value().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_focal_without_focus_is_binary_cross_entropy_of_pixels() -> None:
    one, two = apart(3, 6, 5)
    logits = rand(3, 2, 6, 5)
    columns = {"mask.a": Column(one, torch.arange(3)), "mask.b": Column(two[:1], torch.arange(1))}
    ctx = Context(
        parts={parse_key("image/segmentation"): Part(logits, torch.arange(3))}, batch=batch_of(columns, 3), chunk=True
    )
    term = Focal(labels=["a", "b"], alpha=None, gamma=0.0)(ctx)["focal"]
    pairs = [(logits[i, 0], one[i]) for i in range(3)] + [(logits[0, 1], two[0])]
    expected = torch.stack([F.binary_cross_entropy_with_logits(z, m.double()) for z, m in pairs]).mean()
    torch.testing.assert_close(term.value(), expected)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="several classes that exclude each other: mend its labels"):
        Classify(labels=list("abc"), exclusive=True)(context(rand(1, 3), torch.ones(1, 3)))
    with pytest.raises(ConfigError, match=r"positive_weights of objective 'classify' are \[1.0\] for 2 labels"):
        Classify(labels=["a", "b"], positive_weights=[1.0])
    with pytest.raises(ConfigError, match="A single label of objective 'classify' excludes nothing"):
        Classify(labels=["a"], exclusive=True)
    with pytest.raises(ConfigError, match=r"The head 'findings' gives \(2, 4\) a row: let it give one a label"):
        Focal(labels=list("abc"), truth="labels")(context(rand(4, 2, 4)))


SPECS: list[dict[str, Any]] = [
    {"name": "classify", "labels": ["a", "b", "c"], "positive_weights": [3.0, 1.0, 1.0]},
    {"name": "classify", "labels": ["a", "b", "c"], "exclusive": True},
    {"name": "focal", "labels": ["a", "b", "c"], "truth": "labels"},
    {"name": "focal", "labels": ["disc"]},
    {"name": "focal", "labels": ["a", "b", "c"], "truth": "labels", "gamma_positive": 0.0, "margin": 0.05},
]


def step(number: int, chunks: int) -> dict[str, Any]:
    pixels, disc, _ = discs(8)
    every, some = torch.arange(8), torch.tensor([0, 2, 3])
    columns = {"image": Column(pixels, every), "mask.disc": Column(disc[some], some)}
    columns |= {f"label.{n}": Column(torch.cat([LABELS, LABELS.flip(0)])[:, k], every) for k, n in enumerate("abc")}
    task = make_task([SPECS[number]], chunks=chunks, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if "heads" in name:  # linear layers start at zero
                parameter.add_(0.1 * rand(*parameter.shape))
    size = 8 // collectives.world_size()
    part = batch_of(columns, 8).take(collectives.rank() * size, (collectives.rank() + 1) * size)
    part = Batch(part.ids, part.positions, {n: c for n, c in part.columns.items() if len(c.owner)})
    log = task.backward(part, dict.fromkeys(task.objectives, 1.0), samples_seen=0)
    return {"terms": dict(log.terms)} | {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_one_chunk_is_four(number: int) -> None:
    expected = step(number, 1)
    assert any(bool(gradient.abs().max() > 1e-9) for name, gradient in expected.items() if "towers" in name)
    same(expected, step(number, 4))


@pytest.mark.pool
@pytest.mark.parametrize("number", range(len(SPECS)))
def test_one_process_is_two(pool: Any, number: int) -> None:
    for got in pool.run(2, step, number, 1):
        same(step(number, 1), got)


@pytest.mark.parametrize(
    ("objective", "answer"),
    [
        (Classify(labels=["a"]), ("findings", {"part": "findings", "labels": ["a"]})),
        (
            Classify(labels=["a", "b"], exclusive=True),
            ("findings", {"part": "findings", "labels": ["a", "b"], "exclusive": True}),
        ),
        (Focal(labels=["a"]), ("segmentation", {"part": "segmentation", "labels": ["a"]})),
    ],
)
def test_the_head_that_an_answer_reads_is_kept(objective: Objective, answer: tuple[str, dict[str, Any]]) -> None:
    (spec,) = objective.answers()
    assert (spec.name, dict(spec.options)) == answer
    assert objective.heads()[spec.options["part"]].keep
