"""Headers of a tree of DICOM files: a file that cannot be read is listed, and takes neither memory nor time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from medvlp.data.layouts._dicom_tree import Header, scan_tree
from tests.io.conftest import DEFLATED, dicom_writer


def test_deflated_files_are_read_and_bombs_are_listed(tmp_path: Path) -> None:
    write = dicom_writer(tmp_path)
    usual = {0x00080018: ("UI", "1.2.3"), 0x00185101: ("CS", "PA")}
    whole = write(np.zeros((4, 4), np.uint8), usual, syntax=DEFLATED)
    # 100 MB of zeros deflate to 100 kB.
    bomb = write(b"\0" * 100_000_000, usual, rows=10000, columns=10000, bits=8, syntax=DEFLATED)
    cut = write(np.zeros((4, 4), np.uint8), usual, syntax=DEFLATED)
    cut.write_bytes(cut.read_bytes()[:-4])
    scan = scan_tree(tmp_path, modalities=["DX"])
    assert [(header.path, header.get("ViewPosition")) for header in scan.headers] == [(whole.name, "PA")]
    assert scan.skipped == {"too_large": [bomb.name], "truncated": [cut.name]}


def test_a_pipe_is_listed_and_not_waited_for(tmp_path: Path) -> None:
    whole = dicom_writer(tmp_path)(np.zeros((4, 4), np.uint8), {0x00080018: ("UI", "1.2.3")})
    os.mkfifo(tmp_path / "pipe")
    scan = scan_tree(tmp_path, modalities=["DX"])
    assert [header.path for header in scan.headers] == [whole.name]
    assert scan.skipped == {"not_regular": ["pipe"]}


@pytest.mark.parametrize(("written", "age"), [("094Y", 90), ("018M", 1), ("412Y", None), ("", None)])
def test_an_age_that_nobody_reaches_is_none_and_one_above_90_is_90(written: str, age: int | None) -> None:
    assert Header("a.dcm", {"PatientAge": written}).age == age


def test_who_is_not_known_to_be_deidentified_is_not() -> None:
    # Patient Identity Removed (0012,0062) is YES, NO or absent.
    told = {
        word: Header("a.dcm", {"PatientIdentityRemoved": word} if word else {}).deidentified
        for word in ("YES", "NO", "", "MAYBE")
    }
    assert told == {"YES": "yes", "NO": "no", "": "unknown", "MAYBE": "unknown"}
