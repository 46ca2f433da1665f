"""A report written from the image's tokens, and one that is told findings."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import FINDINGS, method

TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
SPEC = {"name": "caption", "width": 16, "layers": 1, "heads": 2}
CASES = {"report": method(SPEC, spec=TOKENS), "findings": method({**SPEC, "findings": list(FINDINGS)}, spec=TOKENS)}
