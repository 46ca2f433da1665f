"""The few entries of an anatomy-observation matrix that a study fills, read once a process from what states them.

A matrix has 3,825 entries, of which a report fills some twenty. So it is kept as those few, beside the cohort or in the
report itself, and spread out for the batch alone: 15 kB a sample there, not gigabytes in a manifest of MIMIC-CXR.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.triplet import Presence, Triplet
from medvlp.data.contents import Stamp
from medvlp.text.lemmas import Lemmatiser
from medvlp.text.medslip_matrix import UncertainPolicy, load_matrix, matrix_of
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.text.mention_triplets import of_report
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets, read_triplets

PRESENCE: dict[float, Presence] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
# Places in the flat matrix and values of the entries that say something, int16 and float32.
Entries = tuple[np.ndarray, np.ndarray]


class Rules(NamedTuple):
    """How triplets fill a matrix, see `matrix_of` of `medvlp.text.medslip_matrix`; the vocabulary by its version."""

    uncertain: UncertainPolicy
    midlung_right: bool
    both_sides: bool
    vocabulary: str


@lru_cache(maxsize=1 << 17)
def entries_of_report(text: str, rules: Rules) -> Entries:
    """Return what medvlp's own reader finds in a report."""
    return _read(of_report(text, study_id="0"), rules)


@lru_cache(maxsize=1 << 14)
def entries_of_labels(labels: tuple[tuple[str, float], ...], rules: Rules) -> Entries:
    """Return labels at the usual places of their findings; the values are those of `PRESENCE`."""
    triplets = (StatedTriplet(Triplet("", "", name, PRESENCE[value], "", "")) for name, value in labels)
    return _read(StudyTriplets("0", "", "rules", tuple(triplets)), rules)


@lru_cache(maxsize=8)
def entries_of_file(file: str, rules: Rules, stamp: Stamp | None) -> Mapping[str, Entries]:
    """Return study -> entries of a file of triplets (``.jsonl``) or matrices (``.npz``), stored by its `stamp` too.

    Raises:
        DataError: for matrices of another vocabulary, or a study on two lines.
    """
    path = Path(file).expanduser()
    if path.suffix == ".npz":
        held = load_matrix(path)
        if held.sha256 != load_medslip_vocabulary(rules.vocabulary).sha256:
            raise DataError(f"{path} was made with another vocabulary than {rules.vocabulary}: make it again.")
        return {study: _stated(matrix) for study, matrix in zip(held.study_ids, held.values, strict=True)}
    return {study.study_id: _read(study, rules) for study in read_triplets(path)}


def _read(study: StudyTriplets, rules: Rules) -> Entries:
    words = load_medslip_vocabulary(rules.vocabulary)
    found = matrix_of(
        [study],
        uncertain=rules.uncertain,
        midlung_right=rules.midlung_right,
        both_sides=rules.both_sides,
        lemmas=_lemmas(words.version),
        vocabulary=words,
    )
    return _stated(found.values[0])


@lru_cache(maxsize=4)
def _lemmas(version: str) -> Lemmatiser:
    return load_medslip_vocabulary(version).lemmas()


def _stated(matrix: np.ndarray) -> Entries:
    flat = matrix.ravel()
    places = np.flatnonzero(flat >= 0)
    return places.astype(np.int16), flat[places].astype(np.float32)
