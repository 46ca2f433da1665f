"""The whole check: what is on two sides, and what else a reader of the results should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from medvlp.data.cache import Cache
from medvlp.data.contents import content_hashes
from medvlp.data.leakage.crossing import named_crossing, packed_crossing
from medvlp.data.leakage.leak import Leak
from medvlp.data.leakage.notes import Note, card_notes, shared_image_notes, spelling_notes
from medvlp.data.leakage.rows import Entry, Rows, identifier_leaks, image_leaks, refuse_unsplit, rows_of, shared
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, Workers

if TYPE_CHECKING:
    from medvlp.data.facts import ImageFacts


_QUICK = 20_000  # images: their comparison takes about a minute


@dataclass(frozen=True)
class Checked:
    """Outcome of a leak check.

    Attributes:
        leaks: what stands on two sides, gravest kind first.
        notes: what is no leak and still worth knowing.
        records: rows with a side.
        images: files that were read; 0 where images were not looked at.
    """

    leaks: tuple[Leak, ...]
    notes: tuple[Note, ...]
    records: int
    images: int


def check_split(
    manifest: Manifest, *, images: bool = True, near: bool = False, workers: int = 0, progress: Progress | None = None
) -> list[Leak]:
    """Return the leaks between splits by patient, study and image; one for each shared thing and two sides.

    Args:
        manifest: with a ``split`` column; records without a split belong to none.
        images: whether image files are compared (each is read once, and then remembered).
        near: whether the same film in another size, compression, polarity or crop is looked for; every image is decoded
            once, and then remembered.
        progress: of reading.

    Raises:
        DataError: if there is no ``split`` column.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "p"], "split": ["train", "test"]}
        >>> [(leak.kind, leak.a, leak.b) for leak in check_split(Manifest.of(columns, root=Path(".")))]
        [('patient', 'a', 'b')]
    """
    refuse_unsplit(manifest)
    named = named_crossing(manifest, ("id.patient", "id.study"))
    leaks = [] if named is None else identifier_leaks(rows_of([named]))
    rest = None if not images else manifest if near else packed_crossing(manifest)
    if rest is None:
        return leaks
    rows = rows_of([rest])
    entries = rows.entries()
    if near:
        return leaks + _images(rows, entries, workers=workers, near=True, progress=progress, names=()).leaks
    paths = [entry.path for entry in entries]
    hashes = content_hashes(paths, cache=Cache.default(), workers=workers, progress=progress)
    return leaks + image_leaks(rows, entries, hashes)


def near_is_quick(manifest: Manifest) -> bool:
    """Whether copies can be looked for at once.

    That is so where a survey (`medvlp data index`, `medvlp data check`) has seen every image already, and there are
    20,000 at most.
    """
    from medvlp.data.survey import known_survey

    refuse_unsplit(manifest)
    split, *files = (
        manifest.arrow(name).is_valid().to_numpy(zero_copy_only=False) for name in ("split", *manifest.file_columns)
    )
    if sum(int((split & each).sum()) for each in files) > _QUICK:  # before a million paths are made
        return False
    paths = [entry.path for entry in rows_of([manifest]).entries()]
    return 0 < len(paths) <= _QUICK and known_survey(paths, cache=Cache.default()) is not None


def check_cohorts(
    manifests: Sequence[Manifest],
    *,
    names: Sequence[str] = (),
    separate: bool = False,
    images: bool = True,
    near: bool = True,
    workers: Workers = 0,
    progress: Progress | None = None,
) -> Checked:
    """Look for everything that the sides of one or several manifests share.

    Args:
        manifests: at least one.
        names: what each is called.
        separate: patients of different manifests are never the same (see `rows_of`).
        images: whether files are opened; without it equal paths alone tell equal images.
        near: whether copies that are not the same pixels are looked for.

    Raises:
        DataError: if the only manifest has no ``split`` column.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["a", "b"], "image": ["x.png", "x.png"], "split": ["train", "test"]}
        >>> found = check_cohorts([Manifest.of(columns, root=Path("."))], images=False)
        >>> [leak.kind for leak in found.leaks], [note.kind for note in found.notes]
        (['image'], ['unknown_patient'])
    """
    from medvlp.data.leakage.shortcuts import shortcut_notes
    from medvlp.data.leakage.texts import text_leaks

    rows = rows_of(manifests, names=names, separate=separate)
    names = list(names) or [f"set {number + 1}" for number in range(len(manifests))]
    entries = rows.entries()
    if images and entries:
        seen = _images(rows, entries, workers=workers, near=near, progress=progress, names=names)
    else:
        things = [str(entry.path) for entry in entries]
        seen = _Images(image_leaks(rows, entries, things), shared_image_notes(rows, entries, things, names), 0, None)
    of_texts, text_notes = text_leaks(rows)
    notes = [*_unknown_patients(rows), *spelling_notes(rows), *card_notes(rows), *seen.notes]
    notes += [*shortcut_notes(rows, seen.sizes), *text_notes]
    leaks = [*identifier_leaks(rows), *seen.leaks, *of_texts]
    records = sum(side is not None for side in rows.splits)
    return Checked(tuple(leaks), tuple(notes), records, seen.count)


@dataclass(frozen=True, eq=False)
class _Images:
    """What the files tell: leaks, notes, how many could be read, and the size of each row's picture."""

    leaks: list[Leak]
    notes: list[Note]
    count: int
    sizes: np.ndarray | None


