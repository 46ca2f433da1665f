from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.class_prototypes import ClassPrototypeLoss
from medvlp.state.class_prototypes import ClassPrototypes
from medvlp.state.clusters import Clusters

NAN = float("nan")
LABELS = {"effusion": [1.0, 0.0, 1.0, -1.0, NAN], "nodule": [0.0, 0.0, 1.0, 1.0, 1.0], "edema": [0.0, 1.0, NAN, 1.0, 0]}
KEY = "image/embedding"


def world(*, unfounded: bool = False, **options) -> tuple[torch.Tensor, ClassPrototypes]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    state = ClassPrototypes(labels=list(LABELS), **options)
    state.prototypes = unit(torch.randn(3, 2, 4, generator=generator))
    state.seen = torch.tensor([[30, 10], [5, 5], [90, 10]])
    if unfounded:
        state.prototypes[1, 1] = 0
    return rows, state


def context(rows, state, *, trusted=None) -> Context:
    fields = {f"label.{name}": torch.tensor(values) for name, values in LABELS.items()}
    if trusted is not None:
        fields["number.trusted"] = torch.tensor(trusted)
    parts = {parse_key(KEY): Part(rows, torch.arange(len(rows)))}
    return Context(parts=parts, batch=Batch.of(fields), states={"class_prototypes": state})


def cosine(rows, state, i, j, c) -> float:
    z, mu = rows[i] / rows[i].norm(), state.prototypes[j, c].double()
    return float(z @ mu)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("unfounded", [False, True])
def test_binary_is_a_question_for_each_finding_with_a_label(unfounded, balanced):
    rows, state = world(unfounded=unfounded)
    term = ClassPrototypeLoss(temperature=0.2, balanced=balanced)(context(rows, state))["binary"]
    total, count = 0.0, 0.0
    for i in range(5):
        for j, values in enumerate(LABELS.values()):
            if values[i] not in (0.0, 1.0) or (unfounded and j == 1):
                continue
            z = [cosine(rows, state, i, j, c) / 0.2 for c in (0, 1)]
            seen = state.seen[j].tolist()
            weight = sum(seen) / (2 * seen[int(values[i])]) if balanced else 1.0
            total += weight * (math.log(math.exp(z[0]) + math.exp(z[1])) - z[int(values[i])])
            count += weight
    assert term.sum.item() == pytest.approx(total, rel=1e-6)
    assert term.count.item() == pytest.approx(count)


@pytest.mark.parametrize("unfounded", [False, True])
def test_exclusive_is_one_question_among_the_findings(unfounded):
    rows, state = world(unfounded=unfounded)
    term = ClassPrototypeLoss(mode="exclusive", temperature=0.2)(context(rows, state))["exclusive"]
    total, count = 0.0, 0
    for i in range(5):
        known = {j: v[i] for j, v in enumerate(LABELS.values()) if v[i] in (0.0, 1.0) and not (unfounded and j == 1)}
        z = {j: cosine(rows, state, i, j, 1) / 0.2 for j in known}
        present = [j for j, value in known.items() if value == 1]
        if present:
            below = math.log(sum(map(math.exp, z.values())))
            total += sum(below - z[j] for j in present) / len(present)
            count += 1
    assert term.sum.item() == pytest.approx(total, rel=1e-6)
    assert term.count.item() == count


