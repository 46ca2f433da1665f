"""Nested losses: what the sum is, that one whole prefix is CLIP, and that a cut model is what a prefix was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medvlp.core import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.scores.dot import Dot
from medvlp.models.scores.prefix import Prefix
from medvlp.models.surgery import operate
from medvlp.objectives.clip import Clip
from medvlp.objectives.matryoshka import Matryoshka
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, VIT, dual, pairs

TEXTS = ["clear", "left effusion", "nodule", "edema", "clear"]


def embeddings(width: int = 16) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        f"{view}/embedding": unit(torch.randn(5, width, generator=draw, dtype=torch.float64))
        for view in ("image", "text")
    }


def context(rows: dict[str, torch.Tensor]) -> Context:
    return Context.of(rows, {"text": TEXTS})


def test_it_is_the_sum_of_cross_entropies_of_each_prefix_written_out() -> None:
    rows = embeddings()
    total = sum(term.value() for term in Matryoshka(halvings=3, positives="own")(context(rows)).values())
    by_hand = torch.zeros((), dtype=torch.float64)
    for width in (16, 8, 4, 2):
        image, text = (rows[f"{view}/embedding"][:, :width] for view in ("image", "text"))
        scores = torch.zeros(5, 5, dtype=torch.float64)
        for i in range(5):
            for j in range(5):
                scores[i, j] = image[i] @ text[j] / (image[i].norm() * text[j].norm())
        target = torch.arange(5)
        by_hand += (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
    torch.testing.assert_close(total, by_hand, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"positives": "own"}, {"exclude": "same_report", "positives": "own"}])
def test_one_whole_prefix_is_clip(options: dict[str, Any]) -> None:
    rows = embeddings()
    nested, clip = Matryoshka(halvings=0, **options)(context(rows)), Clip(**options)(context(rows))
    assert nested.keys() == clip.keys()
    assert all(torch.equal(nested[name].value(), clip[name].value()) for name in clip)


def test_only_what_a_prefix_holds_moves_by_it() -> None:
    rows = {name: values.requires_grad_() for name, values in embeddings().items()}
    terms = Matryoshka(halvings=2)(context(rows))
    (terms["image_to_text_2"].value() + terms["text_to_image_2"].value()).backward()
    for values in rows.values():
        assert values.grad is not None
        assert bool(values.grad[:, :4].any())
        assert not bool(values.grad[:, 4:].any())


def test_a_prefix_score_is_the_cosine_of_prefixes() -> None:
    image, text = ({"embedding": values} for values in embeddings().values())
    by_hand = F.cosine_similarity(image["embedding"][:, None, :4], text["embedding"][None, :, :4], dim=2)
    torch.testing.assert_close(Prefix(halvings=2)(image, text), by_hand, rtol=1e-12, atol=1e-12)
    assert torch.equal(Prefix(halvings=0)(image, text), Dot()(image, text))
    forth, back = Prefix()(image, text), Prefix()(text, image)
    torch.testing.assert_close(Prefix().both_ways(image, text), (forth, back), rtol=1e-12, atol=1e-12)
    with pytest.raises(ConfigError, match="16 numbers cannot be halved 5 times: set halvings to less"):
        Prefix(halvings=5)(image, text)


def test_a_model_that_is_cut_gives_the_prefix_and_loads(tmp_path: Path) -> None:
    words = train_wordpiece(["clear lungs", "left effusion"] * 2, vocab_size=64, max_length=12)
    model: Any = build_model({**DUAL, "vision": {**VIT, "pool": "avg"}}, tokenizer=words)
    plan = Plan.of(keys("image/embedding", "text/embedding"))
    batch = pairs(size=64)
    with torch.no_grad():
        whole = {view: rows.part("embedding") for view, rows in model.eval()(batch, plan).items()}
        operate(model, [{"name": "keep_prefix", "width": 4}])
        short = {view: rows.part("embedding") for view, rows in model(batch, plan).items()}
    for view, rows in short.items():
        torch.testing.assert_close(rows, unit(whole[view][:, :4]))
    save_bundle(tmp_path / "short", Bundle(model, words, preprocessing=[]))
    again = load_bundle(tmp_path / "short").model
    with torch.no_grad():
        image = again(batch, Plan.of(keys("image/embedding")))["image"].part("embedding")
    torch.testing.assert_close(image, short["image"])


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"keep_prefix.width is 8, and the embedding has 8 numbers"):
        operate(dual(), [{"name": "keep_prefix", "width": 8}])
    resting = dual(heads={"image/more": {"name": "projection", "reads": "raw", "width": 3}})
    with pytest.raises(ConfigError, match="cannot cut the embedding, because of 'image/more'"):
        operate(resting, [{"name": "keep_prefix", "width": 4}])
