"""Learned prompts that look at the picture, class by class (CTP of "Task-oriented multi-modal mutual learning").

Long et al. 2023, arXiv 2303.17169. Written from a description of the method and not compared with any code: the number
of heads, the place of the residual and the first weights are choices, said below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossAttention
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches._asked import pictures_of
from medvlp.models.patches.coop import CoOp

__all__ = ["CTP"]


class CTP(CoOp):
    """V_m + A(q_k; x) in place of CoOp's V_m: the name of class k asks the tokens x of a picture where it is.

    q_k is the mean of the vectors of the words of text k, A one cross-attention over the picture's tokens, the same for
    all m. Its output starts at zero: CoOp. As with `cocoop` a step encodes R x K texts. The other half of the paper,
    pictures that look at the texts, is the head `text_guided_classifier`.

    Args:
        text: text tower, given by the builder.
        rows: which pictures ask, given by the builder.
        widths: of the towers' tokens, given by the builder.
        pictures: kind of the pictures, given by the builder.
        bank: given by the builder; the patch's view must name one.
        kind: tower.
        on: site.
        tokens: M.
        words: instead, words that the context starts as.
        heads: of the attention; divides the width of the text tower.
        position: as in `coop`.

    Raises:
        ConfigError: by a pass that encodes the bank without pictures.

    Example:
        >>> from medvlp.core.encoded import Encoded
        >>> from medvlp.models.encoders.transformer import TextTransformer
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> text = TextTransformer(words=words, width=8, heads=2)
        >>> pictures = Encoded(torch.arange(2), tokens=torch.rand(2, 5, 6), mask=torch.ones(2, 5, dtype=torch.bool))
        >>> rows = RowDraws(pictures=pictures, number=torch.tensor([0, 1, 0, 1]))
        >>> bank = Bank("names", ("left", "effusion"))
        >>> patch = CTP(text=text, rows=rows, widths={"image": 6}, pictures="image", bank=bank, tokens=2)
        >>> patch(torch.zeros(2 * 2, 4, 8), torch.zeros(0)).value.shape  # two texts of two pictures
        torch.Size([4, 6, 8])
    """

    reads = ("tokens", "mask")

    def __init__(
        self,
        *,
        text: Annotated[TextEncoder, FromModel("text")],
        rows: Annotated[RowDraws, FromModel("rows")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        vision_kind: Annotated[str, FromModel("vision_kind")],
        bank: Annotated[Bank, FromModel("bank")],
        kind: Literal["text"] = "text",
        on: str = "words.input",
        tokens: Annotated[int, Field(ge=1)] = 4,
        words: str | None = None,
        heads: Annotated[int, Field(ge=1)] = 4,
        position: Literal["end", "middle", "front"] = "end",
    ) -> None:
        super().__init__(text=text, rows=rows, bank=bank, tokens=tokens, words=words, position=position)
        self.attention = CrossAttention(width=text.token_width, context_width=widths[vision_kind], heads=heads)
        nn.init.zeros_(self.attention.output.weight)
        nn.init.zeros_(self.attention.output.bias)

    def contexts(self, words: Tensor) -> Tensor:
        """Return the context of each text of each picture, (R K, M, W)."""
        pictures = pictures_of(self._rows, patch="ctp")
        tokens = pictures.part("tokens")
        queries = self._names(words).unflatten(0, (len(tokens), -1))
        shift = self.attention(queries, tokens, pictures.part("mask"))
        return super().contexts(words) + shift.flatten(0, 1)[:, None]

    def _names(self, words: Tensor) -> Tensor:
        """Return the mean vector of each row's own words, (R K, W)."""
        at = torch.arange(words.shape[1], device=words.device)
        count = self.names[self._rows.number][:, None]
        own = ((at >= self._first) & (at < self._first + count)).to(words.dtype)
        return (words * own[..., None]).sum(dim=1) / count.clamp(min=1)
