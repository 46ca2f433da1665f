"""FDT (Chen et al. 2023): image and text as sparse mixtures of one codebook that both towers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.architectures._sharing import Share


class Codebook(nn.Module):
    """K codes of width D, standard normal at the start."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(codes, width))


class FiniteDiscreteTokens(Head):
    """f = sparsemax_k(max over real tokens of q_n . s_k / (T sqrt(D))) S, q a small network of the modality's own.

    The reference code multiplies the scores of padding by 0, which then wins over negative ones; here padding is out.
    ``weights`` beside are the K shares, which sum to 1.
    """

    reads = ("tokens", "mask")
    gives = ("weights",)

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        share: Annotated[Share, FromModel("share")],
        shared: str = "codebook",
        codes: int = 12,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.width = embed_dim
        self.temperature = temperature
        hidden = [nn.LayerNorm(token_width), nn.Linear(token_width, embed_dim), nn.GELU()]
        self.query = nn.Sequential(*hidden, nn.LayerNorm(embed_dim), nn.Linear(embed_dim, embed_dim))
        self._book = (share(shared, lambda: Codebook(codes, embed_dim)),)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        codes = self._book[0].codes
        scores = self.query(encoded.part("tokens")) @ codes.T * codes.shape[1] ** -0.5 / self.temperature
        scores = scores.masked_fill(~encoded.part("mask")[:, :, None], float("-inf"))
        weights = sparsemax(scores.amax(dim=1))
        return {name: weights @ codes, f"{name}_weights": weights}


def sparsemax(scores: Tensor) -> Tensor:
    """Project (R, K) onto the simplex (Martins and Astudillo 2016)."""
    ordered = scores.sort(dim=1, descending=True).values
    ranks = torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype, device=scores.device)
    excess = ordered.cumsum(dim=1) - 1
    support = (ordered * ranks > excess).sum(dim=1, keepdim=True)
    return (scores - excess.gather(1, support - 1) / support).clamp(min=0)


class LateTokens(FiniteDiscreteTokens):
    """The same after the towers: what may not share with a head inside them."""

    stage = "batch"
