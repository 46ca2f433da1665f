"""The groups that an audit compares with all others: each value of a column, each pair of values of two columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medvlp.evaluation.predictions import Group
from medvlp.evaluation.scoring.split import Finding, SplitData


@dataclass(frozen=True, slots=True)
class Part:
    """A group and its others, as masks ``(n,)`` of the rows of a split.

    Attributes:
        name: ``"sex=F"``, or of two columns ``"sex & site=F & north"``.
        column: ``"sex"``, ``"sex & site"``.
        rows: of the group.
        others: rows of another value; rows without one are in neither.
    """

    name: str
    column: str
    rows: NDArray[np.bool_]
    others: NDArray[np.bool_]


def columns_of(groups: Sequence[Group]) -> dict[str, list[Part]]:
    """Return the parts of each column of two values or more; columns that divide one finding only are left out.

    Example:
        >>> rows = np.array([True, False, False])
        >>> none = np.zeros(3, bool)
        >>> found = columns_of([Group("sex=F", ("edema",), rows, none), Group("sex=M", ("edema",), ~rows, none)])
        >>> [(part.name, part.others.tolist()) for part in found["sex"]]
        [('sex=F', [False, True, True]), ('sex=M', [True, False, False])]
    """
    found: dict[str, list[Part]] = {}
    for group in groups:
        if not group.only:
            others = ~group.rows & ~group.blank
            found.setdefault(group.column, []).append(Part(group.name, group.column, group.rows, others))
    return {column: parts for column, parts in found.items() if len(parts) > 1}


def crossed(columns: Mapping[str, list[Part]]) -> list[Part]:
    """Return the parts of every two columns that have rows; a row without a value in either is in none.

    Example:
        >>> rows = np.array([True, False])
        >>> two = [Part("a=1", "a", rows, ~rows)], [Part("b=x", "b", rows, ~rows)]
        >>> [part.name for part in crossed(dict(zip("ab", two)))]
        ['a & b=1 & x']
    """
    found = []
    for (first, ones), (second, twos) in combinations(columns.items(), 2):
        column = f"{first} & {second}"
        for one in ones:
            for two in twos:
                rows = one.rows & two.rows
                known = (one.rows | one.others) & (two.rows | two.others)
                if rows.any():
                    value = f"{one.name.removeprefix(first + '=')} & {two.name.removeprefix(second + '=')}"
                    found.append(Part(f"{column}={value}", column, rows, known & ~rows))
    return found


def sides(data: SplitData, part: Part, finding: Finding) -> tuple[Finding, Finding, bool]:
    """Return a finding's rows in a group, those in the others, and whether both are large enough for numbers."""
    mine, theirs = (finding.subset(side[finding.at]) for side in (part.rows, part.others))
    return mine, theirs, not (data.too_small(mine) or data.too_small(theirs))
