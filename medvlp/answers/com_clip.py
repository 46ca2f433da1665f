"""Pictures against sentences, with what the sentence speaks of put into the picture once more: ComCLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medvlp.answers._pixels import OverPixels, single
from medvlp.answers._zones import boxes_of_place, inside, mask_of_boxes
from medvlp.core.answers import Ask, Rows
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.marks import seen
from medvlp.features.embed import embed_parts
from medvlp.text.mention_triplets import of_mentions
from medvlp.text.mentions import read_report
from medvlp.text.ontology import findings

# Name of a finding or a place -> which pixels of the view are its own; None where nobody knows
Marked = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class _Begun:
    model: Model
    texts: tuple[str, ...]
    sentences: Tensor  # (M, D) of unit length
    parts: tuple[tuple[Part, ...], ...]
    words: Mapping[str, Tensor]  # (D,), not of unit length


class ComClip(OverPixels):
    r"""cos(f, t) of pictures and sentences by ComCLIP (Jiang et al. 2024), training-free.

    A sentence's findings, places and both together are its subjects, objects and predicates. Each has a sub-image, the
    picture black outside its boxes; a predicate's is the union of both, or the whole picture where one is unknown. With
    f_I and f_T what the towers give before it is brought to unit length::

        score_k = <f_T(word_k), f_I(sub_k)>        w_k = score_k / sum score
        f = f_I(image) + sum_k w_k f_I(sub_k)      compared with t = f_T(sentence) by the cosine

    The paper parses with a language model and takes the boxes of dense captions. Here words come from the report's
    triplets, places are zones of a frontal film as it is displayed (the patient's left on its right), and with `drawn`
    findings and places have the data set's boxes or masks, else a finding has none. Ask for it by ``answers: {com_clip:
    {}}`` of a run that trains `clip`.

    Args:
        drawn: whether columns ``boxes.NAME`` and ``mask.NAME`` are used, NAME a finding or ``left_lower_lobe``.
            A box that somebody drew for a finding tells that it is there: no comparison with models that see none.

    Returns:
        ``similarity`` with the sentences that are asked for; nothing where none is.

    Raises:
        ConfigError: for a model of other than images and texts.

    References:
        Jiang et al. 2024 (ComCLIP, section 3); weights as in the authors' code, but see `composed`.

    Note:
        A sentence that denies a finding has no sub-image, and is compared with the picture alone. Zones are rough: a
        turned or badly centred film, or a lateral one, has its lobes elsewhere.

    Example:
        >>> ComClip(drawn=True).released()
        {'drawn': True}
    """

    asks: ClassVar = "sentences"
    gives: ClassVar[frozenset[str]] = frozenset({"similarity"})
    title = "Sentences by their parts (ComCLIP)"

    def __init__(self, *, drawn: bool = False) -> None:
        self.drawn = drawn

    def check(self, model: Model) -> None:
        """Refuse a model that does not compare images with texts."""
        if not model.reads_text or model.vision_kind != "image":
            raise ConfigError("com_clip compares images with sentences, and this model does not: leave it out.")
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> _Begun:
        """Take the sentences apart, and encode each of them and each distinct word once."""
        parts = tuple(parts_of(text) for text in ask.sentences)
        words = list(dict.fromkeys(part.words for each in parts for part in each))
        if not ask.sentences:
            return _Begun(model, (), torch.zeros(0, 1), (), {})
        rows = torch.from_numpy(embed_parts(model, "text", [*ask.sentences, *words], ("raw",))["raw"])
        sentences, rest = rows[: len(parts)], rows[len(parts) :]
        return _Begun(model, ask.sentences, unit(sentences), parts, dict(zip(words, rest, strict=True)))

    def answer(self, rows: Rows, ask: Ask, begun: _Begun) -> Predictions:
        """Return similarities (N, M); NaN of a sample without a picture."""
        ids = tuple(sample.id for sample in rows.samples)
        if not begun.texts:
            return Predictions(ids)
        near = np.stack([self._near(sample, begun) for sample in rows.samples])
        return Predictions(ids, similarity=near, compared=begun.texts)

    def _plan(self, model: Model) -> Plan:
        return Plan.of(keys("image/raw", "text/raw"))

    def _near(self, sample: Sample, begun: _Begun) -> np.ndarray:
        batch = single(sample, "image", what="sentences are compared")
        if batch is None:
            return np.full(len(begun.texts), np.nan, np.float32)
        image = batch["image"].values[0]
        assert isinstance(image, Tensor)
        size = (int(image.shape[1]), int(image.shape[2]))

        def marked(name: str) -> Tensor | None:
            return self._marked(sample, name.replace(" ", "_"), size)

        shown: dict[bytes, Tensor] = {}  # several words may have one place, whose sub-image is encoded once
        place: dict[Part, int] = {}
        for part in dict.fromkeys(part for each in begun.parts for part in each):
            mask = mask_of_part(part, marked, sample.record("image"), size)
            if mask is not None:
                shown.setdefault(mask.numpy().tobytes(), mask)
                place[part] = 1 + list(shown).index(mask.numpy().tobytes())
        views = [image, *(image * mask for mask in shown.values())]
        vectors = torch.from_numpy(embed_parts(begun.model, "image", views, ("raw",))["raw"])
        near = []
        for text, parts in zip(begun.sentences, begun.parts, strict=True):
            own = [part for part in parts if part in place]
            words = torch.stack([begun.words[part.words] for part in own]) if own else vectors[:0]
            whole = composed(vectors[0], vectors[[place[part] for part in own]], words)
            near.append(float(unit(whole[None])[0] @ text))
        return np.array(near, np.float32)

    def _marked(self, sample: Sample, name: str, size: tuple[int, int]) -> Tensor | None:
        for kind in ("mask", "boxes") if self.drawn else ():
            mark = seen(sample, f"{kind}.{name}")
            if isinstance(mark, Tensor):
                return mark if kind == "mask" else inside(mark, size)
        return None


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
