"""Words from the likest patches, and the likest patches, hidden, from the words."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import method

SPEC = {"name": "sycoca", "width": 16, "layers": 1, "heads": 2, "side": 2}
TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
CASES = {"likest": method(SPEC, spec=TOKENS, states={"mask": {"name": "attentive_mask"}})}
