"""X-CLIP's video-specific prompts (Ni et al. 2022): class texts that look at the frames before they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossAttention, mlp
from medvlp.models.heads.text_classifier import TextClassifier, TextsOf
from medvlp.models.scale import LogitScale


class VideoPrompt(TextClassifier):
    r"""As `text_classifier`, with t + a Dec(t, P) at unit length in place of each embedding t, others for each stack.

    P = LN(Linear(LN patches)) are the tower's patches averaged over frames, (R, n, D). Dec has layers of::

        t <- t + CrossAttention(LN t, P);    t <- t + MLP(LN t)

    a (D,) starts at 0.1; at 0 it is `text_classifier`. The text tower is frozen in the paper and its texts are made
    once (a bank with an encoder). Texts do not look at each other.

    Args:
        classes, bank, against, labels: as in `text_classifier`.
        layers: of Dec.
        heads: of its attention; divides D. The paper: one for 64 numbers of D.
        alpha: what a starts at.

    Returns:
        Logits ``NAME`` (R, K), and ``NAME_texts`` (R, K, D).

    References:
        Ni et al. 2022 (X-CLIP), eq. 9 and 10. ILA (Tu et al. 2023) has the same part. In the authors' code t is as long
        as the text tower makes it, patches pass LN and Linear frame by frame and are averaged then, and GELU is quick.

    Note:
        A text that looks at the picture can drift towards whatever is there: "no effusion" and "effusion" of the same
        film come nearer to each other. Give `against` where findings occur together, and read calibrated numbers only.

    Example:
        >>> bank = {"findings": Bank("findings", ("effusion", "nodule"))}
        >>> given = {"texts_of": lambda name, rows: torch.eye(2), "scale": LogitScale(init=10.0), "books": bank}
        >>> options = {"classes": 2, "bank": "findings", "heads": 1, "alpha": 0.0}
        >>> head = VideoPrompt(embed_dim=2, token_width=4, **given, **options)
        >>> parts = {"raw": torch.tensor([[3.0, 4.0]]), "patches": torch.rand(1, 5, 4)}
        >>> rows = Encoded(owner=torch.arange(1), extra=parts)
        >>> [round(z, 3) for z in head(rows, "findings")["findings"][0].tolist()]
        [6.0, 8.0]
    """

    reads = ("embedding", "patches")

    def __init__(
        self,
        *,
        texts_of: Annotated[TextsOf, FromModel("texts_of")],
        scale: Annotated[LogitScale, FromModel("scale")],
        books: Annotated[Mapping[str, Bank], FromModel("banks")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        token_width: Annotated[int, FromModel("token_width")],
        classes: Annotated[int, Field(ge=1)],
        bank: str,
        against: str | None = None,
        labels: list[str] | None = None,
        layers: Annotated[int, Field(ge=1)] = 2,
        heads: Annotated[int, Field(ge=1)] = 4,
        alpha: float = 0.1,
    ) -> None:
        same = {"classes": classes, "bank": bank, "against": against, "labels": labels}
        super().__init__(texts_of=texts_of, scale=scale, books=books, embed_dim=embed_dim, **same)  # pyrefly: ignore
        self.patches = nn.Sequential(
            nn.LayerNorm(token_width), nn.Linear(token_width, embed_dim, bias=False), nn.LayerNorm(embed_dim)
        )
        self.layers = nn.ModuleList(_Layer(embed_dim, heads) for _ in range(layers))
        self.alpha = nn.Parameter(torch.full((embed_dim,), alpha))

    def _words(self, texts: Tensor, encoded: Encoded) -> Tensor:
        """Return (R, K, D)."""
        patches = self.patches(encoded.part("patches"))
        seen = texts = texts.expand(len(patches), -1, -1)
        for layer in self.layers:
            seen = layer(seen, patches)
        return unit(texts + self.alpha * seen)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width=width, context_width=width, heads=heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, 4.0)

    def forward(self, texts: Tensor, patches: Tensor) -> Tensor:
        texts = texts + self.attention(self.norm(texts), patches, None)
        return texts + self.mlp(self.norm_mlp(texts))
