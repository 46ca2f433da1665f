"""Vectors of a tower's tokens in the space that pictures and texts share."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.models.architectures._towers import TowerModel


def refuse_unprojected(model: Model, kind: str = "image") -> None:
    """Refuse a model whose projection does not take its tokens (ConfigError).

    It takes them if it reads what the tower pools, as wide as a token: a mean of tokens, or a class token beside them.
    """
    tower = model.towers[kind] if isinstance(model, TowerModel) and kind in model.towers else None
    if tower is None or model.heads[f"{kind}/raw"].reads != ("pooled",) or tower.width != tower.token_width:
        raise ConfigError(
            f"Tokens of a picture are projected as what its tower pools, and here {kind}/raw reads another part, or "
            f"the tower pools in another width than its tokens': use a tower that pools their mean or a class token "
            f"(pool: avg, columns: 1), and a projection that reads pooled."
        )


@torch.no_grad()
def projected(model: Model, vectors: Tensor, kind: str = "image") -> Tensor:
    """Return (R, N, D) embeddings at unit length of a tower's tokens, or means of them, (R, N, W)."""
    raw = model.heads[f"{kind}/raw"]
    with evaluating(raw):
        rows = Encoded(owner=torch.arange(len(vectors), device=vectors.device), pooled=vectors)
        return unit(raw(rows, "raw")["raw"])