def _images(
    rows: Rows, entries: list[Entry], *, workers: Workers, near: bool, progress: Progress | None, names: Sequence[str]
) -> _Images:
    from medvlp.data.leakage.near import films_of, is_blank, near_image_leaks
    from medvlp.data.survey import survey_images

    paths = [entry.path for entry in entries]
    survey = survey_images(paths, cache=Cache.default(), workers=workers, progress=progress)
    facts = list(survey.brief())
    hashes = ["" if each is None else each.sha256 for each in facts]
    leaks = image_leaks(rows, entries, hashes)
    same = {(leak.a, leak.b) for leak in leaks}
    pixels = ["" if each is None or each.reason else each.pixels for each in facts]
    # Two empty slices have the same pixels without being one film.
    place = {key: at for at, key in enumerate(pixels)}  # of equal pixels any: a search for each is quadratic in copies
    repeated = {key for key, count in Counter(pixels).items() if key and count > 1}
    empty = {key for key in repeated if is_blank(survey, place[key])}
    things = [key if key and key not in empty else None for key in pixels]
    by_pixels = shared("image", things, [entry.row for entry in entries], rows, detail="same pixels, other files")
    leaks += [leak for leak in by_pixels if (leak.a, leak.b) not in same]
    notes = _unreadable(facts)
    if near:
        with threadpool_limits(1, user_api="blas"):  # its products are small: threads would wait for each other
            films = films_of(rows, entries, survey)
            found, blank = near_image_leaks(rows, films, survey, workers=workers, progress=progress)
        leaks += found
        if blank:
            words = f"{len(blank)} pictures show one gray value and were compared by their bytes alone."
            notes.append(Note("blank", words, {"images": len(blank)}))
    if len(rows.manifests) > 1:
        keys = [p or h or str(e.path) for p, h, e in zip(pixels, hashes, entries, strict=True)]
        notes += shared_image_notes(rows, entries, keys, names)
    return _Images(leaks, notes, sum(map(bool, pixels)), _sizes(rows, entries, facts))


def _unreadable(facts: Sequence[ImageFacts | None]) -> list[Note]:
    reasons = Counter(each.reason for each in facts if each is not None and each.reason)
    if not reasons:
        return []
    by = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    words = f"{reasons.total()} of {len(facts)} files could not be read ({by}); they were compared by path or bytes."
    return [Note("unreadable", words, dict(reasons))]


def _sizes(rows: Rows, entries: Sequence[Entry], facts: Sequence[ImageFacts | None]) -> np.ndarray:
    sizes = np.full(len(rows), None, dtype=object)
    for entry, each in zip(entries, facts, strict=True):
        if each is not None and not each.reason and sizes[entry.row] is None:
            sizes[entry.row] = f"{each.height} x {each.width}"
    return sizes


def _unknown_patients(rows: Rows) -> list[Note]:
    people = [who for who, side in zip(rows.column("id.patient"), rows.splits, strict=True) if side is not None]
    without = people.count(None)
    if not without:
        return []
    words = f"{without} of {len(people)} records name no patient, so it cannot be seen whether one is on two sides."
    return [Note("unknown_patient", words, {"records": without})]
