"""A classifier by texts whose pictures look at the texts first (TFT of "Task-oriented multi-modal mutual learning").

Long et al. 2023, arXiv 2303.17169, from a description, not compared with any code; the patch `ctp` is its other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossAttention, zeroed
from medvlp.models.heads.text_classifier import TextClassifier, TextsOf
from medvlp.models.scale import LogitScale


class TextGuidedClassifier(TextClassifier):
    """As `text_classifier`, with (v + B(v; t_1 ... t_K)) at unit length in place of a picture's embedding v.

    B is one cross-attention of v over the texts of the first bank; its output starts at zero.

    Args:
        classes, bank, against, labels: as in `text_classifier`.
        heads: of the attention; divides D.
    """

    def __init__(
        self,
        *,
        texts_of: Annotated[TextsOf, FromModel("texts_of")],
        scale: Annotated[LogitScale, FromModel("scale")],
        books: Annotated[Mapping[str, Bank], FromModel("banks")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        classes: Annotated[int, Field(ge=1)],
        bank: str,
        against: str | None = None,
        labels: list[str] | None = None,
        heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        same = {"classes": classes, "bank": bank, "against": against, "labels": labels}
        super().__init__(texts_of=texts_of, scale=scale, books=books, embed_dim=embed_dim, **same)  # pyrefly: ignore
        self.guide = CrossAttention(width=embed_dim, context_width=embed_dim, heads=heads)
        zeroed(self.guide.output)

    def _picture(self, embedding: Tensor, texts: Tensor) -> Tensor:
        """Return what is compared of a picture, (R, D)."""
        context = texts.expand(len(embedding), -1, -1)
        return unit(embedding + self.guide(embedding[:, None], context, None)[:, 0])
