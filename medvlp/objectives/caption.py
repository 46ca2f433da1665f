"""Captioning: the report is written word by word from the image's tokens, by a decoder beside the text tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms

__all__ = ["Caption"]


class _Generator(Protocol):
    def forward_logits(self, tokens: Tensor, mask: Tensor | None, ids: Tensor) -> Tensor: ...


class Caption(Objective):
    r"""Sum over real tokens of the cross entropy of the next token, given the image and the tokens before it.

    L = - sum_{l >= 1} log p(w_l | w_{<l}, image) over all texts, divided by the number of predicted tokens over all
    processes and chunks; padding is neither predicted nor counted, and the first token is given. Each text is written
    from the first image of its own sample; a text without an image is left out.

    Beside `clip` it has the two losses of CoCa (Yu et al. 2022) and is not CoCa: there an attentional pooler of 256
    queries stands between image tokens and decoder, and the decoder's lower, unimodal half is the text tower. Here all
    tokens are read as they are, and the decoder embeds its words itself.

    The decoder is a training-only head on the model. A sample is a term of its own, so the objective runs inside each
    chunk and needs no other process.

    Args:
        image: view whose tokens are read; of a stack, the slices.
        text: view whose words are written, all of them: its encoder must give ``ids``.
        width: of the decoder.
        layers: its blocks.
        heads: of its attention.
        head: name under which the decoder is mounted; two captioners of one name share it.

    Returns:
        ``next_token``.

    Raises:
        ConfigError: if width, layers or heads is not positive.

    Example:
        >>> sorted(map(str, Caption().needs()))
        ['image/tokens', 'text/ids', 'text/mask']
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        width: int = 192,
        layers: int = 2,
        heads: int = 4,
        head: str = "captioner",
    ) -> None:
        super().__init__()
        self.head = head
        self.options = {"width": width, "layers": layers, "heads": heads}
        for name, value in self.options.items():
            if value < 1:
                raise ConfigError(f"{name} of objective 'caption' is {value}: use a number of at least 1.")
        self._tokens = f"{image}/tokens"
        # Image tokens fill their grid; slices of a stack are padded to the longest.
        self._token_mask = f"{image}/mask" if parse_field(image).kind == "stack" else None
        self._ids, self._mask = f"{text}/ids", f"{text}/mask"

    def needs(self) -> frozenset[Key]:
        """Image tokens, and the text's token ids with their mask."""
        return keys(*(key for key in (self._tokens, self._token_mask, self._ids, self._mask) if key))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The decoder."""
        return {self.head: HeadSpec("generator", self.options)}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        image = _first_of(ctx.owner(self._tokens), ctx.owner(self._ids))
        written = image >= 0
        ids, mask = ctx[self._ids][written], ctx[self._mask][written]
        tokens = ctx[self._tokens][image[written]]
        token_mask = None if self._token_mask is None else ctx[self._token_mask][image[written]]
        generator = cast("_Generator", ctx.heads[self.head])
        logits = generator.forward_logits(tokens, token_mask, ids)
        predicted = mask[:, 1:] & mask[:, :-1]
        # Padding goes before the float32 copy, which is the largest tensor of the step: tokens times vocabulary.
        losses = F.cross_entropy(_wide(logits[:, :-1][predicted]), ids[:, 1:][predicted], reduction="none")
        return {"next_token": Term.of(losses)}

    def extra_repr(self) -> str:
        """Name what is read and written."""
        return f"{self._tokens} -> {self._ids}, {self.options}"


def _first_of(owner: Tensor, wanted: Tensor) -> Tensor:
    """Index of the first row of each wanted owner, -1 where there is none.

    Example:
        >>> _first_of(torch.tensor([0, 2, 2]), torch.tensor([2, 1, 0])).tolist()
        [1, -1, 0]
    """
    if not len(owner):
        return torch.full_like(wanted, -1)
    same = wanted[:, None] == owner[None, :]
    return torch.where(same.any(dim=1), same.int().argmax(dim=1), -1)


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
