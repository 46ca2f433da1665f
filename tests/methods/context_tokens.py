"""Learned context: CoOp (Zhou et al. 2022) in front of words, visual prompts (Jia et al. 2022) behind patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.patches import Patch, Patched


class ContextTokens(Patch):
    """M vectors after the first token, or behind the last; `specific` gives each text of the bank its own."""

    def __init__(
        self,
        *,
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        bank: Annotated[Bank | None, FromModel("bank")] = None,
        kind: str = "text",
        on: str = "words.input",
        count: int = 3,
        specific: bool = False,
        at: Literal["first", "end"] = "first",
    ) -> None:
        super().__init__()
        sets = len(bank.texts) if specific and bank is not None else 1
        self.context = nn.Parameter(0.02 * torch.randn(sets, count, widths[kind]))
        self.at = at

    def forward(self, value: Tensor, source: Tensor) -> Patched:
        place = 1 if self.at == "first" else value.shape[1]
        context = self.context.expand(len(value), -1, -1)
        whole = torch.cat([value[:, :place], context, value[:, place:]], dim=1)
        added = torch.zeros(whole.shape[:2], dtype=torch.bool, device=value.device)
        added[:, place : place + context.shape[1]] = True
        return Patched(whole, added=added)
