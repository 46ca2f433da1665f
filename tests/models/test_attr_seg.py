"""AttrSeg: attributes of classes gathered in sight of the picture, against loops and what it reduces to."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Level
from medvlp.core.registry import build
from medvlp.models.bank import Bank
from medvlp.models.heads.attr_seg import AttrSeg, Clustering

LEVELS = (Level(4, (1, 1)), Level(5, (2, 2)))
DIM = 8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head_of(vectors: Tensor, names: tuple[str, ...] = (), *, classes: int = 2, **options: Any) -> AttrSeg:
    book = Bank("signs", tuple(f"text {i}" for i in range(len(vectors))), vectors, names=names)
    torch.manual_seed(7)
    spec = {"name": "attr_seg", "bank": "signs", "classes": classes, "width": 8, "heads": 2, **options}
    return build("models/heads", spec, where="here", given={"levels": LEVELS, "banks": {"signs": book}}).eval()


def moved(head: AttrSeg) -> AttrSeg:
    """The head with weights away from their start, the same at each call."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return head


def rows(count: int = 2) -> Encoded:
    maps = {"level[0]": draw(count, 4, 6, 8, seed=2), "level[1]": draw(count, 5, 3, 4, seed=3)}
    return Encoded(owner=torch.arange(count), size=(6, 8), extra=maps)


def names_of(classes: int, each: int) -> tuple[str, ...]:
    return tuple(f"c{k}/a{i}" for k in range(classes) for i in range(each))


def pixels_of(head: AttrSeg, encoded: Encoded) -> Tensor:
    assert head.pyramid is not None
    assert head.pixels is not None
    return head.pixels(head.pyramid([encoded.part("level[0]"), encoded.part("level[1]")], None).relu())


def test_one_attribute_one_stage_and_no_residual_are_plain_dense_logits() -> None:
    vectors = draw(2, DIM)
    head = head_of(vectors, centres=[1])
    with torch.no_grad():
        head.stages[0].centres.zero_()
        logits, pixels = head(rows(), "x")["x"], pixels_of(head, rows())
    for k in range(2):
        expected = F.cosine_similarity(pixels, vectors[k].view(1, DIM, 1, 1), dim=1) / 0.07
        torch.testing.assert_close(logits[:, k], expected, atol=1e-5, rtol=1e-5)


def test_a_logit_is_the_scaled_cosine_of_a_pixel_and_of_what_the_attributes_became() -> None:
    head, encoded = moved(head_of(draw(6, DIM), names_of(2, 3))), rows()
    with torch.no_grad():
        logits, pixels = head(encoded, "x")["x"], pixels_of(head, encoded)
        cells = F.avg_pool2d(pixels, 2).flatten(2).transpose(1, 2)  # of 6 x 8, as many as the coarse level has
        vectors = head.class_vectors(cells, encoded)
        near = F.cosine_similarity(pixels[:, None], vectors[:, :, :, None, None], dim=2)
        torch.testing.assert_close(logits, head.log_scale.exp() * near + head.bias, atol=1e-5, rtol=1e-5)


def test_after_a_step_the_scale_is_at_most_100() -> None:
    head = head_of(draw(2, DIM))
    for before, after in ((500.0, 100.0), (30.0, 30.0)):
        torch.nn.init.constant_(head.log_scale, math.log(before))
        head.after_step(0)
        assert float(head.log_scale.detach().exp()) == pytest.approx(after, rel=1e-5)
    assert head.log_scale.requires_grad


def test_at_the_start_a_class_is_the_mean_of_its_attributes_but_for_small_centres() -> None:
    vectors = draw(6, DIM)
    head = head_of(vectors, names_of(2, 3), centres=[1])
    with torch.no_grad():
        head.stages[0].centres.zero_()
        found = head.class_vectors(draw(1, 5, DIM), rows(1))[0]
    torch.testing.assert_close(found, unit(vectors).view(2, 3, DIM).mean(1))


