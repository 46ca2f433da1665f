"""DIVA (Wang et al. 2024): what a frozen denoiser asks of a tower that tells it some of its tokens too."""

from __future__ import annotations

from tests.benchmarks.toys._blind import DENOISER, IMAGE, Blind, scores

CLAIM = (
    "After DIVA's second phase a trained tower tells glyphs apart that differ in what no caption names, better than "
    "before."
)
BETTER, WORSE = "after", "before"


def toy(seed: int) -> dict[str, float]:
    """Return scores before and after, and the drawing error with the picture's own and with another's condition."""
    before = Blind.trained(seed)
    options = {"local": 0.3, "draws": 2, "denoiser": {**DENOISER, "slots": 1, "vector": False}}
    after, denoise = before.copied(), {"name": "denoise", **options}
    after.train(denoise, ["model.heads.denoiser.*"], steps=500, rate=2e-3, first=10_000)
    drawing = {name: after.drawing(denoise, shuffled=name == "shuffled") for name in ("own", "shuffled")}
    with_tower = [*IMAGE, "model.heads.denoiser.context.*", "model.heads.denoiser.local.*"]
    after.train(denoise, with_tower, steps=250, rate=1e-3, first=20_000)
    return {**scores(after, before), **drawing, "own_after": after.drawing(denoise)}
