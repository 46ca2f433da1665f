"""Reports written from their own embeddings with noise, and from another text of the same sample."""

from __future__ import annotations

from tests.objectives.cases import method, strong

DECODER = {"width": 16, "layers": 1, "heads": 2}
GPT2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 32}
PROMPT = {"name": "limber", "config": GPT2, "prompt": "vector", "length": 2}
OTHER = {"name": "close", "decoder": DECODER, "text": "text.strong", "target": "text", "copies": 2}
CASES = {"own": method({"name": "close", "decoder": PROMPT}), "other": method(OTHER, columns=strong)}
