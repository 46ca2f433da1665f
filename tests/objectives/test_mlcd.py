from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives.mlcd import Mlcd
from medvlp.state.clusters import Clusters
from medvlp.state.queue import Queue

K, WIDTH, SCALE, NAN = 9, 5, 6.0, float("nan")
FIELD = "vector.cluster_image"


def classes() -> Prototypes:
    torch.manual_seed(1)
    return Prototypes(embed_dim=WIDTH, prototypes=K).double()


def clusters(field: str) -> Clusters:
    """K clusters of K samples."""
    state = Clusters(reads=["image/embedding"], clusters=K, nearest=2 if field == FIELD else 1, restarts=1)
    state.refresh(FeatureTable([str(i) for i in range(K)], {"image/embedding": np.eye(K, dtype=np.float32)}))
    return state


def context(labels, *, seen=0, field=FIELD) -> Context:
    rows = torch.randn(len(labels), WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = {parse_key("image/embedding"): Part(rows, torch.arange(len(labels)))}
    batch = Batch.of({field: torch.tensor(labels, dtype=torch.float64)})
    states = {"clusters": clusters(field)}
    return Context(parts=parts, batch=batch, states=states, heads={"mlcd": classes()}, samples_seen=seen, seed=3)


def by_hand(ctx: Context, labels, drawn) -> float:
    """The papers' sum of four, row by row."""
    total, weight = 0.0, ctx.heads["mlcd"].weight.detach()
    for row, own in zip(ctx["image/embedding"], labels, strict=True):
        scores = [SCALE * float(row @ w / row.norm()) for w in weight]
        p = sum(math.exp(-scores[k]) for k in set(own))
        n = sum(math.exp(scores[k]) for k in range(K) if drawn[k] and k not in own)
        total += math.log(1 + n + p + n * p)
    return total / len(labels)


@pytest.mark.parametrize("sampled", [0.3, 1.0])
def test_its_value_is_the_papers_product_by_hand(sampled):
    labels = [[0, 3, 4], [8, 1, 2], [5, 3, 0], [7, 6, 1]]
    ctx = context(labels, seen=40)
    drawn = ctx.uniform_shared(K, name="mlcd classes") < sampled
    assert (0 < int(drawn.sum()) < K) == (sampled < 1)
    got = Mlcd(classes=K, sampled=sampled, scale=SCALE)(ctx)["clusters"]
    assert got.value().item() == pytest.approx(by_hand(ctx, labels, drawn), abs=1e-9)


def test_no_label_is_dropped_by_the_draw_and_each_step_draws_anew():
    """With a draw of nearly nothing the part of the labels is left whole."""
    labels = [[0, 3], [8, 1]]
    draws = [tuple((context(labels, seen=n).uniform_shared(K, name="mlcd classes") < 0.4).tolist()) for n in (0, 8, 16)]
    assert len(set(draws)) == 3
    ctx = context(labels)
    got = Mlcd(classes=K, sampled=1e-9, scale=SCALE)(ctx)["clusters"]
    assert got.value().item() == pytest.approx(by_hand(ctx, labels, [False] * K), abs=1e-9)


def test_with_one_label_it_is_bounded_by_binary_cross_entropy():
    """log(1 + e^-p) + log(1 + sum e^n) is at most log(1 + e^-p) + sum log(1 + e^n), and at least its largest part."""
    ctx = context([2.0, 5.0, 7.0], field="number.cluster_image")
    got = Mlcd(classes=K, sampled=1.0, scale=SCALE, field="number.cluster_image")(ctx)["clusters"].value().item()
    scores = SCALE * unit(ctx["image/embedding"]) @ ctx.heads["mlcd"].weight.T
    own = torch.zeros_like(scores).scatter_(1, torch.tensor([[2], [5], [7]]), 1.0)
    each = torch.nn.functional.binary_cross_entropy_with_logits(scores, own, reduction="none")
    assert (each * own).sum(1).mean().item() < got <= each.sum(1).mean().item()


def test_a_row_without_clusters_adds_nothing():
    whole, less = ([[0, 3], [8, 1]], [[0, 3], [NAN, NAN]])
    objective = Mlcd(classes=K, sampled=1.0, scale=SCALE)
    got, first = objective(context(less))["clusters"], by_hand(context(whole[:1]), whole[:1], [True] * K)
    assert got.count.item() == 1
    assert got.value().item() == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize(("field", "labels"), [(FIELD, [[0, 3], [8, 1]]), ("number.cluster_image", [2.0, 5.0])])
def test_a_step_without_a_row_adds_nothing(field, labels):
    ctx, key = context(labels, field=field), parse_key("image/embedding")
    ctx.parts = {key: Part(ctx.parts[key].values[:0].requires_grad_(), ctx.parts[key].owner[:0])}
    term = Mlcd(classes=K, field=field)(ctx)["clusters"]
    term.sum.backward()
    assert (term.sum.item(), term.count.item()) == (0, 0)


def test_both_sides_learn():
    ctx = context([[0, 3], [8, 1]])
    rows = ctx["image/embedding"].requires_grad_()
    head = ctx.heads["mlcd"]
    assert torch.autograd.gradcheck(
        lambda rows, weight: torch.func.functional_call(_Loss(ctx, head), {"head.weight": weight}, (rows,)),
        (rows, head.weight.detach().requires_grad_()),
    )


class _Loss(torch.nn.Module):
    def __init__(self, ctx: Context, head: Prototypes) -> None:
        super().__init__()
        self.ctx, self.head = ctx, head

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        key = parse_key("image/embedding")
        parts = {key: Part(rows, self.ctx.parts[key].owner)}
        ctx = Context(parts=parts, batch=self.ctx.batch, states=self.ctx.state, heads={"mlcd": self.head}, seed=3)
        return Mlcd(classes=K, sampled=0.5, scale=SCALE)(ctx)["clusters"].sum


def test_class_vectors_without_a_cluster_take_no_part():
    labels = [[0, 3], [8, 1]]
    ctx, more = context(labels), Prototypes(embed_dim=WIDTH, prototypes=K + 4).double()
    with torch.no_grad():
        more.weight[:K] = ctx.heads["mlcd"].weight
    expected = Mlcd(classes=K, sampled=1.0)(ctx)["clusters"].sum.item()
    ctx.heads = {"mlcd": more}
    assert Mlcd(classes=K + 4, sampled=1.0)(ctx)["clusters"].sum.item() == expected


def test_more_clusters_than_classes_are_refused():
    with pytest.raises(
        ConfigError, match=r"classes of objective 'mlcd' is 5, and states.clusters made 9 clusters: give"
    ):
        Mlcd(classes=5)(context([[0, 3], [8, 1]]))
    ctx = context([[0, 3], [8, 1]])
    ctx.state = {"clusters": Queue(reads=["image/embedding"])}
    with pytest.raises(ConfigError, match=r"states.clusters is no 'clusters', which objective 'mlcd' needs"):
        Mlcd(classes=K)(ctx)
