"""``stratified``: by patient, with each label in each part in the same proportion, rarest label first.

Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011 (LNCS 6913, 145-158),
algorithm 1, and its second-order form of Szymanski and Kajdanowicz, "A network perspective on stratification of
multi-label data", PMLR 74 (2017), 22-35, in which pairs of labels go before single ones. Both distribute single
examples; here the examples are groups (patients), each with a count of every label, and a group is given whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated

import numpy as np
from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import Cohort, Fractions, Grouped, checked_fractions, grouped, label_columns
from medvlp.data.splits._split import Split, of_rows


def stratified(
    manifest: Cohort,
    *,
    labels: tuple[str, ...] = (),
    fractions: Fractions = None,
    seed: Annotated[int, Field(ge=0)] = 0,
    pairs: bool = False,
    by: str = "id.patient",
) -> Split:
    """Split by patient so that each part has its share of every label's positives, and of its uncertain ones.

    By iterative stratification over groups. The place of a patient depends on all
    others, so adding patients may move anybody: store the lists, and use those.

    Args:
        manifest: with label columns and the column `by`, no patient missing.
        labels: findings that are stratified; where none is named, all that enough patients have.
        fractions: part -> share, summing to 1; default train .7, validate .1, test .2.
        seed: of ties, and of the order in which like patients are taken.
        pairs: also stratify what occurs together, before single labels, which are then met a little less well.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if a column is missing, some records have no patient, or fewer patients than there are parts have a
            label that was named.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": list("abcd"), "text": ["x"] * 4, "id.patient": list("pqrs"), "label.edema": [1, 1, 0, 0]}
        >>> cohort = Manifest.of(columns, root=Path("."))
        >>> {part: len(ids) for part, ids in stratified(cohort, fractions={"train": 0.5, "test": 0.5}).parts.items()}
        {'train': 2, 'test': 2}
    """
    shares = checked_fractions(fractions)
    groups = grouped(manifest, by=by, seed=seed)
    part, used, notes = stratified_parts(
        manifest, groups, np.array(list(shares.values())), labels=labels, pairs=pairs, seed=seed
    )
    sides = np.array(list(shares), dtype=object)[part][groups.code]
    options = {"labels": list(used), "fractions": shares, "seed": seed, "pairs": pairs, "by": by}
    return of_rows(manifest, sides, name="stratified", unit="patient", options=options, parts=list(shares), notes=notes)


def stratified_parts(
    manifest: Manifest, groups: Grouped, shares: np.ndarray, *, labels: Sequence[str], pairs: bool, seed: int
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the part of each group, the findings that were stratified, and sentences about those that were not."""
    parts = int((shares > 0).sum())
    columns, notes = label_columns(manifest, labels), []
    having = {name: int((groups.count(manifest.column(name) == 1) > 0).sum()) for name in columns}
    few = [name for name in columns if having[name] < parts]
    if few and labels:
        names = ", ".join(f"{name.removeprefix('label.')} ({having[name]})" for name in few)
        raise DataError(
            f"Too few groups of {groups.by} are positive to stratify into {parts} parts: {names}; leave these out of "
            "labels, or choose fewer parts."
        )
    if few:
        names = ", ".join(f"{name.removeprefix('label.')} {having[name]}" for name in few)
        notes.append(f"Not stratified, because fewer groups than parts are positive: {names}.")
        columns = [name for name in columns if name not in few]
    if not columns:
        raise DataError(f"No label has a positive in {parts} groups of {groups.by}: take the rule patient instead.")
    values = np.stack([manifest.column(name) for name in columns], axis=1)
    positive = values == 1
    uncertain = (values == -1)[:, (values == -1).any(0)]
    # A pair so rare that the smallest part is not owed one of it would go to the largest, again and again.
    least = 1 / shares[shares > 0].min()
    together = label_pairs(positive, least=least) if pairs else np.zeros((len(values), 0), dtype=bool)
    strata = np.concatenate([together, positive, uncertain], axis=1)
    counts = np.stack([groups.count(strata[:, k]) for k in range(strata.shape[1])], axis=1)
    width = together.shape[1]
    stages = (np.arange(width), np.arange(width, strata.shape[1]))
    part = iterative_stratification(counts, groups.sizes, shares, stages=stages, seed=seed)
    return part, tuple(name.removeprefix("label.") for name in columns), tuple(notes)


def iterative_stratification(
    counts: np.ndarray, sizes: np.ndarray, shares: np.ndarray, *, stages: tuple[np.ndarray, ...], seed: int
) -> np.ndarray:
    """Return the part of each group.

    As long as groups with some label are left, take the label with the fewest positives left, and give each group that
    has it to the part that still wants most of that label; ties go to the part that wants most records, then to a
    draw. Groups with many positives go first, as long as there is room to make up for them. Groups without a label
    come last, each to the part that wants most records.

    Args:
        counts: (G, S) positives of each group, groups in an order that does not depend on the order of rows.
        sizes: (G,) records of each group.
        shares: (P,) wanted share of each part, summing to 1.
        stages: columns of `counts` that are gone through before those of the next stage.
        seed: of the draws that break ties.
    """
    draws = np.random.Generator(np.random.Philox(seed))
    wanted = shares[:, None] * counts.sum(0)[None, :].astype(float)
    room = shares * float(sizes.sum())
    closed = shares == 0
    wanted[closed], room[closed] = -np.inf, -np.inf
    part = np.full(len(sizes), -1, dtype=np.int64)
    left = counts.sum(0)

    def give(group: int, wish: np.ndarray) -> None:
        best = np.flatnonzero(wish == wish.max())
        if len(best) > 1:
            best = best[room[best] == room[best].max()]
        chosen = int(best[0] if len(best) == 1 else draws.choice(best))
        part[group] = chosen
        wanted[chosen] -= counts[group]
        room[chosen] -= sizes[group]
        left[:] -= counts[group]

    for columns in stages:
        while (left[columns] > 0).any():
            there = columns[left[columns] > 0]
            label = int(there[np.argmin(left[there])])
            having = np.flatnonzero((part < 0) & (counts[:, label] > 0))
            for group in having[np.argsort(-counts[having, label], kind="stable")]:
                give(int(group), wanted[:, label])
    rest = np.flatnonzero(part < 0)
    for group in rest[np.argsort(-sizes[rest], kind="stable")]:
        give(int(group), room)
    return part


def label_pairs(positive: np.ndarray, *, least: float = 1) -> np.ndarray:
    """Return (N, up to S (S - 1) / 2): where two labels are positive at once, for pairs that occur `least` times.

    Example:
        >>> label_pairs(np.array([[1, 1, 0], [1, 1, 1]], dtype=bool)).sum(0).tolist()
        [2, 1, 1]
    """
    pairs = [positive[:, i] & positive[:, j] for i, j in combinations(range(positive.shape[1]), 2)]
    often = [pair for pair in pairs if pair.sum() >= least]
    return np.stack(often, axis=1) if often else np.zeros((len(positive), 0), dtype=bool)
