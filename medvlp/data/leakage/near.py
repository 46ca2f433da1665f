"""Copies of one film on two sides: hashes propose pairs, registration decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvlp.data.leakage.hashes import Hasher, cosines, crops, fit_hasher, nearest_and_like
from medvlp.data.leakage.leak import Leak
from medvlp.data.leakage.registration import SAME_FILM, SAME_FILM_OF_PATIENT, register
from medvlp.data.leakage.rows import Entry, Rows
from medvlp.data.parallel import Progress, chunked, run_chunks
from medvlp.data.survey import Survey

__all__ = ["Film", "films_of", "is_blank", "near_image_leaks"]

_PIECE, _PAIRS = 512, 256
_CROPPED, _CROPS = 300, (6, 40)  # pictures from which crops are learnt, and crops of each: fewest and most
_BLANK = 1.5  # gray values of 255: a picture that varies less shows nothing that could be recognised


@dataclass(frozen=True, slots=True)
class Film:
    """One picture on one side.

    Attributes:
        entry: number of its file in the survey.
        row: a row that shows it.
        key: SHA-256 of its pixels.
    """

    entry: int
    row: int
    key: str


def films_of(rows: Rows, entries: Sequence[Entry], survey: Survey) -> list[Film]:
    """Return every different readable picture of each side, once."""
    found: dict[tuple[str, object], Film] = {}
    for number, (entry, facts) in enumerate(zip(entries, survey.brief(), strict=True)):
        if facts is not None and not facts.reason:
            found.setdefault((facts.pixels, rows.splits[entry.row]), Film(number, entry.row, facts.pixels))
    return list(found.values())


def is_blank(survey: Survey, entry: int) -> bool:
    """Whether a picture shows one gray value: it is like every other such picture."""
    return float(_picture(survey, entry).std()) < _BLANK


def near_image_leaks(
    rows: Rows, films: Sequence[Film], survey: Survey, *, workers: int = 0, progress: Progress | None = None
) -> tuple[list[Leak], list[Film]]:
    """Return the pairs on two sides that are one film but not the same pixels, and the blank pictures, left out.

    Args:
        rows: all rows.
        films: as `films_of` gives them.
        survey: with their pictures.
        workers: processes that register.
        progress: told (done, total) proposed pairs.
    """
    features, blank = _look(films, survey)
    films, blanks = (
        [f for f, b in zip(films, blank, strict=True) if not b],
        [f for f, b in zip(films, blank, strict=True) if b],
    )
    features = features[~blank]
    _, sides = np.unique([str(rows.splits[film.row]) for film in films], return_inverse=True)
    if len(set(sides.tolist())) < 2:
        return [], blanks
    hashes = _hasher(films, features, survey)(features)
    pairs = _proposed(films, hashes, sides)
    signs = np.where((hashes[pairs[:, 0]] * hashes[pairs[:, 1]]).sum(axis=1) < 0, -1.0, 1.0)
    patients = [
        None if value is None else (scope, value)
        for scope, value in zip(rows.scopes, rows.column("id.patient"), strict=True)
    ]
    leaks: list[Leak] = []
    shared = (survey, [film.entry for film in films], pairs, signs)
    chunks = chunked(range(len(pairs)), _PAIRS)
    for chunk, (correlation, stretch) in zip(chunks, run_chunks(_decide, shared, chunks, workers=workers), strict=True):
        for at, value, stretched in zip(chunk, correlation, stretch, strict=True):
            a, b = films[pairs[at, 0]].row, films[pairs[at, 1]].row
            of_one = patients[a] is not None and patients[a] == patients[b]
            if value >= (SAME_FILM_OF_PATIENT if of_one else SAME_FILM):
                leaks.append(rows.leak("near_image", a, b, _detail(value, signs[at], stretched)))
        if progress is not None:
            progress(chunk[-1] + 1, len(pairs))
    return leaks, blanks


def _look(films: Sequence[Film], survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(N, 143)`` and which pictures are blank, without holding the pictures."""
    features, blank = [np.zeros((0, 143))], []
    for piece in chunked(films, _PIECE):
        pictures = [_picture(survey, film.entry) for film in piece]
        features.append(cosines(pictures))
        blank += [float(picture.std()) < _BLANK for picture in pictures]
    return np.concatenate(features), np.array(blank, dtype=bool)


def _hasher(films: Sequence[Film], features: np.ndarray, survey: Survey) -> Hasher:
    generator = np.random.Generator(np.random.Philox(0))
    sample = np.sort(generator.permutation(len(films))[:_CROPPED])
    count = int(np.clip(2000 // len(sample), *_CROPS))
    cropped = [crops(_picture(survey, films[at].entry), generator, count=count) for at in sample]
    return fit_hasher(features, sample, np.stack(cropped))


def _proposed(films: Sequence[Film], hashes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return pairs ``(P, 2)`` of different pictures, sorted, each once."""
    _, keys = np.unique([film.key for film in films], return_inverse=True)
    codes = [np.zeros(0, np.int64)]
    for a, b in nearest_and_like(hashes, sides, things=keys):
        codes.append(np.unique(np.minimum(a, b) * len(films) + np.maximum(a, b)))
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), len(films)), axis=1)


def _decide(
    shared: tuple[Survey, list[int], np.ndarray, np.ndarray], chunk: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    survey, entries, pairs, signs = shared
    chosen = pairs[chunk[0] : chunk[-1] + 1]
    pictures = {int(number): _picture(survey, entries[number]) for number in np.unique(chosen)}
    found = register(pictures, chosen, signs[chunk[0] : chunk[-1] + 1])
    return found.correlation, found.placement[:, 0::2]


def _detail(correlation: float, sign: float, stretch: np.ndarray) -> str:
    words = [f"registered correlation {correlation:.2f}"]
    if sign < 0:
        words.append("one is the negative of the other")
    if np.abs(stretch - 1).max() > 0.01:
        words.append(f"shown at {stretch[0]:.2f} and {stretch[1]:.2f} times the height and width")
    return ", ".join(words)


def _picture(survey: Survey, entry: int) -> np.ndarray:
    facts = survey[entry]
    return np.zeros((2, 2), np.uint8) if facts is None else facts.picture
