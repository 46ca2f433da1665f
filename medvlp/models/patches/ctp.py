"""Learned prompts that look at the picture, class by class (CTP of "Task-oriented multi-modal mutual learning").

Long et al. 2023, arXiv 2303.17169, written from a description and not compared with any code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossAttention, zeroed
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches.coop import AskedPrompt


class CTP(AskedPrompt):
    """V_m + A(q_k; x) in place of CoOp's V_m: the name of class k asks the tokens x of a picture where it is.

    q_k is the mean of the vectors of the words of text k, A one cross-attention over the picture's tokens, the same for
    all m. Its output starts at zero: CoOp. The other half of the paper, pictures that look at the texts,
    is the head `text_guided_classifier`.

    Args:
        kind, on, tokens, words, position: as in `coop`; the patch's view must name a bank.
        heads: of the attention; divides the width of the text tower.
    """

    name = "ctp"
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
        zeroed(self.attention.output)

    def shift(self, images: Encoded, words: Tensor) -> Tensor:
        """Return A(q_k; x) of each image and text, (R K, W)."""
        tokens = images.part("tokens")
        at = torch.arange(words.shape[1], device=words.device)
        count = self.names[self._rows.number][:, None]
        own = ((at >= self._first) & (at < self._first + count)).to(words.dtype)
        names = (words * own[..., None]).sum(dim=1) / count.clamp(min=1)
        return self.attention(names.unflatten(0, (len(tokens), -1)), tokens, images.part("mask")).flatten(0, 1)
