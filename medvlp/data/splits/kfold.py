"""``kfold``: grouped cross-validation; each fold is the test once."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.splits._groups import Cohort, grouped
from medvlp.data.splits._split import Split, of_rows
from medvlp.data.splits.stratified import stratified_parts


def kfold(
    manifest: Cohort,
    *,
    folds: int = 5,
    fold: int = 0,
    validation: bool = True,
    stratify: bool = False,
    labels: tuple[str, ...] = (),
    seed: Annotated[int, Field(ge=0)] = 0,
    by: str = "id.patient",
) -> Split:
    """One of k splits: a fold is the test, the next one the validation, the others train.

    Run it with ``fold`` 0 to k - 1 and the same seed: every record is in the test exactly once. A patient's fold is the
    whole part of k u with u = SHA-256(seed, patient) / 2^256: folds are equal on average, and adding patients moves
    nobody. Where that leaves a fold empty, as it may with few patients, they are cut by the rank of their places into
    folds of equal size. With `stratify` folds are balanced by size and label instead, and depend on the whole cohort.

    Args:
        manifest: with the column `by`, no value missing.
        folds: how many.
        fold: which is the test, from 0.
        validation: whether the fold after it validates; otherwise it trains too.
        stratify: distribute labels evenly, as the rule ``stratified`` does.
        labels: findings that are stratified, also without `stratify`; all that enough patients have where none is
            named.
        seed: another seed, other folds.
        by: column whose equal values stay together.

    Raises:
        ConfigError: for fewer than two folds (three with a validation), or a fold that is not there.
        DataError: if the column is missing, some records have no patient, or there are fewer patients than folds.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": list("abc"), "text": ["x"] * 3, "id.patient": list("pqr")}
        >>> cohort = Manifest.of(columns, root=Path("."))
        >>> sorted(i for k in range(3) for i in kfold(cohort, folds=3, fold=k).parts["test"])
        ['a', 'b', 'c']
    """
    least = 3 if validation else 2
    if folds < least or not 0 <= fold < folds:
        raise ConfigError(
            f"Fold {fold} of {folds} is none: take {least} folds or more, and a fold from 0 to {max(folds, least) - 1}."
        )
    groups = grouped(manifest, by=by, seed=seed)
    if len(groups) < folds:
        raise DataError(f"{len(groups)} groups of {by} cannot fill {folds} folds: take fewer.")
    if stratify or labels:
        number, used, notes = stratified_parts(
            manifest, groups, np.full(folds, 1 / folds), labels=labels, pairs=False, seed=seed
        )
    else:
        number, used, notes = np.minimum((groups.places * folds).astype(np.int64), folds - 1), (), ()
        if len(np.unique(number)) < folds:
            number = np.arange(len(groups)) * folds // len(groups)
    role = np.full(folds, "train", dtype=object)
    if validation:
        role[(fold + 1) % folds] = "validate"
    role[fold] = "test"
    return of_rows(
        manifest,
        role[number][groups.code],
        name="kfold",
        unit="patient",
        options={
            "folds": folds,
            "fold": fold,
            "validation": validation,
            "stratify": bool(stratify or labels),
            "labels": list(used),
            "seed": seed,
            "by": by,
        },
        parts=["train", *(["validate"] if validation else []), "test"],
        notes=notes,
    )
