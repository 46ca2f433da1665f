"""Boxes on rows, boxes at random, and what a map holds within a box, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Context, Part
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column
from medvlp.models.heads._regions import centres, map_of, sines, within
from medvlp.objectives._regions import plane, random_boxes, regions_of

HEIGHT, WIDTH = 20, 40


def column(boxes: list[list[float]], owner: list[int], place: list[int] | None = None) -> Column:
    at = None if place is None else torch.tensor(place)
    return Column(torch.tensor(boxes).view(-1, 4), torch.tensor(owner, dtype=torch.int64), place=at)


def context(owner: list[int], columns: dict[str, Column], *, first: int = 0) -> Context:
    rows = torch.tensor(owner, dtype=torch.int64)
    pictures = {"image": Column(torch.zeros(len(owner), 1, HEIGHT, WIDTH), rows), **columns}
    batch = Batch(tuple("abcdef"), torch.arange(6) + first, pictures)
    return Context(parts={parse_key("image/tokens"): Part(torch.zeros(len(owner), 4, 3), rows, (2, 2))}, batch=batch)


def test_boxes_stand_on_the_row_of_their_picture_in_shares_of_its_sides() -> None:
    """Sample 1 has no picture, sample 2 has two: the second of them has the nodule."""
    columns = {
        "boxes.effusion": column([[0, 10, 20, 20], [1, 1, 2, 2], [0, 0, 40, 20]], [0, 1, 2], [0, 0, 0]),
        "boxes.nodule": column([[10, 5, 20, 10]], [2], [1]),
    }
    ctx = context([0, 2, 2, 3], columns)
    found = regions_of(ctx, "image/tokens", ["nodule", "effusion", "edema"], most=9, name="")
    assert found.row.tolist() == [0, 1, 2]
    assert found.owner.tolist() == [0, 2, 2]
    assert found.label.tolist() == [1, 1, 0]
    assert found.boxes.tolist() == [[0, 0.5, 0.5, 1], [0, 0, 1, 1], [0.25, 0.25, 0.5, 0.5]]


def test_of_too_many_boxes_some_are_drawn_the_same_ones_whoever_stands_beside() -> None:
    boxes = [[float(i), 0, i + 1, 1] for i in range(6)]
    many = {"boxes.effusion": column(boxes * 2, [0] * 6 + [3] * 6)}
    drawn = regions_of(context([0, 1, 2, 3], many), "image/tokens", ["effusion"], most=2, name="x")
    assert drawn.row.tolist() == [0, 0, 3, 3]
    alone = {"boxes.effusion": column(boxes, [3] * 6)}
    again = regions_of(context([0, 1, 2, 3], alone), "image/tokens", ["effusion"], most=2, name="x")
    torch.testing.assert_close(again.boxes, drawn.boxes[2:], rtol=0, atol=0)
    later = [regions_of(context([3], alone, first=n), "image/tokens", ["effusion"], most=2, name="x") for n in range(9)]
    assert len({tuple(each.boxes.flatten().tolist()) for each in later}) > 3  # another draw each time it is met


def test_without_a_box_or_a_picture_there_is_no_region() -> None:
    for owner, columns in (([0, 1], {}), ([], {"boxes.effusion": column([[0, 0, 1, 1]], [0])})):
        found = regions_of(context(owner, columns), "image/tokens", ["effusion"], most=2, name="")
        assert (found.boxes.shape, len(found.row), len(found.owner), len(found.label)) == ((0, 4), 0, 0, 0)


@pytest.mark.parametrize(("area", "ratio"), [((0.05, 0.5), (0.5, 2.0)), ((1.0, 1.0), (1.0, 1.0)), ((0.9, 1), (4, 4))])
def test_random_boxes_lie_in_the_picture_with_the_area_asked_for(
    area: tuple[float, float], ratio: tuple[float, float]
) -> None:
    draws = torch.rand(2000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    boxes = random_boxes(draws, area=area, ratio=ratio)
    assert bool((boxes >= 0).all())
    assert bool((boxes <= 1 + 1e-12).all())
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    inside = (width < 1) & (height < 1)  # of those that did not have to be cut
    share = (width * height)[inside]
    torch.testing.assert_close(share, (area[0] + (area[1] - area[0]) * draws[:, 0])[inside])
    aspect = (width / height)[inside].log()
    torch.testing.assert_close(aspect, (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * draws[:, 1])[inside])


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """Value between the middles of cells, held at the edge."""
    h, w = plane.shape
    y, x = min(max(y - 0.5, 0), h - 1), min(max(x - 0.5, 0), w - 1)
    top, left = min(int(y), h - 1), min(int(x), w - 1)
    low, right = min(top + 1, h - 1), min(left + 1, w - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * plane[top, left] + dx * plane[top, right]
    lower = (1 - dx) * plane[low, left] + dx * plane[low, right]
    return float((1 - dy) * upper + dy * lower)


def test_a_box_holds_the_mean_of_points_spread_evenly_over_it() -> None:
    maps = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    boxes = torch.tensor([[0.1, 0.2, 0.65, 0.9], [0.5, 0.0, 0.6, 1.0], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    row = torch.tensor([1, 0, 1])
    for size in (1, 2):
        found = within(maps, boxes, row, size=size)
        for m, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            for i in range(size):
                for j in range(size):
                    low, high = y0 + (y1 - y0) * i / size, y0 + (y1 - y0) * (i + 1) / size
                    left, right = x0 + (x1 - x0) * j / size, x0 + (x1 - x0) * (j + 1) / size
                    down = math.ceil((y1 - y0) * 5 / size)
                    across = math.ceil((x1 - x0) * 7 / size)
                    points = [
                        (5 * (low + (high - low) * (a + 0.5) / down), 7 * (left + (right - left) * (b + 0.5) / across))
                        for a in range(down)
                        for b in range(across)
                    ]
                    want = [sum(bilinear(plane, *p) for p in points) / len(points) for plane in maps[row[m]]]
                    assert found[m, :, i, j].tolist() == pytest.approx(want)
    torch.testing.assert_close(within(maps, boxes, row)[2, :, 0, 0], maps[1].mean((1, 2)))  # the whole: the plain mean


def test_boxes_are_refused_where_tokens_fill_a_volume() -> None:
    part = Part(torch.zeros(1, 8, 3), torch.arange(1), (2, 2, 2))
    ctx = Context(parts={parse_key("volume/tokens"): part}, batch=Batch.of({"text": ["a"]}))
    with pytest.raises(ConfigError, match=r"the tokens of 'volume/tokens' form a grid of 3 axes"):
        plane(ctx, "volume/tokens")


def test_a_map_of_tokens_runs_along_the_rows() -> None:
    assert map_of(torch.arange(6.0).view(1, 6, 1), (2, 3))[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_places_of_cells_are_as_exact_in_half_precision() -> None:
    tokens, grid = torch.zeros(1, 14 * 14, 4), (14, 14)
    exact = sines(centres(grid, like=tokens), 128)
    for half in (tokens.bfloat16(), tokens.half()):
        torch.testing.assert_close(sines(centres(grid, like=half), 128), exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(sines(centres(grid, like=tokens.double()), 128), exact.double(), atol=1e-4, rtol=0)
