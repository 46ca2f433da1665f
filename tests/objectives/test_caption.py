from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.objectives.caption import Caption
from medvlp.objectives.classify import Classify

WORDS, WIDTH = 6, 3


class Decoder(nn.Module):
    """Logits from the last word and the mean of the image's real tokens: causal, and easy to write out by hand."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.after = nn.Parameter(torch.randn(WORDS, WORDS, generator=generator, dtype=torch.float64))
        self.seen = nn.Parameter(torch.randn(WIDTH, WORDS, generator=generator, dtype=torch.float64))

    def forward_logits(
        self, tokens: Tensor, mask: Tensor | None, ids: Tensor, findings: Tensor | None = None
    ) -> Tensor:
        weight = torch.ones(tokens.shape[:2], dtype=torch.float64) if mask is None else mask.double()
        image = (tokens * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)
        return self.after[ids] + (image @ self.seen)[:, None]


def context(view: str = "image", *, pad: int = 0, image_owner=(0, 1, 1, 3), text_owner=(0, 0, 1, 2), samples: int = 4):
    """Sample 0 has two texts, 1 two images, 2 no image, 3 no text."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, WORDS, (len(text_owner), 5), generator=generator)
    mask = torch.arange(5)[None] < torch.tensor([5, 2, 1, 4])[: len(text_owner), None]
    ids, mask = (torch.cat([t, t.new_zeros(len(text_owner), pad)], 1) for t in (ids * mask, mask))
    tokens = torch.randn(len(image_owner), 4, WIDTH, generator=generator, dtype=torch.float64)
    real = torch.arange(4)[None] < torch.tensor([4, 1, 2, 3])[: len(image_owner), None]
    images, texts = torch.tensor(image_owner), torch.tensor(text_owner)
    parts = {
        f"{view}/tokens": Part(tokens, images),
        f"{view}/mask": Part(real, images),
        "text/ids": Part(ids, texts),
        "text/mask": Part(mask, texts),
    }
    batch = Batch(
        tuple(map(str, range(samples))), torch.arange(samples), {"text": Column(("",) * len(text_owner), texts)}
    )
    parts = {parse_key(key): part for key, part in parts.items()}
    return Context(parts=parts, batch=batch, heads={"captioner": Decoder()}, chunk=True)


@pytest.mark.parametrize("view", ["image", "stack"])
def test_each_word_after_the_first_is_predicted_from_the_words_before_it(view):
    ctx = context(view)
    term = Caption(image=view)(ctx)["next_token"]
    decoder, total, count = ctx.heads["captioner"], 0.0, 0
    for text, image in ((0, 0), (1, 0), (2, 1)):  # the text of sample 2 has no image; sample 1 is read from its first
        tokens = ctx[f"{view}/tokens"][image]
        tokens = tokens if view == "image" else tokens[ctx["stack/mask"][image]]
        words = ctx["text/ids"][text][ctx["text/mask"][text]].tolist()
        for last, word in itertools.pairwise(words):
            logits = (decoder.after[last] + tokens.mean(0) @ decoder.seen).tolist()
            total += math.log(sum(map(math.exp, logits))) - logits[word]
            count += 1
    assert term.sum.item() == pytest.approx(total, rel=1e-12)
    assert term.count.item() == count == 5  # four words after the first, one, none


def test_padding_changes_nothing():
    plain, padded = (Caption()(context(pad=pad))["next_token"] for pad in (0, 7))
    assert plain.sum.item() == pytest.approx(padded.sum.item(), rel=1e-14)
    assert plain.count == padded.count


def test_chunks_add_up_to_the_whole():
    whole = Caption()(context())["next_token"]
    ctx = context()
    parts = []
    for start, stop in ((0, 1), (1, 4)):
        some = {}
        for key, part in ctx.parts.items():
            here = (part.owner >= start) & (part.owner < stop)
            some[key] = Part(part.values[here], part.owner[here] - start)
        parts.append(
            Caption()(Context(parts=some, batch=ctx.batch.take(start, stop), heads=ctx.heads, chunk=True))["next_token"]
        )
    total = parts[0] + parts[1]
    torch.testing.assert_close(total.sum, whole.sum, rtol=1e-13, atol=1e-13)
    assert total.count == whole.count


@pytest.mark.parametrize(
    "owners", [{"image_owner": ()}, {"text_owner": ()}, {"image_owner": (2,), "text_owner": (0, 1)}]
)
def test_a_chunk_without_pairs_gives_nothing_and_still_has_a_gradient(owners):
    ctx = context(**owners)
    term = Caption()(ctx)["next_token"]
    assert (term.sum.item(), term.count.item()) == (0.0, 0.0)
    term.sum.backward()
    assert ctx.heads["captioner"].after.grad.abs().max() == 0


