"""Masked feature prediction (iBOT without its head, Zhou et al. 2022): hidden tokens as a teacher sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from medvlp.core import Objective, Term
from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.registry import FromModel
from medvlp.models.encoders._sites import TokenSite
from medvlp.models.patches import Patch, Patched
from medvlp.models.patches._patch import Uniform


class MaskedImage(Patch):
    """In training each token is replaced by a learned one with probability `rate`; ``hidden`` says which were."""

    gives = ("hidden",)

    def __init__(
        self,
        *,
        site: Annotated[TokenSite, FromModel("site")],
        uniform: Annotated[Uniform, FromModel("uniform")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        kind: str = "image",
        on: str = "tokens.input",
        rate: float = 0.5,
    ) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(widths[kind]))
        self.rate, self._prefix, self._uniform = rate, site.prefix, uniform

    def forward(self, value: Tensor, source: Tensor) -> Patched:
        count = value.shape[1] - self._prefix
        draws = self._uniform(count).to(value.device) if self.training else torch.ones(len(value), count)
        hidden = draws < self.rate
        own = torch.where(hidden[:, :, None], self.token.to(value.dtype), value[:, self._prefix :])
        return Patched(torch.cat([value[:, : self._prefix], own], dim=1), parts={"hidden": hidden})


class MaskedFeatures(Objective):
    """Mean over hidden tokens of the squared distance to the teacher's token."""

    def __init__(self, *, teacher: str, view: str = "image.local") -> None:
        super().__init__()
        self._tokens, self._hidden, self._target = f"{view}/tokens", f"{view}/hidden", f"{teacher}:{view}/tokens"

    def needs(self) -> frozenset[Key]:
        return keys(self._tokens, self._hidden, self._target)

    def forward(self, ctx: Context) -> Mapping[str, Term]:
        hidden = ctx[self._hidden]
        return {"hidden": Term.of((ctx[self._tokens] - ctx[self._target])[hidden].square().mean(dim=1))}
