"""Reports against the texts of their labels, all of them or drawn ones; images against denials."""

from __future__ import annotations

from medvlp.models.bank import Bank
from tests.objectives.cases import FINDINGS, method

SPEC = {"name": "input_label", "bank": "findings", "labels": FINDINGS}
BANKS = {"findings": Bank("findings", tuple(f"{name} seen" for name in FINDINGS))}
CASES = {
    "reports": method(SPEC, {"name": "clip"}, banks=BANKS),
    "drawn": method({**SPEC, "form": "softmax", "negatives": 2}, {"name": "clip"}, banks=BANKS),
    "denied": method({**SPEC, "view": "image", "denied": True}, banks=BANKS),
}
