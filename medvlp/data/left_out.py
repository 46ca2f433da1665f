"""What a layout found and made no record of, or could not join: told and listed when a cohort is indexed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medvlp.core.files import write_list
from medvlp.data.manifest import Manifest

# What a layout that joins reports and images could not join, or joined and cannot vouch for.
_UNJOINED = (
    "images_without_report",
    "reports_without_image",
    "images_of_another_patient_than_the_report",
    "reports_at_several_patients",
    "reports_at_several_studies",
)


def left_out(manifest: Manifest) -> dict[str, list[object]]:
    """Return reason -> files, or lines of the table.

    Example:
        >>> columns = {"id": ["a"], "image": ["a.png"]}
        >>> left_out(Manifest.of(columns, root=Path("."), meta={"skipped": {"no_picture": ["notes.txt"]}}))
        {'no_picture': ['notes.txt']}
    """
    skipped = manifest.meta.get("skipped")
    listed = dict(skipped) if isinstance(skipped, Mapping) else {}
    listed |= {name: manifest.meta[name] for name in _UNJOINED if name in manifest.meta}
    return {str(reason): some for reason, some in listed.items() if isinstance(some, list) and some}


def write_left_out(path: Path, found: Mapping[str, list[object]]) -> None:
    """Write what was left out as CSV (reason, file_or_line); see `write_list`."""
    write_list(path, ["reason", "file_or_line"], ([reason, each] for reason, some in found.items() for each in some))
