"""SyCoCa: which patches are hidden, what is read of them, and what reduces to CoCa."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import Plan, keys, parse_key
from medvlp.models.heads.generator import Generator
from medvlp.models.heads.patch_filler import PatchFiller
from medvlp.objectives.caption import Caption
from medvlp.objectives.sycoca import Sycoca, patches_of
from medvlp.state.attentive_mask import AttentiveMask
from tests.models.words import DUAL, VIT, dual, images

V, W = 9, 8
TEXTS = ("no effusion", "large left effusion", "nodule")


class Tower(torch.nn.Module):
    """What the head asks of a text tower."""

    token_width = 6


def context(*, seed: int = 0, change: Tensor | None = None, hidden: Tensor | None = None) -> Context:
    """Three pictures of 2 x 2 patches with a text each; the words' vectors may be others."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.tensor([[1, 3, 4, 2], [1, 5, 2, 0], [1, 6, 3, 2]])
    words = torch.randn(3, 4, 6, generator=draw, dtype=torch.float64)
    tokens, masked = (torch.randn(3, 4, W, generator=draw, dtype=torch.float64) for _ in range(2))
    pixels = torch.rand(3, 1, 8, 8, generator=draw, dtype=torch.float64)
    relevance = torch.rand(3, 4, generator=draw, dtype=torch.float64)
    hidden = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]]) if hidden is None else hidden
    torch.manual_seed(7)
    writer = Generator(memory_width=W, vocab_size=V, width=8, layers=1, heads=2, max_length=8).double()
    filler = PatchFiller(token_width=W, text=Tower(), side=2, layers=1, heads=2).double()  # type: ignore[arg-type]
    parts = {"image/tokens": tokens, "image.masked/tokens": masked, "text/ids": ids, "text/mask": ids > 0}
    parts["text/tokens"] = words if change is None else words[change]
    owner = torch.arange(3)
    columns = {"image": Column(pixels, owner), "vector.relevance": Column(relevance, owner)}
    columns |= {"vector.hidden": Column(hidden.double(), owner), "text": Column(TEXTS, owner)}
    made = {parse_key(k): Part(v, owner, (2, 2) if k.startswith("image") else None) for k, v in parts.items()}
    batch = Batch(tuple("abc"), owner, columns)
    return Context(parts=made, batch=batch, heads={"captioner": writer, "patch_filler": filler}, chunk=True)


def test_with_all_patches_and_none_hidden_it_is_the_caption_exactly() -> None:
    """Check of the card: third weight 0 and ratio 0 give CoCa's loss."""
    ctx = context(hidden=torch.zeros(3, 4))
    terms = Sycoca(keep=1.0, patch_weight=0.0, side=2)(ctx)
    plain = Caption()(ctx)["next_token"]
    assert torch.equal(terms["next_token"].sum, plain.sum)
    assert (terms["patches"].sum.item(), terms["patches"].count.item()) == (0.0, 0.0)


def test_words_are_written_from_the_most_relevant_patches() -> None:
    ctx = context()
    got = Sycoca(keep=0.5, side=2)(ctx)["next_token"].sum
    keep = ctx["vector.relevance"].topk(2, dim=1).indices
    parts = {
        **ctx.parts,
        parse_key("image/tokens"): Part(ctx["image/tokens"][torch.arange(3)[:, None], keep], torch.arange(3)),
    }
    some = Context(parts=parts, batch=ctx.batch, heads=ctx.heads, chunk=True)
    torch.testing.assert_close(got, Caption()(some)["next_token"].sum)


