"""A referee of DICOM finds no error in any device's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.phantom.devices import SCANNERS, Scanner
from tests.dicom_check import errors_of, needs_dciodvfy
from tests.phantom.test_write_dicom import IDS, write


@needs_dciodvfy
@pytest.mark.parametrize("view", ["PA", "LATERAL"])
@pytest.mark.parametrize("scanner", SCANNERS, ids=IDS)
def test_no_error_in_a_radiograph(tmp_path: Path, scanner: Scanner, view: str) -> None:
    write(tmp_path / "a.dcm", scanner, view)
    assert errors_of(tmp_path / "a.dcm") == []
