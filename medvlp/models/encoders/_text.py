"""Token ids -> trunk: what a text tower does, whether its trunk is its own or shared with images.

Texts are tokenised where batches are made (`medvlp.data.collate`) or at the edge (`encode_texts`): a tower is a
function of tensors, as compilers and exporters need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.models.encoders._blocks import Trunk, TrunkOutput, embeddings_of
from medvlp.models.encoders._sites import AddedTokens, TokenSite, block_sites, linear_sites, without_added
from medvlp.text.tokenizers import Tokenizer, tokenise

TextPool = Literal["mean", "cls", "last"]

# Reports differ in length: on a CPU, where padding is paid for, rows are encoded in groups of similar length. Smaller
# groups pad less and use the cores worse; 32 was the fastest of 8 to 128 on two cores.
_GROUP = 32
_ROW_BY_ROW = frozenset({"pooled", "tokens", "mask", "ids"})


class TextEncoder(Encoder):
    """A tower of texts: it takes ids (R, L) of its own tokenizer `words` and a mask, as `tokenise` makes them."""

    kinds = ("text",)

    def __init__(self, *, words: Tokenizer) -> None:
        super().__init__()
        self.words = words
        self.words_input, self.pooled_output = nn.Identity(), nn.Identity()
        self._empty = tokenise(words, ("",)).ids
        self._added = AddedTokens()

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode R texts by their ids (R, L); see `Encoder`. `mask` (R, L) None: every place holds a token."""
        if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.dim() != 2:
            given = f"{values.dtype} of shape {tuple(values.shape)}" if isinstance(values, Tensor) else "strings"
            raise ConfigError(
                f"A text tower was given {given}: it takes token ids, int64 (R, L); give texts to the model, or to "
                f"encode_texts."
            )
        rows = Encoded(
            owner=torch.arange(values.shape[0], device=values.device),  # len() would be fixed in an exported graph
            mask=torch.ones_like(values, dtype=torch.bool) if mask is None else mask,
            extra={"ids": values} if "ids" in parts else {},
        )
        if parts <= {"ids", "mask"}:
            return rows
        self._added.clear()
        return self._encoded(values, mask, rows, parts)

    def _encoded(self, ids: Tensor, mask: Tensor | None, rows: Encoded, parts: frozenset[str]) -> Encoded:
        """Return the rows with what is asked for beside ids and mask, which they have."""
        raise NotImplementedError

    def blank(self, device: torch.device) -> Tensor:
        """Return one empty text."""
        return self._empty.to(device)

    def vectors(self, ids: Tensor) -> Tensor:
        """Return word embeddings (..., W) of ids (...), without position embeddings."""
        raise NotImplementedError


def encode_texts(tower: TextEncoder, texts: Sequence[str], *, parts: frozenset[str]) -> Encoded:
    """Tokenise R texts and encode them; see `Encoder`."""
    tokens = tokenise(tower.words, texts).to(next(tower.parameters()).device)
    return tower(tokens.ids, parts=parts, mask=tokens.mask)


