"""The table of predictions that all statistics start from: read, checked, and one finding's known rows at a time.

Columns: ``id``, ``patient_id``, ``label:NAME`` (1 present, 0 absent, -1 uncertain, blank missing), ``score:NAME`` (any
scale, higher means more likely present), and optionally ``split``, ``group:NAME`` and ``synthetic`` (1: nobody stands
behind it). Missing labels take no part. What is done with uncertain ones is a policy with a name: ``u_ignore`` leaves
them out, ``u_zeros`` and ``u_ones`` count them as absent or present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.files import no_file
from medvlp.data.text_table import read_table
from medvlp.evaluation.results import AVERAGES
from medvlp.statistics.metrics import FloatArray

Policy = Literal["u_ignore", "u_zeros", "u_ones"]
_KEYS = ("id", "patient_id", "split")
_FIELDS = (*_KEYS, "reference", "written", "has_prior")
_NAMED = ("label:", "score:", "group:")


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Rows of a table in which one finding is known.

    Attributes:
        finding: its name.
        known: ``(n,)`` rows that take part.
        positive: ``(n,)`` rows that are positive; false where not known.
        scores: ``(n,)``, read where known.
    """

    finding: str
    known: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class Group:
    """One value of a group column.

    Attributes:
        name: ``"site=north"``.
        findings: that it divides.
        rows: ``(n,)`` rows of that value.
        blank: ``(n,)`` rows of no value.
        only: the column divides one finding only, its positives: the negatives of no value are compared within every
            value. Of another column rows without a value are in no group.
    """

    name: str
    findings: tuple[str, ...]
    rows: NDArray[np.bool_]
    blank: NDArray[np.bool_]
    only: bool = False

    @property
    def column(self) -> str:
        """Name of the column: ``"site"``."""
        return self.name.partition("=")[0]

    def inside(self, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the rows of this group, given which are positive."""
        return self.rows | (self.blank & ~positive) if self.only else self.rows


def check_policy(policy: str) -> Policy:
    """Return the name of a policy for uncertain labels.

    Raises:
        ConfigError: if there is none of that name.
    """
    for each in get_args(Policy):
        if policy == each:
            return each
    raise ConfigError(
        f"There is no policy {policy!r} for uncertain labels: use u_ignore (leave them out), u_zeros or u_ones."
    )


def read_predictions(
    path: Path, *, columns: Mapping[str, str] | None = None, encoding: str = "utf-8-sig"
) -> pd.DataFrame:
    """Read a predictions table from CSV or Parquet: identifiers and groups as they are written, less outer blanks.

    Args:
        path: CSV (comma, semicolon or tab) or Parquet.
        columns: field -> column of the table, where it is called otherwise.
        encoding: of a CSV.

    Raises:
        DataError: if the file is missing, no table, names a column twice, has rows of another length than its header,
            or lacks a column that is named.
        ConfigError: if a field is none of a predictions table.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} {no_file(path)}: give a predictions table, CSV or Parquet.")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _of_csv(path, encoding)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a table ({' '.join(str(error).split())}): write it as CSV (UTF-8) or Parquet."
        ) from error
    given: dict[str, list[str]] = {}  # column -> fields: where each image is a patient, one column may be both
    for field, column in (columns or {}).items():
        if field not in _FIELDS and not field.startswith(_NAMED):
            raise ConfigError(
                f"--column {field}={column} is of no use here: {did_you_mean(field, [*_FIELDS, *_NAMED])}."
            )
        if column not in table:
            raise DataError(f"{path} has no column {column!r}: {did_you_mean(column, list(map(str, table.columns)))}.")
        table = table.drop(columns=field, errors="ignore") if field != column else table
        own = [column] if column in _KEYS and column not in (columns or {}) else []  # the column id stays one
        given.setdefault(column, own).append(field)
    table = table.rename(columns={column: fields[0] for column, fields in given.items()})
    table = table.assign(**{copy: table[first] for first, *more in given.values() for copy in more})
    for column in map(str, table.columns):
        words = column in _KEYS or column.startswith("group:")
        if words and pd.api.types.infer_dtype(table[column]) == "string":
            # "P1 " and "P1" are one patient, and a split "test " is the test split.
            table[column] = table[column].str.strip()
    return table


