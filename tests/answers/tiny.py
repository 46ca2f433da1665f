"""A small model of images and texts, untrained, what it makes of a few pictures, and lists of its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.keys import Key, Plan, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.features.feature_pass import feature_pass
from tests.models.words import dual, images

TEXTS = ["no effusion", "large left effusion", "clear lungs and a normal heart", "a nodule"]
TOKENS = keys(*(f"{view}/{part}" for view in ("image", "text") for part in ("local", "mask")))


def small_model() -> Any:
    """Return a model with projected tokens beside its embeddings, its weights moved away from their start."""
    model = dual(seed=2)
    model.mount({"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}, Plan.of(TOKENS))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def table_of(model: Any, needs: frozenset[Key]) -> FeatureTable:
    """Return a row for each of four pictures with their texts."""
    batch = Batch.of({"image": images(len(TEXTS), seed=3), "text": TEXTS})
    return feature_pass(model, [batch], needs)


def said_of(answer: Answer, model: Any, table: FeatureTable, ask: Ask | None = None) -> Predictions:
    """Ask about the rows of a table."""
    told = ask or Ask()
    return answer.answer(Rows(table), told, answer.begin(model, told))


def encoded(model: Any, texts: list[str], *parts: str) -> list[dict[str, np.ndarray]]:
    """Return parts of each text, encoded alone."""
    plan = Plan.of(keys(*(f"text/{part}" for part in parts)))
    with torch.no_grad():
        rows = [model.finish(model(Batch.of({"text": [text]}), plan), plan)["text"] for text in texts]
    return [{part: row.part(part)[0].numpy() for part in parts} for row in rows]


def late(image: dict[str, np.ndarray], text: dict[str, np.ndarray]) -> list[float]:
    """Return the best cosine of each real image token with a real token of the text: FILIP's score is their mean."""
    tokens, words = (each["local"][each["mask"] != 0].astype(float) for each in (image, text))
    lengths = np.outer(np.linalg.norm(tokens, axis=1), np.linalg.norm(words, axis=1))
    return (tokens @ words.T / lengths).max(axis=1).tolist()
