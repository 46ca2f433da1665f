"""Copies of one film on two sides: hashes propose pairs, registration decides.

A pair is one film if its registered correlation is high, and stands out from what its likes reach: pictures of a
synthetic hospital, or slices through one organ, all fit each other well, films of people do not. Each of the two is
also registered with the twelve pictures of other patients that are nearest by hash. With m the mean of the three
highest of these correlations (0.75 and more left out, since further copies may be among them), the pair's correlation c
must reach m + 0.64 (1 - m).

Measured on 659 films of ChestX-ray14, 1,500 of children and 2,089 synthetic ones: copies with up to 5 % off each side,
down to 0.4 of the size, at JPEG quality 30 and more, negatives among them, reach c = 0.72 and stand out by 0.72 at
least; of the pairs of two people most alike, real ones reach 0.60 and 0.43, synthetic ones 0.87 and 0.60. Two exposures
of one patient in one position reach 0.79: where both are known to be one patient's, which is a leak already, more is
asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np

from medvlp.core.provenance import code_hash, hash_of
from medvlp.data.cache import Cache, full_disk_refused, open_database
from medvlp.data.contents import decoder_versions
from medvlp.data.leakage.hashes import Hasher, cosines, crops, fit_hasher, nearest_and_like
from medvlp.data.leakage.leak import Leak
from medvlp.data.leakage.registration import Registered, register
from medvlp.data.leakage.rows import Entry, Rows
from medvlp.data.parallel import Progress, Workers, chunked, notify, run_chunks
from medvlp.data.survey import Survey

_TABLE = "CREATE TABLE IF NOT EXISTS copies (films TEXT, chunk INTEGER, found TEXT, PRIMARY KEY (films, chunk))"
_PIECE, _PAIRS = 512, 256
_CROPPED, _CROPS = 300, (6, 40)  # pictures from which crops are learnt, and crops of each: fewest and most
_ALIKE, _STANDS_OUT = 0.64, 0.64
_OF_PATIENT = 0.82
_CERTAIN = 0.9  # from here on likes are not asked: they may be copies themselves
_LIKES, _HIGHEST, _OWN_COPIES = 12, 3, 0.75
_FEW = 0.3  # what stands for likes where there are none
_BLANK = 1.5  # gray values of 255: a picture that varies less shows nothing that could be recognised


@dataclass(frozen=True, slots=True)
class Film:
    """One picture on one side.

    Attributes:
        entry: number of its file in the survey.
        row: a row that shows it.
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
    rows: Rows, films: Sequence[Film], survey: Survey, *, workers: Workers = 0, progress: Progress | None = None
) -> tuple[list[Leak], list[Film]]:
    """Return the pairs on two sides that are one film but not the same pixels, and the blank pictures, left out.

    What was compared is remembered in the cache: the same films on the same sides are not compared again.
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
    hashes = learnt_hasher(films, features, survey)(features)
    pairs = _proposed(films, hashes, sides)
    compared = _Compared(survey, films, [rows.patients[film.row] for film in films], hashes, pairs)
    shown = [(film.key, rows.splits[film.row], str(rows.patients[film.row])) for film in films]
    name = hash_of([code_hash("data/leakage"), decoder_versions(), shown])
    chunks = chunked(range(len(pairs)), _PAIRS)
    cache = Cache.default()
    with closing(open_database(cache.files / "copies.sqlite", _TABLE)) as database:
        known = database.execute("SELECT found FROM copies WHERE films = ? ORDER BY chunk", (name,)).fetchall()
        found = [json.loads(row[0]) for row in known]
        todo = chunks[len(found) :]
        for chunk, copies in zip(todo, run_chunks(_copies, compared, todo, workers=workers), strict=True):
            with full_disk_refused(cache.folder), database:
                row = (name, len(found), json.dumps(copies))
                database.execute("INSERT OR REPLACE INTO copies VALUES (?, ?, ?)", row)
            found.append(copies)
            notify(progress, chunk[-1] + 1, len(pairs))
    leaks = []
    for number, detail in chain.from_iterable(found):
        a, b = pairs[number]
        leaks.append(rows.leak("near_image", films[a].row, films[b].row, detail))
    return leaks, blanks


@dataclass(frozen=True, eq=False, slots=True)
class _Compared:
    """What pairs of films are compared by: sent to each worker once.

    Attributes:
        patients: of each film; None where unknown.
        hashes: ``(N, D)``.
        pairs: ``(P, 2)`` numbers of films.
    """

    survey: Survey
    films: Sequence[Film]
    patients: Sequence[object]
    hashes: np.ndarray
    pairs: np.ndarray

    def register(self, pairs: np.ndarray, *, give_up: bool = True) -> Registered:
        pictures = {int(number): _picture(self.survey, self.films[number].entry) for number in np.unique(pairs)}
        return register(pictures, pairs, self.signs(pairs), give_up=give_up)

    def signs(self, pairs: np.ndarray) -> np.ndarray:
        """Return -1 where one of two is the negative of the other, else 1."""
        return np.where((self.hashes[pairs[:, 0]] * self.hashes[pairs[:, 1]]).sum(axis=1) < 0, -1.0, 1.0)


def _look(films: Sequence[Film], survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(N, 143)`` and which pictures are blank, without holding the pictures."""
    features, blank = [np.zeros((0, 143))], []
    for piece in chunked(films, _PIECE):
        images = [_picture(survey, film.entry) for film in piece]
        features.append(cosines(images))
        blank += [float(picture.std()) < _BLANK for picture in images]
    return np.concatenate(features), np.array(blank, dtype=bool)