def _of_csv(path: Path, encoding: str) -> pd.DataFrame:
    # As text: a patient "007" is not 7, and a group "NA" is not missing.
    table = read_table(path, encoding=encoding, whole=True)
    return pd.DataFrame({name: table.column(name) for name in table.names if name}, dtype=str)


def is_synthetic(table: pd.DataFrame) -> bool:
    """Return whether any row says that it is of synthetic data; a `DataError` where one says other than 1 or 0."""
    values = _numbers(table, "synthetic") if "synthetic" in table else np.zeros(0)
    if not (np.isnan(values) | np.isin(values, (0.0, 1.0))).all():
        raise DataError("Column synthetic holds something that is neither 1 (synthetic), 0 nor blank: write it so.")
    return bool((values == 1).any())


def check_keys(table: pd.DataFrame, needed: Sequence[str] = ("id", "patient_id")) -> None:
    """Refuse a table without a column that it needs, with blanks in one or in its split, or with an id twice in one."""
    for column in needed:
        if column not in table:
            raise DataError(
                f"Predictions have no column {column!r}: add it, or name the one that it is by --column {column}=NAME."
            )
    for column in (*needed, "split"):
        if column in table and _blank(table[column]).any():
            raise DataError(
                f"Predictions lack {column!r} in {_blank(table[column]).sum()} of {len(table)} rows: fill or drop them."
            )
    keys = ["id", "split"] if "split" in table else ["id"]
    if table.duplicated(keys).any():
        raise DataError(
            f"Predictions repeat the id in {table.duplicated(keys).sum()} of {len(table)} rows: give each row its own."
        )


def checked_findings(table: pd.DataFrame) -> list[str]:
    """Refuse a table that would give wrong numbers; return the findings in column order.

    Raises:
        DataError: if a column is missing, an id occurs twice in a split, or a patient is in two splits.
    """
    check_keys(table)
    findings = [str(c).removeprefix("label:") for c in table.columns if str(c).startswith("label:")]
    if not findings:
        raise DataError("Predictions have no column label:NAME: add one with 1, 0, -1 or blank for each finding.")
    if table.empty:
        raise DataError("Predictions have no rows: give one for each image or study.")
    for finding in findings:
        if finding in ("", *AVERAGES):
            raise DataError(f"Predictions have a finding called {finding!r}, which is no name for one: rename it.")
        if f"score:{finding}" not in table:
            raise DataError(
                f"Predictions have label:{finding} and no score:{finding}: add the column or drop the label."
            )
    for column in (str(c) for c in table.columns):
        finding = column.removeprefix("score:") if column.startswith("score:") else column.partition("@")[2]
        if column.startswith(("score:", "group:")) and finding and finding not in findings:
            raise DataError(f"Predictions have {column} and no label:{finding}: add the labels or drop the column.")
    if "split" in table:
        shared = int((table.groupby("patient_id")["split"].nunique(dropna=False) > 1).sum())
        if shared:
            raise DataError(
                f"Patients in more than one split: {shared}. Split by patient, or the numbers are too good."
            )
    return findings


