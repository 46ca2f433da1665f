"""Pictures of a few findings on two sides, the reports that state or deny each, and what written reports are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Objective, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.sample import Column
from medvlp.evaluation.report_text import evaluate_reports
from medvlp.models.heads._speaker import Speaker
from medvlp.text.wordpiece import WordPieceTokenizer, train_wordpiece

FINDINGS = ("effusion", "pneumothorax", "consolidation", "nodule", "atelectasis", "rib fracture")
CODE, TOKENS = 24, 8
REPORTS = [f"{word} {finding}." for word in ("left", "right", "no") for finding in FINDINGS] * 2
WORDS: WordPieceTokenizer = train_wordpiece(REPORTS, vocab_size=120, max_length=40)


@dataclass(frozen=True)
class Cohort:
    """Samples with their reports.

    Attributes:
        tokens: (N, TOKENS, CODE) of pictures, the code of each finding and side at a place of its own.
        texts: reports.
        image: (N, CODE) unit vectors of pictures in a shared space.
        text: (N, CODE) of their reports there.
    """

    tokens: Tensor
    texts: tuple[str, ...]
    image: Tensor
    text: Tensor


def cohort(count: int, seed: int, *, world: int = 0, noise: float = 0.7, gap: float = 0.5) -> Cohort:
    """Draw a cohort; those of one world have the same codes."""
    fixed, draw = torch.Generator().manual_seed(world), torch.Generator().manual_seed(1000 + seed)
    codes = torch.randn(len(FINDINGS), 2, CODE, generator=fixed)
    apart = gap * unit(torch.randn(2, CODE, generator=fixed)) * CODE**0.5
    states = torch.multinomial(torch.tensor([0.15, 0.15, 0.7]), count * len(FINDINGS), True, generator=draw)
    states = states.view(count, len(FINDINGS))  # left, right, absent
    shown = torch.where((states < 2)[:, :, None], codes[torch.arange(len(FINDINGS)), states.clamp(max=1)], 0.0)
    tokens = noise * torch.randn(count, TOKENS, CODE, generator=draw)
    places = torch.rand(count, TOKENS, generator=draw).argsort(dim=1)[:, : len(FINDINGS)]
    tokens.scatter_add_(1, places[:, :, None].expand(-1, -1, CODE), shown)
    words = ("left", "right", "no")
    texts = tuple(
        " ".join(f"{words[s]} {finding}." for s, finding in zip(row, FINDINGS, strict=True)) for row in states.tolist()
    )
    whole = shown.sum(dim=1)
    image = unit(whole + apart[0] + noise * torch.randn(count, CODE, generator=draw))
    text = unit(whole + apart[1] + 0.1 * torch.randn(count, CODE, generator=draw))
    return Cohort(tokens, texts, image, text)


def context(some: Cohort, rows: Tensor, heads: Mapping[str, nn.Module], *, step: int) -> Context:
    """Return a step's context with the tokens, vectors and words of some samples."""
    words = WORDS([some.texts[i] for i in rows.tolist()])
    owner = torch.arange(len(rows))
    parts = {"image/tokens": some.tokens[rows], "image/embedding": some.image[rows], "text/embedding": some.text[rows]}
    parts |= {"text/ids": words.ids, "text/mask": words.mask}
    made = {parse_key(key): Part(values, owner) for key, values in parts.items()}
    batch = Batch(tuple(map(str, rows.tolist())), owner + step * len(rows), {"text": Column(("",) * len(rows), owner)})
    return Context(parts=made, batch=batch, heads=heads, chunk=True, samples_seen=step * len(rows))


def train(
    objective: Objective, heads: Mapping[str, nn.Module], some: Cohort, *, steps: int, seed: int, rate: float = 3e-3
) -> None:
    """Train heads by an objective, in place."""
    learned = [p for head in heads.values() for p in head.parameters() if p.requires_grad]
    optimiser, draw = torch.optim.AdamW(learned, lr=rate), torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randperm(len(some.texts), generator=draw)[:48]
        loss = sum(term.value() for term in objective(context(some, rows, heads, step=step)).values())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()


def written(head: Speaker, memory: Tensor) -> list[str]:
    """Return what a head writes greedily."""
    ids = head.write(memory, None, start=WORDS.start_id, stop=WORDS.stop_id, longest=38)
    return [WORDS.decode([i for i in row if i != WORDS.stop_id]) for row in ids.tolist()]


def f1(references: Sequence[str], texts: Sequence[str]) -> float:
    """Return the micro F1 of findings, both read by rules."""
    found = evaluate_reports(references, texts, [str(i) for i in range(len(texts))], seed=0, resamples=0)
    return float(found.find("f1", "micro").value or 0.0)


def wrong_sides(references: Sequence[str], texts: Sequence[str]) -> float:
    """Return the share of wrong sides among findings that both reports place on one."""
    found = evaluate_reports(references, texts, [str(i) for i in range(len(texts))], seed=0, resamples=0)
    return float(found.find("side_error", "reports").value or 0.0)


def controls(known: Cohort, validation: Cohort, test: Cohort, features: Callable[[Cohort], Tensor]) -> dict[str, float]:
    """Return F1 of the training report that fits the validation reports best, and of the nearest picture's."""
    distinct = list(dict.fromkeys(known.texts))[:60]
    best = max(distinct, key=lambda text: f1(validation.texts[:60], [text] * 60))
    near = (unit(features(test)) @ unit(features(known)).T).argmax(dim=1)
    return {
        "constant": f1(test.texts, [best] * len(test.texts)),
        "nearest": f1(test.texts, [known.texts[i] for i in near.tolist()]),
    }


def floor(scores: Mapping[str, float], names: Sequence[str]) -> float:
    """Return the largest of some scores: what must be beaten."""
    return float(np.max([scores[name] for name in names]))
