"""un2CLIP (Li et al. 2025): what a frozen denoiser asks a trained tower to tell it."""

from __future__ import annotations

from tests.benchmarks.toys._blind import DENOISER, IMAGE, Blind, scores

CLAIM = (
    "After un2CLIP's second phase a trained tower tells glyphs apart that differ in what no caption names, better "
    "than before."
)
BETTER, WORSE = "after", "before"


def toy(seed: int) -> dict[str, float]:
    """Return scores before and after, and the denoising error with the picture's own and with another's condition."""
    before = Blind.trained(seed)
    after, denoise = before.copied(), {"name": "denoise", "denoiser": DENOISER}
    after.train(denoise, ["model.heads.denoiser.*"], steps=500, rate=2e-3, first=10_000)
    drawing = {name: after.drawing(denoise, shuffled=name == "shuffled") for name in ("own", "shuffled")}
    after.train(denoise, IMAGE, steps=250, rate=1e-3, first=20_000)
    return {**scores(after, before), **drawing, "own_after": after.drawing(denoise)}
