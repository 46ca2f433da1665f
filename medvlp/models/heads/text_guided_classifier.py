"""A classifier by texts whose pictures look at the texts first (TFT of "Task-oriented multi-modal mutual learning").

Long et al. 2023, arXiv 2303.17169. Written from a description of the method and not compared with any code: the number
of heads, the place of the residual and the first weights are choices, said below. Its other half is the patch `ctp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import unit
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossAttention
from medvlp.models.heads.text_classifier import TextClassifier, TextsOf
from medvlp.models.scale import LogitScale

__all__ = ["TextGuidedClassifier"]


class TextGuidedClassifier(TextClassifier):
    """As `text_classifier`, with (v + B(v; t_1 ... t_K)) at unit length in place of a picture's embedding v.

    B is one cross-attention of v over the texts of the first bank; its output starts at zero.

    Args:
        texts_of: given by the builder.
        scale: given by the builder.
        books: the banks, given by the builder.
        embed_dim: D, given by the builder.
        classes: K, told by the objective.
        bank: of the classes, in the order of the objective's labels.
        against: bank of what each is compared with.
        labels: the objective's; the names of a bank that is a book must be these.
        heads: of the attention; divides D.

    Raises:
        ConfigError: if a bank is missing or has another number of texts, or `heads` do not divide D.

    Example:
        >>> import torch
        >>> from medvlp.core.encoded import Encoded
        >>> books = {"findings": Bank("findings", ("effusion", "nodule"))}
        >>> given = {"texts_of": lambda bank, rows: torch.eye(4)[:2], "scale": LogitScale(init=10.0), "books": books}
        >>> head = TextGuidedClassifier(embed_dim=4, classes=2, bank="findings", **given)
        >>> rows = Encoded(owner=torch.arange(1), extra={"raw": torch.tensor([[3.0, 4.0, 0.0, 0.0]])})
        >>> [round(z, 3) for z in head(rows, "findings")["findings"][0].tolist()]
        [6.0, 8.0]
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
        super().__init__(
            texts_of=texts_of,
            scale=scale,
            books=books,
            embed_dim=embed_dim,
            classes=classes,
            bank=bank,
            against=against,
            labels=labels,
        )
        self.guide = CrossAttention(width=embed_dim, context_width=embed_dim, heads=heads)
        nn.init.zeros_(self.guide.output.weight)
        nn.init.zeros_(self.guide.output.bias)

    def _picture(self, embedding: Tensor, texts: Tensor) -> Tensor:
        """Return what is compared of a picture, (R, D)."""
        context = texts.expand(len(embedding), -1, -1)
        return unit(embedding + self.guide(embedding[:, None], context, None)[:, 0])
