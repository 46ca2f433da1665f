"""Triplets -> the 51 x 75 anatomy-observation matrix that MeDSLIP and MedKLIP train on.

The third pass of AGXNet's preprocessing (Yu et al., MICCAI 2022): every cell starts at -1 (not mentioned), a present
observation makes it 1, an absent one 0 unless it is 1 already. Uncertain ones leave it alone, unless a policy says
otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import write_json, written_whole
from medvlp.core.triplet import Triplet
from medvlp.io.archive import read_arrays
from medvlp.text.lemmas import Lemmatiser
from medvlp.text.medslip_vocabulary import MedslipVocabulary, load_medslip_vocabulary
from medvlp.text.triplet_files import StudyTriplets

UncertainPolicy = Literal["ignore", "negative", "positive", "soft"]
_UNCERTAIN: dict[str, float | None] = {"ignore": None, "negative": 0.0, "positive": 1.0, "soft": 0.5}
_SIDE = re.compile(r"(?<![^_])(left|right)(?![^_])")


@dataclass(frozen=True, slots=True)
class MedslipMatrix:
    """Matrices of many studies.

    Attributes:
        values: ``(n, 51, 75)``; -1 not mentioned, 0 absent, 1 present; int8, float32 under the policy ``"soft"``.
        study_ids: of the rows, none twice.
        vocabulary: version whose words the axes are.
        sha256: of that version's file.
    """

    values: np.ndarray
    study_ids: tuple[str, ...]
    vocabulary: str
    sha256: str


@dataclass(slots=True)
class _Cells:
    """Row and column of triplets, each anatomy and observation looked up once."""

    words: MedslipVocabulary
    mended: bool
    lemmas: Lemmatiser
    rows: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)

    def of_radgraph(self, triplet: Triplet) -> list[tuple[str, str]]:
        if triplet.anatomy not in self.rows:
            self.rows[triplet.anatomy] = self.words.landmark_of(triplet.anatomy, mended=self.mended)
        if triplet.observation not in self.columns:
            self.columns[triplet.observation] = self.words.column_of(triplet.observation, lemmas=self.lemmas)
        return [(self.rows[triplet.anatomy], self.columns[triplet.observation])]

    def of_rules(self, triplet: Triplet, *, both_sides: bool) -> list[tuple[str, str]]:
        sides = ("left", "right") if both_sides and triplet.side == "bilateral" else (triplet.side,)
        return [self.words.cell_of_finding(triplet.observation, triplet.anatomy, side) for side in sides]


def matrix_of(
    studies: Sequence[StudyTriplets], *, uncertain: UncertainPolicy = "ignore", midlung_right: bool = False,
    both_sides: bool = False, lemmas: Lemmatiser | None = None, vocabulary: MedslipVocabulary | None = None,
) -> MedslipMatrix:  # fmt: skip
    """Return one matrix a study, in their order.

    Args:
        studies: triplets in the words of RadGraph or of medvlp's own reader.
        uncertain: what an uncertain observation does: ``"ignore"`` leaves the cell (as published), ``"negative"``
            counts as absent, ``"positive"`` as present, ``"soft"`` gives 0.5 where the cell is below.
        midlung_right: RadGraph's ``midlung|right`` is the right mid lung, as ``midlung|left`` is the left one; in the
            published rules it is not.
        both_sides: a bilateral finding of medvlp's reader stands in the left and in the right row. Off, it stands in
            the row of no one side, as the published rules have it.
        lemmas: another lemmatiser for RadGraph's words.
        vocabulary: another version; default ``v1``.

    Raises:
        DataError: if a study comes twice.
        ConfigError: if the policy is unknown, or a finding has no column.

    Example:
        >>> from medvlp.text.triplet_files import StatedTriplet
        >>> stated = StatedTriplet(Triplet("", "left", "effusion", "present", "", "Left effusion."))
        >>> found = matrix_of([StudyTriplets("s1", "", "rules", (stated,))])
        >>> found.values.shape, [int(place[0]) for place in np.nonzero(found.values[0] == 1)]
        ((1, 51, 75), [4, 8])
    """
    if uncertain not in get_args(UncertainPolicy):
        raise ConfigError(f"uncertain is {uncertain!r}, allowed are {', '.join(get_args(UncertainPolicy))}.")
    names = tuple(study.study_id for study in studies)
    if len(set(names)) < len(names):
        raise DataError(
            f"{len(names) - len(set(names))} studies come more than once among {len(names)}: give every study one "
            "line that holds all its triplets."
        )
    words = vocabulary or load_medslip_vocabulary()
    row = {name: place for place, name in enumerate(words.anatomies)}
    column = {name: place for place, name in enumerate(words.observations)}
    cells = _Cells(words, midlung_right, lemmas or words.lemmas())
    kind = np.float32 if uncertain == "soft" else np.int8
    values = np.full((len(studies), len(row), len(column)), -1, dtype=kind)
    worth = {"present": 1.0, "absent": 0.0, "uncertain": _UNCERTAIN[uncertain]}
    for place, study in enumerate(studies):
        for triplet in (each.triplet for each in study.triplets):
            value = worth[triplet.presence]
            if value is None:
                continue
            rules = study.source == "rules"
            found = cells.of_rules(triplet, both_sides=both_sides) if rules else cells.of_radgraph(triplet)
            for anatomy, observation in found:
                cell = (place, row[anatomy], column[observation])
                values[cell] = max(values[cell], kind(value))
    return MedslipMatrix(values, names, words.version, words.sha256)


def save_matrix(matrix: MedslipMatrix, path: Path) -> None:
    """Write one compressed ``.npz``: values, study ids, names of both axes, version and hash of the vocabulary."""
    words = load_medslip_vocabulary(matrix.vocabulary)
    with written_whole(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(
            handle, values=matrix.values, study_ids=np.array(matrix.study_ids, dtype=np.str_),
            anatomies=np.array(words.anatomies), observations=np.array(words.observations),
            vocabulary=np.array(matrix.vocabulary), sha256=np.array(matrix.sha256),
        )  # fmt: skip


def load_matrix(path: Path) -> MedslipMatrix:
    """Read what `save_matrix` wrote.

    Raises:
        DataError: if the file is missing or not such a file, or if its axes are not those of its vocabulary.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path.")
    names = ("values", "anatomies", "observations", "study_ids", "vocabulary", "sha256")
    try:
        values, anatomies, observations, studies, vocabulary, sha256 = read_arrays(path, names)
    except ValueError as error:
        raise DataError(f"{path} is not a file of anatomy-observation matrices ({error}): make it again.") from None
    words = load_medslip_vocabulary(str(vocabulary))
    if tuple(anatomies) != words.anatomies or tuple(observations) != words.observations:
        raise DataError(f"{path} has other rows or columns than vocabulary {vocabulary}: make it again.")
    expected = (len(studies), len(words.anatomies), len(words.observations))
    if values.shape != expected:
        raise DataError(
            f"{path} has shape {values.shape}, expected is {expected} for {expected[0]} studies: array and study ids "
            "do not belong together."
        )
    return MedslipMatrix(values, tuple(map(str, studies)), words.version, str(sha256))


