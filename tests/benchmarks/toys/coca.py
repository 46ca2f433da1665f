"""Reports by a writer on a picture's tokens, beside the best constant report and the nearest training picture's."""

from __future__ import annotations

import torch

from medvlp.models.heads.generator import Generator
from medvlp.objectives.caption import Caption
from tests.benchmarks.toys._reports import CODE, WORDS, cohort, controls, f1, floor, train, written, wrong_sides

CLAIM = "Reports written from tokens beat the best constant report and the nearest training picture's (F1 of findings)."
BETTER, WORSE = "written", "best of constant and nearest"


def toy(seed: int) -> dict[str, float]:
    """Return micro F1 of findings on unseen pictures, and the share of wrong sides of what was written."""
    known, validation, test = (cohort(count, 3 * seed + i, world=seed) for i, count in enumerate((600, 100, 200)))
    torch.manual_seed(seed)
    head = Generator(memory_width=CODE, vocab_size=WORDS.vocab_size, width=64, layers=1, heads=4, max_length=48)
    train(Caption(), {"captioner": head}, known, steps=400, seed=seed)
    texts = written(head, test.tokens)
    scores = {"written": f1(test.texts, texts), "wrong sides": wrong_sides(test.texts, texts)}
    scores |= controls(known, validation, test, lambda some: some.tokens.mean(dim=1))
    return {**scores, WORSE: floor(scores, ("constant", "nearest"))}