def learnt_hasher(films: Sequence[Film], features: np.ndarray, survey: Survey) -> Hasher:
    """Return the map to hashes that is learnt from films, their `cosines` ``(N, 143)`` and crops of 300 of them."""
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


def _copies(compared: _Compared, chunk: Sequence[int]) -> list[tuple[int, str]]:
    """Return which pairs of a chunk are one film, with what is told of each."""
    pairs = compared.pairs[chunk[0] : chunk[-1] + 1]
    found, signs = compared.register(pairs), compared.signs(pairs)
    copies = []
    for at in np.flatnonzero(found.correlation >= _ALIKE):
        value = float(found.correlation[at])
        first, second = (compared.patients[number] for number in pairs[at])
        if first is not None and first == second:
            same = value >= _OF_PATIENT
        else:
            same = value >= _CERTAIN or _stands_out(value, compared, pairs[at])
        if same:
            copies.append((chunk[int(at)], _detail(value, signs[at], found.placement[at, 0::2])))
    return copies


def _stands_out(value: float, compared: _Compared, pair: np.ndarray) -> bool:
    """Whether a correlation is far above those of either picture with its likes on any side."""
    films, patients, hashes = compared.films, compared.patients, compared.hashes
    keys = {films[number].key for number in pair}
    own = {patients[number] for number in pair} - {None}
    likes = []
    for number in pair:
        order = np.argsort(-np.abs(hashes @ hashes[number]), kind="stable")[: 8 * _LIKES]
        others = (at for at in order if films[at].key not in keys and patients[at] not in own)
        likes.append([(number, at) for at in islice(others, _LIKES)])
    reached = np.zeros(0)
    # The nearest first: what three of them reach already is not undone by the others.
    for some in chunked([like for both in zip_longest(*likes) for like in both if like is not None], _LIKES // 2):
        more = compared.register(np.array(some), give_up=False).correlation
        reached = np.sort(np.append(reached, more[more < _OWN_COPIES]))[-_HIGHEST:]
        if len(reached) == _HIGHEST and not _is_far_above(value, float(reached.mean())):
            return False
    return _is_far_above(value, float(reached.mean()) if len(reached) else _FEW)


def _is_far_above(value: float, usual: float) -> bool:
    return value >= usual + _STANDS_OUT * (1 - usual)


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
