"""A report written from the image's tokens, one that is told findings, and one by a language model after a prompt."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import FINDINGS, method

TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
SPEC = {"name": "caption", "width": 16, "layers": 1, "heads": 2}
GPT2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 48}
CASES = {
    "report": method(SPEC, spec=TOKENS),
    "findings": method({**SPEC, "findings": list(FINDINGS)}, spec=TOKENS),
    "limber": method({"name": "caption", "decoder": {"name": "limber", "config": GPT2}}, spec=TOKENS),
}
