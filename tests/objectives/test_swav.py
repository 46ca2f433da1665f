from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from medvlp.core import Context
from medvlp.core.encoded import unit
from medvlp.objectives import _similarity
from medvlp.objectives._masked_softmax import log_partition
from medvlp.objectives.sinkhorn_prototypes import SinkhornPrototypes
from medvlp.objectives.swav import Swav
from tests.objectives.test_sinkhorn_prototypes import WIDTH, K, context, entropy, head, reference, rows_of

PART = "swav_rows"


def made(rows, owners=None, **options) -> Context:
    ctx = context(rows, owners=owners, part=PART, **options)
    ctx.heads = {"swav": head()}
    return ctx


def swav(**options) -> Swav:
    return Swav(prototypes=K, hidden=8, width=WIDTH, **options)


def scores_of(rows) -> np.ndarray:
    return (unit(rows) @ head().weight.detach().T).numpy()


def test_eight_crops_are_the_papers_loss_by_loops():
    """Two large crops with an assignment each and six small ones: the mean over two assigners and seven others."""
    large, small = ["image.first", "image.second"], [rows_of(f"image.local{i}") for i in range(6)]
    rows = {view: rows_of(view) for view in large}
    local = torch.stack(small, dim=1).flatten(0, 1)  # six rows a sample, sample by sample
    owners = {"image.local": [i for i in range(6) for _ in range(6)]}
    got = swav(assigners=large, predictors=["image.local"])(made({**rows, "image.local": local}, owners))["swapped"]
    crops = [scores_of(values) for values in (*rows.values(), *small)]
    loss = 0.0
    for a in range(2):
        code = reference(crops[a], 0.05, 3)
        loss += sum(entropy(crops[v] / 0.1, code) for v in range(8) if v != a) / 7
    assert got.value().item() == pytest.approx(loss / 2, rel=1e-9)
    assert got.count.item() == 6 * 14  # ordered pairs


def test_crops_of_one_view_predict_each_other_and_never_themselves():
    rows, owners = rows_of("image.large", 6), [0, 0, 1, 1, 1, 2]
    got = swav(predictors=[], assigners=["image.large", "image.other"])(
        made({"image.large": rows, "image.other": rows_of("image.other", 0)}, {"image.large": owners}, size=3)
    )["swapped"]
    scores = scores_of(rows)
    code = reference(scores, 0.05, 3)
    pairs = [(a, v) for a, v in itertools.permutations(range(6), 2) if owners[a] == owners[v]]
    expected = [entropy(scores[[v]] / 0.1, code[[a]]) for a, v in pairs]
    assert got.count.item() == len(pairs) == 8
    assert got.value().item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_with_one_row_a_view_it_is_sinkhorn_prototypes():
    rows = {"image": rows_of("image"), "text": rows_of("text")}
    got = swav(assigners=["image", "text"], predictors=[])(made(rows))["swapped"].value().item()
    objective = SinkhornPrototypes(prototypes=K, temperature=0.1, hidden=8, width=WIDTH, head="swav")
    terms = objective(made(rows)).values()
    assert got == pytest.approx(sum(term.value().item() for term in terms), rel=1e-9)


def test_prototypes_stand_still_at_first_and_assignments_carry_no_gradient():
    for seen, moves in ((0, False), (100, True)):
        rows = {"image": rows_of("image").requires_grad_(), "image.local": rows_of("image.local").requires_grad_()}
        ctx = made(rows, samples_seen=seen)
        swav(assigners=["image"], predictors=["image.local"], freeze=100)(ctx)["swapped"].sum.backward()
        assert (ctx.heads["swav"].weight.grad is not None) == moves
        assert rows["image.local"].grad.abs().max() > 0
        assert not rows["image"].grad.any()  # it only assigned: a single large crop has no other to predict


def test_what_a_softmax_divides_by_is_the_same_by_tiles(monkeypatch):
    monkeypatch.setattr(_similarity, "TILE", 20)  # four rows of five columns: the last tile has three rows
    draws = torch.Generator().manual_seed(0)
    rows, columns = (torch.randn(n, 3, generator=draws, dtype=torch.float64).requires_grad_() for n in (11, 5))
    weight = torch.arange(11.0, dtype=torch.float64)
    values = 2 * log_partition(rows, columns, weight), 2 * ((rows @ columns.T).logsumexp(dim=1) @ weight)
    got, expected = ((value, *torch.autograd.grad(value, [rows, columns])) for value in values)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
