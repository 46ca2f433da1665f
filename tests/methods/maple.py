"""MaPLe (Khattak et al. 2023): prompts for words, block by block, and through a linear map of each for patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from medvlp.core.registry import FromModel
from medvlp.models.architectures._sharing import Share
from medvlp.models.patches import Patch, Patched


class CoupledPrompts(nn.Module):
    """For each depth, `count` prompts of the text tower's width and the map that makes the image tower's of them."""

    def __init__(self, *, depth: int, count: int, text: int, image: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(0.02 * torch.randn(depth, count, text))
        self.couple = nn.ModuleList(nn.Linear(text, image) for _ in range(depth))

    def of(self, kind: str, depth: int) -> Tensor:
        """Return (count, W) of a tower."""
        return self.prompts[depth] if kind == "text" else self.couple[depth](self.prompts[depth])


class MaPLe(Patch):
    """Puts prompts in at the input (after the first word, behind the last patch); at later blocks replaces them."""

    def __init__(
        self,
        *,
        site_name: Annotated[str, FromModel("site_name")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        share: Annotated[Share, FromModel("share")],
        kind: str,
        on: str,
        count: int = 2,
        depth: int = 2,
        shared: str = "maple",
    ) -> None:
        super().__init__()
        self.kind, self.count = kind, count
        self.depth = 0 if site_name.endswith(".input") else int(site_name.partition("[")[2].rstrip("]"))
        sizes = {"depth": depth, "count": count, "text": widths["text"], "image": widths["image"]}
        self._prompts = (share(shared, lambda: CoupledPrompts(**sizes)),)

    def forward(self, value: Tensor, source: Tensor) -> Tensor | Patched:
        new = self._prompts[0].of(self.kind, self.depth).to(value.dtype).expand(len(value), -1, -1)
        start = 1 if self.kind == "text" else value.shape[1]
        if self.depth:
            start = start if self.kind == "text" else start - self.count
            return torch.cat([value[:, :start], new, value[:, start + self.count :]], dim=1)
        whole = torch.cat([value[:, :start], new, value[:, start:]], dim=1)
        added = torch.zeros(whole.shape[:2], dtype=torch.bool, device=value.device)
        added[:, start : start + self.count] = True
        return Patched(whole, added=added)
