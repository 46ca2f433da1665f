"""RLIPv2 (Yuan et al. 2023): which finding is related how to which place, as pairs of boxes named by texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec
from medvlp.core.term import Term, Terms
from medvlp.objectives._matched_pairs import match_pairs, overlaps
from medvlp.objectives._pairs import Pairs
from medvlp.objectives._related import Related
from medvlp.text.relations import PRESENT, UNCERTAIN


class Rlipv2(Related):
    r"""Set loss over pairs of queries: what both are, where they are, and which predicates hold.

    Stated pairs are matched one to one with pairs of queries (`_pairs`, the Hungarian method). In every layer of the
    decoders, summed over layers and pictures::

        box       = l1 |b - b'|_1 over known boxes / half their number       overlap = giou (1 - GIoU) likewise
        entity    = - sum w log p(c) / half of sum w, of subjects and objects; unmatched are "nothing", w = no_object
        predicate = soft_focal(logits, t) / stated predicates,               t = y min((1 + GIoU) / 2)

    where y is 1 for a stated predicate of a matched pair and 0 for all else, and the minimum is over the two boxes that
    are known, 1 where none is: a predicate is believed as far as its boxes are right. The halves make of box, overlap
    and entity a mean of subjects and one of objects, added.

    Args:
        labels: E entities, findings and places; the bank's first texts, in their order.
        predicates: P, the bank's further texts.
        bank: texts with constant vectors.
        drawn: entities that have boxes, fields ``boxes.ENTITY``; None: all.
        file: statements by study, see the view `relations`; None: the report's.
        image: view of the pictures.
        part: name of the head.
        head: options of the head `relation_queries`.
        l1: above.
        giou: above.
        no_object: above.

    Returns:
        ``box``, ``overlap``, ``entity`` and ``predicate``.

    Raises:
        ConfigError: for words that stand twice, or `drawn` that are none of them.

    Note:
        What a report does not mention is taught as nothing, at a low weight: a finding that the reader left out is
        unlearnt. Uncertain statements are neither taught nor denied: a pair of which nothing is certain takes a
        query, which learns nothing.

    References:
        Yuan et al. 2023 (RLIPv2), costs and losses as in the authors' code. The softened verbs (text similarity above
        0.3), sampled negative texts and the tagger that makes pseudo-relations are left out.

    Example:
        >>> objective = Rlipv2(labels=["effusion", "left_pleural_space"], predicates=["located_at"], drawn=["effusion"])
        >>> [name for name in sorted(map(str, objective.needs())) if "/" not in name]
        ['boxes.effusion', 'vector.relations']
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
        part: str = "relations",
        head: dict[str, Any] = {},  # noqa: B006  (read only; the default is part of the schema)
        l1: Annotated[float, Field(ge=0)] = 2.5,
        giou: Annotated[float, Field(ge=0)] = 1.0,
        no_object: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        words = {"labels": labels, "predicates": predicates, "drawn": drawn}
        super().__init__(objective="rlipv2", file=file, pairs=f"{image}/{part}", **words)
        self.head = HeadSpec("relation_queries", {**head, "labels": len(labels), "bank": bank}, keep=True)
        self.part, self.l1, self.giou, self.no_object = part, l1, giou, no_object

    def needs(self) -> frozenset[Key]:
        """What the head gives, the matrix of statements and the boxes."""
        return super().needs() | keys(f"{self.pairs}_layers")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The head."""
        return {self.part: self.head}

    def answers(self) -> Sequence[AnswerSpec]:
        """The answer `relations`."""
        return (self.answer(),)

    def forward(self, ctx: Context) -> Terms:
        """Return the four terms."""
        parts, truths = self.found(ctx), self.truths(ctx)
        earlier = ctx[f"{self.pairs}_layers"].split([part.shape[2] for part in parts], dim=3)
        layers = [parts, *([part[:, at] for part in earlier] for at in range(earlier[0].shape[1]))]
        sums = torch.stack([self._sums(layer, truths) for layer in layers])  # (L, 7)
        (box, overlap, entity, predicate), (weight, count, stated) = sums[:, :4].sum(0), sums[0, 4:].detach()
        return {
            "box": Term(self.l1 * box, count),
            "overlap": Term(self.giou * overlap, count),
            "entity": Term(entity, weight),
            "predicate": Term(predicate, stated),
        }

    def _sums(self, layer: Sequence[Tensor], truths: Sequence[Pairs | None]) -> Tensor:
        """Sums of a layer: L1, 1 - GIoU, weighted cross entropy, focal; weights, known boxes, stated predicates."""
        boxes, *named, verbs = layer
        matched = match_pairs(layer, truths, l1=self.l1, giou=self.giou)
        at, true, stated = matched.at, matched.true, (matched.true.predicates == PRESENT).to(verbs)
        sure = true.sure[:, None]
        found, known = boxes[at], ~true.boxes.isnan() & sure
        placed = true.boxes.where(known, found.detach())
        overlap, both = overlaps(found, placed), known[:, ::4]
        quality = ((1 + overlap.detach()) / 2).where(both, 1.0).amin(dim=1)
        entity, weights = boxes.sum() * 0, boxes.new_zeros(())
        for logits, right in zip(named, (true.subjects, true.objects), strict=True):
            losses, weight = matched.losses(logits, right, no_object=self.no_object)
            entity, weights = entity + (losses * weight).sum(), weights + weight.sum()
        soft = torch.zeros_like(verbs).index_put(at, stated * quality[:, None])
        counted = torch.ones_like(verbs).index_put(at, ((true.predicates != UNCERTAIN) & sure).to(verbs))
        focal = (soft_focal(verbs, soft) * counted * matched.known[:, None, None]).sum()
        sums = [(found - placed).abs().sum(), ((1 - overlap) * both).sum(), entity, focal]
        return torch.stack([*sums, weights / 2, both.sum().to(boxes) / 2, stated.sum()])


def soft_focal(logits: Tensor, target: Tensor) -> Tensor:
    r"""Focal loss with a target t in [0, 1], element by element: |t - p|^2 (- t log p - (1 - t) log(1 - p)).

    It is 0 where p is t, which may be any number between, and for t = 1 and t = 0 the focal loss of Lin et al. 2017
    with the exponent 2 (quality focal loss, Li et al. 2020, eq. 2).

    Example:
        >>> [round(each, 4) for each in soft_focal(torch.zeros(3), torch.tensor([1.0, 0.0, 0.5])).tolist()]  # ln 2 / 4
        [0.1733, 0.1733, 0.0]
    """
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (target - logits.sigmoid()).square() * losses
