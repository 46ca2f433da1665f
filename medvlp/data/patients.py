"""Patients of a release that names none: what stands for one, and what a reader of results has to know of it."""

from __future__ import annotations

from typing import Any

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest

__all__ = ["patient_caveats", "with_patients"]

_KEY = "patients_by"


def with_patients(manifest: Manifest, column: str) -> Manifest:
    """Let equal values of a column be one patient (``id.patient``), and note that it was done.

    Args:
        manifest: of a release that names no patients, or whose patients one wants otherwise.
        column: that stands for the patient.

    Raises:
        DataError: if there is no such column, or a row has no value.

    Example:
        >>> from pathlib import Path
        >>> made = with_patients(Manifest.of({"id": ["a", "b"], "text": ["x", "y"]}, root=Path(".")), "id")
        >>> made.column("id.patient").tolist(), patient_caveats(made)
        (['a', 'b'], ('Patients are not known: each id counts as one, so intervals may be too narrow.',))
    """
    values = manifest.arrow(column)
    if values.null_count:
        raise DataError(f"{values.null_count} records have no {column}, which was to stand for the patient: choose id.")
    made = manifest.with_column("id.patient", [str(value) for value in values.to_pylist()])
    made.meta = {**made.meta, _KEY: column}
    return made


def patient_caveats(manifest: Manifest) -> tuple[str, ...]:
    """Return what a reader of results has to know of the patients; nothing where the release names them."""
    column: Any = manifest.meta.get(_KEY)
    if column is None:
        return ()
    return (f"Patients are not known: each {column} counts as one, so intervals may be too narrow.",)
