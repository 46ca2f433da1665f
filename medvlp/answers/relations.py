"""Relations between findings and places, each with two boxes in the pixels of the file."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medvlp.answers._pixels import OverPixels, record_of, single
from medvlp.core.answers import Ask, Rows
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.places import to_source
from medvlp.core.predictions import Predictions, RelationSet
from medvlp.core.protocols import Model


class Relations(OverPixels):
    """Triplets by a head like `relation_queries`: of each pair of queries the likeliest subject and object.

    The score of a triplet is p(subject) p(object) p(predicate). Of several pairs that give one triplet the surest
    stands. A part of predicates that has one number more than there are predicates is exclusive, the last is none of
    them (`pe_net`); one that has not is a yes or no each (`rlipv2`).

    Args:
        entities: in the order of the logits, whose last is "nothing".
        predicates: in the order of theirs.
        part: of the boxes; ``PART_subjects`` and ``PART_objects`` are their classes.
        by: part of the predicates; None: ``PART_predicates``.
        most: triplets of a picture.

    Example:
        >>> Relations(entities=["effusion", "pleura"], predicates=["located_at"], most=5).released()["by"]
        'relations_predicates'
    """

    gives: ClassVar[frozenset[str]] = frozenset({"relations"})
    title = "Relations"

    def __init__(
        self,
        *,
        entities: list[str],
        predicates: list[str],
        part: str = "relations",
        by: str | None = None,
        most: Annotated[int, Field(ge=1)] = 100,
    ) -> None:
        self.entities, self.predicates = tuple(entities), tuple(predicates)
        self.part, self.most = part, most
        self.by = by or f"{part}_predicates"

    def answer(self, rows: Rows, ask: Ask, begun: Model) -> Predictions:
        """Find the relations of each sample, surest first; one without a picture has none."""
        device = next(begun.parameters()).device
        found: list[RelationSet] = []
        words = self.entities, self.predicates
        with torch.no_grad(), evaluating(begun):
            for sample in rows.samples:
                batch = single(sample, "image", what="relations are found")
                if batch is None:
                    found.append(RelationSet(np.zeros((0, 8)), np.zeros(0), np.zeros(0), (), *words))
                    continue
                encoded = begun(batch.to(device), self._plan(begun))["image"]
                boxes, *logits = (encoded.part(part)[0].float().cpu() for part in self._parts())
                pixels = batch["image"].values
                assert isinstance(pixels, Tensor)
                size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
                query, scores, subjects, triplets = self._chosen(*logits)
                from torchvision.ops import box_convert

                pairs = box_convert(boxes[query].view(-1, 4), "cxcywh", "xyxy") * boxes.new_tensor(size[::-1] * 2)
                corners = to_source(pairs, record_of(sample, "image"), size).double().numpy().reshape(-1, 8)
                sure, own = scores.double().numpy(), subjects.double().numpy()
                found.append(RelationSet(corners, sure, own, triplets, *words))
        return Predictions(tuple(sample.id for sample in rows.samples), relations=tuple(found))

    def _chosen(
        self, subjects: Tensor, objects: Tensor, verbs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[tuple[str, str, str], ...]]:
        """Query, score, score of the subject, and words of the triplets, surest first, each once."""
        (s, subject), (o, other) = (logits.softmax(1)[:, :-1].max(1) for logits in (subjects, objects))
        exclusive = verbs.shape[1] > len(self.predicates)
        v = verbs.softmax(1)[:, :-1] if exclusive else verbs.sigmoid()
        scores = (s * o)[:, None] * v  # (Q, P)
        chosen: dict[tuple[str, str, str], tuple[int, float]] = {}
        for at in scores.flatten().argsort(descending=True, stable=True).tolist():
            query, verb = divmod(at, v.shape[1])
            words = self.entities[int(subject[query])], self.predicates[verb], self.entities[int(other[query])]
            chosen.setdefault(words, (query, float(scores[query, verb])))
            if len(chosen) == self.most:
                break
        queries = torch.tensor([query for query, _ in chosen.values()])
        return queries, torch.tensor([score for _, score in chosen.values()]), s[queries], tuple(chosen)

    def _parts(self) -> tuple[str, ...]:
        return (self.part, f"{self.part}_subjects", f"{self.part}_objects", self.by)

    def _plan(self, model: Model) -> Plan:
        return Plan.of(keys(*(f"image/{part}" for part in self._parts())))
