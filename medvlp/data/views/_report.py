"""What is still known of a whole report after a view has changed its words: a name for it, and its words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

__all__ = ["MIRRORED", "WHOLE", "report_tag", "with_report"]

MIRRORED = "/mirrored"
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
