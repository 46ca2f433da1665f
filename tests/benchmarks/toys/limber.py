"""A frozen language model of reports behind a linear map of features that were trained, and of ones that were not."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from medvlp.models.heads.limber import Limber
from medvlp.objectives.caption import Caption
from medvlp.objectives.close import Close
from tests.benchmarks.toys._reports import CODE, FINDINGS, WORDS, Cohort, cohort, f1, train, written

CLAIM = "Through one linear map a frozen language model writes better reports of trained features than of random ones."
BETTER, WORSE = "trained", "random"
GPT2 = {"model_type": "gpt2", "n_embd": 48, "n_layer": 1, "n_head": 4, "n_positions": 64}


def toy(seed: int) -> dict[str, float]:
    """Return micro F1 of findings of unseen pictures, by features of an encoder trained on findings, and of one not."""
    known, test = (cohort(count, 2 * seed + i, world=seed) for i, count in enumerate((600, 200)))
    language = _language(known, seed)
    scores = {}
    for name, steps in (("trained", 300), ("random", 0)):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(CODE, 96), nn.ReLU(), nn.Linear(96, CODE))
        _classify(encoder, known, steps, seed)
        seen = [replace(each, tokens=encoder(each.tokens).detach()) for each in (known, test)]
        head = Limber(memory_width=CODE, vocab_size=WORDS.vocab_size, config=GPT2)
        head.language.load_state_dict(language)
        head.language.requires_grad_(False)
        train(Caption(decoder={"name": "limber"}), {"captioner": head}, seen[0], steps=300, seed=seed, rate=1e-2)
        scores[name] = f1(test.texts, written(head, seen[1].tokens))
    return scores


def _language(known: Cohort, seed: int) -> dict[str, Tensor]:
    """Train a language model on the reports alone, after prompts that say what each is of."""
    torch.manual_seed(seed)
    head = Limber(memory_width=CODE, vocab_size=WORDS.vocab_size, config=GPT2, prompt="vector", length=8)
    train(Close(std=0.1), {"captioner": head}, known, steps=400, seed=seed)
    return head.language.state_dict()


def _classify(encoder: nn.Module, known: Cohort, steps: int, seed: int) -> None:
    """Train an encoder of tokens to tell which finding is on which side somewhere in the picture."""
    names = [f"{side} {finding}." for side in ("left", "right") for finding in FINDINGS]
    truth = torch.tensor([[float(name in text) for name in names] for text in known.texts])
    last = nn.Linear(CODE, len(names))
    optimiser = torch.optim.AdamW([*encoder.parameters(), *last.parameters()], lr=3e-3)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randperm(len(truth), generator=draw)[:64]
        logits = last(encoder(known.tokens[rows])).amax(dim=1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
