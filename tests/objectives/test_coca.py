"""CoCa (Yu et al. 2022) as one recipe: causal words, queries in front of the decoder, two losses."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from medvlp.core import Batch, ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.registry import build
from medvlp.training.task import Task, make_plan
from tests.models.words import DUAL, TEXT, VIT, HashWords, dual, images
from tests.training.world import FLOAT32, make_task

HEADS = {"image/captions": {"name": "pooler", "queries": 5, "width": 12, "heads": 2}}
HEADS |= {"image/contrast": {"name": "pooler", "heads": 2}, "image/raw": {"name": "projection", "reads": "contrast"}}
COCA: dict[str, Any] = {**DUAL, "vision": VIT, "text": {**TEXT, "causal": True, "pool": "last"}, "heads": HEADS}
CAPTION = {"name": "caption", "part": "captions", "words": "tower", "layers": 2, "heads": 2}
TEXTS = ("no acute findings", "large left effusion with a rib fracture", "nodule")


def batch(texts: tuple[str, ...] = TEXTS) -> Batch:
    return Batch.of({"image": images(len(texts), 64), "text": list(texts)})


def task() -> Task:
    model = dual(COCA, seed=3).double()
    objectives = {
        str(spec["name"]): build("objectives", spec, where="x")
        for spec in ({"name": "clip", "positives": "own"}, CAPTION)
    }
    plan = make_plan(objectives, {})
    model.mount({name: head for part in objectives.values() for name, head in part.heads().items()}, plan)
    return Task(model=model, objectives=objectives, states={}, seed=0, chunks=1, precision=FLOAT32)


def test_the_loss_is_that_of_a_loop_over_pictures_and_words() -> None:
    whole = task()
    model: Any = whole.model
    given = batch()
    log = whole.backward(_double(given), {"clip": 1.0, "caption": 2.0}, samples_seen=0)
    with torch.no_grad():
        tower, words = model.towers["text"], HashWords()
        tokens = model(_double(given), Plan.of(keys("image/tokens")))["image"].tokens
        pictures = [_pooled(model.heads["image/contrast"], row)[0] for row in tokens]
        queries = [_pooled(model.heads["image/captions"], row) for row in tokens]
        total, count, texts = 0.0, 0, []
        for text, memory in zip(TEXTS, queries, strict=True):
            ids = words([text]).ids[0, : len(text.split())].tolist()
            # Each prefix is encoded alone: nothing of what follows can have been seen.
            states = [tower.tokens_of(torch.tensor([ids[: i + 1]]))[0, -1] for i in range(len(ids))]
            texts.append(states[-1])
            for place, (_, following) in enumerate(pairwise(ids)):
                logits = _last_logits(model.heads["captioner"], torch.stack(states[: place + 1]), memory)
                total += math.log(sum(math.exp(v) for v in logits)) - logits[following]
                count += 1
        assert log.terms["caption/next_token"] == pytest.approx(total / count, rel=1e-9)
        v = torch.stack([model.heads["image/raw"].output(p) for p in pictures])
        t = torch.stack([model.heads["text/raw"].output(s) for s in texts])
        scores = (v / v.norm(dim=1, keepdim=True)) @ (t / t.norm(dim=1, keepdim=True)).T * model.logit_scale.value
        clip = 0.0
        for i in range(3):
            rows, columns = scores[i].tolist(), scores[:, i].tolist()
            for values in (rows, columns):
                clip += (math.log(sum(math.exp(v) for v in values)) - values[i]) / 6
    assert log.loss == pytest.approx(clip + 2 * total / count, rel=1e-9)


def _double(given: Batch) -> Batch:
    return given.with_columns({"image": type(given["image"])(given["image"].values.double(), given["image"].owner)})


def _attend(layer: Any, queries: torch.Tensor, keys_values: torch.Tensor, heads: int) -> torch.Tensor:
    """Softmax attention written out, (L, W) over (N, W')."""
    q = layer.query(queries)
    k, v = layer.key_value(keys_values).chunk(2, dim=-1)
    size = q.shape[1] // heads
    parts = []
    for h in range(heads):
        at = slice(h * size, (h + 1) * size)
        parts.append(((q[:, at] @ k[:, at].T) / size**0.5).softmax(dim=1) @ v[:, at])
    return layer.output(torch.cat(parts, dim=1))


def _pooled(head: Any, tokens: torch.Tensor) -> torch.Tensor:
    pooled = head.queries + _attend(head.attention, head.norm_queries(head.queries), head.norm_tokens(tokens), 2)
    return pooled + head.mlp(head.norm_mlp(pooled))


def _last_logits(head: Any, words: torch.Tensor, memory: torch.Tensor) -> list[float]:
    """The decoder's logits after the last of some words, the others seen by causal self-attention."""
    image = head.norm_image(memory)
    for block in head.blocks:
        normed = block.norm_words(words)
        q, k, v = block.words.qkv(normed).chunk(3, dim=-1)
        rows = []
        for place in range(len(words)):
            parts = []
            for h in range(2):
                at = slice(h * 8, (h + 1) * 8)
                weights = ((k[: place + 1, at] @ q[place, at]) / 8**0.5).softmax(dim=0)
                parts.append(weights @ v[: place + 1, at])
            rows.append(block.words.output(torch.cat(parts)))
        words = words + torch.stack(rows)
        words = words + _attend(block.image, block.norm_image(words), image, 2)
        words = words + block.mlp(block.norm_mlp(words))
    return head.output(head.norm(words)[-1]).tolist()


def test_later_words_change_no_earlier_logit_and_no_text_sees_a_picture() -> None:
    model: Any = task().model
    plan = Plan.of(keys("text/tokens", "text/attention", "image/captions", "text/pooled", "text/mask"))
    head = model.heads["captioner"]
    first = model(_double(batch()), plan)
    changed = (TEXTS[0], "large left effusion without any old fracture", TEXTS[2])
    second = model(_double(batch(changed)), plan)
    for rows in (first, second):
        assert rows["text"].attention.triu(1).abs().max() == 0
        last = rows["text"].mask.sum(dim=1) - 1
        torch.testing.assert_close(rows["text"].pooled, rows["text"].tokens[torch.arange(3), last])
    memory = first["image"].part("captions")
    logits = [head.forward_logits(memory, None, rows["text"].tokens) for rows in (first, second)]
    assert torch.equal(logits[0][1, :3], logits[1][1, :3])
    assert not torch.allclose(logits[0][1, 3], logits[1][1, 3])


def test_padding_changes_no_causal_text() -> None:
    model: Any = dual(COCA, seed=3).double()
    plan = Plan.of(keys("text/pooled"))
    alone = [model(batch((text,)), plan)["text"].pooled[0] for text in TEXTS]
    torch.testing.assert_close(model(_double(batch()), plan)["text"].pooled, torch.stack(alone))


def test_a_decoder_of_another_width_than_the_text_tower_and_a_blind_first_token_are_refused() -> None:
    with pytest.raises(ConfigError, match="is as wide as they are: set its width to 16, not 8"):
        make_task(COCA, [{**CAPTION, "width": 8}], ["*"])
    with pytest.raises(ConfigError, match=r"no later word is seen by: set model.text.causal to true, or words to own"):
        make_task({**COCA, "text": TEXT}, [CAPTION], ["*"])
    with pytest.raises(ConfigError, match=r"first token of a causal text tower sees nothing of the text: set pool"):
        dual({**DUAL, "text": {**TEXT, "causal": True, "pool": "cls"}})
