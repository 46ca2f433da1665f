"""A denoiser that hears of the picture through the tower, as un2CLIP, GenHancer and DIVA have it."""

from __future__ import annotations

from tests.models.words import DUAL
from tests.objectives.cases import method
from tests.objectives.cases.clip import TOKENS

SMALL = {"size": 8, "channels": [8, 8]}
FLOW = {"name": "denoise", "parametrisation": "flow", "times": "logit_normal"}
CASES = {
    "un2clip": method({"name": "denoise", "denoiser": SMALL}, spec=DUAL),
    "genhancer": method({**FLOW, "denoiser": {**SMALL, "adapters": True}}, spec=TOKENS),
    "diva": method(
        {"name": "denoise", "local": 0.3, "draws": 2, "denoiser": {**SMALL, "slots": 1, "vector": False}}, spec=TOKENS
    ),
}
