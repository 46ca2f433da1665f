"""What views share: options that do not fit are refused, a field holds a path or a volume, a report has a name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.io.volume import Volume

WHOLE = "text.report"
"""The report as it was before a view changed its words."""


def require(view: Any, fits: bool, takes: str) -> None:  # noqa: ANN401 (any dataclass)
    """Unless its options fit, raise a `ConfigError` that says what a view takes and what it was given."""
    if not fits:
        given = ", ".join(f"{each.name}={getattr(view, each.name)!r}" for each in fields(view))
        name = type(view).__module__.rpartition(".")[2]
        raise ConfigError(f"{name} {takes}, not {given}: change these.")


def are_texts(names: Sequence[str]) -> bool:
    """Return whether names are those of text fields, none twice."""
    return {parse_field(name).kind for name in names} == {"text"} and len(set(names)) == len(names)


def volume_in(sample: Sample, field: str) -> str | Volume | None:
    """Return the path or the volume that a field holds; None where the sample has no such field.

    Raises:
        DataError: if it holds anything else, such as several paths.
    """
    source = sample.fields.get(field)
    if source is not None and not isinstance(source, str | Volume):
        raise DataError(f"The field {field!r} of {sample.id!r} is neither a path nor a volume: name one file.")
    return source


def report_tag(report: str) -> str:
    r"""Return a hash of a report, white space and case aside, as two reports are compared everywhere.

    Example:
        >>> report_tag("Clear lungs.") == report_tag("clear\n lungs.")
        True
    """
    return hashlib.blake2b(" ".join(report.lower().split()).encode(), digest_size=8).hexdigest()


def with_report(fields: Mapping[str, object], report: str) -> dict[str, object]:
    """Return the fields with ``id.report`` and ``text.report``; one that is there is of a fuller report and stays."""
    return {"id.report": report_tag(report), WHOLE: report, **fields}


def texts_of(fields: Mapping[str, object], field: str) -> tuple[str, ...]:
    """Return the rows of a text field; none where it is missing."""
    value = fields.get(field)
    return tuple(text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str))


def labels_of(fields: Mapping[str, object]) -> dict[str, float]:
    """Return finding -> label."""
    named = {name.removeprefix("label."): value for name, value in fields.items() if name.startswith("label.")}
    return {finding: float(value) for finding, value in named.items() if isinstance(value, int | float)}
