"""C-PGC: one change of all pictures, learnt on some, judged on others beside random signs of the same size."""

from __future__ import annotations

from medvlp.adaptation.attacks.c_pgc import CPgc
from medvlp.adaptation.attacks.random_signs import RandomSigns
from tests.benchmarks.toys._attacked import errors, fitted, held_out, trained

CLAIM = "On held-out pictures one learnt change of all misleads more often than random signs of equal size."
BETTER, WORSE = "c_pgc", "random_signs"
EPSILON = 12.0


def toy(seed: int) -> dict[str, float]:
    """Return the share of held-out pictures that are named wrongly."""
    model, other, seen = trained(seed), trained(seed + 100), held_out(seed)
    signs = fitted(RandomSigns(epsilon=EPSILON, seed=seed), model, seed)(seen)
    attack = CPgc(epsilon=EPSILON, epochs=20, rate=1e-3, scales=(1.0, 0.75), width=64, words=False, seed=seed)
    found = fitted(attack, model, seed)(seen)
    return {
        "c_pgc": errors(model, found),
        "random_signs": errors(model, signs),
        "clean": errors(model, seen),
        "c_pgc, another model": errors(other, found),
        "random_signs, another model": errors(other, signs),
    }
