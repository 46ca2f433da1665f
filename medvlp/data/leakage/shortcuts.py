"""Columns that give a label away: where the film was taken, not what it shows.

A model that learns the hospital scores well wherever hospital and disease go together. For each label and each such
column: how well does the column alone rank the records, as AUROC? Each record's score is the share of positives among
records of its value in the other four fifths of the patients, so that a column of many values gains nothing by memory.
The interval treats records of one patient together (Obuchowski, Biometrics 53, 1997).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medvlp.data.leakage.notes import Note
from medvlp.data.leakage.rows import Rows
from medvlp.statistics.delong import delong

COLUMNS: tuple[str, ...] = ("source", "view_position", "site", "scanner")
"""Columns that are looked at wherever they are."""

_FEWEST_RECORDS, _FEWEST_OF_CLASS, _FEWEST_PATIENTS = 50, 20, 20
_STRONG, _SURE = 0.65, 0.6  # AUROC and its lower limit from which a note is made
_FOLDS = 5
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Association:
    """How well a column ranks records by a label.

    Attributes:
        auroc: cross-fitted by patient, with its 95 % interval `low` to `high`.
        n: records with a known label.
    """

    label: str
    column: str
    auroc: float
    low: float
    high: float
    n: int
    positives: int
    patients: int


def shortcut_notes(rows: Rows, sizes: np.ndarray | None = None) -> list[Note]:
    """Return a note for each label that a column predicts.

    Args:
        sizes: ``(N,)`` size of each row's picture in words (None where unknown): resized copies of another source carry
            it. Taken as a column ``image_size``.
    """
    more = {} if sizes is None else {"image_size": sizes}
    notes = []
    for found in associations(rows, more):
        if found.auroc >= _STRONG and found.low >= _SURE:
            sentence = (
                f"{found.column} alone ranks {found.label} with AUROC {found.auroc:.2f} ({found.low:.2f} to "
                f"{found.high:.2f}; {found.positives} of {found.n} records, {found.patients} patients)."
            )
            facts = {name: getattr(found, name) for name in found.__dataclass_fields__}
            notes.append(Note("shortcut", sentence, facts))
    return notes


def associations(rows: Rows, more: Mapping[str, np.ndarray] | None = None) -> list[Association]:
    """Return every label with every column, strongest first, where at least 50 records of 20 patients, 20 of each
    class and these of two patients, are there to judge by.
    """
    values = {name: rows.column(name) for name in COLUMNS} | dict(more or {})
    values = {name: found for name, found in values.items() if len({v for v in found if v is not None}) > 1}
    # Words are sorted once for all labels.
    columns = {n: np.unique([str(v) for v in found], return_inverse=True)[1] for n, found in values.items()}
    labels = sorted({name for manifest in rows.manifests for name in manifest.names_of("label")}) if columns else []
    named = zip(rows.patients, rows.sets, rows.ids, strict=True)
    names = [f"{set_}\x1f{id_}" if who is None else f"{who[0]}\x1e{who[1]}" for who, set_, id_ in named]
    people, patients = np.unique(names, return_inverse=True)
    folds = np.array([hashlib.sha256(who.encode()).digest()[0] % _FOLDS for who in people])
    found = []
    for name in labels:
        label = np.concatenate([m.column(name) if name in m else np.full(len(m), np.nan) for m in rows.manifests])
        known = np.flatnonzero((label == 0) | (label == 1))
        positive = label[known] == 1
        here, count = np.unique(patients[known], return_inverse=True)
        least = min(positive.sum(), (~positive).sum())
        owners = min(len(np.unique(count[positive])), len(np.unique(count[~positive])))  # one alone has no variance
        if len(known) < _FEWEST_RECORDS or least < _FEWEST_OF_CLASS or len(here) < _FEWEST_PATIENTS or owners < 2:
            continue
        for column, place in columns.items():
            codes = place[known]
            if codes.min() == codes.max():
                continue
            score = _cross_fitted(codes, positive, folds[patients[known]])
            areas = delong(positive, score, count)
            auroc, error = float(areas.value[0]), float(np.sqrt(max(areas.covariance[0, 0], 0.0)))
            found.append(
                Association(
                    label=name.removeprefix("label."),
                    column=column,
                    auroc=auroc,
                    low=max(0.0, auroc - _Z * error),
                    high=min(1.0, auroc + _Z * error),
                    n=len(known),
                    positives=int(positive.sum()),
                    patients=len(here),
                )
            )
    return sorted(found, key=lambda each: (-each.auroc, each.label, each.column))


def _cross_fitted(codes: np.ndarray, positive: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return each record's share of positives among its value's records in the other folds, drawn to the base rate."""
    table = np.zeros((_FOLDS, codes.max() + 1, 2))
    np.add.at(table, (folds, codes, positive.astype(int)), 1)
    others = table.sum(axis=0) - table
    base = positive.mean()
    return ((others[..., 1] + base) / (others.sum(axis=2) + 1))[folds, codes]
