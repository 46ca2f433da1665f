from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.models.heads.class_gate import ClassGate, gated_cosine
from medvlp.objectives import contrast
from medvlp.objectives.simlap import Simlap
from tests.objectives.world import rows

NAN = float("nan")


def gate(classes: int | None = 3, seed: int = 0, embed_dim: int = 6) -> ClassGate:
    """A gate that is not 1/2 everywhere any more."""
    torch.manual_seed(seed)
    made = ClassGate(embed_dim=embed_dim, width=6, classes=classes).double()
    torch.nn.init.normal_(made.last.weight)
    return made


def context(a: Tensor, b: Tensor, labels: dict[str, list[float]], head: ClassGate, *, seed: int = 0) -> Context:
    parts = {
        parse_key("image/simlap"): Part(a, torch.arange(len(a))),
        parse_key("text/simlap"): Part(b, torch.arange(len(b))),
    }
    fields = {f"label.{name}": torch.tensor(values, dtype=torch.float64) for name, values in labels.items()}
    return Context(parts=parts, batch=Batch.of(fields), heads={"simlap_gate": head}, seed=seed)


def shares(effusion: float, edema: float) -> Tensor:
    found = torch.tensor([effusion, edema, float(effusion + edema == 0)], dtype=torch.float64)
    return found / found.sum()


@pytest.mark.parametrize("pairing", ["arbitrary", "different", "same"])
def test_it_is_the_loop_over_rows_positives_and_negatives(pairing):
    labels = {"effusion": [1.0, 0, 1, 0, 1, 0, 0], "edema": [0.0, 1, 1, 0, 0, 1, 0]}
    a, b, head = rows(7, 0), rows(7, 1), gate()
    ctx = context(a, b, labels, head, seed=3)
    sets = list(zip(labels["effusion"], labels["edema"], strict=True))
    draws = ctx.uniform(1, name="simlap")[:, 0].tolist()
    total, count = 0.0, 0
    for i in range(7):
        others = [j for j in range(7) if j != i and (pairing == "arbitrary" or sets[j] != sets[i])]
        second = i if pairing == "same" else min(others, key=lambda j, i=i: (draws[j] - draws[i]) % 1.0)
        g = head.between(shares(*sets[i])[None], shares(*sets[second])[None])[0].detach()
        scores = [float(unit((g * a[i])[None])[0] @ unit((g * b[j])[None])[0]) / 0.1 for j in range(7)]
        positives = [j for j in range(7) if sets[j] == sets[second]]
        negatives = [scores[j] for j in range(7) if sets[j] not in (sets[i], sets[second])]
        losses = [math.log(sum(math.exp(z) for z in (scores[p], *negatives))) - scores[p] for p in positives]
        total += sum(losses) / len(positives)
        count += 1
    term = Simlap(labels=["effusion", "edema"], pairing=pairing)(ctx)["pairs"]
    assert term.count.item() == count
    assert term.sum.item() == pytest.approx(total, rel=1e-11)


def test_a_sample_with_several_texts_is_paired_with_another_sample():
    """Of three samples with two texts each the second class is never the row's own: the gates between tell."""
    labels = {"effusion": [1.0, 0, 0], "edema": [0.0, 1, 0]}
    asked: list[tuple[Tensor, Tensor]] = []
    head = gate()
    between = head.between
    head.between = lambda one, other, *given: (asked.append((one, other)), between(one, other, *given))[1]
    for seed in range(5):
        ctx = context(rows(3, 0), rows(3, 1), labels, head, seed=seed)
        ctx.parts = {**ctx.parts, parse_key("text/simlap"): Part(rows(6, 1), torch.tensor([0, 0, 1, 1, 2, 2]))}
        term = Simlap(labels=["effusion", "edema"])(ctx)["pairs"]
        assert term.count.item() == 3
    assert len(asked) == 5
    assert all(bool((one != other).any(dim=1).all()) for one, other in asked)


def test_unlike_classes_each_with_itself_and_a_constant_gate_are_infonce():
    labels = {f"f{k}": [float(i >> k & 1) for i in range(8)] for k in range(3)}
    a, b = rows(8, 0), rows(8, 1)
    torch.manual_seed(0)
    fresh = ClassGate(embed_dim=6, width=6, classes=4).double()  # its last layer starts at zero
    term = Simlap(labels=list(labels), pairing="same")(context(a, b, labels, fresh))["pairs"]
    expected = contrast(a @ b.T / 0.1, torch.arange(8))
    assert term.value().item() == pytest.approx(expected.value().item(), rel=1e-12)


def test_a_gate_does_not_mind_the_order_of_the_two_nor_who_else_is_there():
    head, one, other = gate(), shares(1, 0)[None], shares(0, 1)[None]
    assert torch.equal(head.between(one, other), head.between(other, one))
    many = head.between(torch.cat([one, other, one]), torch.cat([other, other, one]))
    torch.testing.assert_close(many[:1], head.between(one, other), rtol=1e-14, atol=0)
    assert (many[0] - many[2]).abs().max() > 1e-3