def save_medslip_folder(
    matrix: MedslipMatrix, folder: Path, *, images: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write the files that MeDSLIP's training reads into a folder, made where missing.

    These are ``landmark_observation_adj_mtx.npy`` ``(n, 51, 75)``, ``landmark_observation_sids.npy`` ``(n,)`` and, for
    each split of `images` ({image path: study id}), ``SPLIT.json``: image path -> ``{"labels_id": row}``. All images of
    a study share its row.

    Raises:
        DataError: if an image's study has no matrix.
    """
    rows = {name: place for place, name in enumerate(matrix.study_ids)}
    lists: dict[str, dict[str, object]] = {}
    for split, paths in (images or {}).items():
        missing = [path for path, study in paths.items() if study not in rows]
        if missing:
            raise DataError(
                f"{len(missing)} images of the split {split!r} belong to studies without a matrix, the first is "
                f"{missing[0]}: leave them out, or read their reports too."
            )
        lists[split] = {path: {"labels_id": rows[study]} for path, study in paths.items()}
    study_ids = np.array(matrix.study_ids, dtype=np.str_)
    for name, array in (("adj_mtx", matrix.values), ("sids", study_ids)):
        path = folder / f"landmark_observation_{name}.npy"
        with written_whole(path) as temporary, open(temporary, "wb") as handle:
            np.save(handle, array, allow_pickle=False)
    for split, entries in lists.items():
        write_json(folder / f"{split}.json", entries)


def mirrored_rows(anatomies: Sequence[str]) -> tuple[int, ...]:
    """Return which row stands in the place of each after mirroring; a row of no side, or without partner, stays."""
    place = {name: index for index, name in enumerate(anatomies)}
    return tuple(place.get(_other(name), index) for index, name in enumerate(anatomies))


def one_sided_rows(anatomies: Sequence[str]) -> tuple[int, ...]:
    """Return the rows of landmarks that have a side and no partner on the other one."""
    there = set(anatomies)
    return tuple(i for i, name in enumerate(anatomies) if _other(name) != name and _other(name) not in there)


def mirror_matrix(matrix: np.ndarray, anatomies: Sequence[str]) -> np.ndarray:
    """Return the matrix (..., A, P) of the mirrored picture.

    What was said of a landmark without partner (the middle lobe, the right atrium) is left unsaid, -1: on the other
    side of a mirrored chest lies something that the vocabulary has no word for.
    """
    mirrored = matrix[..., list(mirrored_rows(anatomies)), :].copy()
    mirrored[..., list(one_sided_rows(anatomies)), :] = -1
    return mirrored


def _other(name: str) -> str:
    return _SIDE.sub(lambda found: "right" if found[1] == "left" else "left", name)
