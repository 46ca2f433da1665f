"""CoOp against its equations, token by token, and a classifier whose weights are texts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.heads.text_classifier import TextClassifier
from medvlp.models.patches import apply_patches
from medvlp.models.scale import LogitScale
from tests.models.prompts import HAND, NAMES, WORDS, batch, drawn, logits, model, pictures, prompted, word_vectors
from tests.models.test_patch_views import BERT, ROBERTA
from tests.models.words import TEXT, VIT

LAST = WORDS([""]).ids[0, -1].item()
CLIP = {"name": "transformers", "config": {**BERT["config"], "model_type": "clip_text_model", "eos_token_id": LAST}}
COOP = {"name": "coop", "view": "bank.names", "tokens": 3}


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("specific", [False, True])
def test_it_is_its_equation_token_by_token(position: str, specific: bool, pool: str) -> None:
    built = model([{**COOP, "position": position, "specific": specific}], text={**TEXT, "pool": pool})
    (patch,) = built.patches.values()
    drawn(patch)
    assert patch.context.shape == (len(NAMES) if specific else 1, 3, 16)
    texts = torch.stack(
        [prompted(built, name, [*patch.context[k if specific else 0]], position) for k, name in enumerate(NAMES)]
    )
    expected = built.logit_scale.value * pictures(built, "embedding")["embedding"] @ texts.T
    torch.testing.assert_close(logits(built), expected)


def test_started_as_words_and_not_stepped_it_is_the_hand_written_prompt_bit_for_bit() -> None:
    learned = model([{"name": "coop", "view": "bank.names", "words": "a photo of"}])
    (patch,) = learned.patches.values()
    assert patch.context.shape == (1, 3, 16)
    assert torch.equal(logits(learned), logits(model(head={"bank": "hand"})))
    assert not torch.allclose(logits(learned), logits(model()))


@pytest.mark.parametrize(
    "text",
    [
        BERT,
        {**BERT, "pool": "mean"},
        {**ROBERTA, "pool": "mean"},
        {**TEXT, "causal": True, "pool": "last"},
        {**CLIP, "pool": "pooler"},
        {**CLIP, "pool": "last"},
    ],
)
def test_other_text_towers_start_as_the_hand_written_prompt_too(text: dict[str, Any]) -> None:
    learned = model([{"name": "coop", "view": "bank.names", "words": "a photo of"}], text=text)
    torch.testing.assert_close(logits(learned), logits(model(head={"bank": "hand"}, text=text)))
    assert not torch.allclose(logits(learned), logits(model(text=text)), atol=1e-4)


def test_every_layout_keeps_the_length_and_where_the_last_token_stands() -> None:
    seen = {}
    for position in ("end", "middle", "front"):
        built = model([{**COOP, "position": position}])
        trunk = built.towers["text"].trunk.blocks[0]
        hook = trunk.register_forward_pre_hook(lambda _, inputs, at=position: seen.__setitem__(at, inputs))
        built(batch(), Plan.of(keys("bank.names/embedding")))
        hook.remove()
    last = word_vectors(model(), "a")[-1]
    for tokens, mask in seen.values():
        assert mask.sum(dim=1).tolist() == [len(word_vectors(model(), name)) + 3 for name in NAMES]
        for row in range(len(NAMES)):
            end = int(mask[row].nonzero().max())
            torch.testing.assert_close(tokens[row, end], last + model().towers["text"].position[end])
    assert not torch.equal(seen["end"][0], seen["front"][0])


def test_only_the_context_has_a_gradient_where_it_alone_trains() -> None:
    built = model([COOP])
    for name, parameter in built.named_parameters():
        parameter.requires_grad_(name.startswith("patches."))
    logits(built)[:, 0].sum().backward()
    assert [name for name, p in built.named_parameters() if p.grad is not None] == [
        "patches.coop@text:words-input.context"
    ]


def test_a_copy_is_asked_in_its_own_words() -> None:
    built = model([COOP])
    before, teacher = logits(built), copy.deepcopy(built)
    drawn(teacher.patches)
    assert torch.equal(logits(built), before)
    assert not torch.allclose(logits(teacher), before, atol=1e-3)
    drawn(built.patches, std=0.0)
    assert not torch.allclose(logits(teacher), logits(built), atol=1e-3)


def test_a_permutation_of_the_classes_permutes_contexts_and_logits() -> None:
    order = [2, 0, 3, 1]
    first, second = (
        model([{**COOP, "specific": True}]),
        model([{**COOP, "specific": True}], names=[NAMES[i] for i in order]),
    )
    with torch.no_grad():
        next(iter(second.patches.values())).context.copy_(next(iter(first.patches.values())).context[order])
    torch.testing.assert_close(logits(second), logits(first)[:, order])


def test_learned_on_a_few_pictures_it_tells_more_than_words_do() -> None:
    """Sixteen shots of four textures; the towers are drawn and stand still."""
    built = model([{**COOP, "tokens": 4, "specific": True}])
    (context,) = [p for n, p in built.named_parameters() if n.startswith("patches.")]
    draw = torch.Generator().manual_seed(0)
    classes = torch.rand(4, 1, 32, 32, generator=draw)
    own = torch.arange(64 + 200) % 4
    seen = classes[own] + 0.2 * torch.randn(len(own), 1, 32, 32, generator=draw)
    with torch.no_grad():
        rows = built(Batch.of({"image": seen}), Plan.of(keys("image/embedding")))["image"].part("embedding")

    def scores() -> torch.Tensor:
        texts = built(batch(), Plan.of(keys("bank.names/embedding")))["bank.names"].part("embedding")
        return built.logit_scale.value.detach() * rows @ texts.T

    before = (scores()[64:].argmax(dim=1) == own[64:]).float().mean()
    optimiser = torch.optim.Adam([context], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores()[:64], own[:64]).backward()
        optimiser.step()
    after = (scores()[64:].argmax(dim=1) == own[64:]).float().mean()
    assert before < 0.5
    assert after > before + 0.25


# the classifier -----------------------------------------------------------------------------------------------------


def test_two_banks_are_the_difference_of_their_cosines() -> None:
    built = model(head={"against": "hand"})
    rows = built(batch(), Plan.of(keys("image/embedding", "bank.names/embedding", "bank.hand/embedding")))
    seen, near, far = (rows[view].part("embedding") for view in ("image", "bank.names", "bank.hand"))
    torch.testing.assert_close(logits(built), built.logit_scale.value * (seen @ near.T - seen @ far.T))


def test_constant_vectors_serve_a_model_without_words() -> None:
    vectors = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    bank = Bank("given", ("a", "b"), vectors)
    spec = {"name": "vision", "vision": {**VIT, "image_size": 32}}
    built: Any = build_model(spec, tokenizer=None, banks={"given": bank}).eval()
    built.mount(
        {"findings": HeadSpec("text_classifier", {"bank": "given", "classes": 2})}, Plan.of(keys("image/findings"))
    )
    seen = pictures(built, "embedding")["embedding"]
    expected = built.logit_scale.value * seen @ torch.nn.functional.normalize(vectors, dim=1).T
    torch.testing.assert_close(logits(built), expected)


def test_what_it_gives_beside_are_the_texts_of_each_picture() -> None:
    built = model([COOP])
    rows = built(batch(), Plan.of(keys("image/findings_texts", "bank.names/embedding")))
    texts = rows["image"].part("findings_texts")
    assert texts.shape == (3, 4, 8)
    torch.testing.assert_close(texts[2], rows["bank.names"].part("embedding"))


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({"bank": "nams"}, r"reads the bank 'nams', which is not under banks: did you mean 'names'"),
        (
            {"labels": ["a", "b", "c", "d"], "bank": "book"},
            r"'book' of text_classifier names p, q, r, s, and the labels",
        ),
    ],
)
def test_a_classifier_of_other_texts_is_refused(head: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        classifier(**head)


def test_a_bank_of_another_number_of_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has 3 labels and the bank 'names' 4 texts: give each label one text"):
        classifier(classes=3, bank="names")


def classifier(*, classes: int = 4, **options: Any) -> TextClassifier:
    books = {"names": Bank("names", NAMES), "book": Bank("book", NAMES, names=tuple("pqrs"))}
    books["wide"] = Bank("wide", NAMES, vectors=torch.zeros(4, 5))
    given = {"texts_of": lambda *_: torch.eye(4, 8), "scale": LogitScale(), "books": books, "embed_dim": 8}
    return TextClassifier(classes=classes, **given, **options)


def test_a_projection_behind_the_towers_cannot_be_asked_inside_them() -> None:
    built = model()
    built.heads["text/raw"].stage = "batch"
    built._recipes.clear()
    with pytest.raises(ConfigError, match=r"texts of the bank 'names' are asked inside the towers"):
        logits(built)


@pytest.mark.parametrize("option", [{"specific": True}, {"position": "front"}])
def test_what_belongs_to_one_bank_is_refused_elsewhere(option: dict[str, Any]) -> None:
    built = model()
    with pytest.raises(ConfigError, match=r"belongs to the texts of one bank: give the patch view: bank\.NAME"):
        apply_patches(built, [{"name": "coop", "view": "text", **option}])


def test_words_without_a_word_are_refused() -> None:
    with pytest.raises(ConfigError, match="words of a prompt are ' ', which has no word"):
        model([{**COOP, "words": " "}])


def test_the_words_are_those_of_the_tokenizer() -> None:
    assert WORDS(HAND[:1]).ids[0, 0] == WORDS.start_id
