"""Texts -> tokens -> trunk: what a text tower does, whether its trunk is its own or shared with images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.models.encoders._blocks import Trunk, TrunkOutput
from medvlp.models.encoders._sites import TokenSite, block_sites, linear_sites
from medvlp.text.tokenizers import Tokenizer

__all__ = ["TextPool", "TextTower", "pool_tokens", "texts_of"]

TextPool = Literal["mean", "cls", "last"]

# Reports differ in length: on a CPU, where padding is paid for, rows are encoded in groups of similar length. Smaller
# groups pad less and use the cores worse; 32 was the fastest of 8 to 128 on two cores.
_GROUP = 32


class TextTower(Encoder):
    """Word and position embeddings in front of a trunk, and a pooling behind it.

    A text longer than the tokenizer's `max_length` is cut by the tokenizer; `truncated` counts how many were.

    Args:
        words: the tokenizer.
        trunk: the blocks.
        own: whether the trunk belongs to this tower; a shared one is registered by the model that shares it.
        pool: ``mean`` over real tokens, ``cls`` the first token, ``last`` the last real token.

    Attributes:
        truncated: texts cut so far.
    """

    kinds = ("text",)
    offers = frozenset({"pooled", "tokens", "mask", "layers", "attention", "ids"})

    def __init__(self, *, words: Tokenizer, trunk: Trunk, own: bool, pool: TextPool) -> None:
        super().__init__()
        self.width = self.token_width = trunk.width
        self.pool: TextPool = pool
        self.words = words
        self.truncated = 0
        self.word = nn.Embedding(words.vocab_size, trunk.width)
        self.position = nn.Parameter(torch.empty(words.max_length, trunk.width))
        nn.init.normal_(self.word.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        self.tokens_input = nn.Identity()
        self.pooled_output = nn.Identity()
        # A tuple hides a shared trunk from this module's state dict; deepcopy still keeps it shared.
        self._trunk = (trunk,)
        if own:
            self.trunk = trunk

    def forward(
        self,
        values: Tensor | Sequence[str],
        *,
        parts: frozenset[str],
        mask: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Encoded:
        """Tokenise and encode R texts; see `Encoder`. A text without a word is encoded as one padding token."""
        texts = texts_of(values)
        batch = self.words(texts)
        self.truncated += batch.truncated
        device = self.position.device
        real = batch.mask.clone()
        real[:, 0] = True  # attention over no key at all is not a number
        length = int(real.any(dim=0).nonzero().max()) + 1
        ids, real = batch.ids[:, :length].to(device), real[:, :length].to(device)
        extra = {"ids": ids} if "ids" in parts else {}
        owner = torch.arange(len(texts), device=device)
        if not parts & {"pooled", "tokens", "layers", "attention"}:
            return Encoded(owner=owner, mask=real, extra=extra)
        embedded = self.tokens_input(self.word(ids) + self.position[:length])
        asked = parts & {"layers", "attention"}
        if device.type == "cpu" and not asked and len(texts) > _GROUP:
            return self._in_groups(embedded, real, Encoded(owner=owner, mask=real, extra=extra), parts)
        out = self._run(embedded, real, parts)
        return Encoded(
            owner=owner,
            pooled=self.pooled_output(pool_tokens(out.tokens, real, self.pool)) if "pooled" in parts else None,
            tokens=out.tokens if "tokens" in parts else None,
            mask=real,
            layers=out.layers,
            attention=out.attention,
            extra=extra,
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        trunk = self._trunk[0]
        return {
            "tokens.input": TokenSite(self.tokens_input, "after"),
            **block_sites(list(trunk.blocks)),
            **linear_sites(trunk),
            "attention.last": Site(trunk.blocks[-1].get_submodule("attention"), "after"),
            "pooled.output": Site(self.pooled_output, "after"),
        }

    def blank(self, device: torch.device) -> Sequence[str]:
        """Return one empty text."""
        return ("",)

    def _run(self, embedded: Tensor, real: Tensor, parts: frozenset[str]) -> TrunkOutput:
        keep = None if bool(real.all()) else real
        return self._trunk[0](embedded, keep, layers="layers" in parts, attention="attention" in parts)

    def _in_groups(self, embedded: Tensor, real: Tensor, rows: Encoded, parts: frozenset[str]) -> Encoded:
        """Encode rows of similar length together, and put them back in their order."""
        ends = (real * torch.arange(1, real.shape[1] + 1)).amax(dim=1)
        order = ends.argsort(stable=True)
        back = order.argsort()
        pooled: list[Tensor] = []
        tokens: list[Tensor] = []
        for group in order.split(_GROUP):
            length = int(ends[group].max())
            out = self._run(embedded[group, :length], real[group, :length], parts).tokens
            if "pooled" in parts:
                pooled.append(pool_tokens(out, real[group, :length], self.pool))
            if "tokens" in parts:
                tokens.append(nn.functional.pad(out, (0, 0, 0, real.shape[1] - length)))
        return Encoded(
            owner=rows.owner,
            pooled=self.pooled_output(torch.cat(pooled)[back]) if pooled else None,
            tokens=torch.cat(tokens)[back] if tokens else None,
            mask=rows.mask,
            extra=rows.extra,
        )

    def extra_repr(self) -> str:
        """Name pooling and limits."""
        return f"pool={self.pool}, vocabulary={self.word.num_embeddings}, max_length={self.position.shape[0]}"


def pool_tokens(tokens: Tensor, mask: Tensor, pool: TextPool) -> Tensor:
    """Return one vector a row, (R, W).

    Args:
        tokens: (R, N, W).
        mask: (R, N) bool, at least one True a row.
        pool: see `TextTower`.

    Example:
        >>> tokens = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> mask = torch.tensor([[True, True, False]])
        >>> [pool_tokens(tokens, mask, p).item() for p in ("mean", "cls", "last")]
        [2.0, 1.0, 3.0]
    """
    if pool == "cls":
        return tokens[:, 0]
    if pool == "last":
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).amax(dim=1)
        return tokens[torch.arange(len(tokens), device=tokens.device), last]
    weight = mask.to(tokens.dtype)[:, :, None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1)


def texts_of(values: Tensor | Sequence[str]) -> list[str]:
    """Return the values as texts.

    Raises:
        ConfigError: if they are a tensor.
    """
    if isinstance(values, Tensor):
        raise ConfigError("A text tower was given a tensor: fields of kind text hold strings.")
    return list(values)
