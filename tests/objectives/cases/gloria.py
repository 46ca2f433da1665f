"""Words of a report attend to the regions of each image, beside the pooled vectors or alone."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import method

TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
CASES = {
    "whole": method({"name": "clip"}, {"name": "gloria"}, spec=TOKENS),
    "local": method(
        {"name": "gloria", "aggregate": "mean", "exclude": "shared_labels", "tile": 200, "scale": 2}, spec=TOKENS
    ),
}
