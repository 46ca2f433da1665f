"""What views of texts share: the name and the words of a whole report, and the texts and labels of a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

WHOLE = "text.report"
"""The report as it was before a view changed its words."""


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