def known_rows(table: pd.DataFrame, finding: str, *, policy: Policy = "u_ignore") -> KnownRows:
    """Return the rows of a checked table in which a finding is known.

    Raises:
        DataError: if a label is not 1, 0, -1 or blank, or a score of a known row is missing, NaN or infinite.

    Example:
        >>> table = pd.DataFrame({"label:edema": [1, -1, None], "score:edema": [0.3, 0.2, None]})
        >>> known_rows(table, "edema").known.tolist(), known_rows(table, "edema", policy="u_ones").positive.tolist()
        ([True, False, False], [True, True, False])
    """
    labels, scores = _numbers(table, f"label:{finding}"), _numbers(table, f"score:{finding}")
    odd = ~(np.isnan(labels) | np.isin(labels, (-1.0, 0.0, 1.0)))
    if odd.any():
        raise DataError(
            f"label:{finding} holds {labels[odd][0]:g}, allowed are 1 (present), 0 (absent), -1 (uncertain) and blank: "
            f"map other codes first."
        )
    if policy != "u_ignore":
        labels = np.where(labels == -1.0, float(policy == "u_ones"), labels)
    known = np.isin(labels, (0.0, 1.0))
    wrong = known & ~np.isfinite(scores)
    if wrong.any():
        first = f" (the first is id {table['id'].to_numpy()[wrong][0]})" if "id" in table else ""
        raise DataError(
            f"Column score:{finding} is blank, NaN or infinite in {int(wrong.sum())} of {int(known.sum())} rows with a "
            f"known label{first}: mend what predicts (training that ends so diverged: lower optimiser.rate), or leave "
            "these rows out."
        )
    return KnownRows(finding, known, labels == 1.0, scores)


def is_numeric_column(name: str) -> bool:
    """Return whether the column of that name holds numbers: labels, scores, ``synthetic``."""
    return name == "synthetic" or name.startswith(("label:", "score:"))


def numeric_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose labels, scores and ``synthetic`` are numbers, blanks missing; the rest is as it was.

    Raises:
        DataError: if one of them holds something else.

    Example:
        >>> numeric_columns(pd.DataFrame({"id": ["7"], "label:edema": ["1"]})).to_dict("list")
        {'id': ['7'], 'label:edema': [1.0]}
    """
    columns = [str(c) for c in table.columns if is_numeric_column(str(c))]
    return table.assign(**{column: _numbers(table, column) for column in columns})


def groups_of(table: pd.DataFrame, findings: Sequence[str]) -> list[Group]:
    """Return every value of every ``group:`` column; ``group:NAME@FINDING`` is of that finding only.

    Ages in years (a column ``group:age`` of numbers) are taken as bands.

    Example:
        >>> table = pd.DataFrame({"group:site": ["north", "", "south"]})
        >>> [(group.name, group.rows.tolist()) for group in groups_of(table, ["edema"])]
        [('site=north', [True, False, False]), ('site=south', [False, False, True])]
    """
    found = []
    for column in (str(c) for c in table.columns if str(c).startswith("group:")):
        name, _, only = column.removeprefix("group:").partition("@")
        blank = _blank(table[column]).to_numpy()
        values = table[column].astype(str).to_numpy()
        if name == "age":
            values = _age_bands(values, blank)
        for value in sorted(set(values[~blank])):
            chosen = (only,) if only else tuple(findings)
            found.append(Group(f"{name}={value}", chosen, (values == value) & ~blank, blank, bool(only)))
    return found


def _age_bands(values: NDArray[np.object_], blank: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Return bands of twenty years, and one of what is no age (999); the values as they are where one is no number."""
    years = pd.to_numeric(pd.Series(values).where(~blank), errors="coerce").to_numpy(np.float64)
    if not np.all(blank | (years >= 0)):
        return values
    names = np.array([*(f"{low}-{low + 19}" for low in range(0, 80, 20)), "80+", "over 120"], dtype=object)
    return names[np.where(years > 120, 5, np.minimum(np.nan_to_num(years) // 20, 4)).astype(np.int64)]


def _blank(column: pd.Series) -> pd.Series:
    return column.isna() | (column.astype(str).str.strip() == "")


def _numbers(table: pd.DataFrame, column: str) -> FloatArray:
    try:
        values = table[column]
        if not pd.api.types.is_numeric_dtype(values):
            values = values.replace(r"^\s*([Nn][Aa][Nn])?\s*$", np.nan, regex=True)
        return pd.to_numeric(values).to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        allowed = "1, 0" if column == "synthetic" else "1, 0, -1 (uncertain)"
        allowed = "numbers (0.93, not 0,93 or 93 %)" if column.startswith("score:") else allowed
        raise DataError(
            f"Column {column} holds something that is not a number ({error}): give {allowed} or blanks."
        ) from error
