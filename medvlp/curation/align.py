"""``align``: the filters of ALIGN (Jia et al. 2021) on sizes, lengths and how often a text or an image is repeated."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from medvlp.core.curator import Curator, Record, Verdict
from medvlp.curation._lowest import Lowest
from medvlp.text.phrases import tokens_of

__all__ = ["Align"]

_PAIR = "\x1f"  # between the words of a bigram


@dataclass
class Counts:
    """Records of each text and of each image file, and how many have a word or a pair of neighbouring words."""

    texts: Lowest
    images: Lowest
    words: Counter[str] = field(default_factory=Counter)


class Align(Curator[Counts]):
    r"""Leave out records by fixed limits; all frequencies are those of the raw pool.

    In this order, the first that applies is the reason: ``small`` (shorter side of the image), ``narrow`` (longer side
    over shorter side), ``short`` and ``long`` (words of the text), ``busy_image`` (an image file with too many texts),
    ``rare_words`` (a word, or two neighbouring words, that too few records have), ``common_text`` (a text that too many
    records share). Because counts are made once, on all records, limits do not depend on each other's order, and a pool
    that was filtered with its own counts is left as it is by them. Texts and images are counted in 16 bytes a record,
    words and pairs of words, where `min_count` asks for them, as they are.

    Args:
        min_side: pixels; the paper's 200. Records without the columns ``width`` and ``height`` are not asked.
        max_aspect: the paper's 3.
        min_words: the paper's 3.
        max_words: the paper's 20, for captions; reports are longer.
        max_texts: of one image; the paper's 1,000.
        min_count: records that must have each word and each pair of words; 1 asks nothing.
        max_shared: records that may share a text; the paper's 10.
        shared: what is done to a text that more records share: ``cap`` keeps `max_shared` of them, chosen by
            the seed, ``drop`` leaves all of them out, as the paper does.
        seed: of that choice.

    References:
        Jia et al. 2021, section 3.1, image-based and text-based filtering. Near duplicates of test images are the
        business of ``medvlp data check``.

    Note:
        Dropped, a text shared by many would take "No acute cardiopulmonary process." and with it most healthy patients;
        `cap` is therefore the default. Rare words are often rare diseases: look at what goes before raising
        `min_count`.

    Example:
        >>> rule = Align(max_words=100)
        >>> pool = [{"id": "a", "text": "Clear."}, {"id": "b", "text": "Small left effusion."}]
        >>> [rule.apply(record, rule.measure(pool)).reason for record in pool]
        ['short', '']
    """

    def __init__(
        self,
        *,
        min_side: Annotated[int, Field(ge=1)] = 200,
        max_aspect: Annotated[float, Field(ge=1)] = 3.0,
        min_words: Annotated[int, Field(ge=0)] = 3,
        max_words: Annotated[int, Field(ge=1)] = 400,
        max_texts: Annotated[int, Field(ge=1)] = 1000,
        min_count: Annotated[int, Field(ge=1)] = 1,
        max_shared: Annotated[int, Field(ge=1)] = 10,
        shared: Literal["cap", "drop"] = "cap",
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.min_side, self.max_aspect = min_side, max_aspect
        self.min_words, self.max_words = min_words, max_words
        self.max_texts, self.min_count = max_texts, min_count
        self.max_shared, self.shared, self.seed = max_shared, shared, seed

    def count(self, record: Record) -> Counts:
        """Return the text, the image, and the words, each once."""
        found = self._none()
        found.texts.see(_plain(record), str(record["id"]))
        if record.get("image"):
            found.images.see(str(record["image"]), str(record["id"]))
        if self.min_count > 1:
            found.words.update(set(_grams(_words(record))))
        return found

    def add(self, total: Counts | None, more: Counts) -> Counts:
        """Return the sum."""
        total = self._none() if total is None else total
        total.texts.join(more.texts)
        total.images.join(more.images)
        total.words.update(more.words)
        return total

    def apply(self, record: Record, counts: Counts) -> Verdict:
        """Return the first limit that the record breaks."""
        words, sides = _words(record), [record.get("width"), record.get("height")]
        known = sorted(side for side in map(_number, sides) if side > 0)
        shared = counts.texts.overflows(_plain(record))
        stays = self.shared == "cap" and counts.texts.holds(_plain(record), str(record["id"]))
        broken = {
            "small": len(known) == 2 and known[0] < self.min_side,
            "narrow": len(known) == 2 and known[1] > self.max_aspect * known[0],
            "short": len(words) < self.min_words,
            "long": len(words) > self.max_words,
            "busy_image": counts.images.overflows(str(record.get("image"))),
            "rare_words": self.min_count > 1 and any(counts.words[gram] < self.min_count for gram in _grams(words)),
            "common_text": shared and not stays,
        }
        return Verdict(next((reason for reason, true in broken.items() if true), ""))

    def _none(self) -> Counts:
        return Counts(Lowest(self.max_shared, seed=self.seed), Lowest(self.max_texts, seed=self.seed))


def _number(side: object) -> float:
    """Return a number, written out where another row of its column is no number; NaN of anything else."""
    try:
        return float(str(side))
    except ValueError:
        return math.nan


def _plain(record: Record) -> str:
    return " ".join(str(record["text"]).casefold().split())


def _words(record: Record) -> list[str]:
    return [token.word for token in tokens_of(str(record["text"])) if token.word[0].isalnum()]


def _grams(words: list[str]) -> list[str]:
    return [*words, *(f"{one}{_PAIR}{other}" for one, other in pairwise(words))]
