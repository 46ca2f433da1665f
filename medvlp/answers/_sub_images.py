"""Parts of a picture that the words of a report speak of, and what an image is with them put into it: ComCLIP's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.answers._zones import boxes_of_place, mask_of_boxes
from medvlp.core.sample import ImageRecord
from medvlp.text.mention_triplets import of_mentions
from medvlp.text.mentions import read_report
from medvlp.text.ontology import findings

# Name of a finding or a place -> which pixels of the view are its own; None where nobody knows
Marked = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class Part:
    """Words of a sentence, such as "left lower lobe", and the finding's key and (anatomy, side) that they speak of."""

    words: str
    finding: str = ""
    place: tuple[str, str] | None = None


def parts_of(text: str) -> tuple[Part, ...]:
    """Return subject, object and predicate of each finding that a text says is there; what is absent has no place.

    Example:
        >>> [part.words for part in parts_of("Nodule in the left lower lobe. No effusion.")]
        ['nodule', 'left lower lobe', 'nodule, left lower lobe']
    """
    found: list[Part] = []
    for stated in of_mentions(read_report(text), study_id="").triplets:
        fact = stated.triplet
        if fact.presence == "absent":
            continue
        name, place = findings()[fact.observation].title.lower(), f"{fact.side} {fact.anatomy}".strip()
        where = (fact.anatomy, fact.side) if place else None
        found.append(Part(name, finding=fact.observation))
        found += [Part(place, place=where)] if where else []
        found.append(Part(f"{name}, {place}" if place else name, fact.observation, where))
    return tuple(dict.fromkeys(found))


def mask_of_part(part: Part, marked: Marked, record: ImageRecord | None, size: tuple[int, int]) -> Tensor | None:
    """Return the pixels of a part's sub-image, bool (H, W): all where a predicate lacks one of its two; None: no part.

    `marked` are boxes or masks that the sample has, `record` and `size` those of the view.
    """
    masks = [marked(part.finding)] if part.finding else []
    if part.place is not None:
        anatomy, side = part.place
        own, boxes = marked(f"{side} {anatomy}".strip()), boxes_of_place(anatomy, side)
        masks.append(mask_of_boxes(boxes, record, size) if own is None and boxes else own)
    there = [mask for mask in masks if mask is not None and bool(mask.any())]
    if len(there) < len(masks):
        return torch.ones(size, dtype=torch.bool) if len(masks) == 2 else None
    return torch.stack(there).any(dim=0)


def composed(whole: Tensor, parts: Tensor, words: Tensor) -> Tensor:
    """Return f = f_I + sum_k w_k f_k (D,), with w_k = score_k / sum of scores and score_k = <words_k, f_k>.

    Of vectors that are not of unit length. A negative score counts as 0, and where none is positive all count alike: a
    sum of scores of both signs, which the authors' code divides by, may vanish or turn a part around.

    Args:
        whole: f_I (D,), the picture's.
        parts: f_k (M, D), the sub-images'.
        words: (M, D).

    Example:
        >>> composed(torch.tensor([1.0, 0.0]), torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, 1.0]])).tolist()
        [1.75, 0.25]
    """
    if not len(parts):
        return whole
    scores = (parts * words).sum(dim=1).clamp(min=0)
    weights = scores / scores.sum() if bool(scores.sum() > 0) else torch.full_like(scores, 1 / len(scores))
    return whole + weights @ parts
