"""What a page is made of: plain data, so that a page can be drawn from a run folder or from anybody's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.evaluation.results import Result
from medvlp.pages.record import Record

Chosen = Literal["", "hit", "miss", "false_alarm", "unsure"]
CHOSEN: tuple[Chosen, ...] = get_args(Chosen)


@dataclass(frozen=True, slots=True)
class Box:
    """A planted or drawn box, in pixels of its picture.

    Attributes:
        left, top, right, bottom: edges; the picture's upper left corner is (0, 0).
        label: words beside it.
    """

    left: float
    top: float
    right: float
    bottom: float
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """A picture, what is truly there, and where the model looked.

    Attributes:
        image: ``(H, W)`` or ``(H, W, 3)`` uint8.
        finding: asked for.
        score: of the finding, as the model gives it.
        boxes: of the truth.
        heat_map: ``(h, w)`` finite, any range and size, covering the whole picture; None where there is none.
        truth: what is there in words: ``"left, moderate"``.
        sentence: of the report.
        note: anything else (view, site).
        chosen: why this picture: ``""`` a typical positive, ``"hit"`` the positive with the highest score, ``"miss"``
            the one with the lowest, ``"false_alarm"`` the negative with the highest, ``"unsure"`` the case whose score
            says least.
    """

    image: NDArray[np.uint8]
    finding: str
    score: float
    boxes: tuple[Box, ...] = ()
    heat_map: NDArray[np.floating] | None = None
    truth: str = ""
    sentence: str = ""
    note: str = ""
    chosen: Chosen = ""

    def __post_init__(self) -> None:
        _check_picture(self.image, f"gallery item {self.finding!r}")
        if self.heat_map is not None and (self.heat_map.ndim != 2 or not np.isfinite(self.heat_map).all()):
            raise DataError(
                f"The heat map of gallery item {self.finding!r} has shape {self.heat_map.shape} or holds NaN: "
                f"give finite values of shape (h, w)."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalHit:
    """One report of a ranked list.

    Attributes:
        rank: from 1.
        text: of the report.
        score: similarity to the query.
        correct: it is of the query's relevance group.
    """

    rank: int
    text: str
    score: float
    correct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalExample:
    """A query picture with the reports that were ranked first.

    Attributes:
        image: ``(H, W)`` or ``(H, W, 3)`` uint8.
        hits: ranked first to last.
        expected_rank: of the first correct report, from 1.
        pool: reports that were ranked.
        relevant: correct reports in the pool.
        note: anything else.
    """

    image: NDArray[np.uint8]
    hits: tuple[RetrievalHit, ...]
    expected_rank: float
    pool: int
    relevant: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        _check_picture(self.image, "retrieval example")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that could not be read: which one (a pseudonymous id) and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """All that a page shows; everything but `title` and `results` may be empty, and its section is then left out.

    Attributes:
        title: of the page.
        date: on which the results were made, in ISO form; empty where it is not known.
        results: models and controls; the first model result with a macro AUROC is the headline.
        log: rows of ``log.jsonl``; drawn against ``samples_seen``.
        gallery: pictures with boxes and heat maps, typical ones and errors.
        retrieval: ranked lists.
        config: the full tree of the run.
        environment: versions and machine.
        provenance: facts in order: seeds, hashes, time, counts.
        quarantined: records that could not be read.
        record: what was judged on what; None where it was not kept.
        study: what a run cannot know, by the names of the facts of the checklists (`medvlp.pages.checklist`).
        seed: of the bootstrap bands of the curves.
        resamples: of the bands.
    """

    title: str
    date: str = ""
    results: tuple[Result, ...]
    log: Sequence[Mapping[str, object]] = ()
    gallery: tuple[GalleryItem, ...] = ()
    retrieval: tuple[RetrievalExample, ...] = ()
    config: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()
    record: Record | None = None
    study: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    resamples: int = 500

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader must have seen before any number, each sentence once."""
        return tuple(dict.fromkeys(caveat for result in self.results for caveat in result.caveats))

    @property
    def typical(self) -> tuple[GalleryItem, ...]:
        """Pictures of typical positives."""
        return tuple(item for item in self.gallery if not item.chosen)

    @property
    def errors(self) -> tuple[GalleryItem, ...]:
        """Images selected by the model's errors."""
        return tuple(item for item in self.gallery if item.chosen)

    @property
    def synthetic(self) -> bool:
        """True where any number is of synthetic data."""
        return any(result.synthetic for result in self.results)


def _check_picture(image: NDArray[np.uint8], what: str) -> None:
    if (
        image.dtype != np.uint8
        or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
        or 0 in image.shape
    ):
        raise DataError(
            f"The picture of {what} is {image.dtype} of shape {image.shape}: give uint8 of shape (H, W) or (H, W, 3)."
        )