@pytest.mark.parametrize("temperature", [0.2, "density"])
def test_trusted_rows_must_come_nearer_and_each_prototype_may_have_its_own_temperature(temperature):
    rows, state = world(trusted="number.trusted")
    state.spread = torch.tensor([[[2.0, 1.0], [0.5, 1.0], [1.5, 1.2]], [[2.0, 1.0], [1.0, 1.0], [2.0, 1.0]]])
    sure = [1.0, 0.0, 1.0, 0.0, 0.0]
    objective = ClassPrototypeLoss(temperature=temperature, margin=0.3)
    got = objective(context(rows, state, trusted=sure))["binary"].value().item()
    losses = []
    for i in range(5):
        for j, values in enumerate(LABELS.values()):
            if values[i] in (0.0, 1.0):
                y, z = int(values[i]), []
                for c in (0, 1):
                    mean = float(state.spread[0, j, c] / state.spread[1, j, c])
                    t = mean / math.log(int(state.seen[j, c]) + 10) if temperature == "density" else temperature
                    z.append((cosine(rows, state, i, j, c) - 0.3 * sure[i] * (c == y)) / t)
                losses.append(math.log(math.exp(z[0]) + math.exp(z[1])) - z[y])
    assert got == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    with pytest.raises(ConfigError, match="state 'class_prototypes' has no field `trusted`: name it, such as"):
        objective(context(*world()))


def test_a_belief_is_a_soft_target():
    rows, state = world(clean_from=0, follow=0.5)
    ctx = context(rows, state)
    state.beliefs.follow([ctx.batch.ids[0]], torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, NAN, NAN]]))
    got = ClassPrototypeLoss(temperature=0.2)(ctx)["binary"]
    plain = ClassPrototypeLoss(temperature=0.2)(context(*world()))["binary"]
    z = [cosine(rows, state, 0, 0, c) / 0.2 for c in (0, 1)]
    assert got.count == plain.count
    assert (got.sum - plain.sum).item() == pytest.approx(
        (z[1] - z[0]) / 2, rel=1e-5
    )  # half of its weight changed sides


def test_prototypes_are_constants_and_rows_are_pulled_to_their_own():
    rows, state = world()
    rows.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda rows: ClassPrototypeLoss(temperature=0.5)(context(rows, state))["binary"].sum, (rows,)
    )
    before = ClassPrototypeLoss()(context(rows, state))["binary"]
    before.sum.backward()
    with torch.no_grad():
        rows -= 0.01 * rows.grad
    assert ClassPrototypeLoss()(context(rows, state))["binary"].sum < before.sum
    assert not state.prototypes.requires_grad


def test_a_label_that_is_not_believed_is_no_target():
    rows, state = world(clean_from=0, keep=0.0)
    plain = ClassPrototypeLoss()(context(rows, state))["binary"]
    _, doubtful = world(clean_from=0, keep=0.999999, relabel=1.0)
    assert ClassPrototypeLoss()(context(rows, doubtful))["binary"].count < plain.count
    assert plain.count == 12


def test_before_the_first_sample_it_is_nothing_without_gradient_trouble():
    rows = torch.randn(5, 4, requires_grad=True)
    for mode in ("binary", "exclusive"):
        term = ClassPrototypeLoss(mode=mode)(context(rows, ClassPrototypes(labels=list(LABELS))))[mode]
        assert term.count == 0
        term.value().backward()
    assert not rows.grad.any()


def test_a_perfect_row_costs_what_its_two_prototypes_say():
    state = ClassPrototypes(labels=["effusion"])
    state.prototypes = torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]])
    fields = {"label.effusion": torch.tensor([1.0])}
    parts = {parse_key(KEY): Part(torch.tensor([[3.0, 0.0]]), torch.arange(1))}
    ctx = Context(parts=parts, batch=Batch.of(fields), states={"class_prototypes": state})
    assert ClassPrototypeLoss(temperature=1.0)(ctx)["binary"].value().item() == pytest.approx(
        math.log(1 + math.exp(-2))
    )


def test_what_is_refused():
    rows, state = world()
    with pytest.raises(ConfigError, match="balanced of objective 'class_prototypes' is of mode 'binary' only"):
        ClassPrototypeLoss(mode="exclusive", balanced=True)
    ctx = context(rows, state)
    with pytest.raises(ConfigError, match=r"states.class_prototypes is no 'class_prototypes'"):
        ClassPrototypeLoss()(Context(parts=ctx.parts, batch=ctx.batch, states={"class_prototypes": Clusters()}))