def test_a_gate_is_two_hidden_layers_of_what_lies_between_both_classes():
    """sigmoid(MLP((E_a + E_b) / 2)), the MLP being ReLU, norm, Linear, ReLU, norm, Linear."""
    head, (one, other) = gate(), (shares(1, 0), shares(0, 0))
    values = (head.vectors[0] + head.vectors[2]) / 2
    for layer in (head.body[2], head.last):
        values = values.clamp(min=0)
        values = layer.weight @ ((values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()) + layer.bias
    expected = 1 / (1 + (-values).exp())
    torch.testing.assert_close(head.between(one[None], other[None])[0], expected, rtol=1e-10, atol=0)


def test_the_gated_cosine_is_that_of_gated_rows_and_forgets_what_is_shut():
    a, b = rows(4, 0), rows(5, 1)
    g = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loop = torch.stack([unit((g[i] * a[i])[None]) @ unit(g[i] * b).T for i in range(4)])[:, 0]
    torch.testing.assert_close(gated_cosine(a, g, b), loop, rtol=1e-12, atol=1e-12)
    g[:, 3:] = 0
    changed = b.clone()
    changed[:, 3:] += 1
    torch.testing.assert_close(gated_cosine(a, g, b), gated_cosine(a, g, changed))
    a = torch.cat([a, torch.zeros(1, 6)]).requires_grad_()  # a row of zeros, or behind a shut gate, has no direction
    scores = gated_cosine(a, torch.cat([torch.zeros_like(g), torch.ones(1, 6)]), b)
    scores.sum().backward()
    assert scores.abs().max() == 0
    assert a.grad.abs().max() == 0


def test_samples_of_which_nothing_is_known_take_no_part():
    labels = {"effusion": [1.0, NAN, 0, 1, -1, 0], "edema": [0.0, NAN, 1, 0, NAN, 1]}
    a, b, head = rows(6, 0), rows(6, 1), gate()
    known = [0, 2, 3, 5]
    some = {name: [values[i] for i in known] for name, values in labels.items()}
    objective = Simlap(labels=["effusion", "edema"], pairing="same")
    term, fewer = (
        objective(ctx)["pairs"] for ctx in (context(a, b, labels, head), context(a[known], b[known], some, head))
    )
    assert term.count.item() == 4
    assert term.sum.item() == pytest.approx(fewer.sum.item(), rel=1e-12)


@pytest.mark.parametrize("pairing", ["arbitrary", "different"])
def test_a_sample_of_which_nothing_is_known_is_nobodys_second_class(pairing):
    """By its blanks it is of the class without a finding, which here no sample is known to be of."""
    labels = {"effusion": [1.0, NAN, 0, NAN], "edema": [0.0, NAN, 1, NAN]}
    a, b, head = rows(4, 0), rows(4, 1), gate()
    some = {name: [values[i] for i in (0, 2)] for name, values in labels.items()}
    objective = Simlap(labels=["effusion", "edema"], pairing=pairing)
    expected = objective(context(a[[0, 2]], b[[0, 2]], some, head))["pairs"]
    for seed in range(4):  # whatever is drawn, the one has the other's class
        term = objective(context(a, b, labels, head, seed=seed))["pairs"]
        assert term.count.item() == 2
        assert term.sum.item() == pytest.approx(expected.sum.item(), rel=1e-12)


def test_texts_of_a_bank_stand_in_for_learned_classes():
    labels = {"effusion": [1.0, 0, 0], "edema": [0.0, 1, 0]}
    a, b = rows(3, 0), rows(3, 1)
    bank = torch.randn(3, 5, dtype=torch.float64).requires_grad_()
    objective = Simlap(labels=["effusion", "edema"], bank="classes", pairing="different")
    assert "bank.classes/embedding" in set(map(str, objective.needs()))
    made = context(a, b, labels, gate(None, embed_dim=5))
    parts = {**made.parts, parse_key("bank.classes/embedding"): Part(bank, torch.full((3,), -1))}
    objective(Context(parts=parts, batch=made.batch, heads=made.heads))["pairs"].sum.backward()
    assert bank.grad is not None
    assert bank.grad.abs().sum() > 0
    few = {**made.parts, parse_key("bank.classes/embedding"): Part(bank[:2], torch.full((2,), -1))}
    with pytest.raises(ConfigError, match="has 2 labels and the bank 'classes' 2 texts: give one text a label"):
        objective(Context(parts=few, batch=made.batch, heads=made.heads))


@pytest.mark.parametrize("options", [{"labels": []}, {"labels": ["a", "a"]}, {"labels": ["a"], "views": ["image"]}])
def test_each_finding_is_named_once_and_two_views(options):
    with pytest.raises(ConfigError, match="name each finding once, and two views"):
        build("objectives", {"name": "simlap", **options}, where="x")
