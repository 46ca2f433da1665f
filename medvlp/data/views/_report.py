"""The name under which a whole report is still known after a view has changed its words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

__all__ = ["MIRRORED", "report_tag", "with_report_tag"]

MIRRORED = "/mirrored"


def report_tag(report: str) -> str:
    r"""Return a hash of a report, white space and case aside, as two reports are compared everywhere.

    Example:
        >>> report_tag("Clear lungs.") == report_tag("clear\n lungs.")
        True
    """
    return hashlib.blake2b(" ".join(report.lower().split()).encode(), digest_size=8).hexdigest()


def with_report_tag(fields: Mapping[str, object], report: str) -> dict[str, object]:
    """Return the fields with ``id.report``; one that is there already is of a fuller report and stays."""
    return {"id.report": report_tag(report), **fields}
