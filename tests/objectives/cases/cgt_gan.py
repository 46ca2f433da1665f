"""Texts that are drawn, rewarded by a copy of the model and told apart by a critic."""

from __future__ import annotations

from medvlp.models.bank import Bank
from tests.models.words import SpokenWords
from tests.objectives.cases import method
from tests.objectives.cases.close import PROMPT

SPEC = {"name": "cgt_gan", "samples": 2, "longest": 4, "reward_weight": 0.3, "scale": 5.0, "sharpness": 5.0}
SPEC |= {"decoder": PROMPT}
SPEC |= {"critic": {"width": 8, "layers": 1, "heads": 2, "max_length": 8}}
BANKS = {"corpus": Bank("corpus", ("small effusion seen", "no nodule seen", "large fracture seen"))}
SHARED = {"states": {"clip": {"name": "frozen"}}, "words": SpokenWords()}
CASES = {"corpus": method(SPEC, banks=BANKS, **SHARED), "cosine": method({**SPEC, "corpus": None}, **SHARED)}
