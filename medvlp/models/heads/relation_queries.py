"""Pairs of queries, a subject and an object, and what relates them, all named by texts: RLIPv2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import zeroed
from medvlp.models.heads._query_decoder import QueryDecoder, book_of, decoder_layer
from medvlp.models.heads._regions import centres, sines


class RelationQueries(Head):
    r"""Tokens in a grid (R, N, W) -> Q pairs of boxes, what each box is and how they are related, by RLIPv2.

    The constant vectors of a bank's texts, E entities and then P predicates, become a second stream of tokens. Before
    every `fuse_every`-th layer of visual self-attention both streams read each other (`GatedFusion`), and the
    texts pass one layer of their own. Q subject and Q object queries are decoded together; a pair's verb query, made of
    both, is decoded after them. A row h is compared with a text t of the fused stream by::

        logit = <h + a, M (unit(t) / 2)> + c          with one a, M, c for entities and one for predicates

    Mounted as ``image/NAME`` it gives ``NAME`` (R, Q, 8), the subject's and the object's centre x, y, width, height in
    [0, 1]; ``NAME_subjects`` and ``NAME_objects`` (R, Q, E + 1), the last of nothing; ``NAME_predicates`` (R, Q, P), a
    yes or no each; ``NAME_pairs`` (R, Q, 3 W'), subject, object and verb query; and ``NAME_layers`` (R, L - 1, Q, .),
    all logits of the earlier layers side by side.

    Args:
        labels: E, the bank's first texts.
        bank: with constant vectors.
        queries: Q, well above the relations of any picture.
        width: W'; a multiple of 4 and of `heads`.
        encoder_layers: of visual self-attention; the paper's 6.
        fuse_every: the paper's 2.
        layers: L of both decoders.
        heads: of the attentions.
        feedforward: width of the hidden layers.
        gate: first value of the gates.
        dropout: in all of them.

    Raises:
        ConfigError: for another width, a bank without vectors or predicates, or tokens that form no grid.

    References:
        Yuan et al. 2023 (RLIPv2: fast scaling of relational language-image pre-training). Its deformable attention and
        the training of its text tower are left out; "nothing" has a learnt vector instead of a text.

    Note:
        Texts are compared as they are written: "left" and "right" differ by one word of a vector, so a bank's encoder
        must keep them apart.

    Example:
        >>> bank = Bank("relations", ("effusion", "left pleura", "located at"), torch.rand(3, 6))
        >>> shape = {"queries": 4, "width": 8, "layers": 2, "heads": 2, "feedforward": 8}
        >>> head = RelationQueries(token_width=8, banks={"relations": bank}, labels=2, **shape)
        >>> rows = Encoded(owner=torch.arange(1), tokens=torch.rand(1, 6, 8), mask=torch.ones(1, 6) > 0, grid=(2, 3))
        >>> [tuple(value.shape) for value in head(rows, "relations").values()]
        [(1, 4, 8), (1, 4, 3), (1, 4, 3), (1, 4, 1), (1, 4, 24), (1, 1, 4, 15)]
    """

    reads = ("tokens", "mask")
    gives = ("subjects", "objects", "predicates", "pairs", "layers")
    book: Tensor

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        labels: Annotated[int, Field(ge=1)],
        bank: str = "relations",
        queries: Annotated[int, Field(ge=1)] = 25,
        width: Annotated[int, Field(ge=4)] = 128,
        encoder_layers: Annotated[int, Field(ge=0)] = 2,
        fuse_every: Annotated[int, Field(ge=1)] = 2,
        layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        feedforward: Annotated[int, Field(ge=1)] = 512,
        gate: float = 0.25,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise ConfigError(f"width {width} of head 'relation_queries' is no multiple of 4 and of its {heads} heads.")
        vectors = book_of(banks, bank, head="relation_queries").vectors
        assert vectors is not None, "book_of refuses a bank without"
        if len(vectors) <= labels:
            raise ConfigError(
                f"The bank {bank!r} has {len(vectors)} texts, for {labels} entities and the predicates behind them: "
                "give each predicate a text."
            )
        self.labels, self.every, self.width = labels, fuse_every, width
        self.register_buffer("book", vectors.detach().float().clone(), persistent=False)  # a bundle has it in the bank
        self.words, self.input = nn.Linear(vectors.shape[1], width), nn.Linear(token_width, width)
        shape = {"d_model": width, "nhead": heads, "dim_feedforward": feedforward, "dropout": dropout}

        def encoders(count: int) -> nn.ModuleList:
            made = (nn.TransformerEncoderLayer(**shape, batch_first=True, norm_first=True) for _ in range(count))
            return nn.ModuleList(made)

        fusions = -(-encoder_layers // fuse_every)
        self.encoder, self.language = encoders(encoder_layers), encoders(fusions)
        self.fusions = nn.ModuleList(GatedFusion(width=width, heads=heads, gate=gate) for _ in range(fusions))
        layer = decoder_layer(width=width, heads=heads, feedforward=feedforward, dropout=dropout)
        self.decoder, self.verbs = (QueryDecoder(layer, layers=layers) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(2 * queries, width) * 0.02)
        start = torch.cat([torch.rand(2 * queries, 2) * 0.9 + 0.05, torch.full((2 * queries, 2), 0.2)], dim=1)
        self.start = nn.Parameter(start.logit())
        self.place, self.pair = nn.Linear(width, width), nn.Linear(2 * width, width)
        self.box = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.distance = zeroed(nn.Linear(width, 4))
        self.nothing = nn.Parameter(torch.randn(width))
        self.entity, self.predicate = _Named(width, start=0.0), _Named(width, start=-math.log(99.0))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return the six parts."""
        tokens, mask = self.input(encoded.part("tokens")), encoded.part("mask")
        if encoded.grid is None or len(encoded.grid) != 2:
            raise ConfigError("Head 'relation_queries' needs the image tokens in a grid, and these have none.")
        rows, width = len(tokens), tokens.shape[2]
        place = self.place(sines(centres(encoded.grid, like=tokens), width).to(tokens)).expand_as(tokens)
        texts = self.words(self.book.to(tokens)).expand(rows, -1, -1)
        for at, layer in enumerate(self.encoder):
            if at % self.every == 0:
                tokens, texts = self.fusions[at // self.every](tokens, texts, mask)
                texts = self.language[at // self.every](texts)
            tokens = layer(tokens + place, src_key_padding_mask=~mask)
        asked = self.place(sines(self.start[:, :2].sigmoid(), width)).expand(rows, -1, -1)
        found = self.decoder(
            self.queries.expand(rows, -1, -1), tokens, mask, layers=True, query_place=asked, token_place=place
        ).layers
        assert found is not None, "layers were asked for"
        pair = torch.cat(found[:, -1].chunk(2, dim=1), dim=2)
        verbs = self.verbs(self.pair(pair), tokens, mask, layers=True, token_place=place).layers
        assert verbs is not None, "layers were asked for"
        boxes = (self.distance(self.box(found)) + self.start).sigmoid()
        entities = torch.cat([texts[:, : self.labels], self.nothing.expand(rows, 1, -1)], dim=1)
        both = self.entity(found, entities).chunk(2, dim=2)
        each = [torch.cat(boxes.chunk(2, dim=2), dim=3), *both, self.predicate(verbs, texts[:, self.labels :])]
        given = {key: part[:, -1] for key, part in zip(("", *self.gives[:3]), each, strict=True)}
        given |= {"pairs": torch.cat([pair, verbs[:, -1]], dim=2), "layers": torch.cat(each, dim=3)[:, :-1]}
        return {f"{name}_{key}" if key else name: part for key, part in given.items()}


class _Named(nn.Module):
    """Rows (R, L, Q, W) compared with texts (R, K, W); see `RelationQueries`."""

    def __init__(self, width: int, *, start: float) -> None:
        super().__init__()
        self.map = nn.Linear(width, width)
        self.shift, self.offset = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.full((1,), start))

    def forward(self, rows: Tensor, texts: Tensor) -> Tensor:
        named = self.map(unit(texts) / 2)
        return torch.einsum("rlqw,rkw->rlqk", rows + self.shift, named) + self.offset


class GatedFusion(nn.Module):
    r"""Asymmetric language-image fusion's one attention for both ways (Yuan et al. 2023, RLIPv2).

    With v and l normalised, S = (Q v)(K l)^T / sqrt(d) in each of h heads::

        v' = v + g_v O_v (softmax over texts of S) V_l l
        l' = l + g_l O_l (softmax over real tokens of S^T) V_v v

    so gates of 0 leave both as they are, bit for bit. The released gate is a number without activation, at first 1 over
    the number of feature levels; what is added to is here the stream itself, not its norm.

    Args:
        width: of both streams.
        heads: h.
        gate: what both gates start from.

    Example:
        >>> fusion = GatedFusion(width=4, heads=2, gate=0.0)
        >>> v, l = torch.rand(1, 3, 4), torch.rand(1, 2, 4)
        >>> [bool((new == old).all()) for new, old in zip(fusion(v, l, None), (v, l))]
        [True, True]
    """

    def __init__(self, *, width: int, heads: int, gate: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.ask, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.gates = nn.Parameter(torch.full((2,), gate))

    def forward(self, tokens: Tensor, texts: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return both streams after they have read each other.

        Args:
            tokens: (R, N, W).
            texts: (R, K, W).
            mask: (R, N), True on real tokens; None: all are.
        """
        v, t = self.norms[0](tokens), self.norms[1](texts)
        ask, key, of_tokens, of_texts = (
            self._split(each) for each in (self.ask(v), self.key(t), self.values[0](v), self.values[1](t))
        )
        scores = ask @ key.transpose(2, 3) * ask.shape[-1] ** -0.5  # (R, h, N, K)
        hidden = scores if mask is None else scores.masked_fill(~mask[:, None, :, None], float("-inf"))
        for_tokens = scores.softmax(dim=3) @ of_texts
        for_texts = hidden.softmax(dim=2).transpose(2, 3) @ of_tokens
        tokens = tokens + self.gates[0] * self.out[0](for_tokens.transpose(1, 2).flatten(2))
        return tokens, texts + self.gates[1] * self.out[1](for_texts.transpose(1, 2).flatten(2))

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)
