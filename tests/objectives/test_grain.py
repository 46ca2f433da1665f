"""GRAIN: matched queries by hand, boxes in any order, pictures without one."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medvlp.core import Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.models.heads._regions import centres, sines
from medvlp.models.heads.region_queries import RegionQueries
from medvlp.objectives.grain import Grain
from tests.objectives.regions import DRAWN, LABELS, SIDE, context, rand
from tests.objectives.test_box_set import corners, giou

QUERIES = 4


def given(*, grad: bool = False) -> dict[str, Part]:
    """A picture's vector, four regions, their boxes and those of one earlier layer."""
    draw = torch.rand(4, 2, QUERIES, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    boxes = torch.cat([0.2 + 0.6 * draw[..., :2], 0.1 + 0.3 * draw[..., 2:]], dim=-1)
    values = {"": rand(4, 6, seed=1), "_regions": rand(4, QUERIES, 5, seed=2), "_boxes": boxes[:, 1]}
    values["_layers"] = boxes[:, :1]
    owner = torch.arange(4)
    return {f"image/grain{name}": Part(v.clone().requires_grad_(grad), owner) for name, v in values.items()}


def grain(**options: float) -> Grain:
    return Grain(labels=list(LABELS), bank="phrases", **options)


def truths(sample: int) -> list[tuple[Tensor, int]]:
    found = []
    for index, label in enumerate(LABELS):
        for owner, box in DRAWN[label]:
            x0, y0, x1, y1 = (value / SIDE for value in box)
            if owner == sample:
                found.append((torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]).double(), index))
    return found


def cheapest(boxes: Tensor, some: list[tuple[Tensor, int]]) -> tuple[int, ...]:
    def cost(order: tuple[int, ...]) -> float:
        return sum(
            5 * float((boxes[q] - box).abs().sum()) - 2 * giou(boxes[q], box)
            for q, (box, _) in zip(order, some, strict=True)
        )

    return min(itertools.permutations(range(QUERIES), len(some)), key=cost)


def test_the_three_terms_by_hand() -> None:
    ctx = context(given())
    texts = ctx["bank.phrases/embedding"]
    box = overlap = region = 0.0
    for sample in range(4):
        some = truths(sample)
        for layer in (ctx["image/grain_layers"][sample, 0], ctx["image/grain_boxes"][sample]):
            for q, (truth, _) in zip(cheapest(layer, some), some, strict=True):
                box += float((layer[q] - truth).abs().sum())
                overlap += 1 - giou(layer[q], truth)
        for q, (_, index) in zip(cheapest(ctx["image/grain_boxes"][sample], some), some, strict=True):
            scores = [10 * float(unit(ctx["image/grain_regions"][sample, q]) @ text) for text in texts]
            region += math.log(sum(math.exp(s) for s in scores)) - scores[index]
    terms = grain(l1=2.0, giou=3.0)(ctx)
    found = {name: term.value().item() for name, term in terms.items()}
    assert found == pytest.approx({"box": 2 * box / 6, "overlap": 3 * overlap / 6, "region": region / 6}, rel=1e-6)
    assert corners(truths(1)[0][0]) == pytest.approx([0.5, 0.2, 0.7, 0.4])


@pytest.mark.parametrize(("side", "off"), [(0.26, 0.12), (0.27, 0.08)])
def test_a_match_weighs_distance_five_times_and_overlap_twice(side: float, off: float) -> None:
    """A box of the right size that is shifted by 0.08, and one in the right place that is larger."""
    parts = given()
    for name, index in (("_boxes", (1,)), ("_layers", (1, 0))):
        boxes = torch.tensor([[0.1, 0.1, 0.1, 0.1]] * QUERIES)
        boxes[1], boxes[2] = torch.tensor([0.58, 0.5, 0.2, 0.2]), torch.tensor([0.5, 0.5, side, side])
        parts[f"image/grain{name}"].values[index] = boxes.double()
    box = [0.4 * SIDE, 0.4 * SIDE, 0.6 * SIDE, 0.6 * SIDE]
    terms = grain()(context(parts, drawn={"nodule": [(1, box)]}))
    assert terms["box"].value().item() == pytest.approx(2 * off, abs=1e-5)  # of both layers


