"""Two words of a small grammar, a reward that hears words in no order, and a critic that hears the order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import parse_key
from medvlp.core.sample import Column
from medvlp.models.heads.critic import Critic
from medvlp.models.heads.limber import Limber
from medvlp.objectives.cgt_gan import CgtGan
from medvlp.objectives.close import Close

CLAIM = "With the critic more of what is written is grammatical than with CLIP's reward alone, at a reward as high."
BETTER, WORSE = "with critic", "reward alone"
START, STOP, FIRST, NOUN, WIDTH = 1, 2, 3, 7, 16  # four words that come first, six nouns
VOCABULARY = 13


class _Clip:
    """Embeds texts as the mean of their nouns and, less, of their other words: word order is not heard."""

    def __init__(self, seed: int) -> None:
        self.word = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(seed))
        self.word[:NOUN] *= 0.3
        self.model = type("Model", (), {"tokenizer": type("Words", (), {"start_id": 1, "stop_id": 2, "identity": "x"})})

    def of(self, ids: Tensor, mask: Tensor) -> Tensor:
        weight = (mask & (ids > STOP))[:, :, None].float()
        return unit((self.word[ids] * weight).sum(dim=1))

    def encode(self, batch: Batch, plan: Any) -> dict[str, Encoded]:
        tokens = batch["text"].tokens["x"]
        mask = torch.ones_like(tokens.ids, dtype=torch.bool) if tokens.mask is None else tokens.mask
        return {"text": Encoded(owner=batch["text"].owner, extra={"raw": self.of(tokens.ids, mask)})}


def toy(seed: int) -> dict[str, float]:
    """Return the share of grammatical texts after training by both and by the reward alone, and the mean rewards."""
    scores = {}
    for name, weight in (("with critic", 0.5), ("reward alone", 1.0)):
        clip = _Clip(seed)
        torch.manual_seed(seed)
        gpt2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 16}
        writer = Limber(memory_width=WIDTH, vocab_size=VOCABULARY, config=gpt2, prompt="vector", length=2)
        heads = {"captioner": writer, "critic": Critic(vocab_size=VOCABULARY, width=32, heads=2, max_length=8)}
        # A short start from texts alone, as in the paper; it is left before it writes well.
        _train(Close(std=0.2), heads, clip, seed, steps=40)
        _train(
            CgtGan(corpus=None, scale=10.0, reward_weight=weight, longest=4), heads, clip, seed, steps=250, rate=1e-3
        )
        scores |= {f"{name}{end}": value for end, value in _judged(heads["captioner"], clip, seed).items()}
    return scores


def _texts(count: int, draw: torch.Generator) -> Tensor:
    """Return ids of [start] word noun [stop]."""
    first = torch.randint(FIRST, NOUN, (count, 1), generator=draw)
    noun = torch.randint(NOUN, VOCABULARY, (count, 1), generator=draw)
    return torch.cat([torch.full((count, 1), START), first, noun, torch.full((count, 1), STOP)], dim=1)


def _images(count: int, clip: _Clip, draw: torch.Generator) -> Tensor:
    """Return vectors near those of texts that nobody sees."""
    ids = _texts(count, draw)
    return unit(clip.of(ids, torch.ones_like(ids, dtype=torch.bool)) + 0.1 * torch.randn(count, WIDTH, generator=draw))


def _train(objective: Any, heads: dict[str, Any], clip: _Clip, seed: int, *, steps: int, rate: float = 3e-3) -> None:
    learned = [p for head in heads.values() for p in head.parameters()]
    optimiser, draw = torch.optim.Adam(learned, lr=rate), torch.Generator().manual_seed(seed)
    for step in range(steps):
        ids, image = _texts(32, draw), _images(32, clip, draw)
        real = torch.ones_like(ids, dtype=torch.bool)
        parts = {"image/embedding": image, "clip:image/embedding": image, "text/embedding": clip.of(ids, real)}
        parts |= {"text/ids": ids, "text/mask": real}
        owner = torch.arange(32)
        made = {parse_key(key): Part(values, owner) for key, values in parts.items()}
        batch = Batch(tuple(map(str, range(32))), owner + 32 * step, {"text": Column(("",) * 32, owner)})
        ctx = Context(parts=made, batch=batch, heads=heads, states={"clip": clip}, samples_seen=32 * step)
        loss = sum(term.value() for term in objective(ctx).values())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()


@torch.no_grad()
def _judged(writer: Any, clip: _Clip, seed: int) -> dict[str, float]:
    image = _images(300, clip, torch.Generator().manual_seed(seed + 100))
    ids = writer.write(image[:, None], None, start=START, stop=STOP, longest=4)
    ends = ids[:, 2:3] == STOP if ids.shape[1] > 2 else torch.zeros(300, 1, dtype=torch.bool)
    right = (ids[:, 0] >= FIRST) & (ids[:, 0] < NOUN) & (ids[:, 1] >= NOUN) & ends[:, 0]
    mask = (ids == STOP).int().cumsum(dim=1) == 0
    return {"": float(right.float().mean()), ", reward": float((clip.of(ids, mask) * image).sum(dim=1).mean())}
