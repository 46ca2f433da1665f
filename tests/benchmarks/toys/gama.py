"""GAMA: a generator fitted on one model, judged on another beside random signs of the same size."""

from __future__ import annotations

from medvlp.adaptation.attacks.gama import Gama
from medvlp.adaptation.attacks.random_signs import RandomSigns
from tests.benchmarks.toys._attacked import errors, fitted, held_out, trained

CLAIM = "On held-out pictures and another model than it was fitted on the generator misleads more than random signs."
BETTER, WORSE = "gama, another model", "random_signs, another model"
EPSILON = 12.0


def toy(seed: int) -> dict[str, float]:
    """Return the share of held-out pictures that are named wrongly."""
    model, other, seen = trained(seed), trained(seed + 100), held_out(seed)
    signs = fitted(RandomSigns(epsilon=EPSILON, seed=seed), model, seed)(seen)
    found = fitted(Gama(epsilon=EPSILON, epochs=10, rate=1e-3, width=8, blocks=2, seed=seed), model, seed)(seen)
    return {
        "gama": errors(model, found),
        "random_signs": errors(model, signs),
        "clean": errors(model, seen),
        "gama, another model": errors(other, found),
        "random_signs, another model": errors(other, signs),
    }
