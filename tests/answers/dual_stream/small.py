"""A dual-stream model of three words and two places, with weights that make it state something."""

from __future__ import annotations

from typing import Any

import torch

from medvlp.models.bank import Bank, encoded_bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer
from tests.models.words import VISION

NAMES = {"pathology": ("normal", "effusion", "nodule"), "anatomy": ("left_costophrenic", "right_apical_lung")}
SIZE = 32


def banks() -> dict[str, Bank]:
    found = {name: Bank(name, tuple(f"a {w}" for w in words), names=words) for name, words in NAMES.items()}
    return {name: encoded_bank(bank, {"name": "hashed_words", "width": 8}, where="t") for name, bank in found.items()}


def small() -> Any:
    head = {"name": "dual_stream", "width": 8, "layers": 2, "heads": 2, "feedforward": 8}
    spec = {"name": "vision", "vision": {**VISION, "coordinates": True}, "heads": {"image/medslip": head}}
    model = build_model(spec, tokenizer=None, banks=banks(), seed=1)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
        model.heads["image/medslip"].exist["pathology"].bias.copy_(torch.tensor([-3.0, 3.0]))  # much is there
        for name, buffer in model.named_buffers():
            if "said_" in name:  # all was stated both ways
                buffer.fill_(3)
    return model


def small_bundle() -> Bundle:
    """Return it as a release that answers for its words and their places."""
    labels = ["effusion", "nodule"]
    answers = (
        StoredAnswer("existence", "existence", {"head": "medslip", "labels": labels}, labels),
        StoredAnswer("pairs", "pairs", {"head": "medslip"}),
    )
    return Bundle(small(), None, [{"name": "read", "size": SIZE}], answers=answers)
