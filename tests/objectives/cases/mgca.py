"""Tokens within a study, by themselves or weighed by attention, and all three levels of the paper."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import method

TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
CASES = {
    "levels": method({"name": "clip"}, {"name": "mgca"}, {"name": "sinkhorn_prototypes", "prototypes": 4}, spec=TOKENS),
    "attention": method({"name": "mgca", "weights": "attention"}, spec=TOKENS),
}
