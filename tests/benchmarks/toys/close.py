"""A writer that saw embeddings of texts alone, asked about those of pictures."""

from __future__ import annotations

import torch

from medvlp.models.heads.limber import Limber
from medvlp.objectives.close import Close
from tests.benchmarks.toys._reports import CODE, WORDS, cohort, controls, f1, train, written

CLAIM = (
    "Learned from embeddings of texts with noise, without a picture, reports of pictures beat the best constant one."
)
BETTER, WORSE = "noise", "constant"


def toy(seed: int) -> dict[str, float]:
    """Return micro F1 of findings of unseen pictures, with noise, without, and of the controls."""
    known, validation, test = (cohort(count, 3 * seed + i, world=seed) for i, count in enumerate((600, 100, 200)))
    cosine = float((known.image * known.text).sum(dim=1).mean())
    std = ((1 / cosine**2 - 1) / CODE) ** 0.5
    scores = controls(known, validation, test, lambda some: some.image)
    for name, each in (("noise", std), ("none", 0.0)):
        torch.manual_seed(seed)
        gpt2 = {"model_type": "gpt2", "n_embd": 48, "n_layer": 1, "n_head": 4, "n_positions": 48}
        head = Limber(memory_width=CODE, vocab_size=WORDS.vocab_size, config=gpt2, prompt="vector", length=4)
        train(Close(std=each), {"captioner": head}, known, steps=300, seed=seed)
        scores[name] = f1(test.texts, written(head, test.image[:, None]))
    return {**scores, "std": std, "cosine": cosine}
