"""The one form of an evaluation's outcome: metric rows with their uncertainty, and the per-case table they come from.

`results.json` names its per-case Parquet file with a sha256, so that every number can be recomputed from stored
predictions and a changed byte is noticed. The JSON Schema of the file lies beside this module (`results.schema.json`)
for other programs; reading checks against the same definition.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.core.errors import DataError
from medvlp.core.files import write_text, written_whole

__all__ = [
    "AVERAGES",
    "SCHEMA",
    "Flag",
    "FlagKind",
    "Metric",
    "Result",
    "json_schema",
    "load_result",
    "result_text",
    "write_result",
]

SCHEMA = "medvlp.results/1"
Role = Literal["model", "control"]
FlagKind = Literal["subgroup_gap", "miscalibration", "shortcut"]
# Labels of rows that are over several findings: a mean, a mean weighted by positives, and all cases pooled.
AVERAGES = ("macro", "weighted", "micro")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with its uncertainty; a row of ``results.json``.

    Attributes:
        metric: ``"auroc"``, ``"average_precision"``, ``"recall@5"``, ...; ``"auroc_gap"``, ``"sensitivity_gap"`` and
            ``"specificity_gap"`` are of a group less all others; ``"shortcut_auroc"`` is of the group's cases against
            all others by the score, among cases without the finding (``"shortcut_auroc_positives"``: with it);
            ``"subgroup_gap_test"``, ``"shortcut_test"`` and ``"miscalibration_test"`` are the tests behind the flags.
        label: finding, ``"macro"``, or retrieval direction.
        value: the number; None where it is not defined, and `reason` says why.
        low, high: interval at `level`; None where it is not defined or not asked for.
        level: confidence level of the interval.
        method: how the interval was made: ``"patient_bootstrap"``; ``"wilson"`` and ``"wilson_clustered"`` (patients
            with several images), ``"mercaldo"`` (predictive values), ``"sandwich"`` (calibration line),
            ``"delong_clustered"`` (AUROC differences, gaps, shortcuts), ``"exact"`` (an AUROC of 0 or 1),
            ``"patient_draw_bootstrap"`` (test patients and draws of training cases), or ``"none"``.
        interval: form of the interval: ``"percentile"``, ``"bca"``, ``"logit"``, ``"recentred"`` (percentile, moved for
            bias), ``"score"``, ``"wald"``, ``"clopper_pearson"``, ``"square_and_add"`` (a difference, from the
            intervals of its sides) or ``"none"``.
        n: rows (images, studies, queries) with a known label.
        positives: positive rows; None where the word has no meaning.
        patients: patients among the rows.
        split: as in the predictions; empty where they name none.
        policy: what was done with uncertain labels: ``"u_ignore"`` leaves them out.
        group: subgroup, ``"site=north"``, or of two columns, ``"sex & site=F & north"``; None is everybody.
        labels_used: for a macro average, over how many labels.
        min_positives: for a macro average, the positive rows that a label needs to take part.
        prevalence: positives / n.
        chance: what a random ranking of the same rows is expected to reach.
        pool: candidates that a retrieval query ranks.
        resamples, skipped: bootstrap resamples in which the number is, and is not, defined.
        reason: ``"no_positives"``, ``"no_negatives"``, ``"no_labels"``, ``"few_positives"`` (30 positive patients or
            fewer: the interval is optimistic), ``"few_negatives"``, ``"few_resamples"``, ``"n_too_small"`` (a group of
            too few patients of a class for any number), ``"no_validation"`` (nothing was chosen),
            ``"no_probabilities"`` (nothing was said to be one), ``"none_called"``, ``"all_called"``, ``"infinite"``,
            ``"separated"`` (a score divides the classes: no interval); of a map ``"survives_randomisation"`` or
            ``"input_independent"``; None where there is nothing to say.
        operating_point: name of the threshold the number was taken at.
        threshold: that score.
        calibration: map that made the probabilities; ``"none"`` where the scores were taken for them.
        first, second: what a difference (second less first) is of.
        p, p_corrected: of a test, alone and corrected for the `tests` made together.
        tests: how many.
        strata, pairs: of an AUROC within strata: strata that have both classes, and their positive x negative pairs.
        strata_left_out: strata that have one class only.
        draws: of training cases that the number is a mean over (few shots).
        draws_low, draws_high: quantiles of single draws at `level`, on the test cases as they are.
    """

    metric: str
    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = "patient_bootstrap"
    interval: str = "percentile"
    n: int
    positives: int | None = None
    patients: int
    split: str = ""
    policy: str = "u_ignore"
    group: str | None = None
    labels_used: int | None = None
    min_positives: int | None = None
    prevalence: float | None = None
    chance: float | None = None
    pool: int | None = None
    resamples: int | None = None
    skipped: int | None = None
    reason: str | None = None
    operating_point: str | None = None
    threshold: float | None = None
    calibration: str | None = None
    first: float | None = None
    second: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    tests: int | None = None
    strata: int | None = None
    strata_left_out: int | None = None
    pairs: int | None = None
    draws: int | None = None
    draws_low: float | None = None
    draws_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What a reader of a result must have seen: a test that stands when corrected for all tests of the report.

    Attributes:
        kind: ``"subgroup_gap"``, ``"miscalibration"`` or ``"shortcut"``.
        name: what was tested: the group's column (``"sex"``), or the probabilities (``"platt"``).
        sentence: what was found, with its numbers.
        p: of the test.
        p_holm: corrected for the `tests` of the report (Holm).
        tests: how many.
        split: as in the predictions.
    """

    kind: FlagKind
    name: str
    sentence: str
    p: float
    p_holm: float
    tests: int
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of one evaluation.

    Attributes:
        name: what was evaluated: ``"zero_shot"``, ``"linear_probe"``, ``"retrieval"``.
        recipe: hash of the recipe (prompts, model, options).
        data: hash of the data.
        split: hash of who stands in which part of the data; empty where nothing was split.
        metrics: the rows.
        cases: per-case table, one row an image or query; None where it was not loaded or not kept.
        role: ``"control"`` for what a model must beat (a thumbnail classifier), else ``"model"``.
        synthetic: the numbers are from synthetic data and say nothing of clinical performance.
        title: words for a page; empty uses `name`.
        caveats: sentences that a reader must have seen before the numbers: a known flaw of the split, a leak that was
            allowed.
        flags: what the audit of groups, calibration and shortcuts found; empty where it found nothing or none was made
            (rows ``"subgroup_gap_test"`` and so on say which tests were).
        options: what the statistics were asked to do; with the cases it makes the same numbers again.
        fitted: thresholds, calibrations and conformal rules of each finding, chosen on validation rows.
    """

    name: str
    recipe: str
    data: str
    metrics: tuple[Metric, ...]
    cases: pd.DataFrame | None = field(default=None, compare=False)
    role: Role = "model"
    synthetic: bool = False
    title: str = ""
    split: str = ""
    caveats: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)

    def find(
        self,
        metric: str,
        label: str,
        *,
        split: str | None = None,
        group: str | None = None,
        operating_point: str | None = None,
        calibration: str | None = None,
    ) -> Metric:
        """Return the row of a metric and label.

        Raises:
            DataError: if there is none, or several (name the split then).

        Example:
            >>> row = Metric(metric="auroc", label="effusion", value=0.9, n=10, patients=8)
            >>> Result(name="zero_shot", recipe="", data="", metrics=(row,)).find("auroc", "effusion").value
            0.9
        """
        rows = [
            row
            for row in self.metrics
            if (row.metric, row.label, row.group) == (metric, label, group)
            and (row.operating_point, row.calibration) == (operating_point, calibration)
            and split in (None, row.split)
        ]
        if len(rows) != 1:
            raise DataError(
                f"Result {self.name!r} has {len(rows)} rows of {metric!r} for {label!r} "
                f"(group {group!r}, split {split!r}): "
                f"ask for one of {', '.join(sorted({f'{row.metric}/{row.label}' for row in self.metrics})[:12])}."
            )
        return rows[0]


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
            f"Result {result.name!r} cannot be written to {path.name}: {_first(error)}; undefined numbers are None."
        ) from error
    # Cases first: a results.json never names a file that is not there yet.
    if entry is not None:
        with written_whole(path.parent / entry.path) as beside:
            beside.write_bytes(buffer.getvalue())
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
            f"Result {result.name!r} cannot be written: {_first(error)}; undefined numbers are None."
        ) from error


