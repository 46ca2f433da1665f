"""A radiograph of two pixels, as small as a DICOM file can be."""

from __future__ import annotations

from pathlib import Path

from tests.io.conftest import dicom_writer


def write_radiograph(
    path: Path, *, uid: str, patient: str, sex: str, age: str, view: str, modality: str = "CR"
) -> None:
    """Write a file with the tags that challenges left in their headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = {
        0x00080018: ("UI", uid),
        0x00080060: ("CS", modality),
        0x00100020: ("LO", patient),
        0x00100040: ("CS", sex),
        0x00101010: ("AS", age),
        0x00185101: ("CS", view),
    }
    dicom_writer(path.parent)(b"\0\1", tags, rows=1, columns=2, bits=8).rename(path)
