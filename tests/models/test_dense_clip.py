"""DenseCLIP whole: texts of the text tower with learnt words before them, cells through the model's own projection."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch
from medvlp.features.embed import embed
from medvlp.features.maps.similarity import Similarity
from medvlp.models.bank import Bank
from medvlp.models.patches._patch import apply_patches
from tests.models.words import DUAL, VISION, dual, images

SIDE = 64
TEXTS = ("a bright lung", "the heart")
PLAN = Plan.of(keys("image/drawn", "image/drawn_scores"))
OPTIONS = {"bank": "organs", "classes": 2, "width": 8, "decoder_width": 16, "decoder_layers": 1, "heads": 2}


def model_of(*, vision: dict[str, Any] = VISION, vectors: torch.Tensor | None = None, **options: Any) -> Any:
    made = dual({**DUAL, "vision": {**vision, "image_size": SIDE}}, seed=2, **options.pop("model", {}))
    made.add_bank(Bank("organs", TEXTS, vectors))
    made.mount({"drawn": HeadSpec("dense_clip", {**OPTIONS, "cells": "image", **options}, keep=True)}, PLAN)
    return made.eval()


def drawn(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(Batch.of({"image": pixels}), PLAN)["image"].part("drawn_scores")


def test_before_training_a_score_is_the_cosine_of_a_projected_cell_and_the_text_as_the_map_similarity_says_it() -> None:
    model, pixels = model_of(), images(2, SIDE)
    with torch.no_grad():
        model.heads["image/drawn"].gamma.zero_()
        scores = 0.07 * drawn(model, pixels)
    texts = torch.from_numpy(embed(model, "text", list(TEXTS)))
    for row, image in enumerate(pixels):
        for k, found in enumerate(Similarity()(model, image, texts)):
            assert found.values.shape == (2, 2)
            cells = torch.from_numpy(found.values)
            torch.testing.assert_close(scores[row, k, ::63, ::63], cells, atol=1e-6, rtol=0)  # corners are their cells


def test_the_words_look_at_the_cells_and_at_the_embedding_that_stands_for_the_whole() -> None:
    head = model_of().heads["image/drawn"]
    level, tokens, raw = torch.rand(1, 16, 2, 2), torch.randn(1, 4, 16), torch.randn(1, 8)
    rows = Encoded(owner=torch.arange(1), tokens=tokens, grid=(2, 2), extra={"raw": raw})
    with torch.no_grad():
        head.gamma.fill_(0.5)
        cells = head._project(rows)
        texts = head._texts_of("organs", rows)
        words = head.enter(texts)[None]
        for block in head.blocks:
            words = block(words, torch.cat([raw[:, None], cells], dim=1), None)
        moved = texts + 0.5 * head.leave(words)
        expected = F.cosine_similarity(moved[0, :, None], cells, dim=2).view(1, 2, 2, 2)
        torch.testing.assert_close(head.scores(level, None, rows), expected)


def test_texts_of_the_tower_draw_what_the_same_constant_vectors_draw() -> None:
    live = model_of()
    fixed = model_of(vectors=torch.from_numpy(embed(live, "text", list(TEXTS))))
    own = {name: value for name, value in fixed.state_dict().items() if name.endswith("drawn.texts")}
    fixed.load_state_dict({**live.state_dict(), **own})
    assert len(own) == 1
    assert "heads.image/drawn.texts" not in live.state_dict()
    with torch.no_grad():
        torch.testing.assert_close(drawn(live, images(2, SIDE)), drawn(fixed, images(2, SIDE)))


def test_learnt_words_before_a_frozen_text_tower_get_a_gradient_and_change_the_scores() -> None:
    model = model_of()
    before = drawn(model, images(1, SIDE)).detach()
    apply_patches(model, [{"name": "coop", "view": "bank.organs", "tokens": 3}])
    for parameter in model.towers["text"].parameters():
        parameter.requires_grad_(False)
    after = drawn(model, images(1, SIDE))
    assert not torch.allclose(after, before)
    after.sum().backward()
    [context] = list(model.patches.parameters())
    assert float(context.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in model.towers["text"].parameters())


def test_a_part_of_tokens_serves_as_cells() -> None:
    model = model_of(cells="local", model={"heads": {"image/local": {"name": "projection", "reads": "tokens"}}})
    with torch.no_grad():
        model.heads["image/drawn"].gamma.zero_()
        scores = 0.07 * drawn(model, images(1, SIDE))
    texts = torch.from_numpy(embed(model, "text", list(TEXTS)))
    torch.testing.assert_close(
        float(scores[0, 0, 0, 0]),
        float(Similarity()(model, images(1, SIDE)[0], texts)[0].values[0, 0]),
        atol=1e-6,
        rtol=0,
    )


def test_cells_that_cannot_be_compared_with_the_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match="compares cells of width 8 with texts of width 6: let one encoder make both"):
        drawn(model_of(vectors=torch.randn(2, 6)), images(1, SIDE))
    with pytest.raises(ConfigError, match="Tokens of width 16 do not fit the image projection"):
        drawn(model_of(vision={**VISION, "columns": 2}), images(1, SIDE))
    late = {"heads": {"image/raw": {"name": "projection", "hidden": 8, "norm": "batch", "stage": "batch"}}}
    with pytest.raises(ConfigError, match=r"it runs inside the tower and reads .* made after it"):
        model_of(model=late)
