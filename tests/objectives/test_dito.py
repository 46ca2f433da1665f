"""DITO: the strongest of random boxes by hand, and what it is with one box."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Context, Part
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch
from medvlp.models.heads._regions import map_of, within
from medvlp.models.heads.box_head import BoxHead
from medvlp.objectives._regions import random_boxes
from medvlp.objectives.clip import Clip
from medvlp.objectives.dito import Dito

REPORTS = ["Effusion.", "Clear.", "effusion. ", "Nodule."]


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def head_of(**options: Any) -> BoxHead:
    torch.manual_seed(0)
    return BoxHead(token_width=6, embed_dim=5, width=4, hidden=7, **options).double()


def context(head: BoxHead, **more: Tensor) -> Context:
    owner = torch.arange(4)
    parts = {
        parse_key("image/tokens"): Part(rand(4, 12, 6, seed=1), owner, (3, 4)),
        parse_key("text/embedding"): Part(unit(rand(4, 5, seed=2)), owner),
    }
    parts |= {parse_key(key.replace("__", "/")): Part(value, owner) for key, value in more.items()}
    scale = torch.nn.Linear(1, 1)
    scale.forward = lambda scores: 10 * scores  # pyrefly: ignore
    return Context(parts=parts, batch=Batch.of({"text": REPORTS}, first=8), scale=scale, heads={"dito": head}, seed=3)


def test_in_half_precision_a_box_reads_its_own_picture() -> None:
    maps, box = torch.zeros(300, 1, 4, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(2, -1)
    maps[257], maps[299] = 1.0, 2.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert within(maps.bfloat16(), box, torch.tensor([257, 299])).flatten().tolist() == [1.0, 2.0]


def test_in_half_precision_a_coarser_level_reads_what_it_reads_in_full() -> None:
    head, box = head_of(scales=(1.0, 0.5)).float(), torch.tensor([[0.1, 0.2, 0.7, 0.9]])
    maps = torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = head.forward_boxes(maps.float(), box, torch.tensor([0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head.forward_boxes(maps, box, torch.tensor([0]))
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


def value(terms: Any) -> float:
    return sum(term.value().item() for term in terms.values())


def test_the_loss_is_that_of_the_strongest_numbers_of_any_box_on_each_level() -> None:
    head = head_of(scales=(1.0, 2.0))
    ctx = context(head)
    drawn = random_boxes(ctx.uniform(3, 4, name="boxes of dito"), area=(0.05, 0.5), ratio=(0.5, 2.0)).double()
    maps, texts = map_of(ctx["image/tokens"], (3, 4)), ctx["text/embedding"]
    same = torch.tensor([[a.lower().strip() == b.lower().strip() for a in REPORTS] for b in REPORTS])
    total = 0.0
    for level in range(2):
        rows = []
        for i in range(4):
            each = [head.forward_boxes(maps[i : i + 1], box[None], torch.tensor([0]))[level, 0] for box in drawn[i]]
            rows.append(unit(torch.stack([torch.stack([e[d] for e in each]).max() for d in range(5)])))
        scores = 10 * torch.stack(rows) @ texts.T
        for z in (scores, scores.T):
            logs = z.log_softmax(dim=1)
            total -= sum(logs[i][same[i]].mean().item() for i in range(4)) / 4 / 2 / 2
    assert value(Dito(boxes=3)(ctx)) == pytest.approx(total, rel=1e-9)


def test_with_one_box_that_is_the_picture_it_is_clip_on_that_head() -> None:
    head = head_of(size=1)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(4, 4)
    maps = map_of(context(head)["image/tokens"], (3, 4))
    embedding = unit(head.forward_boxes(maps, whole, torch.arange(4))[0])
    # Without a size to cut into, the head reads the mean of the projected tokens.
    mean = head.levels[0](maps).mean((2, 3))
    torch.testing.assert_close(embedding, unit(head.layers(mean)))
    ctx = context(head, image__embedding=embedding)
    for exclude in ("none", "same_report"):
        one = Dito(boxes=1, area=(1.0, 1.0), ratio=(1.0, 1.0), positives="own", exclude=exclude)
        assert value(one(ctx)) == pytest.approx(value(Clip(positives="own", exclude=exclude)(ctx)), rel=1e-12)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="draws boxes of area"):
        Dito(area=(0.5, 0.2))
    with pytest.raises(ConfigError, match="scales of head 'box_head'"):
        head_of(scales=())
