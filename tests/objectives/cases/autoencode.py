"""The gray copy of an image, drawn from its code."""

from __future__ import annotations

from tests.models.words import DUAL
from tests.objectives.cases import method

CASES = {
    "code": method(
        {"name": "autoencode", "part": "seen"},
        {"name": "clip"},
        spec={**DUAL, "heads": {"image/seen": {"name": "autoencoded", "code": 3}}},
    )
}
