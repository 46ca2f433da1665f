"""The one form of an evaluation's outcome: metric rows with their uncertainty, and the per-case table they come from.

`results.json` names its per-case Parquet file with a sha256, so that every number can be recomputed from stored
predictions and a changed byte is noticed. The JSON Schema of the file lies beside this module (`results.schema.json`)
for other programs; reading checks against the same definition.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.core.errors import DataError
from medvlp.core.files import no_file, write_bytes, write_text
from medvlp.evaluation._result_rows import (
    AVERAGES,
    Comparison,
    ConfidenceInterval,
    Counts,
    Flag,
    FlagKind,
    Metric,
    Result,
    Role,
)

__all__ = [
    "AVERAGES",
    "SCHEMA",
    "Comparison",
    "ConfidenceInterval",
    "Counts",
    "Flag",
    "FlagKind",
    "Metric",
    "Result",
    "Role",
    "fault_in",
    "json_schema",
    "load_result",
    "result_text",
    "write_result",
]

SCHEMA = "medvlp.results/1"


class _Cases(BaseModel):
    model_config = ConfigDict(extra="forbid")
    path: str = Field(description="file name beside results.json", pattern=r"^[^/\\]+\.parquet$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", title="medvlp results", populate_by_name=True, allow_inf_nan=False)
    schema_id: Literal["medvlp.results/1"] = Field(alias="schema")
    name: str
    role: Role = "model"
    title: str = ""
    synthetic: bool = False
    recipe: str
    data: str
    split: str = ""
    caveats: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    metrics: tuple[Metric, ...]
    cases: _Cases | None = None
    options: dict[str, Any] = {}
    fitted: dict[str, Any] = {}


def json_schema() -> str:
    """Return the JSON Schema of ``results.json``, as stored beside this module."""
    schema = {"$id": SCHEMA, **_Document.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def write_result(result: Result, path: Path, *, cases: str | None = None) -> None:
    """Write ``results.json`` and, beside it, the per-case Parquet file; each is complete or absent.

    Args:
        result: what to write.
        path: the JSON file.
        cases: file name of the per-case table; by default the JSON file's name with ``.parquet``.

    Raises:
        DataError: if `cases` is not a plain file name ending in ``.parquet``, a metric is NaN or infinite, or a number
            tuned on its own test rows (``oracle_``) stands alone.
        UserError: if the disk is full or the folder cannot be written.
    """
    path = Path(path)
    buffer, entry = io.BytesIO(), None
    try:
        if result.cases is not None:
            result.cases.to_parquet(buffer, index=False)
            digest = hashlib.sha256(buffer.getvalue()).hexdigest()
            entry = _Cases(path=cases or f"{path.stem}.parquet", sha256=digest)
        text = _text(result, entry, indent=1)
    except ValueError as error:  # pydantic's ValidationError is one
        raise DataError(
            f"Result {result.name!r} cannot be written to {path.name}: {fault_in(error)}; undefined numbers are None."
        ) from error
    # Cases first: a results.json never names a file that is not there yet.
    if entry is not None:
        write_bytes(path.parent / entry.path, buffer.getvalue())
    write_text(path, text)


def result_text(result: Result, *, indent: int | None = 1) -> str:
    """Return a result as the JSON document that `write_result` writes, without its per-case table.

    Raises:
        DataError: as `write_result`.
    """
    try:
        return _text(result, None, indent=indent)
    except ValueError as error:
        raise DataError(
            f"Result {result.name!r} cannot be written: {fault_in(error)}; undefined numbers are None."
        ) from error


def _text(result: Result, cases: _Cases | None, *, indent: int | None) -> str:
    _check_companions(result)
    facts: dict[str, Any] = {each.name: getattr(result, each.name) for each in fields(Result)}
    facts |= {"cases": cases, "options": dict(result.options), "fitted": dict(result.fitted)}
    document = _Document(schema=SCHEMA, **facts)
    plain = document.model_dump(mode="json", by_alias=True)
    always = ("value", "low", "high", "positives")  # as null, because readers look for them; others are left out
    plain["metrics"] = [{k: v for k, v in row.items() if v is not None or k in always} for row in plain["metrics"]]
    return json.dumps(plain, indent=indent, allow_nan=False) + "\n"


def load_result(path: Path, *, cases: bool = True) -> Result:
    """Read ``results.json`` and its per-case table, checking the schema and the sha256.

    Args:
        path: the JSON file.
        cases: also read the per-case table; its bytes are checked either way.

    Raises:
        DataError: if a file is missing, does not follow the schema, or was changed after it was written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # as of tables
        raise DataError(f"{path} {no_file(path)}: name a results.json.")
    try:
        document = _Document.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: run `medvlp evaluate` or `medvlp score` to make it.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a results.json.") from error
    except ValidationError as error:
        raise DataError(
            f"{path} is not a results file of schema {SCHEMA}: {fault_in(error)}; write it again."
        ) from error
    table = None
    if document.cases is not None:
        stored = path.parent / document.cases.path
        if not stored.is_file():
            raise DataError(
                f"{path} names the per-case table {document.cases.path}, which is missing: put it beside it."
            )
        content = stored.read_bytes()
        if hashlib.sha256(content).hexdigest() != document.cases.sha256:
            raise DataError(
                f"{stored} does not have the sha256 that {path.name} names, it was changed or damaged: "
                f"restore it or evaluate again."
            )
        table = pd.read_parquet(io.BytesIO(content)) if cases else None
    facts: dict[str, Any] = {each.name: getattr(document, each.name) for each in fields(Result)}
    return Result(**facts | {"cases": table})


def _check_companions(result: Result) -> None:
    """Refuse a number that was tuned on its own test rows and has no honest one beside it."""
    honest = {(row.label, row.split, row.group) for row in result.metrics if not row.metric.startswith("oracle_")}
    unpaired = [
        row
        for row in result.metrics
        if row.metric.startswith("oracle_") and (row.label, row.split, row.group) not in honest
    ]
    if unpaired:
        raise DataError(
            f"Result {result.name!r} gives {unpaired[0].metric} for {unpaired[0].label!r} alone: its threshold was "
            f"tuned on the rows that it is judged by, so give the AUROC of the same rows with it."
        )


def fault_in(error: Exception) -> str:
    """Return where the first fault of a document is and what it is, or the words of another error."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
    return str(error)
