from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives._draws import drawn
from medvlp.objectives.interclr import InterClr, cluster_of
from medvlp.state.clusters import Clusters
from medvlp.state.queue import Queue
from tests.objectives.world import rows

KEY = "ema:image.second/interclr"
FEATURES = rows(30, 9)


def states(members: Tensor | None, *, clusters: int = 3) -> dict[str, object]:
    """Clusters of thirty pictures, and a queue of further ones."""
    found = Clusters(reads=["image/interclr"], clusters=clusters, spherical=True)
    found.refresh(FeatureTable([f"t{i}" for i in range(30)], {"image/interclr": FEATURES.float().numpy()}))
    queue = Queue(reads=[KEY], size=50)
    if members is not None:
        queue.load_state_dict({f"rows|{KEY}": members})
    return {"clusters": found, "queue": queue}


def context(own: Tensor, other: Tensor, held: dict[str, object], *, seed: int = 0) -> Context:
    owner = torch.arange(len(own))
    parts = {parse_key("image/interclr"): Part(own, owner), parse_key(KEY): Part(other, owner[: len(other)])}
    batch = Batch(tuple(f"s{i}" for i in owner.tolist()), owner, {})
    return Context(parts=parts, batch=batch, states=held, seed=seed)


def test_at_weight_0_it_is_moco() -> None:
    own, other, members = 3 * rows(4, 0), rows(4, 1), rows(20, 2)
    terms = InterClr(inter=0.0, temperature=0.2)(context(own, other, states(members)))
    assert set(terms) == {"intra"}
    total = 0.0
    for i in range(4):
        q = own[i] / own[i].norm()
        scores = [float(q @ other[i]) / 0.2, *(float(q @ n) / 0.2 for n in members)]
        total += math.log(sum(map(math.exp, scores))) - scores[0]
    assert terms["intra"].sum.item() == pytest.approx(total, rel=1e-12)
    assert terms["intra"].count.item() == 4


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.3])
def test_the_second_term_is_a_contrast_with_a_margin(margin: float) -> None:
    """L = log(1 + e^{m / T} sum e^{(n - p) / T}), found by its draws again."""
    own, members = rows(4, 0), rows(20, 2)
    held = states(members)
    ctx = context(own, rows(4, 1), held)
    got = InterClr(inter=1.0, margin=margin, nearest=12, negatives=5)(ctx)["inter"]
    centroids = unit(held["clusters"].centroids(labels_of="image", features_of="image").double())
    draws, total = ctx.uniform(6, name="interclr").tolist(), 0.0
    of_members = [max(range(3), key=lambda k, m=m: float(m @ centroids[k])) for m in members]
    for i, q in enumerate(own):
        cluster = max(range(3), key=lambda k, q=q: float(q @ centroids[k]))
        cosines = [float(q @ m) for m in members]
        near = sorted(range(20), key=lambda j, c=cosines: -c[j])[:12]
        alike = [j for j in range(20) if of_members[j] == cluster]
        others = [j for j in range(20) if of_members[j] != cluster and j in near]
        positive = cosines[alike[int(draws[i][0] * len(alike))]]
        negatives = [cosines[others[int(u * len(others))]] for u in draws[i][1:]]
        total += math.log(1 + math.exp(margin / 0.2) * sum(math.exp((n - positive) / 0.2) for n in negatives))
    assert got.count.item() == 4
    assert got.sum.item() == pytest.approx(total, rel=1e-6)


def test_three_quarters_are_mocos_and_a_pseudo_positive_is_easier_by_a_half() -> None:
    """The paper's numbers, which are the defaults: L = 0.75 intra + 0.25 inter, m = -0.5, T = 0.2."""
    ctx = context(rows(4, 0), rows(4, 1), states(rows(20, 2)))
    usual = InterClr()(ctx)
    for name, share, w in (("intra", 0.75, 0.0), ("inter", 0.25, 1.0)):
        whole = InterClr(inter=w, margin=-0.5, temperature=0.2)(ctx)[name].value().item()
        assert usual[name].value().item() == pytest.approx(share * whole, rel=1e-12)
        assert whole > 0


def test_negatives_are_of_other_clusters_and_positives_of_the_own() -> None:
    """Whatever is drawn: every column of a mask is, and no other."""
    same = cluster_of(rows(5, 0), FEATURES[:4])[:, None] == cluster_of(rows(40, 1), FEATURES[:4])[None]
    draws = torch.rand(5, 4000, generator=torch.Generator().manual_seed(0))
    for mask in (same, ~same):
        index, found = drawn(mask, draws)
        assert mask.gather(1, index)[found].all()
        for row, chosen in zip(mask[found], index[found], strict=True):
            counts = torch.bincount(chosen, minlength=40)
            assert (counts > 0).equal(row)
            assert counts[row].float().std() < 3 * (4000 / row.sum()) ** 0.5
    index, found = drawn(torch.zeros(2, 3, dtype=torch.bool), torch.rand(2, 4))
    assert not found.any()
    assert index.max() <= 2


def test_no_cluster_is_empty_after_a_pass_and_an_empty_one_draws_nobody() -> None:
    held = states(None, clusters=8)
    centroids = held["clusters"].centroids(labels_of="image", features_of="image")
    assert centroids.any(dim=1).all()
    gone = torch.cat([torch.zeros(1, 6, dtype=torch.float64), -FEATURES[:1]])
    assert cluster_of(FEATURES[:1], gone).tolist() == [1]


def test_what_cannot_be_compared_adds_nothing() -> None:
    """The first step has an empty queue; a row may lack an other view, a cluster a member, and all may be of it."""
    own = rows(4, 0).requires_grad_()
    terms = InterClr()(context(own, rows(3, 1), states(None)))
    assert terms["inter"].count.item() == 0
    assert (terms["intra"].count.item(), terms["intra"].sum.item()) == (3, 0)
    sum(term.value() for term in terms.values()).backward()
    terms = InterClr()(context(own, rows(4, 1), states(rows(1, 2).expand(10, -1))))
    assert terms["inter"].count.item() == 0
    assert terms["intra"].count.item() == 4


def test_each_step_and_sample_draws_anew() -> None:
    held = states(rows(20, 2))
    one, two = (context(rows(4, 0), rows(4, 1), held, seed=seed) for seed in (0, 1))
    assert InterClr()(one)["inter"].sum.item() == InterClr()(one)["inter"].sum.item()
    assert InterClr()(one)["inter"].sum.item() != InterClr()(two)["inter"].sum.item()


def test_another_state_is_refused_by_name() -> None:
    held = states(rows(20, 2))
    with pytest.raises(ConfigError, match="'interclr' needs a state 'clusters' and a state 'queue'"):
        InterClr()(context(rows(4, 0), rows(4, 1), {**held, "clusters": held["queue"]}))
