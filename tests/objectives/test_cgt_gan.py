"""CgT-GAN: the reward, what self-critical sampling sends back, and whose gradient is whose."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.critic import Critic
from medvlp.models.heads.generator import Generator
from medvlp.objectives._rewards import clip_agg, whole_texts
from medvlp.objectives.cgt_gan import CgtGan
from tests.models.words import HashWords, SpokenWords

V, D = 7, 6


def rows(count: int, seed: int) -> Tensor:
    return unit(torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


class Clip:
    """A frozen model that embeds a text as the mean of its words' vectors."""

    def __init__(self, tokenizer: Any = None) -> None:
        self.model = type("Model", (), {"tokenizer": tokenizer or SpokenWords(vocab_size=V)})()
        self.word = rows(V, 9)

    def encode(self, batch: Batch, plan: Any) -> dict[str, Encoded]:
        tokens = batch["text"].tokens[self.model.tokenizer.identity]
        real = torch.ones_like(tokens.ids) if tokens.mask is None else tokens.mask
        vectors = [self.word[ids[keep.bool()]].mean(dim=0) for ids, keep in zip(tokens.ids, real, strict=True)]
        return {"text": Encoded(owner=batch["text"].owner, extra={"raw": torch.stack(vectors)})}


def context(clip: Clip | None = None, *, seen: int = 0, hot: float = 1.0) -> Context:
    torch.manual_seed(3)
    writer = Generator(
        memory_width=D, vocab_size=V, reads="embedding", width=8, layers=1, heads=2, max_length=8
    ).double()
    critic = Critic(vocab_size=V, width=8, heads=2, max_length=8).double()
    with torch.no_grad():
        writer.word.weight.mul_(20.0 * hot)
    ids = torch.tensor([[1, 3, 4, 2, 0], [1, 5, 2, 0, 0], [1, 6, 3, 5, 2]])
    parts: dict[str, Tensor] = {"image/embedding": rows(3, 1).requires_grad_(), "clip:image/embedding": rows(3, 2)}
    parts |= {"text/ids": ids, "text/mask": ids > 0}
    made = {parse_key(key): Part(values, torch.arange(3)) for key, values in parts.items()}
    made[parse_key("clip:bank.corpus/embedding")] = Part(rows(4, 5), torch.full((4,), -1))
    batch = Batch.of({"text": ["a", "b", "c"]})
    heads = {"captioner": writer, "critic": critic}
    return Context(parts=made, batch=batch, heads=heads, states={"clip": clip or Clip()}, samples_seen=seen)


def test_the_critic_reads_the_mean_of_the_states_of_real_words_in_their_places() -> None:
    torch.manual_seed(0)
    critic = Critic(vocab_size=9, width=8, heads=2).double()
    ids, mask = torch.randint(9, (3, 5)), torch.arange(5) < torch.tensor([[5], [3], [1]])
    found = critic.logits(ids, mask)
    for row, length in enumerate((5, 3, 1)):
        words = critic.word(ids[row, :length]) + critic.position[:length]
        states = critic.trunk(words[None], None, layers=False, attention=False).tokens[0]
        torch.testing.assert_close(found[row], critic.output(sum(states) / length)[0])
    with pytest.raises(ConfigError, match="reads 512 words, not 513: raise its max_length"):
        critic.logits(torch.zeros(1, 513, dtype=torch.int64), torch.ones(1, 513, dtype=torch.bool))
    assert critic.logits(ids[:0], mask[:0]).shape == (0,)
    assert critic.logits(ids[:1], mask[:1] & False).isfinite().all()


def test_the_reward_between_the_mean_of_the_corpus_and_the_nearest_text() -> None:
    """Checks of the card: t = 0 compares with the corpus' mean, t without bound with the text nearest to the image."""
    v, corpus, written = rows(5, 1), rows(8, 2), rows(5, 3)
    for t, of_corpus in ((0.0, corpus.mean(dim=0).expand(5, -1)), (1e7, corpus[(v @ corpus.T).argmax(dim=1)])):
        expected = 50 * F.cosine_similarity(of_corpus, written) + 50 * (1 - (of_corpus - written).abs().mean(dim=1))
        got = clip_agg(v, corpus, written, sharpness=t, scale=100.0)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    for r in range(5):  # between them, written out
        weights = [math.exp(100 * float(v[r] @ c)) for c in corpus]
        e = sum(w / sum(weights) * c for w, c in zip(weights, corpus, strict=True))
        cosine = float(e @ written[r]) / float(e.norm())
        expected = 0.5 * 100 * cosine + 0.5 * 100 * (1 - float((e - written[r]).abs().mean()))
        got = clip_agg(v[r : r + 1], corpus, written[r : r + 1], sharpness=100.0, scale=100.0)
        assert got.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("corpus", ["corpus", None])
