"""Hiding words while training, for a model to fill in: BERT (Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.patches._patch import Patch, Patched, Uniform


class MaskWords(Patch):
    """Each token's vector gives way to one learned vector with probability `rate`, drawn anew for each text.

    It gives ``hidden`` (R, L), where that was; nothing is hidden in eval mode. Limit it by ``view`` to a copy of the
    text, as the objective `masked_words` makes it, or the report itself is learnt with holes. Places of padding and of
    the marks at both ends are hidden as others are; `masked_words` does not ask for them. Unlike BERT's, a word that is
    chosen never stays or becomes another: another word would be another report ("no", "left").

    Args:
        kind: tower.
        on: site that holds the words' vectors in the batch's order.
        rate: probability.

    Raises:
        ConfigError: at another site than words.input.

    Example:
        >>> patch = MaskWords(widths={"text": 4}, uniform=lambda n: torch.tensor([[0.1, 0.9]]), rate=0.15)
        >>> patch(torch.ones(1, 2, 4), torch.ones(1, 2, 4)).parts["hidden"].tolist()
        [[True, False]]
    """

    idle = True
    gives = ("hidden",)

    def __init__(
        self,
        *,
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        uniform: Annotated[Uniform, FromModel("uniform")],
        kind: str = "text",
        on: str = "words.input",
        rate: Annotated[float, Field(ge=0, lt=1)] = 0.15,
    ) -> None:
        super().__init__()
        if on != "words.input":
            raise ConfigError(f"mask_words hides words, and {on!r} is another site: write on: words.input.")
        self.rate = rate
        self._uniform = uniform
        self.vector = nn.Parameter(torch.empty(widths[kind]))
        nn.init.normal_(self.vector, std=0.02)

    def forward(self, value: Tensor, source: Tensor) -> Patched:
        """Hide some of (R, L, W)."""
        draws = self._uniform(value.shape[1]).to(value.device)
        hidden = draws < (self.rate if self.training else 0.0)
        return Patched(torch.where(hidden[:, :, None], self.vector.to(value.dtype), value), parts={"hidden": hidden})