def test_pixels_of_hidden_patches_count_and_those_of_visible_ones_do_not() -> None:
    ctx = context()
    term = Sycoca(side=2, patch_weight=3.0)(ctx)["patches"]
    head: Any = ctx.heads["patch_filler"]
    hidden = ctx["vector.hidden"] > 0
    made = head.pixels(ctx["image.masked/tokens"], hidden, (2, 2), ctx["text/tokens"], ctx["text/mask"])
    total = 0.0
    for r, n in hidden.nonzero().tolist():
        cell = ctx["image"][r, 0, 4 * (n // 2) : 4 * (n // 2) + 4, 4 * (n % 2) : 4 * (n % 2) + 4]
        small = torch.stack([cell[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for i in (0, 1) for j in (0, 1)])
        total += 3.0 * (made[r, n] - small).square().mean().item()
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-9), 6)
    # What a hidden place held takes no part, nor do pixels that are seen.
    parts = dict(ctx.parts)
    tokens = torch.where(hidden[:, :, None], 9.0, ctx["image.masked/tokens"])
    parts[parse_key("image.masked/tokens")] = Part(tokens, torch.arange(3), (2, 2))
    cover = torch.nn.functional.interpolate(hidden.view(3, 1, 2, 2).double(), size=(8, 8)) > 0
    seen = ctx.batch.with_columns({"image": Column(torch.where(cover, ctx["image"], 5.0), torch.arange(3))})
    other = Context(parts=parts, batch=seen, heads=ctx.heads, chunk=True)
    assert torch.equal(Sycoca(side=2, patch_weight=3.0)(other)["patches"].sum, term.sum)


def test_words_of_another_text_draw_worse() -> None:
    """Check of the card: where words alone tell pictures apart, texts that change places raise the loss of patches."""
    heads = context().heads
    objective, same = Sycoca(side=2), torch.randn(1, 4, W, generator=torch.Generator().manual_seed(3)).double()

    def loss(change: Tensor | None) -> Tensor:
        given = context(change=change, hidden=torch.ones(3, 4))
        parts = {**given.parts, parse_key("image.masked/tokens"): Part(same.expand(3, -1, -1), torch.arange(3), (2, 2))}
        ctx = Context(parts=parts, batch=given.batch, heads=heads, chunk=True)
        return objective(ctx)["patches"].value()

    optimiser = torch.optim.Adam(heads["patch_filler"].parameters(), lr=1e-2)
    for _ in range(250):
        optimiser.zero_grad()
        loss(None).backward()
        optimiser.step()
    own, other = (float(loss(change).detach()) for change in (None, torch.tensor([1, 2, 0])))
    assert other > 4 * own


def test_hidden_patches_are_told_apart_by_their_places_alone() -> None:
    """Sines and cosines of the row and of the column, as of masked autoencoders; a quarter of the width each."""
    torch.manual_seed(1)
    head = PatchFiller(token_width=W, text=Tower(), side=2, layers=1, heads=2).double()  # type: ignore[arg-type]
    tokens, words = torch.randn(1, 6, W, dtype=torch.float64), torch.randn(1, 4, 6, dtype=torch.float64)
    real, hidden = torch.tensor([[True, True, True, False]]), torch.tensor([[True, False, True, True, False, True]])
    torch.nn.init.normal_(head.hidden)
    found = head.pixels(tokens, hidden, (2, 3), words, real)
    states = tokens.clone()
    for n in range(6):
        angles = torch.tensor([(n // 3) / s for s in (1, 100)] + [(n % 3) / s for s in (1, 100)], dtype=torch.float64)
        content = head.hidden if hidden[0, n] else tokens[0, n]
        states[0, n] = (content + torch.cat([angles.sin(), angles.cos()])).detach()
    (block,) = head.blocks
    expected = head.output(head.norm(block(states, head.norm_words(words), real)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_patches_are_rows_of_the_grid() -> None:
    pixels = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    got = patches_of(pixels, (3, 2), 2)
    for r in range(2):
        for n in range(6):
            cell = pixels[r, :, 2 * (n // 2) : 2 * (n // 2) + 2, 4 * (n % 2) : 4 * (n % 2) + 4].mean(dim=0)
            torch.testing.assert_close(got[r, n].view(2, 2), cell.view(2, 2, 2).mean(dim=2))


def model() -> Any:
    return dual({**DUAL, "vision": {**VIT, "image_size": 32}}, seed=3)


def batch(texts: tuple[str, ...] = TEXTS) -> Batch:
    return Batch.of({"image": images(3, 32), "text": list(texts)})


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5])
def test_the_patches_most_like_the_text_are_hidden_behind_the_mean(ratio: float) -> None:
    made = model().train()
    got = AttentiveMask(ratio=ratio, model=made).extend(batch())
    assert made.training
    plan = Plan.of(keys("image/tokens", "text/embedding"))
    with torch.no_grad():
        rows = made.eval()(batch(), plan)
        tokens = unit(made.heads["image/raw"].output(rows["image"].tokens))
        text = unit(rows["text"].extra["raw"])
    for r in range(3):
        cosines = [float(token @ text[r]) for token in tokens[r]]
        torch.testing.assert_close(got["vector.relevance"].values[r], torch.tensor(cosines), rtol=1e-4, atol=1e-5)
        chosen = sorted(range(4), key=lambda n: -cosines[n])[: round(4 * ratio)]
        assert got["vector.hidden"].values[r].tolist() == [float(n in chosen) for n in range(4)]
        picture, holes = batch()["image"].values[r, 0], got["image.masked"].values[r, 0]
        for n in range(4):
            at = slice(16 * (n // 2), 16 * (n // 2) + 16), slice(16 * (n % 2), 16 * (n % 2) + 16)
            expected = picture.mean().expand(16, 16) if n in chosen else picture[at]
            torch.testing.assert_close(holes[at], expected)


def test_a_picture_without_a_text_keeps_its_patches_and_chance_is_of_the_sample() -> None:
    made = model()
    some = batch().with_columns({"text": Column(TEXTS[:2], torch.tensor([0, 2]))})
    assert AttentiveMask(model=made).extend(some)["vector.hidden"].values.sum(dim=1).tolist() == [2, 0, 2]
    by_chance = AttentiveMask(by="chance", model=made)
    whole = by_chance.extend(batch())["vector.hidden"].values
    assert torch.equal(by_chance.extend(batch().take(1, 3))["vector.hidden"].values, whole[1:])
    nothing = Batch.of({"text": ["a"]})
    assert AttentiveMask(model=made).extend(nothing) is nothing
