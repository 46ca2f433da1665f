"""Rows of results and what holds them together; `medvlp.evaluation.results` shows them to everybody and keeps files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_type_hints

import pandas as pd
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from medvlp.core.errors import DataError

Role = Literal["model", "control"]
FlagKind = Literal["subgroup_gap", "miscalibration", "shortcut"]
# Labels of rows that are over several findings: a mean, a mean weighted by positives, and all cases pooled.
AVERAGES = ("macro", "weighted", "micro")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceInterval:
    """The interval of a number, and how it was made.

    Attributes:
        low, high: limits at `level`; None where they are not defined or not asked for.
        level: of confidence.
        method: ``"patient_bootstrap"``; ``"wilson"`` and ``"wilson_clustered"`` (patients with several images),
            ``"mercaldo"`` (predictive values), ``"sandwich"`` (calibration line), ``"delong_clustered"`` (AUROC
            differences, gaps, shortcuts), ``"exact"`` (an AUROC of 0 or 1), ``"patient_draw_bootstrap"`` (test patients
            and draws of training cases), or ``"none"``.
        form: ``"percentile"``, ``"bca"``, ``"logit"``, ``"recentred"`` (percentile, moved for bias), ``"score"``,
            ``"wald"``, ``"clopper_pearson"``, ``"square_and_add"`` (a difference, from the intervals of its sides) or
            ``"none"``; the key ``interval`` of ``results.json``.
        resamples, skipped: bootstrap resamples in which the number is, and is not, defined.
        draws_low, draws_high: quantiles of single draws of training cases at `level`, on the test cases as they are.
    """

    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = "patient_bootstrap"
    form: str = "percentile"
    resamples: int | None = None
    skipped: int | None = None
    draws_low: float | None = None
    draws_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a number is over.

    Attributes:
        n: rows (images, studies, queries) with a known label.
        patients: among the rows.
        positives: positive rows; None where the word has no meaning.
        prevalence: positives / n, or the one that a predictive value is stated at.
        labels_used, min_positives: of a macro average, over how many labels, and the positive rows that each needs.
        pool: candidates that a retrieval query ranks.
        strata, pairs: of an AUROC within strata: strata that have both classes, and their positive x negative pairs.
        strata_left_out: strata that have one class only.
        draws: of training cases that the number is a mean over (few shots).
    """

    n: int
    patients: int
    positives: int | None = None
    prevalence: float | None = None
    labels_used: int | None = None
    min_positives: int | None = None
    pool: int | None = None
    strata: int | None = None
    strata_left_out: int | None = None
    pairs: int | None = None
    draws: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A test, or a difference: second less first.

    Attributes:
        first, second: the two sides.
        p, p_corrected: single, and corrected for the `tests` made together.
        tests: how many.
    """

    first: float | None = None
    second: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    tests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with its uncertainty; a row of ``results.json``, where the fields of its parts stand side by side.

    Attributes:
        metric: a name of `medvlp.statistics.table`, ``"recall@5"``, ...; ``"auroc_gap"``, ``"sensitivity_gap"`` and
            ``"specificity_gap"`` are of a group less all others; ``"shortcut_auroc"`` is of the group's cases against
            all others by the score, among cases without the finding (``"shortcut_auroc_positives"``: with it);
            ``"auroc_alike"`` of a group is everybody's mean over the findings of the group's mean;
            ``"gate_held_back"`` is the share of images that the bundle's gate would not let be scored;
            ``"subgroup_gap_test"``, ``"shortcut_test"`` and ``"miscalibration_test"`` are the tests behind the flags.
        label: finding, ``"macro"``, or retrieval direction.
        value: the number; None where it is not defined, and `reason` says why.
        counts: of what.
        interval: its uncertainty.
        test: p values and the two sides of a difference.
        split: as in the predictions; empty where they name none.
        group: subgroup, ``"site=north"``, or of two columns, ``"sex & site=F & north"``; None is everybody.
        policy: what was done with uncertain labels: ``"u_ignore"`` leaves them out.
        operating_point, threshold: name of the threshold that the number was computed at, and that score.
        calibration: map that made the probabilities; ``"none"`` where the scores were taken for them.
        chance: what a random ranking of the same rows is expected to reach.
        reason: what is to be known of the number, or why there is none: a key of `medvlp.evaluation.words.REASONS`.
    """

    metric: str
    label: str
    value: float | None
    counts: Counts
    interval: ConfidenceInterval = ConfidenceInterval()
    test: Comparison = Comparison()
    split: str = ""
    group: str | None = None
    policy: str = "u_ignore"
    operating_point: str | None = None
    threshold: float | None = None
    calibration: str | None = None
    chance: float | None = None
    reason: str | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Metric], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read and write a metric as a flat row, whose schema is that of its fields and those of its parts."""
        flat = core_schema.no_info_after_validator_function(_nested, handler.generate_schema(_row_model()))
        return core_schema.json_or_python_schema(
            json_schema=flat,
            python_schema=core_schema.no_info_before_validator_function(_plain, flat),
            serialization=core_schema.plain_serializer_function_ser_schema(_flat),
        )


_PARTS: Mapping[str, Any] = {"counts": Counts, "interval": ConfidenceInterval, "test": Comparison}


def _keys() -> Iterator[tuple[str, str, Field[Any]]]:
    """Yield (key of the row, part of the metric, field): the form of an interval is the key ``interval``."""
    for own in fields(Metric):
        for each in fields(_PARTS[own.name]) if own.name in _PARTS else (own,):
            part = own.name if own.name in _PARTS else ""
            yield "interval" if each.name == "form" else each.name, part, each


@cache
def _row_model() -> type[BaseModel]:
    kinds = {part: get_type_hints(kind) for part, kind in {"": Metric, **_PARTS}.items()}
    columns: dict[str, Any] = {
        key: (kinds[part][each.name], ... if each.default is MISSING else each.default) for key, part, each in _keys()
    }
    words = "\n".join(inspect.cleandoc(each.__doc__ or "") for each in (Metric, *_PARTS.values()))
    return create_model("Metric", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), __doc__=words, **columns)


def _flat(metric: Metric) -> dict[str, Any]:
    return {key: getattr(getattr(metric, part) if part else metric, each.name) for key, part, each in _keys()}


def _plain(value: object) -> object:
    """Return the flat row of a metric, whose numbers are then checked as those of a file are."""
    return _flat(value) if isinstance(value, Metric) else value


def _nested(row: BaseModel) -> Metric:
    parts: dict[str, dict[str, Any]] = {"": {}, **{part: {} for part in _PARTS}}
    for key, part, each in _keys():
        parts[part][each.name] = getattr(row, key)
    return Metric(**parts.pop(""), **{part: _PARTS[part](**values) for part, values in parts.items()})


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
        split: hash of who stands in which part of the data; empty where nothing was split.
        metrics: the rows.
        recipe: hash of the recipe (prompts, model, options); of a measure's results, where it is empty, that of the
            evaluation (`Evaluation.marked`).
        data: hash of the data; the same.
        cases: per-case table, one row an image or query; None where it was not loaded or not kept.
        role: ``"control"`` for what a model must beat (a thumbnail classifier), else ``"model"``.
        synthetic: the numbers are from synthetic data and say nothing of clinical performance.
        title: words for a page; empty uses `name`.
        caveats: sentences that a reader must have seen before the numbers: a known flaw of the split, a leak that was
            allowed.
        flags: what the audit of groups, calibration and shortcuts found; empty where it found nothing or none was made
            (rows ``"subgroup_gap_test"`` and so on say which tests were).
        options: what the statistics were asked to do; with the cases it makes the same numbers again.
        fitted: thresholds, calibrations and conformal rules of each finding, chosen on validation rows; of a map how it
            is made.
    """

    name: str
    metrics: tuple[Metric, ...]
    recipe: str = ""
    data: str = ""
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
            >>> row = Metric(metric="auroc", label="effusion", value=0.9, counts=Counts(n=10, patients=8))
            >>> Result(name="zero_shot", metrics=(row,)).find("auroc", "effusion").value
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
