"""Predicates by the nearest of prototypes that grow from words: PE-Net."""

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
from medvlp.models.heads._query_decoder import book_of


class PeNet(Head):
    r"""What `relation_queries` found of pairs -> logits of their predicates, by cosine with prototypes.

    With t the constant vectors of texts, x_s, x_o, x_u what was found of subject, object and their union, W networks of
    two layers, h linear maps, and [;] side by side::

        s = n(W_s t_s + sigmoid(G [W_s t_s; h x_s]) * h x_s)      o likewise; n(y) = LayerNorm(y + relu(L y))
        F = relu(s + o) - (s - o)^2
        r = F - sigmoid(G_p [F; h x_u]) * h x_u                       c_k = W_p t_k
        logit_k = e^scale cos(P r, P c_k)            P a network of two layers, scale at first ln(1 / .07)

    t_s is here the mean of the entities' vectors by the probabilities of NAME_subjects, without gradient: no truth is
    at hand where it is asked. The last predicate is "no relation", with a vector of its own.

    Mounted as ``image/NAME`` it gives ``NAME`` (R, Q, P + 1), ``NAME_vectors`` (R, Q, D), P r, and
    ``NAME_prototypes`` (R, P + 1, D), P c, the same in every row.

    Args:
        labels: E, the bank's first texts; the other P are predicates.
        bank: that of the head it reads.
        reads: name under which `relation_queries` is mounted.
        hidden: width of s and o; the paper's 2048.
        width: D; the paper's 4096.

    Raises:
        ConfigError: for a bank without vectors.

    References:
        Zheng et al. 2023 (Prototype-based embedding network for scene graph generation), after its released code. There
        h is one network of two layers with dropout, and n has weights of its own for s and o, and for r, which passes
        it too.

    Note:
        A predicate's prototype is its words: "located at" of two findings is one thing, wherever the places are.

    Example:
        >>> bank = Bank("relations", ("effusion", "pleura", "located at"), torch.rand(3, 6))
        >>> head = PeNet(pair_width=4, banks={"relations": bank}, labels=2, hidden=8, width=6)
        >>> given = {"relations_pairs": torch.rand(1, 5, 12), "relations_subjects": torch.rand(1, 5, 3)}
        >>> rows = Encoded(owner=torch.arange(1), extra=given | {"relations_objects": torch.rand(1, 5, 3)})
        >>> [tuple(value.shape) for value in head(rows, "pe_net").values()]
        [(1, 5, 2), (1, 5, 6), (1, 2, 6)]
    """

    gives = ("vectors", "prototypes")
    book: Tensor

    def __init__(
        self,
        *,
        pair_width: Annotated[int, FromModel("width")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        labels: Annotated[int, Field(ge=1)],
        bank: str = "relations",
        reads: str = "relations",
        hidden: Annotated[int, Field(ge=1)] = 128,
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__()
        vectors = book_of(banks, bank, head="pe_net").vectors
        assert vectors is not None, "book_of refuses a bank without"
        if len(vectors) <= labels:
            raise ConfigError(f"The bank {bank!r} of head 'pe_net' has {len(vectors)} texts, none of a predicate.")
        self.reads = (reads, *(f"{reads}_{part}" for part in ("pairs", "subjects", "objects")))
        self.labels = labels
        self.register_buffer("book", vectors.detach().float().clone(), persistent=False)  # a bundle has it in the bank
        self.entities = nn.ModuleList(_mlp(vectors.shape[1], hidden, hidden) for _ in range(2))
        self.predicates = _mlp(vectors.shape[1], hidden, hidden)
        self.nothing = nn.Parameter(torch.randn(vectors.shape[1]) * vectors.std())
        self.features = nn.ModuleList(nn.Linear(pair_width, hidden) for _ in range(3))
        self.gates = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(3))
        self.residual, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden)
        self.project = nn.Sequential(nn.ReLU(), _mlp(hidden, width, width))
        self.scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return logits, vectors and prototypes."""
        _, pairs, *logits = (encoded.part(part) if at else None for at, part in enumerate(self.reads))
        assert pairs is not None, "reads names it"
        book = self.book.to(pairs)
        found = [feature(part) for feature, part in zip(self.features, pairs.chunk(3, dim=2), strict=True)]
        ends = []
        for word, gate, feature, scores in zip(self.entities, self.gates, found, logits, strict=False):
            assert scores is not None, "reads names them"
            named = word(scores.detach()[..., : self.labels].softmax(2) @ book[: self.labels])
            end = named + gate(torch.cat([named, feature], dim=2)).sigmoid() * feature
            ends.append(self.norm(end + self.residual(end).relu()))
        both = fused(*ends)
        union = self.gates[2](torch.cat([both, found[2]], dim=2)).sigmoid() * found[2]
        vectors = self.project(both - union)
        texts = torch.cat([book[self.labels :], self.nothing[None]])
        prototypes = self.project(self.predicates(texts)).expand(len(vectors), -1, -1)
        scores = self.scale.exp() * unit(vectors) @ unit(prototypes).transpose(1, 2)
        return {name: scores, f"{name}_vectors": vectors, f"{name}_prototypes": prototypes}


def fused(subject: Tensor, other: Tensor) -> Tensor:
    """Return relu(s + o) - (s - o)^2, which is relu(2 s) where both are equal.

    Example:
        >>> fused(torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, -1.0, 0.0])).tolist()
        [2.0, 0.0, -2.0]
    """
    return (subject + other).relu() - (subject - other) ** 2


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
