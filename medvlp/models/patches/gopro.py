"""Learned prompts that follow a picture's style and content (GOPro, Singha et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches.coop import AskedPrompt


class GOPro(AskedPrompt):
    """V_m + sum_l w_l (style_l + content_l) / 2 in place of CoOp's V_m, the same shift for all m.

    With mu_l and sigma_l the mean and standard deviation over a picture's tokens after block l, style_l = S_l((mu_l +
    sigma_l) / 2) and content_l = C_l(mu_l), S_l and C_l linear. Its loss besides the cross entropy is the objective
    `gopro`. Unlike the paper's, tokens are without class tokens, and w is without bias.

    Args:
        kind, on, tokens, words, position: as in `coop`; the paper starts as "a photo of a".

    Raises:
        ConfigError: for a tower of pictures without blocks.
    """

    name = "gopro"
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

    def shift(self, images: Encoded, words: Tensor) -> Tensor:
        """Return the shift of each image, (R, W)."""
        layers = images.part("layers")
        mean, deviation = layers.mean(dim=2), layers.std(dim=2, correction=0)
        each = [
            (style((mean[:, i] + deviation[:, i]) / 2) + content(mean[:, i])) / 2
            for i, (style, content) in enumerate(zip(self.style, self.content, strict=True))
        ]
        return self.mix(torch.stack(each, dim=-1))[..., 0]
