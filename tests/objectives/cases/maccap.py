"""Reports written from several noisy copies of their embeddings, by a language model that goes on after queries."""

from __future__ import annotations

from tests.models.words import DUAL, VIT
from tests.objectives.cases import method

GPT2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 32}
PROMPT = {"name": "limber", "config": GPT2, "prompt": "queries", "length": 3, "layers": 3, "heads": 2}
SPEC = {"name": "maccap", "copies": 4, "decoder": PROMPT}
CASES = {"queries": method(SPEC, spec={**DUAL, "vision": {**VIT, "image_size": 32}})}
