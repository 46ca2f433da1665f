"""Learned prompts that each picture moves (CoCoOp, Zhou et al. 2022, "Conditional prompt learning")."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches.coop import AskedPrompt


class CoCoOp(AskedPrompt):
    """V_m + h(v) in place of CoOp's V_m: h(v) = W_2 relu(W_1 v) of a picture's embedding v, the same for all m.

    h starts as torch starts linear layers; with W_2 at zero it is CoOp.

    Args:
        kind, on, tokens, words, position: as in `coop`; the paper starts as "a photo of a".
        hidden: width between W_1 and W_2; None: D / 16.

    Example:
        >>> import torch
        >>> from medvlp.models.encoders.transformer import TextTransformer
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> text = TextTransformer(words=words, width=8, heads=2)
        >>> rows = RowDraws(images=Encoded(owner=torch.arange(2), extra={"raw": torch.rand(2, 4)}))
        >>> patch = CoCoOp(text=text, rows=rows, embed_dim=4, tokens=2)
        >>> patch(torch.zeros(2 * 3, 4, 8), torch.zeros(0)).value.shape  # three texts of two pictures
        torch.Size([6, 6, 8])
    """

    name = "cocoop"
    reads = ("embedding",)

    def __init__(
        self,
        *,
        text: Annotated[TextEncoder, FromModel("text")],
        rows: Annotated[RowDraws, FromModel("rows")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        bank: Annotated[Bank | None, FromModel("bank")] = None,
        kind: Literal["text"] = "text",
        on: str = "words.input",
        tokens: Annotated[int, Field(ge=1)] = 4,
        words: str | None = None,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        position: Literal["end", "middle", "front"] = "end",
    ) -> None:
        super().__init__(text=text, rows=rows, bank=bank, tokens=tokens, words=words, position=position)
        between = hidden or max(1, embed_dim // 16)
        self.meta = nn.Sequential(nn.Linear(embed_dim, between), nn.ReLU(), nn.Linear(between, text.token_width))

    def shift(self, images: Encoded, words: Tensor) -> Tensor:
        """Return h(v) of each image, (R, W)."""
        return self.meta(images.part("embedding"))
