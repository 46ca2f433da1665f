"""Hidden patches of two large crops a sample."""

from __future__ import annotations

from tests.objectives.cases import UNTIL, crops, method
from tests.objectives.cases.clip import TOKENS

MASK = {"name": "masked_image", "kind": "image", "view": "image.large", "ratio": [0.3, 0.6]}
CASES = {
    "large": method(
        {"name": "ibot", "hidden": 12, "bottleneck": 6, "prototypes": 10},
        columns=crops,
        states={"ema": {"name": "ema", "horizon": 60.0}},
        phases=[{"until": UNTIL, "patches": [MASK]}],
        spec=TOKENS,
    )
}