def test_boxes_in_another_order_change_nothing() -> None:
    turned = {label: list(reversed(DRAWN[label])) for label in reversed(LABELS)}
    same, other = (grain()(context(given(), drawn=drawn)) for drawn in (DRAWN, turned))
    for name in same:
        torch.testing.assert_close(same[name].value(), other[name].value(), rtol=1e-12, atol=0)


def test_a_query_that_is_right_in_place_and_name_costs_nothing() -> None:
    parts = given()
    parts["image/grain_boxes"].values[1, 2] = truths(1)[0][0]
    parts["image/grain_layers"].values[1, 0, 3] = truths(1)[0][0]
    texts = torch.eye(5, dtype=torch.float64)[:3]
    parts["image/grain_regions"].values[1, 2] = texts[1]
    terms = grain()(context(parts, drawn={"nodule": [DRAWN["nodule"][1]]}, phrases=texts))
    assert terms["box"].value().item() == pytest.approx(0, abs=1e-4)
    assert terms["overlap"].value().item() == pytest.approx(0, abs=1e-4)
    assert terms["region"].value().item() == pytest.approx(math.log(math.exp(10) + 2) - 10, rel=1e-6)


def test_without_boxes_only_the_pictures_own_loss_is_left() -> None:
    parts = given(grad=True)
    terms = grain()(context(parts, drawn={}))
    assert {name: (term.value().item(), term.count.item()) for name, term in terms.items()} == dict.fromkeys(
        ("box", "overlap", "region"), (0.0, 0.0)
    )
    sum(term.value() for term in terms.values()).backward()
    assert all(part.values.grad is None or not part.values.grad.any() for part in parts.values())


def test_more_boxes_than_queries_are_drawn_from() -> None:
    crowd = {"effusion": [(0, [4.0 * i, 0, 4.0 * i + 4, 8]) for i in range(7)]}
    assert grain()(context(given(), drawn=crowd))["box"].count.item() == QUERIES


def test_the_head_tells_places_apart_and_refuses_what_has_none() -> None:
    torch.manual_seed(0)
    head = RegionQueries(
        token_width=6, embed_dim=5, queries=QUERIES, width=8, layers=2, heads=2, feedforward=8
    ).double()
    tokens, mask = rand(1, 6, 6, seed=5), torch.ones(1, 6, dtype=torch.bool)

    def boxes(order: list[int]) -> Tensor:
        rows = Encoded(owner=torch.arange(1), tokens=tokens[:, order], mask=mask, grid=(2, 3))
        return head(rows, "grain")["grain_boxes"]

    assert (boxes([0, 1, 2, 3, 4, 5]) - boxes([5, 4, 3, 2, 1, 0])).abs().max() > 1e-4
    with pytest.raises(ConfigError, match="needs the image tokens in a grid"):
        head(Encoded(owner=torch.arange(1), tokens=tokens, mask=mask), "grain")
    with pytest.raises(ConfigError, match="no multiple of 4"):
        RegionQueries(token_width=6, embed_dim=5, width=10)


@torch.no_grad()
def test_the_decoder_reads_each_place_once() -> None:
    """Tokens that carry their places already are, to a head that adds none, what plain ones are to one that does."""
    torch.manual_seed(0)
    head = RegionQueries(token_width=8, embed_dim=5, width=8, layers=2, heads=2, feedforward=8).double()
    head.input.weight.copy_(torch.eye(8))
    head.input.bias.zero_()
    tokens, mask = rand(1, 6, 8, seed=5), torch.ones(1, 6, dtype=torch.bool)
    rows = Encoded(owner=torch.arange(1), tokens=tokens, mask=mask, grid=(2, 3))
    carried = replace(rows, tokens=tokens + head.place(sines(centres((2, 3), like=tokens), 8)))
    expected = head(rows, "grain")
    for weight in head.place.parameters():
        weight.zero_()
    torch.testing.assert_close(head(carried, "grain"), expected)
