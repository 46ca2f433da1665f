"""Multi-label iterative stratification of groups, rarest label first.

Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011 (LNCS 6913, 145-158),
algorithm 1, and its second-order form of Szymanski and Kajdanowicz, "A network perspective on stratification of
multi-label data", PMLR 74 (2017), 22-35, in which pairs of labels go before single ones. Both distribute single
examples; here the examples are groups (patients), each with a count of every label, and a group is given whole.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

__all__ = ["iterative_stratification", "label_pairs"]


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
    kept = [pair for pair in pairs if pair.sum() >= least]
    return np.stack(kept, axis=1) if kept else np.zeros((len(positive), 0), dtype=bool)
