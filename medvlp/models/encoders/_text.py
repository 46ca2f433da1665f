"""Token ids -> trunk: what a text tower does, whether its trunk is its own or shared with images.

Texts are tokenised outside of towers, where batches are made (`medvlp.data.collate`) or at the edge (`encode_texts`): a
tower is a function of tensors, as compilers and exporters need it.
"""

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
from medvlp.text.tokenizers import Tokenizer, tokenise

__all__ = ["TextEncoder", "TextPool", "TextTower", "check_ids", "encode_texts", "pool_tokens"]

TextPool = Literal["mean", "cls", "last"]

# Reports differ in length: on a CPU, where padding is paid for, rows are encoded in groups of similar length. Smaller
# groups pad less and use the cores worse; 32 was the fastest of 8 to 128 on two cores.
_GROUP = 32


class TextEncoder(Encoder):
    """A tower of texts: it takes token ids (R, L) of its own tokenizer and a mask, as `tokenise` makes them.

    Args:
        words: its tokenizer.
    """

    kinds = ("text",)

    def __init__(self, *, words: Tokenizer) -> None:
        super().__init__()
        self.words = words
        self._empty = tokenise(words, ("",)).ids

    def blank(self, device: torch.device) -> Tensor:
        """Return one empty text."""
        return self._empty.to(device)


def encode_texts(tower: TextEncoder, texts: Sequence[str], *, parts: frozenset[str]) -> Encoded:
    """Tokenise R texts and encode them; see `Encoder`."""
    tokens = tokenise(tower.words, texts).to(next(tower.parameters()).device)
    return tower(tokens.ids, parts=parts, mask=tokens.mask)


class TextTower(TextEncoder):
    """Word and position embeddings in front of a trunk, and a pooling behind it.

    Args:
        words: the tokenizer.
        trunk: the blocks.
        own: whether the trunk belongs to this tower; a shared one is registered by the model that shares it.
        pool: ``mean`` over real tokens, ``cls`` the first token, ``last`` the last real token.
    """

    offers = frozenset({"pooled", "tokens", "mask", "layers", "attention", "ids"})

    def __init__(self, *, words: Tokenizer, trunk: Trunk, own: bool, pool: TextPool) -> None:
        super().__init__(words=words)
        self.width = self.token_width = trunk.width
        self.pool: TextPool = pool
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
        values: Tensor,
        *,
        parts: frozenset[str],
        mask: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Encoded:
        """Encode R texts by their ids (R, L); see `Encoder`. `mask` (R, L) None: every place holds a token."""
        check_ids(values)
        rows, length = values.shape
        real = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        extra = {"ids": values} if "ids" in parts else {}
        owner = torch.arange(rows, device=values.device)
        if not parts & {"pooled", "tokens", "layers", "attention"}:
            return Encoded(owner=owner, mask=real, extra=extra)
        embedded = self.tokens_input(self.word(values) + self.position[:length])
        asked = parts & {"layers", "attention"}
        # What depends on the lengths themselves cannot stand in an exported graph.
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if values.device.type == "cpu" and not asked and not traced and rows > _GROUP:
            return self._in_groups(embedded, real, Encoded(owner=owner, mask=real, extra=extra), parts)
        out = self._run(embedded, mask, parts)
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

    def _run(self, embedded: Tensor, keep: Tensor | None, parts: frozenset[str]) -> TrunkOutput:
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
            own = real[group, :length]
            out = self._run(embedded[group, :length], None if bool(own.all()) else own, parts).tokens
            if "pooled" in parts:
                pooled.append(pool_tokens(out, own, self.pool))
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


def check_ids(values: Tensor) -> None:
    """Refuse what is no batch of token ids.

    Raises:
        ConfigError: for strings, pixels or features.
    """
    if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.dim() != 2:
        given = f"{values.dtype} of shape {tuple(values.shape)}" if isinstance(values, Tensor) else "strings"
        raise ConfigError(
            f"A text tower was given {given}: it takes token ids, int64 (R, L); give texts to the model, or to "
            f"encode_texts."
        )
