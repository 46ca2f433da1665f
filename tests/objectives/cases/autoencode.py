"""The gray copy of an image, drawn from its code."""

from __future__ import annotations

from tests.models.words import DUAL
from tests.objectives.cases import method
from tests.training.methods import BATCH

CASES = {
    "code": method(
        {"name": "autoencode", "part": "seen"},
        {"name": "clip"},
        until=2 * BATCH,  # its pictures have the 128 pixels of the paper: the third step was a third of the time
        spec={**DUAL, "heads": {"image/seen": {"name": "autoencoded", "code": 3}}},
    )
}
