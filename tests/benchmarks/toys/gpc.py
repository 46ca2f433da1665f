"""Ten groups of vectors, and five clusters to begin with."""

from __future__ import annotations

import numpy as np

from medvlp.features.split_merge import Prior, part_known, split_and_merge
from tests.features.test_split_merge import accuracy, blobs

CLAIM = "Begun with five clusters, splits and mergers come to the ten groups that are there."
BETTER, WORSE = "split_and_merge", "five_clusters"


def toy(seed: int) -> dict[str, float]:
    """Return the share of rows in the right group, groups and clusters matched as well as can be."""
    centres = np.random.default_rng(seed).normal(size=(10, 8))
    rows, truth = blobs(2 * centres / np.linalg.norm(centres, axis=1, keepdims=True), 60, seed=seed)
    known = np.full(len(rows), -1)
    found = split_and_merge(rows, known, 5, prior=Prior(rows.mean(axis=0)), rounds=20, seed=seed)
    fixed = part_known(rows, known, 5, seed=seed)
    scores = {"split_and_merge": accuracy(found, truth), "five_clusters": accuracy(fixed, truth)}
    return {**scores, "groups_found": float(found.max() + 1)}