def test_the_terms_are_those_of_a_loop_over_images_and_draws(corpus: str | None) -> None:
    clip, options = Clip(), {"samples": 3, "longest": 4, "reward_weight": 0.3, "scale": 7.0, "sharpness": 5.0}
    ctx = context(clip)
    terms = CgtGan(corpus=corpus, **options)(ctx)
    writer: Any = ctx.heads["captioner"]
    critic: Any = ctx.heads["critic"]
    draws, v = ctx.uniform(3, 4, name="cgt_gan"), ctx["image/embedding"].detach()

    def reward(image: int, ids: list[int]) -> float:
        c = unit(clip.word[ids].mean(dim=0)[None])
        seen = ctx["clip:image/embedding"][image : image + 1]
        if corpus is None:
            return 7.0 * float(seen[0] @ c[0])
        return float(clip_agg(seen, rows(4, 5), c, sharpness=5.0, scale=7.0))

    def told(ids: list[int]) -> float:
        return critic.logits(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)).item()

    def write(image: int, draw: Tensor | None) -> tuple[list[int], float]:
        ids, log = [1], 0.0
        for at in range(4):
            logits = writer.forward_logits(v[image][None, None], None, torch.tensor([ids]))[0, -1].detach()
            shares = logits.softmax(dim=0)
            word = int(logits.argmax())
            if draw is not None:
                order = sorted(range(V), key=lambda n: (-float(shares[n]), n))
                below = torch.cumsum(shares[order], dim=0)
                word = order[int((below <= float(draw[at]) * float(below[-1])).sum())]
            ids.append(word)
            log += math.log(float(shares[word]))
            if word == 2:
                break
        return ids, log

    sums = dict.fromkeys(("reward", "style", "fake"), 0.0)
    for image in range(3):
        base, _ = write(image, None)
        for n in range(3):
            ids, log = write(image, draws[image, n])
            sums["reward"] -= 0.3 * log * (reward(image, ids) - reward(image, base))
            sums["style"] -= 0.7 * log * (told(ids) - told(base))
            sums["fake"] += math.log1p(math.exp(told(ids)))
    for name, total in sums.items():
        assert terms[name].sum.item() == pytest.approx(total, rel=1e-6, abs=1e-9), name
        assert terms[name].count.item() == 9
    real = [told(ids) for ids in ([1, 3, 4, 2], [1, 5, 2], [1, 6, 3, 5, 2])]
    assert terms["real"].sum.item() == pytest.approx(sum(math.log1p(math.exp(-each)) for each in real), rel=1e-9)


def test_each_gradient_reaches_its_own_head_alone() -> None:
    """So one optimiser with a rate for each head does what two optimisers do."""
    ctx = context()
    terms = CgtGan(samples=4, longest=5, reward_weight=0.5)(ctx)
    writer, critic = (list(ctx.heads[name].parameters()) for name in ("captioner", "critic"))

    def moved(term: Any, parameters: list[Any]) -> float:
        found = torch.autograd.grad(term.sum, parameters, retain_graph=True, allow_unused=True)
        return sum(float(each.abs().sum()) for each in found if each is not None)

    for name in ("reward", "style"):
        assert moved(terms[name], writer) > 0
        assert moved(terms[name], critic) == 0
    for name in ("real", "fake"):
        assert moved(terms[name], critic) > 0
        assert moved(terms[name], writer) == 0


def test_draws_that_are_what_is_written_greedily_teach_nothing() -> None:
    """Check of the card: a writer that is certain draws its greedy text, and the difference of rewards is zero."""
    ctx = context(hot=1e4)
    terms = CgtGan(samples=4, longest=5, reward_weight=0.5)(ctx)
    (terms["reward"].sum + terms["style"].sum).backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in ctx.heads["captioner"].parameters())
    assert ctx["image/embedding"].grad.abs().max() == 0


def test_the_reward_waits_for_its_weight() -> None:
    early, late = (CgtGan(samples=2, longest=4)(context(seen=seen)) for seen in (0, 10**9))
    assert early["reward"].sum.item() == 0
    assert late["reward"].sum.item() != 0
    assert late["style"].sum.item() == pytest.approx(0.5 * early["style"].sum.item(), rel=1e-12)


def test_without_texts_the_critic_learns_nothing_real_and_all_else_goes_on() -> None:
    whole, objective = context(), CgtGan(samples=2, longest=4, reward_weight=0.5)
    parts = {
        key: part if key.view != "text" else Part(part.values[:0], part.owner[:0]) for key, part in whole.parts.items()
    }
    batch = Batch(whole.batch.ids, whole.batch.positions, {})
    lacking = Context(parts=parts, batch=batch, heads=whole.heads, states=whole.state)
    expected, got = objective(whole), objective(lacking)
    assert (got["real"].value().item(), got["real"].count.item()) == (0, 0)
    for name in ("reward", "style", "fake"):
        torch.testing.assert_close(got[name].sum, expected[name].sum, rtol=1e-12, atol=0)
        assert got[name].count == expected[name].count


def test_what_ends_is_real_up_to_its_first_end_and_other_tokenizers_are_refused() -> None:
    ids, mask = whole_texts(torch.tensor([[4, 2, 2], [4, 5, 6]]), start=1, stop=2)
    assert ids.tolist() == [[1, 4, 2, 2], [1, 4, 5, 6]]
    assert mask.tolist() == [[True, True, True, False], [True] * 4]
    with pytest.raises(ConfigError, match="its tokenizer is another, or has no first and last token"):
        CgtGan()(context(Clip(HashWords())))
