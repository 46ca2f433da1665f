"""Image against report, with equal reports as positives or left out, and by late interaction of tokens."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import method

TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
CASES = {
    "own": method({"name": "clip"}),
    "labels": method({"name": "clip", "positives": "shared_labels", "exclude": "same_report", "reading": "each"}),
    "tokens": method({"name": "clip", "score": "late_interaction"}, spec=TOKENS),
}
