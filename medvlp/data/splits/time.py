"""``time``: the past trains, the newest is the test, and patients stand on one side still."""

from __future__ import annotations

import re

import numpy as np

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.splits._groups import Cohort, Fractions, checked_fractions, grouped
from medvlp.data.splits._split import Split, of_rows

_DATE = re.compile(r"(\d{4})(?:-?(\d\d)(?:-?(\d\d))?)?(?:[T ].*)?")


def by_time(
    manifest: Cohort,
    *,
    column: str,
    fractions: Fractions = None,
    cuts: dict[str, str] | None = None,
    follow_ups: bool = False,
    by: str = "id.patient",
) -> Split:
    """Split so that every record of a part is newer than all of the part before.

    A patient stands where the first of his records stands; his later records that fall into the time of another part
    are left out and listed. There is no draw, so there is no seed. With `cuts` adding patients moves nobody; with
    `fractions` the dates at which the parts begin move with the cohort (patients with one first date stay together, so
    fractions are met as nearly as dates allow). Dates that were shifted a patient at a time, as MIMIC-CXR's, order the
    records of one patient only: do not split by them.

    Args:
        manifest: with the columns `column` and `by`, no value missing.
        column: of the dates: years as numbers, ``2019``, ``2019-03``, ``2019-03-31`` or ``20190331``.
        fractions: part -> share of patients, oldest part first, summing to 1; default train .7, validate .1, test .2.
        cuts: instead, part -> its first date, oldest first; what is older is ``train``: ``{validate: "2019", test:
            "2020"}``.
        follow_ups: keep a patient's later records in his part: the parts' times then overlap.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1, both are given, or the cuts do not grow.
        DataError: if a column is missing, a date cannot be read, or a part would be empty.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "q"], "year": [2018, 2020]}
        >>> by_time(Manifest.of(columns, root=Path(".")), column="year", cuts={"test": "2019"}).parts
        {'train': ('a',), 'test': ('b',)}
    """
    patients, moments = grouped(manifest, by=by, seed=0), grouped(manifest, by=column, seed=0)
    days = np.array([_day(name, column) for name in moments.names])[moments.code]
    first = np.full(len(patients), np.iinfo(np.int64).max)
    np.minimum.at(first, patients.code, days)
    if cuts is not None:
        if fractions is not None:
            raise ConfigError("A split by time has fractions and cuts: give one of them.")
        if "train" in cuts:
            raise ConfigError("The cuts of a split by time name train, which has all that is older: leave it out.")
        begins = {"train": 0} | {part: _day(str(date), "cuts") for part, date in cuts.items()}
    else:
        shares = checked_fractions(fractions)
        begins = _begins(first, {str(part): shares[str(part)] for part in fractions or shares})
    starts = list(begins.values())
    if starts != sorted(set(starts)):
        raise ConfigError(
            f"The parts of a split by time must begin one after the other, not at {cuts}: order the cuts."
        )
    names = np.array(list(begins), dtype=object)
    own = np.searchsorted(starts, first, side="right")[patients.code] - 1
    then = np.searchsorted(starts, days, side="right") - 1
    later = (then != own) & (not follow_ups)
    sides = names[own]
    sides[later] = None
    for index, name in enumerate(names):
        if not (own == index).any():
            raise DataError(f"No patient begins in the time of {name!r}: give other cuts, or fractions that reach it.")
    return of_rows(
        manifest,
        sides,
        name="time",
        unit="patient",
        options={
            "column": column,
            "begins": {part: _written(begin) for part, begin in begins.items()},
            "follow_ups": follow_ups,
            "by": by,
        },
        parts=list(begins),
        left_out={"of a patient of an older part, in the time of a newer one": later},
    )


def _begins(first: np.ndarray, shares: dict[str, float]) -> dict[str, int]:
    """The first date of each part: before it, as nearly as dates allow, begin the patients of the parts before."""
    names = [name for name, share in shares.items() if share > 0]
    days, counts = np.unique(first, return_counts=True)
    if len(days) < len(names):
        raise DataError(
            f"The {len(days)} first dates of {len(first)} patients are too few for the parts {', '.join(names)}: give "
            "cuts, or fewer parts."
        )
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]) / len(first)
    begins, at, reached = {names[0]: 0}, 0, shares[names[0]]
    for index, name in enumerate(names[1:], 1):
        choices = np.arange(at + 1, len(days) - (len(names) - 1 - index))
        at = int(choices[np.argmin(np.abs(before[choices] - reached))])
        begins[name] = int(days[at])
        reached += shares[name]
    return begins


def _day(text: str, column: str) -> int:
    """A date as the number YYYYMMDD, with 00 for what it does not say: sorted before what says more."""
    found = _DATE.fullmatch(text.strip().removesuffix(".0"))
    if found is None or not (int(found[2] or 0) <= 12 and int(found[3] or 0) <= 31):
        # The value may be that of one patient: the column is enough to find it.
        raise DataError(
            f"The column {column!r} holds a date that is not 2019, 2019-03, 2019-03-31 or 20190331: mend it."
        )
    return int(found[1]) * 10000 + int(found[2] or 0) * 100 + int(found[3] or 0)


def _written(day: int) -> str:
    year, month, date = day // 10000, day // 100 % 100, day % 100
    return "" if not day else "-".join([f"{year:04}", *(f"{part:02}" for part in (month, date) if part)])
