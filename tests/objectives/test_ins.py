from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import ConfigError
from medvlp.core.encoded import unit
from medvlp.objectives._contrast import contrast
from medvlp.objectives.ins import Ins, predicted
from tests.objectives.noisy_world import LABELS, NAMES, PAST, context, cross_entropy, drawn, prototypes

BAGS = {"id.study": ["a", "a", "b", "b", "b"]}
BESIDE = {
    "image/findings": drawn("past logits", PAST, 2),
    "label.effusion": torch.tensor([1.0, 1, 0, 0, 1, math.nan, 1]).double(),
    "label.nodule": torch.tensor([0.0, 1, 1, 0, 1, 1, 0]).double(),
}


def ins(**options) -> Ins:
    return Ins(labels=NAMES, hidden=8, width=6, **options)


def followed(**options):
    return prototypes("ins", sure="absent", clean_from=0, follow=0.5, predictions="image/findings", **options)


def made(**options):
    return context("ins", state=followed(), fields=BAGS, beside=BESIDE, **options)


def test_rows_predicted_alike_are_positives_by_loops():
    """All rows but the own one, all keys and the queue; each positive against all of them."""
    ctx = made()
    term = ins()(ctx)["contrast"]
    z, k = unit(ctx["image/ins"]), unit(ctx["ema:image/ins"])
    columns = torch.cat([z, k, ctx.state["queue"].rows("ema:image/ins")])
    total, count = 0.0, 0
    for j, name in enumerate(NAMES):
        told = [*LABELS[name], *LABELS[name], *BESIDE[f"label.{name}"].tolist()]
        logits = torch.cat([ctx["image/findings"], ctx["image/findings"], BESIDE["image/findings"]])[:, j].tolist()
        c = [None if math.isnan(y) else y == 1 and logit > 0 for y, logit in zip(told, logits, strict=True)]
        for i in range(5):
            scores = {n: float(z[i] @ a) / 0.07 for n, a in enumerate(columns) if n != i}
            alike = [n for n in scores if c[n] is not None and c[n] == c[i]]
            if alike:
                below = math.log(sum(map(math.exp, scores.values())))
                total += sum(below - scores[n] for n in alike) / len(alike)
                count += 1
    assert term.count.item() == count == 8
    assert term.value().item() == pytest.approx(0.5 * total / count, rel=1e-9)


def test_before_their_time_only_the_own_key_is_a_positive():
    ctx = made()
    z, k = unit(ctx["image/ins"]), unit(ctx["ema:image/ins"])
    scores = torch.cat([(z * k).sum(1, keepdim=True), z @ ctx.state["queue"].rows("ema:image/ins").T], dim=1) / 0.07
    expected = torch.nn.functional.cross_entropy(scores, torch.zeros(5, dtype=torch.long)) / 2
    assert ins(alike_from=1)(ctx)["contrast"].value().item() == pytest.approx(expected.item(), rel=1e-9)


def test_with_a_diagonal_of_positives_it_is_single_positive_contrast():
    scores = drawn("scores", 5, 5)
    several = contrast(scores, torch.eye(5, dtype=torch.bool)).value()
    torch.testing.assert_close(several, torch.nn.functional.cross_entropy(scores, torch.arange(5)))


def test_a_bag_is_the_mean_of_its_logits_and_counts_once():
    ctx = made()
    term = ins(bag_weight=1.0)(ctx)["bag"]
    logits = ctx["image/findings"]
    # The label of a bag is that of its instances; here those of its rows with a label differ, and each has its say.
    losses, weights = [], []
    for j, values in enumerate(LABELS.values()):
        for i, value in enumerate(values):
            bag = [n for n in range(5) if BAGS["id.study"][n] == BAGS["id.study"][i]]
            if not math.isnan(value):
                losses.append(cross_entropy(float(logits[bag, j].mean()), value) / len(bag))
                weights.append(1 / len(bag))
    assert term.value().item() == pytest.approx(sum(losses) / sum(weights), rel=1e-9)


def test_a_bag_that_is_right_costs_nothing():
    """A softmax given to a cross entropy of logits never falls below log(1 + 1/e) = 0.313, whatever is predicted."""
    ctx = made()
    logits = torch.tensor([[30.0, 0], [30.0, 0], [-30, 0], [-30, 0], [-30, 0]], dtype=torch.float64)
    ctx["image/findings"].copy_(logits)
    ctx.batch["label.effusion"].values.copy_(torch.tensor([1.0, 1, 0, 0, 0]))
    ctx.batch["label.nodule"].values.fill_(math.nan)
    term = ins(bag_weight=1.0)(ctx)["bag"]
    assert term.count.item() == pytest.approx(2)  # two bags
    assert term.value().item() < 1e-9
    twice = torch.nn.functional.cross_entropy(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))  # of a perfect softmax
    assert twice.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_instances_of_negative_bags_stay_absent_whatever_is_predicted():
    labels = torch.tensor([[0.0], [1.0], [1.0], [math.nan], [-1.0]])
    got = predicted(labels, torch.tensor([[9.0], [9.0], [-9.0], [9.0], [9.0]]))
    assert got[:3, 0].tolist() == [0.0, 1.0, 0.0]
    assert got[3:].isnan().all()
    state = followed()
    for _ in range(20):
        ctx = context("ins", state=state, samples_seen=9)
        state.observe(ctx)
        state.after_step(None, 9)
    targets = state.targets(ctx, unit(ctx["image/ins"]), "image/ins")
    for j, values in enumerate(LABELS.values()):
        for i, value in enumerate(values):
            if value == 0:
                assert targets[i, j].item() == 0
    assert ((targets > 0) & (targets < 1)).any()  # beliefs of the others move


def test_rows_of_one_sample_have_beliefs_of_their_own():
    """Three tiles of sample 0 and two of sample 1: each is followed by its place."""
    state = followed()
    owner = [0, 0, 0, 1, 1]
    for _ in range(3):
        ctx = context("ins", state=state, owner=owner, samples_seen=9)
        state.observe(ctx)
        state.after_step(None, 9)
    targets = state.targets(ctx, unit(ctx["image/ins"]), "image/ins")
    votes = (state.probability(unit(ctx["image/ins"])) > 0.5).double()
    names = list(LABELS.values())
    for i, sample in enumerate(owner):
        for j in range(2):
            # Prototypes moved meanwhile; a belief lies on the side of its own votes or at its label.
            assert 0 <= targets[i, j] <= 1
            assert names[j][sample] == 1 or targets[i, j] == 0
    assert len(votes) == 5
    assert {len(set(targets[:3, j].tolist())) for j in range(2)} != {1}


def test_what_it_needs_of_its_states_is_refused_when_missing():
    with pytest.raises(
        ConfigError, match=r"'ins' needs sure: absent, follow, and predictions: image/findings of states"
    ):
        ins()(context("ins", fields=BAGS, beside=BESIDE))
    with pytest.raises(ConfigError, match=r"The queue does not keep 'label.effusion'"):
        ins()(context("ins", state=followed(), fields=BAGS))
