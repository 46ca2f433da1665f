"""RLIPv2: the focal loss with soft targets, the match, the terms by hand, and what is not known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Context, Part
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column
from medvlp.objectives._matched_pairs import match_pairs
from medvlp.objectives._pairs import Pairs
from medvlp.objectives.rlipv2 import Rlipv2, soft_focal
from tests.objectives.test_box_set import giou

SIDE, E, P, QUERIES = 40, 4, 2, 4
LABELS, VERBS = ["effusion", "nodule", "left_lung", "heart"], ["located_at", "suggestive_of"]
# Sample 0 states two relations, the second of two nodules beside one heart; 1 states none; nothing is known of 2.
BOXES = {
    "effusion": [(0, [0.0, 20, 16, 40])],
    "nodule": [(0, [4.0, 4, 8, 8]), (0, [22.0, 22, 26, 26])],
    "heart": [(0, [20.0, 20, 36, 36]), (2, [1.0, 1, 9, 9])],
}


def matrix(*stated: tuple[int, int, int, float]) -> Tensor:
    found = torch.full((E, P, E), -1.0, dtype=torch.float64)
    for subject, verb, other, value in stated:
        found[subject, verb, other] = value
    return found.flatten()


NAMES = ("", "_subjects", "_objects", "_predicates")
TWO = matrix((0, 0, 2, 1.0), (0, 1, 2, 0.5), (1, 0, 3, 1.0), (1, 1, 3, 0.0), (2, 0, 3, 0.0))


def given(seed: int = 0, order: list[int] | None = None) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    boxes = torch.rand(3, 2, QUERIES, 8, generator=draw, dtype=torch.float64) * 0.3 + 0.2
    logits = torch.randn(3, 2, QUERIES, 2 * (E + 1) + P, generator=draw, dtype=torch.float64)
    every = torch.cat([boxes, logits], dim=3)
    every = every if order is None else every[:, :, order]
    last = every[:, 1].split([8, E + 1, E + 1, P], dim=2)
    return {**dict(zip(NAMES, last, strict=True)), "_layers": every[:, :1]}


def context(parts: dict[str, Tensor], stated: dict[int, Tensor] | None = None) -> Context:
    stated = {0: TWO, 1: matrix((0, 0, 2, 0.0))} if stated is None else stated
    every = torch.arange(3)
    columns: dict[str, Any] = {"image": Column(torch.zeros(3, 1, SIDE, SIDE), every)}
    for label, some in BOXES.items():
        owner = torch.tensor([sample for sample, _ in some])
        columns[f"boxes.{label}"] = Column(torch.tensor([box for _, box in some]), owner)
    if stated:
        columns["vector.relations"] = Column(torch.stack(list(stated.values())), torch.tensor(list(stated)))
    made = {parse_key(f"image/relations{name}"): Part(value, every) for name, value in parts.items()}
    return Context(parts=made, batch=Batch(("a", "b", "c"), every, columns), seed=1)


def objective(**options: Any) -> Rlipv2:
    return Rlipv2(labels=LABELS, predicates=VERBS, **options)


def share(box: list[float]) -> Tensor:
    x0, y0, x1, y1 = (value / SIDE for value in box)
    return torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]).double()


def test_hard_targets_give_the_focal_loss_of_corner_net() -> None:
    logits = torch.linspace(-4, 4, 9, dtype=torch.float64)
    for target in (0.0, 1.0):
        for logit, value in zip(logits, soft_focal(logits, torch.full_like(logits, target)), strict=True):
            p = float(logit.sigmoid())
            log = float(torch.tensor(p if target else 1 - p, dtype=torch.float64).log())
            assert float(value) == pytest.approx(-((1 - p) ** 2) * log if target else -(p**2) * log)


def test_a_soft_target_is_where_the_focal_loss_is_least() -> None:
    logits = torch.linspace(-5, 5, 401, dtype=torch.float64)
    for target in (0.2, 0.5, 0.8):
        losses = soft_focal(logits, torch.full_like(logits, target))
        assert float(losses[losses.argmin()]) == pytest.approx(0.0, abs=1e-4)
        assert float(logits[losses.argmin()].sigmoid()) == pytest.approx(target, abs=0.01)
    # |0.9 - 1/2|^2 ln 2, as the cross entropy is ln 2 at p = 1/2 whatever the target.
    assert float(soft_focal(torch.zeros(1), torch.tensor([0.9]))) == pytest.approx(0.16 * math.log(2), rel=1e-5)


def one_layer(boxes: Tensor, subjects: Tensor, objects: Tensor, verbs: Tensor, *, no_object: float) -> list[float]:
    """The sums of sample 0: box, overlap, entity, predicate; the nodule meant is the one in the heart."""
    truth = [
        (0, 2, share(BOXES["effusion"][0][1]), None),
        (1, 3, share(BOXES["nodule"][1][1]), share(BOXES["heart"][0][1])),
    ]

    def costs(q: int, t: int) -> tuple[float, float, list[float]]:
        """What the worse of two boxes, the names and the predicates cost, the sum of distances, and the overlaps."""
        s, o, one, other = truth[t]
        known = [(boxes[q, :4], one), (boxes[q, 4:], other)]
        overlaps = [giou(a, b) for a, b in known if b is not None]
        off = [float((a - b).abs().sum()) for a, b in known if b is not None]
        holds = verbs[q].sigmoid()
        # Of the first pair the other predicate is uncertain, of the second it is not stated.
        sure = subjects[q].softmax(0)[s] + objects[q].softmax(0)[o] + (holds[0] + (0 if t == 0 else 1 - holds[1])) / 2
        return 2.5 * max(off) - min(overlaps) - float(sure), sum(off), overlaps

    best = min(itertools.permutations(range(QUERIES), 2), key=lambda qs: sum(costs(q, t)[0] for t, q in enumerate(qs)))
    box = overlap = entity = predicate = 0.0
    soft, counted = torch.zeros(QUERIES, P).double(), torch.ones(QUERIES, P).double()
    classes = {q: truth[t][:2] for t, q in enumerate(best)}
    for t, q in enumerate(best):
        _, off, overlaps = costs(q, t)
        box, overlap = box + off, overlap + sum(1 - each for each in overlaps)
        soft[q, 0] = min((1 + each) / 2 for each in overlaps)
        counted[q, 1] = 0.0 if t == 0 else 1.0  # uncertain
    for q in range(QUERIES):
        for logits, at in ((subjects, 0), (objects, 1)):
            right, weight = (classes[q][at], 1.0) if q in classes else (E, no_object)
            entity -= weight * float(logits[q].log_softmax(0)[right])
    predicate = float((soft_focal(verbs, soft) * counted).sum())
    return [box, overlap, entity, predicate]


@pytest.mark.parametrize(("more", "w"), [({}, 0.1), ({"no_object": 0.3}, 0.3)])
def test_the_terms_by_hand(more: dict[str, float], w: float) -> None:
    parts = given()
    terms = objective(**more)(context(parts))
    layers = [[parts[name][0] for name in NAMES], list(parts["_layers"][0, 0].split([8, E + 1, E + 1, P], dim=1))]
    sums = [sum(each) for each in zip(*(one_layer(*layer, no_object=w) for layer in layers), strict=True)]
    for name in NAMES[1:]:  # sample 1 states nothing: all of it is nothing, at a low weight
        earlier = dict(zip(NAMES, parts["_layers"][1, 0].split([8, E + 1, E + 1, P], dim=1), strict=True))
        for logits in (parts[name][1], earlier[name]):
            if name == "_predicates":
                sums[3] += float(soft_focal(logits, torch.zeros_like(logits)).sum())
            else:
                sums[2] -= w * float(logits.log_softmax(1)[:, E].sum())
    weights = 2 * (2 + w * (QUERIES - 2)) + 2 * w * QUERIES
    expected = [2.5 * sums[0] / 1.5, sums[1] / 1.5, sums[2] / (weights / 2), sums[3] / 2]
    for name, value in zip(("box", "overlap", "entity", "predicate"), expected, strict=True):
        assert float(terms[name].value()) == pytest.approx(value), name


@pytest.mark.parametrize("seed", range(30))
def test_where_no_box_is_known_names_and_predicates_choose_the_queries(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    boxes, nowhere = torch.rand(1, QUERIES, 8, generator=draw), torch.full((3, 8), math.nan)
    subjects, objects = (2 * torch.randn(1, QUERIES, E + 1, generator=draw) for _ in range(2))
    verbs = 2 * torch.randn(1, QUERIES, 4, generator=draw)
    stated = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0.5, 0], [0.5, 0.5, 1, 1]])
    truth = Pairs(nowhere, torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0]), stated)
    cost = torch.zeros(3, QUERIES)
    for t, q in itertools.product(range(3), range(QUERIES)):
        names = subjects[0, q].softmax(0)[truth.subjects[t]] + objects[0, q].softmax(0)[truth.objects[t]]
        holds = verbs[0, q].sigmoid()
        unstated = 1 - holds[stated[t] == 0]
        right = float(holds[stated[t] == 1].mean()) + (float(unstated.mean()) if len(unstated) else 0.0)
        cost[t, q] = -float(names) - right / 2
    best = min(itertools.permutations(range(QUERIES), 3), key=lambda qs: float(cost[[0, 1, 2], list(qs)].sum()))
    found = match_pairs([boxes, subjects, objects, verbs], [truth], l1=2.5, giou=1.0)
    assert tuple(found.query.tolist()) == best


def test_a_predicate_of_boxes_that_nobody_drew_is_believed_wholly() -> None:
    """Its target is 1 in each layer: there is no overlap that could be small."""
    parts = given()
    ctx = context(parts, stated={0: matrix((2, 0, 3, 1.0))})
    columns = {name: column for name, column in ctx.batch.columns.items() if not name.startswith("boxes.")}
    ctx.batch = Batch(ctx.batch.ids, ctx.batch.positions, columns)
    query = int(match_pairs([parts[n] for n in NAMES], objective().truths(ctx), l1=2.5, giou=1.0).query[0])
    earlier = parts["_layers"][:, 0].split([8, E + 1, E + 1, P], dim=2)
    before = int(match_pairs(list(earlier), objective().truths(ctx), l1=2.5, giou=1.0).query[0])
    total = 0.0
    for verbs, q in ((parts["_predicates"][0], query), (earlier[3][0], before)):
        target = torch.zeros_like(verbs)
        target[q, 0] = 1.0
        total += float(soft_focal(verbs, target).sum())
    assert float(objective()(ctx)["predicate"].sum) == pytest.approx(total)


def test_how_far_a_predicate_is_believed_is_no_reason_to_move_a_box() -> None:
    parts = given()
    boxes = parts[""].requires_grad_()
    terms = objective()(context(parts))
    moved = {name: torch.autograd.grad(term.sum, boxes, retain_graph=True)[0].any() for name, term in terms.items()}
    assert moved == {"box": True, "overlap": True, "entity": False, "predicate": False}


def test_the_order_of_queries_changes_nothing() -> None:
    one, other = (objective()(context(given(order=order))) for order in (None, [2, 0, 3, 1]))
    for name in one:
        torch.testing.assert_close(one[name].value(), other[name].value())


def test_what_nothing_is_known_of_teaches_nothing() -> None:
    parts = given()
    for value in parts.values():
        value.requires_grad_()
    terms = objective()(context(parts))
    torch.stack([term.value() for term in terms.values()]).sum().backward()
    for name, value in parts.items():
        assert value.grad is not None
        assert float(value.grad[2].abs().max()) == 0.0, name
    none = objective()(context(given(), stated={}))
    assert all(float(term.value()) == 0 and float(term.count) == 0 for term in none.values())


@pytest.mark.parametrize(("value", "learns"), [(0.5, False), (0.0, True)])
def test_a_pair_that_is_only_uncertain_is_neither_taught_nor_denied(value: float, learns: bool) -> None:
    """The query that finds the pair best has no gradient; every other one is nothing, as all are where it is absent."""
    parts = given()
    for each in parts.values():
        each.requires_grad_()
    ctx = context(parts, stated={0: matrix((0, 0, 2, value))})
    found = [parts[name] for name in NAMES]
    query = match_pairs(found, objective().truths(context(parts, stated={0: matrix((0, 0, 2, 0.5))})), l1=2.5, giou=1.0)
    terms = objective()(ctx)
    torch.stack([term.sum for term in terms.values()]).sum().backward()
    assert query.row.tolist() == [0]
    best = query.query.item()
    for name in ("_subjects", "_objects", "_predicates"):
        grad = parts[name].grad
        assert grad is not None
        assert [bool(row.any()) for row in grad[0]] == [learns or q != best for q in range(QUERIES)], name
    boxes = parts[""].grad
    assert boxes is not None
    assert not boxes.any()
    assert [float(terms[name].count) for name in ("box", "overlap", "predicate")] == [0, 0, 0]
    assert float(terms["entity"].count) == pytest.approx(0.1 * (QUERIES - (not learns)))


def test_of_two_boxes_without_a_place_nobody_knows_which_is_meant() -> None:
    """With boxes of findings alone the two nodules of one stated relation have none; the one effusion keeps its own."""
    truth = objective(drawn=["effusion", "nodule"]).truths(context(given()))[0]
    assert truth is not None
    assert truth.boxes[0, :4].tolist() == pytest.approx(share(BOXES["effusion"][0][1]).tolist())
    assert truth.boxes[1].isnan().all()
    assert truth.boxes[0, 4:].isnan().all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="name each once"):
        Rlipv2(labels=["a", "a"], predicates=["at"])
    with pytest.raises(ConfigError, match="not all among its labels"):
        Rlipv2(labels=["a"], predicates=["at"], drawn=["b"])
    with pytest.raises(ConfigError, match="make it with the same words"):
        objective()(context(given(), stated={0: torch.zeros(3).double()}))
    with pytest.raises(ConfigError, match="4 entities and 1 predicates and its head's bank has 6 texts"):
        Rlipv2(labels=LABELS, predicates=VERBS[:1])(context(given()))
    every = torch.ones(E, P, E).double().flatten()
    with pytest.raises(DataError, match="16 relations and 4 queries"):
        objective()(context(given(), stated={0: every}))
