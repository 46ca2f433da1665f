"""FoPro (Qin et al. 2022) with more and more samples of the real world."""

from __future__ import annotations

from tests.benchmarks.toys import fopro

CLAIM = "Sixteen trusted samples of the real world are worth more than the first two of them."
BETTER, WORSE = "sixteen", "two"


def toy(seed: int) -> dict[str, float]:
    """Return the AUROC on the real world by the number of trusted samples."""
    shots = {"two": 2, "four": 4, "eight": 8, "sixteen": 16}
    return {name: fopro.toy(seed, shots=count)["fopro"] for name, count in shots.items()}