def _text(result: Result, cases: _Cases | None, *, indent: int | None) -> str:
    _check_companions(result)
    document = _Document(
        schema=SCHEMA,
        name=result.name,
        role=result.role,
        title=result.title,
        synthetic=result.synthetic,
        recipe=result.recipe,
        data=result.data,
        split=result.split,
        caveats=result.caveats,
        flags=result.flags,
        metrics=result.metrics,
        cases=cases,
        options=dict(result.options),
        fitted=dict(result.fitted),
    )
    plain = _without_none(document.model_dump(mode="json", by_alias=True))
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
    try:
        document = _Document.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: run `medvlp evaluate` or `medvlp score` to make it.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a results.json.") from error
    except ValidationError as error:
        raise DataError(f"{path} is not a results file of schema {SCHEMA}: {_first(error)}; write it again.") from error
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
    return Result(
        name=document.name,
        role=document.role,
        title=document.title,
        synthetic=document.synthetic,
        recipe=document.recipe,
        data=document.data,
        split=document.split,
        caveats=document.caveats,
        flags=document.flags,
        metrics=document.metrics,
        cases=table,
        options=document.options,
        fitted=document.fitted,
    )


def _check_companions(result: Result) -> None:
    """Refuse a number that was tuned on its own test rows and has no honest one beside it."""
    honest = {(row.label, row.split, row.group) for row in result.metrics if not row.metric.startswith("oracle_")}
    alone = [
        row
        for row in result.metrics
        if row.metric.startswith("oracle_") and (row.label, row.split, row.group) not in honest
    ]
    if alone:
        raise DataError(
            f"Result {result.name!r} gives {alone[0].metric} for {alone[0].label!r} alone: its threshold was tuned on "
            f"the rows that it is judged by, so give the AUROC of the same rows with it."
        )


def _without_none(document: dict[str, object]) -> dict[str, object]:
    """Leave optional keys out of the metric rows; value, low and high stay, as null, because readers look for them."""
    kept = ("value", "low", "high", "positives")
    rows = [{k: v for k, v in row.items() if v is not None or k in kept} for row in document["metrics"]]  # type: ignore[union-attr]
    return {**document, "metrics": rows}


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
    return str(error)
