"""Softened targets that soften more and more, and tokens matched one to one, softly and exactly."""

from __future__ import annotations

from tests.objectives.cases import method
from tests.objectives.cases.clip import TOKENS

RAMP = {"start": 0.0, "end": 0.3, "until": 24}
CASES = {
    "instances": method({"name": "lightclip", "alpha": RAMP, "exclude": "same_patient"}),
    "tokens": method({"name": "lightclip", "score": "bipartite"}, spec=TOKENS),
    "hard": method({"name": "lightclip", "score": {"name": "bipartite", "temperature": 0.0}}, spec=TOKENS),
}
