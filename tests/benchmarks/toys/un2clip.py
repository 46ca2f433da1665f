"""un2CLIP (Li et al. 2025): what a frozen denoiser asks a trained tower to tell it."""

from __future__ import annotations

from tests.benchmarks.toys._blind import DENOISER, IMAGE, Blind, scores

CLAIM = (
    "After un2CLIP's second phase a trained tower tells glyphs apart that differ in what no caption names, better "
    "than before."
)
BETTER, WORSE = "after", "before"


def toy(seed: int) -> dict[str, float]:
    """Return the share of blind pairs told apart and zero-shot accuracy, before and after, and the mean cosine."""
    before = Blind.trained(seed)
    after, denoise = before.copied(), {"name": "denoise", "denoiser": DENOISER}
    first = after.train(denoise, ["model.heads.denoiser.*"], steps=250, rate=2e-3, first=10_000)
    then = after.train(denoise, IMAGE, steps=150, rate=5e-4, first=20_000)
    return {**scores(after, before), "loss_first": first, "loss_then": then}