@pytest.mark.parametrize("hard", [True, False])
def test_the_order_of_attributes_and_each_of_them_twice_change_nothing(hard: bool) -> None:
    vectors = draw(8, DIM)
    head = moved(head_of(vectors, names_of(2, 4), hard=hard))
    logits = head(rows(), "x")["x"]
    assert float(logits.detach().std()) > 0.1
    turned = [2, 0, 3, 1, 5, 7, 4, 6]
    twice = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    for order in (turned, twice):
        other = moved(head_of(vectors[order], names_of(2, len(order) // 2), hard=hard))
        torch.testing.assert_close(other(rows(), "x")["x"], logits, atol=2e-4, rtol=1e-4)


def test_a_class_follows_its_attributes_alone_and_rows_do_not_see_each_other() -> None:
    vectors = draw(6, DIM)
    head = moved(head_of(vectors, names_of(3, 2), classes=3))
    logits = head(rows(), "x")["x"]
    swapped = moved(head_of(vectors[[4, 5, 0, 1, 2, 3]], names_of(3, 2), classes=3))
    torch.testing.assert_close(swapped(rows(), "x")["x"], logits[:, [2, 0, 1]], atol=1e-5, rtol=1e-4)
    alone = head(rows().rows(torch.tensor([1])).give({k: v[1:] for k, v in rows().extra.items()}), "x")["x"]
    torch.testing.assert_close(alone, logits[1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("hard", [True, False])
def test_clustering_is_the_mean_of_each_centres_tokens(hard: bool) -> None:
    stage, tokens = Clustering(3, 4, hard=hard), draw(2, 5, 4)
    with torch.no_grad():
        stage.centres.copy_(draw(3, 4, seed=1))
        found = stage(tokens)
        assert stage.query is not None
        assert stage.key is not None
        for row in range(2):
            asked, keys = stage.query(stage.centres), stage.key(tokens[row])
            share = torch.stack([torch.stack([asked[m] @ key / 2 for m in range(3)]).softmax(0) for key in keys])
            if hard:
                share = F.one_hot(share.argmax(1), 3).float()
            for m in range(3):
                total = sum(float(share[j, m]) * tokens[row, j] for j in range(5))
                mean = total / max(float(share[:, m].sum()), 1e-6)
                torch.testing.assert_close(found[row, m], stage.centres[m] + mean, atol=1e-5, rtol=1e-5)


def test_a_centre_without_tokens_stays_itself_and_the_choice_has_a_gradient() -> None:
    stage = Clustering(2, 4, hard=True)
    with torch.no_grad():
        stage.centres[0], stage.centres[1] = 5.0, -5.0
        assert stage.query is not None
        assert stage.key is not None
        for layer in (stage.query, stage.key):
            torch.nn.init.eye_(layer.weight)
    found = stage(torch.ones(1, 3, 4))
    assert found[0].tolist() == [[6.0] * 4, [-5.0] * 4]
    stage(0.1 * draw(1, 3, 4))[0, 0, 0].backward()
    assert float(stage.query.weight.grad.abs().max()) > 0  # pyrefly: ignore


def test_in_bfloat16_a_token_is_its_likeliest_centres_too() -> None:
    """Scores of -0.002 and 0.002 are shares of 0.499 and 0.501, equal in bfloat16, which gave the first all."""
    stage = Clustering(2, 4, hard=True)
    with torch.no_grad():
        stage.centres[0], stage.centres[1] = -0.004, 0.004
        for layer in (stage.query, stage.key):
            assert layer is not None
            torch.nn.init.eye_(layer.weight)
    tokens = torch.tensor([0.25, -0.25, 0.25])[None, :, None].expand(1, 3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert stage.shares(tokens)[0].tolist() == [[0, 1, 0], [1, 0, 1]]


def test_what_a_token_would_bring_to_a_centre_is_its_gradient_and_to_an_empty_one_itself() -> None:
    """Straight through: d mean / d share is (v - mean) / n at a centre of n tokens; nothing is divided by no token."""
    stage, weight = Clustering(2, 4, hard=True).double(), draw(2, 4, seed=1).double()
    tokens = (draw(1, 1, 4) + 0.01 * draw(1, 3, 4, seed=2)).double()
    with torch.no_grad():
        stage.centres[0], stage.centres[1] = tokens[0, 0], -tokens[0, 0]
        for layer in (stage.query, stage.key):
            assert layer is not None
            torch.nn.init.eye_(layer.weight)
    assert stage.shares(tokens)[0].sum(dim=1).tolist() == pytest.approx([3, 0])
    (weight * stage(tokens)[0]).sum().backward()
    centres = stage.centres.detach().requires_grad_()
    soft = (centres @ tokens[0].T / 2).softmax(dim=0)
    brought = torch.stack([(tokens[0] - tokens[0].mean(dim=0)) / 3, tokens[0]])
    (by_choice,) = torch.autograd.grad(((weight[:, None] * brought).sum(dim=2) * soft).sum(), centres)
    torch.testing.assert_close(stage.centres.grad, weight + by_choice, rtol=1e-9, atol=1e-12)


def test_banks_and_stages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"name its texts CLASS/ATTRIBUTE, class by class, with as many attributes"):
        head_of(draw(5, DIM), ("a/1", "a/2", "a/3", "b/1", "b/2"))
    with pytest.raises(ConfigError, match="draws on images, by stages that end in one centre, not"):
        head_of(draw(2, DIM), centres=[2])
    with pytest.raises(ConfigError, match="compares pixels with the bank 'signs'"):
        build(
            "models/heads",
            {"name": "attr_seg", "bank": "signs", "classes": 2},
            where="here",
            given={"levels": LEVELS, "banks": {}},
        )
