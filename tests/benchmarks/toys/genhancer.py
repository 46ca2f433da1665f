"""GenHancer (Ma et al. 2025): low-rank updates learn what a denoiser of a flow asks for that hears one vector alone."""

from __future__ import annotations

from tests.benchmarks.toys._blind import DENOISER, Blind, scores

CLAIM = (
    "After GenHancer's second phase a trained tower with low-rank updates tells glyphs apart that differ in what no "
    "caption names, better than before."
)
BETTER, WORSE = "after", "before"
LORA = [{"name": "lora", "on": "linear[*]", "rank": 16, "alpha": 16.0}]


def toy(seed: int) -> dict[str, float]:
    """Return scores before and after; and after with local tokens in the condition, with both drawing errors."""
    before = Blind.trained(seed)
    found = {}
    for name, local in (("local", 0.3), ("", 0.0)):
        after, denoiser = before.copied(), {**DENOISER, "adapters": True}
        flow = {"parametrisation": "flow", "times": "logit_normal", "local": local, "denoiser": denoiser}
        denoise = {"name": "denoise", **flow}
        after.train(denoise, ["model.heads.denoiser.*"], steps=500, rate=2e-3, first=10_000)
        found[f"drawing_{name or 'global'}"] = after.drawing(denoise)
        after.train(denoise, ["model.patches.*"], steps=250, rate=2e-3, first=20_000, patches=LORA)
        found |= scores(after, before) if not name else {"after_local": after.pairs()}
    return found
