"""Learned prompts that follow a picture's style and content (GOPro, Singha et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches._asked import pictures_of
from medvlp.models.patches.coop import CoOp

__all__ = ["GOPro"]


class GOPro(CoOp):
    """V_m + sum_l w_l (style_l + content_l) / 2 in place of CoOp's V_m, the same shift for all m.

    With mu_l and sigma_l the mean and standard deviation over a picture's tokens after block l, style_l = S_l((mu_l +
    sigma_l) / 2) and content_l = C_l(mu_l), S_l and C_l linear. Its loss besides the cross entropy is the objective
    `gopro`. As with `cocoop` a step encodes R x K texts. Unlike the paper's, tokens are without class tokens, and w
    without the bias: the same in every channel, a LayerNorm takes it out.

    Args:
        text: text tower, given by the builder.
        rows: which pictures ask, given by the builder.
        widths: of the towers' tokens, given by the builder.
        blocks: how many the towers have, given by the builder.
        pictures: kind of the pictures, given by the builder.
        bank: given by the builder, where the patch's view names one.
        kind: tower.
        on: site.
        tokens: M.
        words: instead, words that the context starts as; the paper: "a photo of a".
        position: as in `coop`.

    Raises:
        ConfigError: for a tower of pictures without blocks, or by a pass that encodes the bank without pictures.

    Example:
        >>> from medvlp.core.encoded import Encoded
        >>> from medvlp.models.encoders.transformer import TextTransformer
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> text = TextTransformer(words=words, width=8, heads=2)
        >>> rows = RowDraws(pictures=Encoded(torch.arange(2), layers=torch.rand(2, 3, 5, 6)))
        >>> sizes = {"widths": {"image": 6}, "blocks": {"image": 3}, "vision_kind": "image"}
        >>> patch = GOPro(text=text, rows=rows, tokens=2, **sizes)
        >>> patch(torch.zeros(2 * 2, 4, 8), torch.zeros(0)).value.shape  # two texts of two pictures
        torch.Size([4, 6, 8])
    """

    reads = ("layers",)

    def __init__(
        self,
        *,
        text: Annotated[TextEncoder, FromModel("text")],
        rows: Annotated[RowDraws, FromModel("rows")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        blocks: Annotated[Mapping[str, int], FromModel("blocks")],
        vision_kind: Annotated[str, FromModel("vision_kind")],
        bank: Annotated[Bank | None, FromModel("bank")] = None,
        kind: Literal["text"] = "text",
        on: str = "words.input",
        tokens: Annotated[int, Field(ge=1)] = 4,
        words: str | None = None,
        position: Literal["end", "middle", "front"] = "end",
    ) -> None:
        super().__init__(text=text, rows=rows, bank=bank, tokens=tokens, words=words, position=position)
        count = blocks[vision_kind]
        if not count:
            raise ConfigError(
                f"gopro reads the blocks of the {vision_kind} tower, which has none: choose a transformer."
            )
        self.style, self.content = (
            nn.ModuleList(nn.Linear(widths[vision_kind], text.token_width) for _ in range(count)) for _ in range(2)
        )
        self.mix = nn.Linear(count, 1, bias=False)

    def contexts(self, words: Tensor) -> Tensor:
        """Return the context of each text of each picture, (R K, M, W)."""
        layers = pictures_of(self._rows, patch="gopro").part("layers")
        mean, deviation = layers.mean(dim=2), layers.std(dim=2, correction=0)
        said = [
            (style((mean[:, i] + deviation[:, i]) / 2) + content(mean[:, i])) / 2
            for i, (style, content) in enumerate(zip(self.style, self.content, strict=True))
        ]
        shift = self.mix(torch.stack(said, dim=-1))[..., 0]
        return super().contexts(words) + shift.repeat_interleave(len(words) // len(shift), dim=0)[:, None]
