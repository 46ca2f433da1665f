"""PE-Net (Zheng et al. 2023): relations gather at prototypes of their predicates, and these keep apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec
from medvlp.core.term import Term, Terms
from medvlp.objectives._matched_pairs import match_pairs
from medvlp.objectives._related import Related
from medvlp.text.relations import PRESENT


class PeNet(Related):
    r"""Predicates of matched pairs, by prototypes over the features that `rlipv2` finds.

    Pairs of queries are matched with stated pairs as in `rlipv2`. With r a pair's vector, c_k the K prototypes (P
    predicates and "no relation"), y the pair's first stated predicate, or none for an unmatched one (an uncertain pair
    teaches nothing)::

        predicate = - sum w log softmax(logits)_y / sum w                 w = 1/10 where unmatched
        alike     = (1 / K^2) sum_i |S_i|_2,  S = c^ sg(c^)^T, c^ of length 1
        apart     = mean over k of max(0, distance - min over j of |c_k - sg(c_j)|^2)
        beyond    = mean over matched pairs of max(0, |r - c_y|^2 - mean of its `nearest` nearest wrong |r - c_k|^2 + 1)

    all at weight 1. The prototypes' two are written as sums over pictures, which are means over equal numbers.

    Args:
        labels, predicates, drawn, file: as of the `rlipv2` beside it.
        bank: with their texts.
        image: view of the pictures.
        relations: name of the head `relation_queries`.
        part: name of the head `pe_net`.
        head: its options.
        distance: the paper's 7.
        nearest: the paper's 10, of at most K - 1.
        l1: of the matching; give that of `rlipv2`.
        giou: likewise.

    Returns:
        ``predicate``, ``alike``, ``apart`` and ``beyond``.

    Raises:
        ConfigError: for words that stand twice.

    Note:
        One predicate a pair is learnt: of a finding that is both "at" and "suggestive of" a place the first alone.

    References:
        Zheng et al. 2023 (Prototype-based embedding network for scene graph generation), its losses as its released
        code weighs them; there ``beyond`` is of sampled pairs without a relation too, and a fixed share of these is
        sampled instead of the tenth that unmatched pairs count here.

    Example:
        >>> objective = PeNet(labels=["effusion", "pleura"], predicates=["located_at"], drawn=["effusion"])
        >>> [str(key) for key in sorted(objective.needs(), key=str)][1:4]
        ['image/pe_net', 'image/pe_net_prototypes', 'image/pe_net_vectors']
    """

    def __init__(
        self,
        *,
        labels: list[str],
        predicates: list[str],
        bank: str = "relations",
        drawn: list[str] | None = None,
        file: str | None = None,
        image: str = "image",
        relations: str = "relations",
        part: str = "pe_net",
        head: dict[str, Any] = {},  # noqa: B006  (read only; the default is part of the schema)
        distance: Annotated[float, Field(ge=0)] = 7.0,
        nearest: Annotated[int, Field(ge=1)] = 10,
        l1: Annotated[float, Field(ge=0)] = 2.5,
        giou: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        words = {"labels": labels, "predicates": predicates, "drawn": drawn}
        super().__init__(objective="pe_net", file=file, pairs=f"{image}/{relations}", **words)
        self.part, self.key = part, f"{image}/{part}"
        self.head = HeadSpec("pe_net", {**head, "labels": len(labels), "bank": bank, "reads": relations}, keep=True)
        self.distance, self.nearest, self.l1, self.giou = distance, nearest, l1, giou

    def needs(self) -> frozenset[Key]:
        """What both heads give, the matrix of statements and the boxes."""
        return super().needs() | keys(self.key, f"{self.key}_vectors", f"{self.key}_prototypes")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The classifier."""
        return {self.part: self.head}

    def answers(self) -> Sequence[AnswerSpec]:
        """The answer `relations`, with these predicates."""
        return (self.answer(by=self.part, alias=self.part),)

    def forward(self, ctx: Context) -> Terms:
        """Return the four terms."""
        logits, vectors, prototypes = (ctx[f"{self.key}{part}"] for part in ("", "_vectors", "_prototypes"))
        matched = match_pairs(self.found(ctx), self.truths(ctx), l1=self.l1, giou=self.giou)
        right = (matched.true.predicates == PRESENT).int().argmax(dim=1)
        losses, weight = matched.losses(logits, right, no_object=0.1)
        sure = matched.true.sure
        nothing, rows = (vectors.sum() + prototypes.sum()) * 0, matched.known.sum().to(logits)
        texts = prototypes[0] if len(prototypes) else prototypes.new_zeros(2, prototypes.shape[2])
        margin = beyond(vectors[matched.at][sure], texts, right[sure], nearest=self.nearest)
        return {
            "predicate": Term.of(losses, weight),
            "alike": Term(nothing + alike(texts) * rows, rows),
            "apart": Term(nothing + apart(texts, self.distance) * rows, rows),
            "beyond": Term(nothing + margin.sum(), rows.new_tensor(float(len(margin)))),
        }


def alike(prototypes: Tensor) -> Tensor:
    """Return (1 / K^2) sum of the lengths of the rows of S: 1 / K of orthogonal, 1 / sqrt(K) of equal prototypes.

    Example:
        >>> round(float(alike(torch.eye(4))), 4), round(float(alike(torch.ones(4, 3))), 4)
        (0.25, 0.5)
    """
    own = unit(prototypes)
    return (own @ own.detach().T).norm(dim=1).sum() / len(own) ** 2


def apart(prototypes: Tensor, distance: float) -> Tensor:
    """Return the mean of what each lacks to a squared distance from its nearest other, which has no gradient of it.

    Example:
        >>> apart(torch.tensor([[0.0], [2.0], [9.0]]), 7.0).item()  # 3, 3 and nothing
        2.0
    """
    squared = (prototypes[:, None] - prototypes.detach()[None]).square().sum(2)
    eye = torch.eye(len(prototypes), dtype=torch.bool, device=prototypes.device)
    return (distance - squared.masked_fill(eye, float("inf")).amin(dim=1)).clamp(min=0).mean()


def beyond(vectors: Tensor, prototypes: Tensor, target: Tensor, *, nearest: int) -> Tensor:
    """Return (n,) max(0, own squared distance - mean of the nearest wrong ones + 1).

    Example:
        >>> beyond(torch.tensor([[1.0]]), torch.tensor([[1.0], [1.5], [4.0]]), torch.tensor([0]), nearest=1).item()
        0.75
    """
    squared = (vectors[:, None] - prototypes[None]).square().sum(2)
    own = F.one_hot(target, len(prototypes)).bool()
    wrong = squared.masked_fill(own, float("inf")).sort(dim=1).values[:, : min(nearest, len(prototypes) - 1)]
    return (squared.gather(1, target[:, None])[:, 0] - wrong.mean(dim=1) + 1).clamp(min=0)
