"""Vectors of a tower's tokens in the space that pictures and texts share."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.models.architectures._towers import TowerModel


def refuse_unprojected(model: Model) -> None:
    """Refuse a model whose projection does not take its tokens (ConfigError).

    It takes them if it reads what the tower pools, as wide as a token: a mean of tokens, or a class token beside them.
    """
    tower = model.towers["image"] if isinstance(model, TowerModel) and "image" in model.towers else None
    if tower is None or model.heads["image/raw"].reads != ("pooled",) or tower.width != tower.token_width:
        raise ConfigError(
            "Tokens of a picture are projected as what its tower pools, and here image/raw reads another part, or "
            "the tower pools in another width than its tokens': use a tower that pools their mean or a class token "
            "(pool: avg, columns: 1), and a projection that reads pooled."
        )


@torch.no_grad()
def projected(model: Model, vectors: Tensor) -> Tensor:
    """Return (R, N, D) embeddings at unit length of the image tower's tokens, or means of them, (R, N, W)."""
    raw = model.heads["image/raw"]
    with evaluating(raw):
        rows = Encoded(owner=torch.arange(len(vectors), device=vectors.device), pooled=vectors)
        return unit(raw(rows, "raw")["raw"])
