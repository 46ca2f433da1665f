"""ILA: windows, what neighbours add to a frame, the start as the plain tower, and what absent frames cannot change."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.models.encoders.ila import Ila, point_mask
from medvlp.models.encoders.slices import SliceEncoder
from medvlp.objectives.ila import IlaObjective
from tests.models.words import VIT

SLICE = {**VIT, "image_size": 32, "options": {**VIT["options"], "patch_size": 8}}  # 4 x 4 patches
PARTS = frozenset({"tokens", "patches", "alignment"})


def tower(kind: Any = Ila, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(slice=SLICE, **({"hidden": 4} if kind is Ila else {}), **options).double().eval()


def learnt(**options: Any) -> Ila:
    """One whose alignments have left their start."""
    built, draw = tower(**options), torch.Generator().manual_seed(1)
    for parameter in built.alignments.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return built


def stacks(rows: int = 2, frames: int = 3, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(rows, frames, 1, 32, 32, generator=draw, dtype=torch.float64)


# windows --------------------------------------------------------------------------------------------------------------


def test_the_window_in_the_middle_of_four_by_four() -> None:
    expected = torch.zeros(4, 4)
    expected[1:3, 1:3] = 0.765625
    torch.testing.assert_close(point_mask(torch.zeros(2), 4), expected)
    torch.testing.assert_close(point_mask(torch.zeros(3, 2), 4)[2], expected)


def window(x: float, y: float, side: int) -> Tensor:
    """Cell by cell from the formula."""
    found = torch.zeros(side, side, dtype=torch.float64)
    for row, column in itertools.product(range(side), repeat=2):
        value = 1.0
        for cell, at in ((column, x), (row, y)):
            far = abs(-1 + 2 * cell / (side - 1) - at)
            value *= 1.0 if far <= 0.25 else max(0.0, 1 - 1.5 * (far - 0.25))
        found[row, column] = value
    return found


def test_a_window_is_its_formula_and_spread_the_mean_of_nine() -> None:
    points = torch.tensor([[0.6, -0.3], [-0.75, 0.1]], dtype=torch.float64)
    for (x, y), found in zip(points.tolist(), point_mask(points, 5), strict=True):
        torch.testing.assert_close(found, window(x, y, 5))
    for (x, y), found in zip(points.tolist(), point_mask(points, 5, 0.2), strict=True):
        nine = [window(x + i, y + j, 5) for i, j in itertools.product((-0.2, 0.0, 0.2), repeat=2)]
        torch.testing.assert_close(found, torch.stack(nine).mean(0))


# the block ------------------------------------------------------------------------------------------------------------


def test_it_starts_as_the_plain_tower() -> None:
    values = stacks()
    for training in (False, True):
        own, plain = (
            tower(kind).train(training)(values, parts=frozenset({"tokens"})).tokens for kind in (Ila, SliceEncoder)
        )
        torch.testing.assert_close(own, plain, rtol=0, atol=0)


def test_equal_frames_agree_wholly_at_the_start_and_others_do_not() -> None:
    same = tower()(stacks(1, 1).expand(1, 3, 1, 32, 32), parts=PARTS).part("alignment")
    torch.testing.assert_close(same[0, :2], torch.ones(2, 2, dtype=torch.float64))
    assert same[0, 2].abs().max() == 0
    assert tower()(stacks(1), parts=PARTS).part("alignment")[0, :2].max() < 0.9999


def by_hand(built: Ila, maps: Tensor) -> tuple[Tensor, Tensor]:
    """What the first block's alignment adds to maps (S, n, W) of one stack, and its cosines, pair by pair."""
    one, side = built.alignments[0], 4
    frames, width = len(maps), maps.shape[2]
    seen: list[list[Tensor]] = [[] for _ in range(frames)]
    halves: list[list[Tensor]] = [[] for _ in range(frames)]
    cosines = []
    for s in range(frames - 1):
        grids = [maps[t].T.reshape(width, side, side) for t in (s, s + 1)]
        between = one.pair(torch.cat(grids)[None])
        points = one.points(one.search(between).amax((2, 3))[:, :, None])[0, :, 0].tanh() * 0.75
        sums = []
        for t, point, half in zip((s, s + 1), points.view(2, 2), between[0].chunk(2), strict=True):
            masked = maps[t] * window(*point.tolist(), side).flatten()[:, None]
            seen[t].append(masked)
            halves[t].append(half)
            sums.append(masked.sum(0))
        cosines.append(F.cosine_similarity(*sums, dim=0))
    masked, half = (torch.stack([torch.stack(each).mean(0) for each in some]) for some in (seen, halves))
    passed = one.along(half.transpose(0, 1)[None])[0].transpose(0, 1).flatten(2).transpose(1, 2)
    return one.aligned(masked) + one.interactive(one.widen(passed)), torch.stack(cosines)