def test_the_decoder_that_it_declares_can_be_built_and_called():
    spec = Caption(width=8, layers=1, heads=2).heads()["captioner"]
    given = {"width": WIDTH, "vocab_size": WORDS}
    decoder = build("models/heads", {"name": spec.name, **spec.options}, where="x", given=given).double()
    ctx = context()
    term = Caption()(Context(parts=ctx.parts, batch=ctx.batch, heads={"captioner": decoder}, chunk=True))["next_token"]
    # Untrained, it is nearly uniform over the words.
    assert term.value().item() == pytest.approx(math.log(WORDS), abs=0.1)
    term.sum.backward()
    assert all(p.grad is not None for p in decoder.parameters())


def test_needs_heads_and_refusals():
    assert sorted(map(str, Caption(image="stack", text="text.findings").needs())) == [
        "stack/mask",
        "stack/tokens",
        "text.findings/ids",
        "text.findings/mask",
    ]
    spec = Caption(layers=3, heads=2).heads()["captioner"]
    assert (spec.name, spec.keep) == ("generator", True)
    with pytest.raises(ConfigError, match=r"x\.layers is 0: input should be greater than or equal to 1"):
        build("objectives", {"name": "caption", "layers": 0}, where="x")


def test_a_question_that_each_text_begins_with_is_given_and_not_predicted():
    ctx = context()
    lengths = torch.tensor([3, 2])  # with the end of the text: two tokens of sample 0's texts, one of sample 1's
    questions = Part(torch.arange(4)[None] < lengths[:, None], torch.tensor([0, 1]))
    parts = {**ctx.parts, parse_key("text.question/mask"): questions}
    asked = Context(parts=parts, batch=ctx.batch, heads=ctx.heads, chunk=True)
    objective = Caption(question="text.question")
    term = objective(asked)["next_token"]
    decoder, total, count = ctx.heads["captioner"], 0.0, 0
    for text, image, given in ((0, 0, 2), (1, 0, 2), (2, 1, 1)):
        words = ctx["text/ids"][text][ctx["text/mask"][text]].tolist()
        for place, (last, word) in enumerate(itertools.pairwise(words), start=1):
            if place >= given:
                logits = (decoder.after[last] + ctx["image/tokens"][image].mean(0) @ decoder.seen).tolist()
                total += math.log(sum(map(math.exp, logits))) - logits[word]
                count += 1
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-12), count)
    assert [answer.name for answer in objective.answers()] == ["question"]
    assert [answer.name for answer in Caption().answers()] == ["report"]


def test_the_decoder_is_told_the_labels_of_the_texts_sample_and_the_classifier_learns_beside_it():
    plain = context()
    labels = torch.tensor([1.0, 0.0, -1.0, float("nan")])
    batch = Batch(
        plain.batch.ids,
        plain.batch.positions,
        {
            **plain.batch.columns,
            "label.edema": Column(labels, torch.arange(4)),
            "label.nodule": Column(labels.flip(0), torch.arange(4)),
        },
    )
    logits = Part(torch.randn(4, 2, generator=torch.Generator().manual_seed(5)), torch.tensor([0, 1, 1, 3]))
    parts = {**plain.parts, parse_key("image/findings"): logits}
    told = []

    class Told(Decoder):
        def forward_logits(self, tokens, mask, ids, findings=None):
            told.append(findings)
            return super().forward_logits(tokens, mask, ids)

    objective = Caption(findings=["edema", "nodule"])
    terms = objective(Context(parts=parts, batch=batch, heads={"captioner": Told()}, chunk=True))
    # Two texts of sample 0 and one of sample 1, which have images; -1 is told as unknown, and so is NaN.
    assert told[0].tolist() == [[1.0, -1.0], [1.0, -1.0], [0.0, -1.0]]
    assert terms["next_token"].sum == Caption()(plain)["next_token"].sum
    alone = Classify(labels=["edema", "nodule"])(Context(parts=parts, batch=batch, chunk=True))["binary"]
    assert (terms["binary"].sum, terms["binary"].count) == (alone.sum, alone.count)
    assert {"label.edema", "label.nodule", "image/findings"} < set(map(str, objective.needs()))
    assert set(objective.heads()) == {"captioner", "findings"}
    assert [answer.name for answer in objective.answers()] == ["report", "findings"]
    with pytest.raises(ConfigError, match="tells findings to reports, not to answers"):
        Caption(findings=["edema"], question="text.question")
