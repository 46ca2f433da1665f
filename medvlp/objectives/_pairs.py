"""Stated relations of a picture as pairs of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.objectives._regions import regions_of
from medvlp.text.relations import PRESENT, UNCERTAIN

_MOST = 64  # boxes of a picture


@dataclass(frozen=True)
class Pairs:
    """The n pairs (subject, object) of a picture that some predicate is stated of, surely or not.

    Attributes:
        boxes: (n, 8) centre, width, height of the subject and of the object in [0, 1]; NaN where not known.
        subjects: (n,) entities.
        objects: (n,).
        predicates: (n, P) 1 stated, 1/2 uncertain, 0 neither.
    """

    boxes: Tensor
    subjects: Tensor
    objects: Tensor
    predicates: Tensor

    @property
    def sure(self) -> Tensor:
        """Of which pairs some predicate is certain, bool (n,): the others are neither taught nor denied."""
        return (self.predicates == PRESENT).any(dim=1)


def pairs_of(
    ctx: Context, key: str, *, field: str, labels: Sequence[str], drawn: Sequence[str], predicates: int, name: str
) -> list[Pairs | None]:
    """Return the pairs of each own row of a key; None where nothing is known of it.

    Each pair of entities is one pair: of several boxes of both those that overlap most, by the subject's area, and of
    equal ones the nearest. Of several boxes of the one where the other has none nobody knows which is meant.

    Args:
        key: of an image view.
        field: the matrix of `medvlp.text.relations`, flat.
        labels: E entities.
        drawn: those that have boxes.
        predicates: P.
        name: of the objective.

    Raises:
        ConfigError: for a matrix of another size.
    """
    owner = ctx.parts[parse_key(key)].owner
    column = ctx.batch.columns.get(field)
    if column is None or not isinstance(column.values, Tensor) or not len(column.owner):
        return [None] * len(owner)
    if column.values.shape[1:] != (len(labels) ** 2 * predicates,):
        raise ConfigError(
            f"The field {field!r} has {tuple(column.values.shape[1:])} values a sample and objective {name!r} knows "
            f"{len(labels)} entities and {predicates} predicates: make it with the same words."
        )
    regions = regions_of(ctx, key, drawn, most=_MOST, name=f"boxes of {name}")
    entity = regions.label.new_tensor([labels.index(label) for label in drawn])[regions.label]
    found: list[Pairs | None] = []
    for row, sample in enumerate(owner.tolist()):
        here = (column.owner == sample).nonzero().flatten()
        if not len(here):
            found.append(None)
            continue
        matrix = column.values[here[0]].view(len(labels), predicates, len(labels)).transpose(1, 2)  # (E, E, P)
        subjects, objects = (matrix >= UNCERTAIN).any(2).nonzero(as_tuple=True)
        own = regions.row == row
        drawn_here = {e: regions.boxes[own & (entity == e)] for e in {*subjects.tolist(), *objects.tolist()}}
        boxes = [
            _nearest(drawn_here[s], drawn_here[o]) for s, o in zip(subjects.tolist(), objects.tolist(), strict=True)
        ]
        stated = matrix[subjects, objects]
        stated = torch.where(stated >= UNCERTAIN, stated, torch.zeros_like(stated))
        there = torch.stack(boxes) if boxes else regions.boxes.new_zeros(0, 8)
        found.append(Pairs(there, subjects, objects, stated))
    return found


def _nearest(subjects: Tensor, objects: Tensor) -> Tensor:
    """Return (8,) of the boxes (m, 4) and (k, 4), corners, that belong together most."""
    from torchvision.ops import box_convert

    unknown = subjects.new_full((4,), torch.nan)
    sides = [box_convert(each, "xyxy", "cxcywh") for each in (subjects, objects)]
    if not len(subjects) or not len(objects):
        return torch.cat([side[0] if len(side) == 1 else unknown for side in sides])
    low = torch.maximum(subjects[:, None, :2], objects[None, :, :2])
    shared = (torch.minimum(subjects[:, None, 2:], objects[None, :, 2:]) - low).clamp(min=0).prod(2)
    share = shared / sides[0][:, None, 2:].prod(2).clamp(min=1e-9)
    apart = torch.cdist(sides[0][:, :2], sides[1][:, :2])
    best = int((share - 1e-3 * apart).argmax())
    return torch.cat([sides[0][best // len(objects)], sides[1][best % len(objects)]])