def test_what_neighbours_add_is_the_formula_pair_by_pair() -> None:
    built, draw = learnt(), torch.Generator().manual_seed(3)
    tokens = torch.randn(2, 3, 17, 16, generator=draw, dtype=torch.float64)
    built.frames.enter(torch.ones(2, 3, dtype=torch.bool), noting=True)
    found = built.alignments[0].before(tokens.flatten(0, 1)).unflatten(0, (2, 3))
    for row in range(2):
        added, cosines = by_hand(built, tokens[row, :, 1:])
        torch.testing.assert_close(found[row, :, 1:], tokens[row, :, 1:] + added)
        torch.testing.assert_close(built.frames.noted[0][row, :2], cosines)
    assert torch.equal(found[:, :, 0], tokens[:, :, 0])


def test_absent_frames_change_nothing_and_a_single_frame_is_the_plain_tower_for_ever() -> None:
    built, short = learnt(), stacks(frames=2)
    long = torch.cat([short, 9 * stacks(seed=5)], dim=1)
    mask = torch.tensor([[True, True, False, False, False], [True, False, False, False, False]])
    other, first, second = (
        built(long, parts=PARTS, mask=mask),
        built(short[:1], parts=PARTS),
        built(short[1:, :1], parts=PARTS),
    )
    for row, one in ((0, first), (1, second)):
        depth = one.tokens.shape[1]
        torch.testing.assert_close(other.tokens[row, :depth], one.tokens[0])
        torch.testing.assert_close(other.part("patches")[row], one.part("patches")[0])
        torch.testing.assert_close(other.part("alignment")[row, :depth], one.part("alignment")[0])
    torch.testing.assert_close(second.tokens, tower(SliceEncoder)(short[1:, :1], parts=frozenset({"tokens"})).tokens)
    assert other.part("alignment")[1].abs().max() == 0


def test_order_of_frames_matters_once_it_has_learnt() -> None:
    built, values = learnt(), stacks()
    turned = built(values.flip(1), parts=PARTS).tokens.flip(1)
    assert not torch.allclose(built(values, parts=PARTS).tokens, turned, atol=1e-3)


def test_the_loss_reaches_the_points_from_their_start() -> None:
    built = tower()
    rows = built(stacks(), parts=PARTS)
    ctx = Context.of({"stack/alignment": rows.part("alignment"), "stack/mask": rows.part("mask")}, {"text": ["a", "b"]})
    IlaObjective()(ctx)["alignment"].value().backward()
    last = built.alignments[0].points[-1]
    assert isinstance(last, nn.Conv1d)
    assert last.weight.grad is not None
    assert last.weight.grad.abs().max() > 0


def test_a_coarse_grid_is_refused() -> None:
    small = Ila(slice={**VIT, "image_size": 32}, hidden=4)
    with pytest.raises(ConfigError, match=r"3 x 3 patches or more, not 4 patches"):
        small(torch.rand(1, 2, 1, 32, 32), parts=frozenset({"pooled"}))


# the loss -------------------------------------------------------------------------------------------------------------


def test_the_loss_is_a_mean_over_real_pairs_of_sums_over_blocks() -> None:
    cosines = torch.rand(3, 4, 2, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    ctx = Context.of({"stack/alignment": cosines, "stack/mask": mask}, {"text": list("abc")})
    term = IlaObjective()(ctx)["alignment"]
    pairs = [(0, 0), (0, 1), (2, 2)]
    expected = sum(float((1 - cosines[row, frame]).sum()) for row, frame in pairs) / 3
    assert float(term.count) == 3
    torch.testing.assert_close(float(term.value()), expected)
    nothing = {"stack/alignment": cosines[1:2, :1], "stack/mask": mask[1:2, :1]}
    assert float(IlaObjective()(Context.of(nothing, {"text": ["a"]}))["alignment"].count) == 0
