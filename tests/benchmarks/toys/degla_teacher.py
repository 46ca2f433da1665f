"""The world of `degla`: what is left, after fine-tuning on some things, of what was known of the others."""

from __future__ import annotations

from tests.benchmarks.toys.degla import run

CLAIM = "Self-distillation from an average of the model keeps more of the zero-shot accuracy on what is not fine-tuned."
BETTER, WORSE = "degla", "degla without teacher"


def toy(seed: int) -> dict[str, float]:
    return {name: zero_shot for name, (_, zero_shot) in run(seed).items()}