class TextTower(TextEncoder):
    """Word and position embeddings in front of a trunk, and a pooling behind it.

    Args:
        words: the tokenizer.
        trunk: the blocks.
        own: whether the trunk belongs to this tower; a shared one is registered by the model.
        pool: ``mean`` over real tokens, ``cls`` the first token, ``last`` the last real token.

    Attributes:
        in_groups: whether a processor may encode many rows some at a time.
    """

    in_groups = True
    offers = frozenset({"pooled", "tokens", "mask", "layers", "attention", "ids"})

    def __init__(self, *, words: Tokenizer, trunk: Trunk, own: bool, pool: TextPool) -> None:
        super().__init__(words=words)
        self.width = self.token_width = trunk.width
        self.causal = trunk.causal
        self.pool: TextPool = pool
        self.word, self.position = embeddings_of(words.vocab_size, width=trunk.width, length=words.max_length)
        self.tokens_input = nn.Identity()
        # A tuple hides a shared trunk from this module's state dict; deepcopy still keeps it shared.
        self._trunk = (trunk,)
        if own:
            self.trunk = trunk

    def _encoded(self, ids: Tensor, mask: Tensor | None, rows: Encoded, parts: frozenset[str]) -> Encoded:
        embedded = self._embed(ids)
        seen = self._added.mask(rows.part("mask"))
        # What depends on the lengths themselves cannot stand in an exported graph; layers, attention and what patches
        # in the blocks give need the rows together and in their order.
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if (
            self.in_groups
            and ids.device.type == "cpu"
            and parts <= _ROW_BY_ROW
            and not traced
            and ids.shape[0] > _GROUP
        ):
            return self._in_groups(embedded, seen, rows, parts)
        out = self._run(embedded, None if mask is None and self._added.where is None else seen, parts)
        own = without_added(out, self._added)
        return replace(
            rows,
            pooled=self.pooled_output(self._pool(out.tokens, seen, self._added.where)) if "pooled" in parts else None,
            tokens=own.tokens if "tokens" in parts else None,
            layers=own.layers,
            attention=own.attention,
        )

    def tokens_of(self, ids: Tensor) -> Tensor:
        """Return the tokens (R, L, W) of ids (R, L) without padding: what a generator that stands on them reads."""
        self._added.clear()
        return self._added.drop(self._run(self._embed(ids), torch.ones_like(ids, dtype=torch.bool), frozenset()).tokens)

    def vectors(self, ids: Tensor) -> Tensor:
        """See `TextEncoder`."""
        return self.word(ids)

    def _embed(self, ids: Tensor) -> Tensor:
        """Return what the trunk reads, (R, N, W): words with their positions, and what patches put among them."""
        words = self.words_input(self.vectors(ids))
        length = words.shape[1]
        refuse_too_long(length, ids.shape[1], limit=self.position.shape[0])
        return self.tokens_input(words + self.position[:length])

    def _pool(self, tokens: Tensor, seen: Tensor, added: Tensor | None) -> Tensor:
        """Pool: the mean counts added words as words; the first and the last token are the text's own."""
        if added is None or self.pool == "mean":
            return pool_tokens(tokens, seen, self.pool)
        own = seen & ~added
        if self.pool == "cls":
            return tokens[torch.arange(tokens.shape[0], device=tokens.device), own.int().argmax(dim=1)]
        return pool_tokens(tokens, own, self.pool)

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        trunk = self._trunk[0]
        return {
            "words.input": TokenSite(self.words_input, "after", added=self._added),
            "tokens.input": TokenSite(self.tokens_input, "after", added=self._added),
            **block_sites(list(trunk.blocks)),
            **linear_sites(trunk),
            "attention.last": Site(trunk.blocks[-1].get_submodule("attention"), "after"),
            "pooled.output": Site(self.pooled_output, "after"),
        }

    def _run(self, embedded: Tensor, keep: Tensor | None, parts: frozenset[str]) -> TrunkOutput:
        return self._trunk[0](embedded, keep, layers="layers" in parts, attention="attention" in parts)

    def _in_groups(self, embedded: Tensor, real: Tensor, rows: Encoded, parts: frozenset[str]) -> Encoded:
        """Encode rows of similar length together, and put them back in their order."""
        added = self._added.where
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
                put = None if added is None else added[group, :length]
                pooled.append(self._pool(out, own, put))
            if "tokens" in parts:
                tokens.append(nn.functional.pad(out, (0, 0, 0, real.shape[1] - length)))
        return replace(
            rows,
            pooled=self.pooled_output(torch.cat(pooled)[back]) if pooled else None,
            tokens=self._added.drop(torch.cat(tokens)[back]) if tokens else None,
        )


def pool_tokens(tokens: Tensor, mask: Tensor, pool: TextPool) -> Tensor:
    """Return one vector a row, (R, W), of tokens (R, N, W) and their mask (R, N); see `TextTower`."""
    if pool == "cls":
        return tokens[:, 0]
    if pool == "last":
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).amax(dim=1)
        return tokens[torch.arange(tokens.shape[0], device=tokens.device), last]
    weight = mask.to(tokens.dtype)[:, :, None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1)


def mean_of(values: Tensor, rows: Encoded, reads: Sequence[str]) -> Tensor:
    """Return the mean (R, W) of vectors (R, N, W); where a head reads the rows' mask too, that of the real ones."""
    mask = rows.mask if "mask" in reads else None
    return values.mean(dim=1) if mask is None else pool_tokens(values, mask, "mean")


def refuse_too_long(length: int, own: int, *, limit: int) -> None:
    """Refuse a sequence that patches made longer than the tokenizer's longest (ConfigError)."""
    if length > limit:
        raise ConfigError(
            f"A text of {own} tokens and {length - own} that a patch adds are more than tokenizer.max_length {limit}: "
            f"raise it, or limit the patch by view to shorter texts."
        )
