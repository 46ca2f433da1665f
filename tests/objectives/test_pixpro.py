from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import parse_key
from medvlp.core.sample import Column, ImageRecord
from medvlp.models.heads.pixel_propagation import PixelPropagation
from medvlp.objectives.pixpro import PixPro

GRID, WIDTH, SIZE = (4, 5), 6, (32, 40)
TOKENS = GRID[0] * GRID[1]


def tokens(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def context(student, taught, records, owner) -> Context:
    owners = torch.tensor(owner)
    parts = {
        parse_key("image.large/pixpro_propagated"): Part(student, owners, GRID),
        parse_key("ema:image.large/pixpro"): Part(taught, owners, GRID),
    }
    samples = max(owner) + 1
    crops = Column(torch.zeros(len(owner), 1, *SIZE), owners)
    batch = Batch(
        tuple("abc"[:samples]), torch.arange(samples), {"image.large": crops}, {"image.large": tuple(records)}
    )
    return Context(parts=parts, batch=batch)


def box(*corners: float, flip: bool = False) -> ImageRecord:
    return ImageRecord(seed=0, box=corners, flip=flip)


def value(*args) -> float:
    return PixPro()(context(*args))["image.large_to_image.large"].value().item()


def test_equal_crops_match_cell_by_cell():
    """0.7 is below the square root of a half: of square cells of one scale only the same one is near. The code's -4."""
    square = box(0, 0, 50, 40)  # cells of 10 x 10
    rows = tokens(1, 0).repeat(2, 1, 1)
    assert 4 * value(rows, rows, [square, square], [0, 0]) == pytest.approx(-4, abs=1e-12)


def test_crops_that_share_nothing_add_nothing_and_leave_finite_gradients():
    student = tokens(2, 0).requires_grad_()
    ctx = context(student, tokens(2, 1), [box(0, 0, 50, 40), box(500, 500, 550, 540)], [0, 0])
    (term,) = PixPro()(ctx).values()
    term.sum.backward()
    assert (term.sum.item(), term.count.item(), student.grad.abs().max().item()) == (0, 0, 0)


def test_it_is_the_loop_over_places():
    """Three crops of one sample, of different sizes, one mirrored, and one of another sample, which has no partner."""
    corners = [(0, 0, 80, 64), (20, 8, 60, 40), (30, 20, 110, 92), (0, 0, 50, 40)]
    flips = [False, False, True, False]
    student, taught, owner = tokens(4, 0), tokens(4, 1), [0, 0, 0, 1]
    records = [box(*corner, flip=flip) for corner, flip in zip(corners, flips, strict=True)]

    def places(crop: int) -> list[tuple[float, float]]:
        x0, y0, x1, y1 = corners[crop]
        w, h = (x1 - x0) / GRID[1], (y1 - y0) / GRID[0]
        across = [x0 + (c + 0.5) * w for c in range(GRID[1])]
        across = across[::-1] if flips[crop] else across
        return [(x, y0 + (r + 0.5) * h) for r in range(GRID[0]) for x in across]

    def diagonal(crop: int) -> float:
        x0, y0, x1, y1 = corners[crop]
        return math.hypot((x1 - x0) / GRID[1], (y1 - y0) / GRID[0])

    losses = []
    for a in range(3):
        for b in range(3):
            reach = 0.7 * max(diagonal(a), diagonal(b))
            near = [
                (i, j)
                for i, p in enumerate(places(a))
                for j, q in enumerate(places(b))
                if a != b and math.dist(p, q) < reach
            ]
            if near:
                losses.append(-sum(float(unit(student[a, i]) @ unit(taught[b, j])) for i, j in near) / len(near))
    assert len(losses) == 6
    assert value(student, taught, records, owner) == pytest.approx(sum(losses) / 6, rel=1e-9)


def test_a_mirrored_crop_whose_record_says_so_changes_nothing():
    student, taught = tokens(2, 0), tokens(2, 1)
    corners = [(0, 0, 80, 64), (20, 8, 60, 40)]
    before = value(student, taught, [box(*corner) for corner in corners], [0, 0])

    def mirrored(rows: torch.Tensor) -> torch.Tensor:
        turned = rows.unflatten(1, GRID).clone()
        turned[1] = turned[1].flip(1)
        return turned.flatten(1, 2)

    after = value(mirrored(student), mirrored(taught), [box(*corners[0]), box(*corners[1], flip=True)], [0, 0])
    assert after == pytest.approx(before, rel=1e-9)
    assert value(mirrored(student), mirrored(taught), [box(*corner) for corner in corners], [0, 0]) != before


def test_propagation_is_its_sum():
    torch.manual_seed(0)
    head = PixelPropagation(in_width=WIDTH, gamma=3.0).double()
    x = tokens(2, 0)
    got = head(Encoded(owner=torch.arange(2), tokens=x), "y")["y"]
    g = x @ head.transform.weight.T + head.transform.bias
    for n, i in ((0, 0), (1, 7)):
        cosine = [float(unit(x[n, i]) @ unit(x[n, j])) for j in range(TOKENS)]
        torch.testing.assert_close(got[n, i], sum(max(c, 0) ** 3 * g[n, j] for j, c in enumerate(cosine)))


def test_the_teacher_stands_still_and_crops_without_a_record_are_refused():
    student, taught = tokens(2, 0).requires_grad_(), tokens(2, 1).requires_grad_()
    (term,) = PixPro()(context(student, taught, [box(0, 0, 50, 40)] * 2, [0, 0])).values()
    term.sum.backward()
    assert taught.grad is None
    assert student.grad.abs().max() > 0
    with pytest.raises(ConfigError, match=r"not known where .image\.large. lies in its source"):
        PixPro()(context(student, taught, [], [0, 0]))
    with pytest.raises(ConfigError, match="'pixpro' has no pairs"):
        PixPro(pairs=[])
