"""FDT, finite discrete tokens (Chen et al. 2023): image and text as sparse mixtures of one codebook of both towers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, promoted
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.architectures._sharing import Share

__all__ = ["Fdt"]


class Codebook(nn.Module):
    """K codes of width D, standard normal at the start."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(codes, width))


class Fdt(Head):
    r"""Say what a picture or a text holds in codes that both have in common, and be the mixture of these codes.

    With q_n a small network of token n (the modality's own) and s_k the codes,

        r_k = max over real tokens n of q_n . s_k / (T sqrt(D)),   w = sparsemax(r),   f = sum_k w_k s_k.

    As the `projection` of a model it replaces the pooled vector, and `clip` compares the mixtures. Most shares w_k are
    exactly 0, so those that are not can be read as concepts; they are the part ``NAME_weights``. A code is scored by
    the one token that fits it best, so f knows neither the order of tokens nor how many there are.

    The reference code multiplies the scores of padding by 0, which wins wherever all real ones are negative; here
    padding takes no part, and a text that is padding alone has equal shares.

    Args:
        codes: K; 16384 in the paper, for millions of pairs.
        temperature: T; the paper begins with 1000, at which most codes have a share.
        activation: makes shares of scores; the paper compares ``softmax``, which makes none of them 0.
        shared: name of the codebook: heads that give the same one share it.
        stage: ``tower`` or ``batch``, see `Head`.

    Returns:
        Of tokens (R, N, W) the mixtures (R, D) and, as ``NAME_weights``, the shares (R, K), which sum to 1.

    References:
        Chen et al. 2023 (FDT), eq. 2 to 5; Martins and Astudillo 2016 (sparsemax).

    Note:
        Nothing makes a code a finding, and of radiographs, which are alike, few codes may be used at all. The shares of
        a text know that a finding is denied only where its tokens do ("no" and "effusion" each for itself are a bag of
        words), so the text tower in front must have context.

    Example:
        >>> head = Fdt(token_width=4, embed_dim=2, share=lambda name, make: make(), codes=3)
        >>> rows = Encoded(owner=torch.arange(1), tokens=torch.ones(1, 5, 4), mask=torch.ones(1, 5, dtype=torch.bool))
        >>> given = head(rows, "raw")
        >>> given["raw"].shape, round(given["raw_weights"].sum().item(), 4)
        (torch.Size([1, 2]), 1.0)
    """

    reads = ("tokens", "mask")
    gives = ("weights",)

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        share: Annotated[Share, FromModel("share")],
        codes: Annotated[int, Field(ge=2)] = 16384,
        temperature: Annotated[float, Field(gt=0)] = 1000.0,
        activation: Literal["sparsemax", "softmax"] = "sparsemax",
        shared: str = "codebook",
        stage: Literal["tower", "batch"] = "tower",
    ) -> None:
        super().__init__()
        self.width = embed_dim
        self.stage = stage
        self.temperature = temperature
        self.activation = sparsemax if activation == "sparsemax" else partial(torch.softmax, dim=1)
        hidden = [nn.LayerNorm(token_width), nn.Linear(token_width, embed_dim), nn.GELU()]
        self.query = nn.Sequential(*hidden, nn.LayerNorm(embed_dim), nn.Linear(embed_dim, embed_dim))
        self._book = (cast("Codebook", share(shared, lambda: Codebook(codes, embed_dim))),)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, D), name_weights: (R, K)}."""
        codes, real = self._book[0].codes, encoded.part("mask")
        scores = self.query(encoded.part("tokens")) @ codes.T * codes.shape[1] ** -0.5 / self.temperature
        best = scores.masked_fill(~real[:, :, None], float("-inf")).amax(dim=1)
        weights = self.activation(best.masked_fill(~real.any(dim=1, keepdim=True), 0.0))
        return {name: weights.to(codes.dtype) @ codes, f"{name}_weights": weights}


def sparsemax(scores: Tensor) -> Tensor:
    """Return the nearest points of the simplex to (R, K) scores: shares that sum to 1, most of them 0.

    Example:
        >>> sparsemax(torch.tensor([[1.0, 0.6, -2.0]])).tolist()
        [[0.699999988079071, 0.30000001192092896, 0.0]]
    """
    wide = promoted(scores)
    ordered = wide.sort(dim=1, descending=True).values
    ranks = torch.arange(1, wide.shape[1] + 1, dtype=wide.dtype, device=wide.device)
    excess = ordered.cumsum(dim=1) - 1
    support = (ordered * ranks > excess).sum(dim=1, keepdim=True)
    return (wide - excess.gather(1, support - 1) / support).clamp(min=0)
