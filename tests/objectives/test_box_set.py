"""Set prediction: the cheapest assignment, the paper's loss by hand, unknown classes, processes, overfitting."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medvlp.core import Context, Part, collectives
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column
from medvlp.objectives._box_match import match
from medvlp.objectives.box_set import BoxSet
from tests.objectives.pictures import batch_of, discs, fit, make_task
from tests.objectives.test_dice_ce import rand, same

SIZE = (40, 50)  # height and width of the views


def some_boxes(count: int, seed: int) -> Tensor:
    """cx, cy, w, h within the view."""
    draw = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([0.3 + 0.4 * draw[:, :2], 0.1 + 0.4 * draw[:, 2:]], dim=1)


def corners(box: Tensor) -> list[float]:
    x, y, w, h = box.tolist()
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def giou(one: Tensor, other: Tensor) -> float:
    """Rezatofighi et al. 2019, algorithm 1."""
    a, b = corners(one), corners(other)
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union - (hull - union) / hull


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 1000))
def test_the_match_is_the_cheapest_of_all_assignments(queries: int, count: int, seed: int) -> None:
    count = min(count, queries)
    boxes, truths, logits = some_boxes(queries, seed), some_boxes(count, seed + 1), rand(queries, 3, seed=seed)
    classes = torch.arange(count) % 2
    query, true = match(boxes, logits, truths, classes, l1=5.0, giou=2.0)

    def cost(order: tuple[int, ...]) -> float:
        pairs = zip(order, range(count), strict=True)
        return sum(
            5 * float((boxes[q] - truths[t]).abs().sum())
            - 2 * giou(boxes[q], truths[t])
            - float(logits[q].softmax(0)[classes[t]])
            for q, t in pairs
        )

    best = min(cost(order) for order in itertools.permutations(range(queries), count))
    at = dict(zip(true.tolist(), query.tolist(), strict=True))
    assert cost(tuple(at[t] for t in range(count))) == pytest.approx(best)


def context(
    boxes: Tensor,
    logits: Tensor,
    columns: dict[str, Column],
    earlier: Tensor | None = None,
    owner: Tensor | None = None,
) -> Context:
    owner = torch.arange(len(boxes)) if owner is None else owner
    samples = int(owner.max()) + 1
    layers = boxes.new_zeros(len(boxes), 0, boxes.shape[1], 4 + logits.shape[2]) if earlier is None else earlier
    values = {"boxes": boxes, "boxes_logits": logits, "boxes_layers": layers}
    parts = {parse_key(f"image/{name}"): Part(value, owner) for name, value in values.items()}
    images = {"image": Column(torch.zeros(len(boxes), 1, *SIZE), owner)}
    return Context(parts=parts, batch=batch_of({**images, **columns}, samples), chunk=True)


def pixels_of(boxes: Tensor) -> Tensor:
    """x0, y0, x1, y1 in pixels of the view."""
    return torch.tensor([corners(box) for box in boxes]).view(-1, 4) * torch.tensor([SIZE[1], SIZE[0]] * 2)


def by_hand(
    boxes: Tensor, logits: Tensor, truths: Tensor, classes: list[int], no_object: float = 0.1
) -> tuple[float, float, float, float]:
    """L1, 1 - GIoU, weighted cross entropy, weights of one view in which everything is known."""
    query, true = match(boxes, logits, truths, torch.tensor(classes, dtype=torch.int64), l1=5.0, giou=2.0)
    matched = dict(zip(query.tolist(), true.tolist(), strict=True))
    l1 = sum(float((boxes[q] - truths[t]).abs().sum()) for q, t in matched.items())
    overlap = sum(1 - giou(boxes[q], truths[t]) for q, t in matched.items())
    entropy = weights = 0.0
    for q in range(len(boxes)):
        target = classes[matched[q]] if q in matched else logits.shape[1] - 1
        weight = 1.0 if q in matched else no_object
        entropy -= weight * math.log(float(logits[q].softmax(0)[target]))
        weights += weight
    return l1, overlap, entropy, weights


@pytest.mark.parametrize("more", [{}, {"no_object": 0.4}])
def test_the_loss_is_the_papers_by_hand_with_earlier_layers_added(more: dict[str, float]) -> None:
    boxes, logits = torch.stack([some_boxes(6, 1), some_boxes(6, 2)]), rand(2, 6, 3)
    early = torch.cat([torch.stack([some_boxes(6, 7), some_boxes(6, 8)]), rand(2, 6, 3, seed=9)], dim=-1)
    truths = [some_boxes(3, 3), some_boxes(0, 4)]  # of the second sample it is known that it has none
    known = torch.ones(2, dtype=torch.bool)
    columns = {
        "boxes.a": Column(pixels_of(truths[0][:2]), torch.zeros(2, dtype=torch.int64), known=known),
        "boxes.b": Column(pixels_of(truths[0][2:]), torch.zeros(1, dtype=torch.int64), known=known),
    }
    terms = BoxSet(labels=["a", "b"], **more)(context(boxes, logits, columns, early[:, None]))
    sums = [0.0, 0.0, 0.0]
    for each, scores in ((boxes, logits), (early[..., :4], early[..., 4:])):
        found = [by_hand(each[i], scores[i], truths[i], [[0, 0, 1], []][i], **more) for i in range(2)]
        sums = [total + sum(one[k] for one in found) for k, total in enumerate(sums)]
        weights = sum(one[3] for one in found)
    assert (float(terms["box"].count), float(terms["class"].count)) == (3.0, pytest.approx(weights))
    got = [float(terms[name].sum) for name in ("box", "overlap", "class")]
    assert got == pytest.approx([5 * sums[0], 2 * sums[1], sums[2]], rel=1e-5)


def test_a_class_of_which_nothing_is_known_is_one_with_no_object() -> None:
    """With b unknown the loss is that of a model whose last channel is the sum of b's and "no object"'s."""
    boxes, logits, truth = some_boxes(4, 1)[None], rand(1, 4, 3), some_boxes(2, 3)
    known = {"boxes.a": Column(pixels_of(truth), torch.zeros(2, dtype=torch.int64), known=torch.tensor([True]))}
    lacking = Column(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), known=torch.tensor([False]))
    # Logits whose softmax over three is that of the merged ones over two, so that the match is the same.
    merged = torch.stack([logits[..., 0], logits[..., 1:].logsumexp(-1)], dim=-1)
    expected = BoxSet(labels=["a"])(context(boxes, merged, known))
    got = BoxSet(labels=["a", "b"])(context(boxes, logits, {**known, "boxes.b": lacking}))
    absent = BoxSet(labels=["a", "b"])(context(boxes, logits, known))
    for name, term in expected.items():
        torch.testing.assert_close(got[name].value(), term.value())
        torch.testing.assert_close(absent[name].value(), term.value())
    nothing = BoxSet(labels=["a", "b"])(context(boxes, logits, {"boxes.b": lacking}))
    assert [float(term.count) for term in nothing.values()] == [0.0, 0.0, 0.0]


def test_several_views_of_a_sample_have_the_boxes_that_lie_on_them() -> None:
    boxes, logits, truth = torch.stack([some_boxes(4, 1), some_boxes(4, 2)]), rand(2, 4, 2), some_boxes(3, 3)
    column = Column(
        pixels_of(truth), torch.zeros(3, dtype=torch.int64), known=torch.tensor([True]), place=torch.tensor([1, 0, 1])
    )
    terms = BoxSet(labels=["a"])(context(boxes, logits, {"boxes.a": column}, owner=torch.tensor([0, 0])))
    hand = [by_hand(boxes[0], logits[0], truth[[1]], [0]), by_hand(boxes[1], logits[1], truth[[0, 2]], [0, 0])]
    assert float(terms["box"].sum) == pytest.approx(5 * sum(one[0] for one in hand), rel=1e-5)
    assert float(terms["class"].sum) == pytest.approx(sum(one[2] for one in hand), rel=1e-5)


def test_what_cannot_be_is_refused() -> None:
    known = Column(pixels_of(some_boxes(3, 1)), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DataError, match="A view has 3 boxes and 2 queries look for them: raise queries"):
        BoxSet(labels=["a"])(context(some_boxes(2, 1)[None], rand(1, 2, 2), {"boxes.a": known}))
    with pytest.raises(ConfigError, match="Objective 'box_set' finds boxes in images, not in 'stack'"):
        BoxSet(labels=["a"], view="stack")


HEAD: dict[str, Any] = {"name": "box_queries", "queries": 4, "width": 32, "layers": 2, "heads": 2, "feedforward": 32}
HEAD |= {"dropout": 0.0}


def around(masks: Tensor) -> Tensor:
    """The box around each mask (N, H, W): (N, 4)."""
    found = []
    for mask in masks:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        found.append([int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1])
    return torch.tensor(found).float()


def pictures(count: int) -> Batch:
    """Discs in all pictures; bars are not known in the second and third."""
    pixels, disc, bar = discs(count, 64)
    every = torch.arange(count)
    known = (every != 1) & (every != 2)
    return batch_of(
        {
            "image": Column(pixels, every),
            "boxes.disc": Column(around(disc), every, known=torch.ones(count, dtype=torch.bool)),
            "boxes.bar": Column(around(bar)[known], every[known], known=known),
        },
        count,
    )


def step(chunks: int) -> dict[str, Any]:
    task = make_task([{"name": "box_set", "labels": ["disc", "bar"], "head": HEAD}], chunks=chunks, dtype=torch.float64)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.02 * rand(*parameter.shape))  # distances start at zero
    size = 8 // collectives.world_size()
    part = pictures(8).take(collectives.rank() * size, (collectives.rank() + 1) * size)
    log = task.backward(part, {"box_set": 1.0}, samples_seen=0)
    return {"terms": dict(log.terms)} | {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}


def test_one_chunk_is_four() -> None:
    expected = step(1)
    assert expected["terms"].keys() == {"box_set/box", "box_set/overlap", "box_set/class"}
    assert sum(bool(g.abs().max() > 1e-9) for n, g in expected.items() if "heads" in n) > 20
    same(expected, step(4))


@pytest.mark.slow
@pytest.mark.pool
@pytest.mark.parametrize("processes", [2, 4])
def test_one_process_is_several(pool: Any, processes: int) -> None:
    for got in pool.run(processes, step, 1):
        same(step(1), got)


@pytest.mark.slow
def test_four_pictures_are_learnt_by_heart() -> None:
    from torchvision.ops import box_convert, box_iou

    task, batch = make_task([{"name": "box_set", "labels": ["disc", "bar"], "head": HEAD}]), pictures(4)
    fit(task, batch, steps=100, rate=2e-3)
    with torch.no_grad():
        rows = task.model.eval()(batch, task.plan)["image"]
    boxes, scores = rows.part("boxes"), rows.part("boxes_logits").softmax(-1)
    truth = batch["boxes.disc"].values
    assert isinstance(truth, Tensor)
    for i in range(4):
        best = scores[i, :, 0].argmax()
        assert scores[i, best, 0] > 0.5
        found = box_convert(boxes[i, best][None], "cxcywh", "xyxy") * 64
        assert float(box_iou(found, truth[i : i + 1])) > 0.5
