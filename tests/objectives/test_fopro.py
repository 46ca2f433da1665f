from __future__ import annotations

import math

import pytest
import torch

from medvlp.core.encoded import unit
from medvlp.models.heads.relation import Relation
from medvlp.objectives.fopro import Fopro
from tests.objectives.noisy_world import LABELS, NAMES, context, prototypes


def fopro(**options) -> Fopro:
    return Fopro(labels=NAMES, hidden=8, width=6, **options)


def test_the_network_sees_a_row_and_a_prototype_side_by_side():
    """One layer over [z; mu], a rectifier, one number: by loops over an explicit concatenation."""
    torch.manual_seed(1)
    head = Relation(embed_dim=4, hidden=3).double()
    rows, mu = torch.randn(2, 4, dtype=torch.float64), torch.randn(3, 2, 4, dtype=torch.float64)
    joined = torch.cat([head.row.weight, head.prototype.weight], dim=1)
    for i in range(2):
        for j in range(3):
            for c in range(2):
                hidden = (joined @ torch.cat([rows[i], mu[j, c]]) + head.row.bias).relu()
                expected = head.output.weight[0] @ hidden + head.output.bias[0]
                torch.testing.assert_close(head.scores(rows, mu)[i, j, c], expected)


def test_the_relation_is_a_choice_between_the_two_prototypes_of_each_finding():
    ctx = context("fopro")
    term = fopro()(ctx)["relation"]
    scores = ctx.heads["relation"].scores(unit(ctx["image/fopro"]), ctx.state["class_prototypes"].prototypes.double())
    losses = []
    for j, values in enumerate(LABELS.values()):
        for i, value in enumerate(values):
            if value in (0.0, 1.0):
                absent, present = scores[i, j].tolist()
                losses.append(math.log(math.exp(absent) + math.exp(present)) - (present if value else absent))
    assert term.count.item() == len(losses) == 8
    assert term.value().item() == pytest.approx(sum(losses) / 8, rel=1e-6)


def test_a_prototype_without_a_sample_asks_nothing():
    whole, state = context("fopro"), prototypes("fopro")
    state.prototypes[1, 0] = 0
    term = fopro()(context("fopro", state=state))["relation"]
    whole.batch["label.nodule"].values.fill_(math.nan)  # the other finding asks as before
    other = fopro()(whole)["relation"]
    assert term.count.item() == other.count.item() == 4
    torch.testing.assert_close(term.sum, other.sum)
    state.prototypes = torch.zeros(2, 2, 0)
    assert fopro()(context("fopro", state=state))["relation"].count.item() == 0


@pytest.mark.parametrize("mode", ["relation", "either", "rule"])
def test_a_label_stays_by_rule_by_relation_or_by_either(mode):
    options = {"clean_from": 0, "keep": 0.5, "relabel": 0.8, "temperature": 0.5}
    ctx = context("fopro")
    z, by_rule = unit(ctx["image/fopro"]), prototypes("fopro", **options)
    rule = by_rule.targets(ctx, z, "image/fopro")
    seen = ctx.heads["relation"].scores(z, by_rule.prototypes.double()).sigmoid().detach()
    related = float(seen.median())
    state = prototypes("fopro", **options, relation="relation", clean_by=mode, related=related)
    got, stays = state.targets(ctx, z, "image/fopro"), 0
    for j, values in enumerate(LABELS.values()):
        for i, value in enumerate(values):
            if math.isnan(value):
                assert got[i, j].isnan()
                continue
            by_relation = float(seen[i, j, int(value)]) >= related
            expected = {"relation": value if by_relation else math.nan, "rule": float(rule[i, j])}
            expected["either"] = value if by_relation else float(rule[i, j])
            assert got[i, j].item() == pytest.approx(expected[mode], nan_ok=True)
            stays += by_relation
    assert 0 < stays < 8


def test_what_an_expert_read_is_never_changed():
    state = prototypes("fopro", clean_from=0, keep=1.0, relabel=0.0, trusted="number.expert")
    ctx = context("fopro", state=state, fields={"number.expert": torch.tensor([1.0, 0, 0, 1, 0])})
    got = state.targets(ctx, unit(ctx["image/fopro"]), "image/fopro")
    told = torch.tensor(list(LABELS.values()), dtype=torch.float64).T
    assert torch.equal(got[[0, 3]].nan_to_num(-1), told[[0, 3]].nan_to_num(-1))
    assert not torch.equal(got.nan_to_num(-1), told.nan_to_num(-1))
