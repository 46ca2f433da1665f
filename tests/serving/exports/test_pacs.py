"""Against a real archive (Debian's Orthanc) on this machine: query, open, store, and see what was stored."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from pydicom import dcmread

from medvlp.core.errors import UserError
from medvlp.serving.exports.kinds import export
from medvlp.serving.exports.pacs import Pacs
from tests.serving.exports.shown_files import ct_slice, radiograph, shown

pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc = pytest.mark.skipif(
    shutil.which("Orthanc") is None or not PLUGIN.exists(),
    reason="Orthanc is not installed: apt-get install orthanc orthanc-dicomweb",
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the port is open; False where the program ended first."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DICOMweb root of an empty archive that refuses every other machine."""
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
    configuration = {
        "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"), "HttpPort": port,
        "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
        "RegisteredUsers": {"reader": "secret"}, "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    (folder / "password").write_text("reader:secret\n")
    program = ["Orthanc", f"--logdir={folder}", str(folder / "orthanc.json")]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert answers(port, process), "Orthanc did not start"
        yield f"http://127.0.0.1:{port}/dicom-web {folder / 'password'}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def pacs(archive: str) -> Pacs:
    url, _, password = archive.partition(" ")
    return Pacs(url, Path(password))


@needs_orthanc
def test_what_was_stored_is_found_opened_and_equal(archive: str, tmp_path: Path) -> None:
    source = radiograph(tmp_path)
    stored = dcmread(source)
    assert pacs(archive).store([source.read_bytes()]) == 1
    (found,) = pacs(archive).studies(patient=stored.PatientID)
    assert (found["StudyInstanceUID"], found["StudyDate"]) == (stored.StudyInstanceUID, stored.StudyDate)
    (path,) = pacs(archive).retrieve(stored.StudyInstanceUID, tmp_path)
    opened = dcmread(path)
    assert np.array_equal(opened.pixel_array, stored.pixel_array)
    assert opened.SOPInstanceUID == stored.SOPInstanceUID


@needs_orthanc
def test_exports_stand_beside_the_source_in_its_study(archive: str, tmp_path: Path) -> None:
    source = ct_slice(tmp_path)
    objects = [source.read_bytes(), *(export(shown(source), kind).data for kind in ("sr", "seg", "sc"))]
    assert pacs(archive).store(objects) == 4
    study = dcmread(source).StudyInstanceUID
    paths = pacs(archive).retrieve(study, tmp_path)
    assert sorted(dcmread(path).Modality for path in paths) == ["CT", "OT", "SEG", "SR"]


@needs_orthanc
def test_an_unknown_patient_is_an_empty_list_and_a_wrong_password_a_sentence(archive: str, tmp_path: Path) -> None:
    assert pacs(archive).studies(patient="nobody") == []
    wrong = tmp_path / "password"
    wrong.write_text("reader:wrong")
    with pytest.raises(UserError, match="The archive answered 401: check"):
        Pacs(archive.partition(" ")[0], wrong).studies(patient="nobody")


def test_an_archive_that_is_not_there_is_a_sentence_without_what_was_asked() -> None:
    with pytest.raises(UserError, match=r"The archive did not answer \(ConnectionError\)") as told:
        Pacs(f"http://127.0.0.1:{free_port()}/dicom-web").studies(patient="SECRET4711")
    assert "SECRET4711" not in str(told.value)


def test_the_modalities_of_a_study_are_values_with_a_backslash_between() -> None:  # PS3.5 6.2, PS3.18 F.2
    study = {"00080061": {"vr": "CS", "Value": ["CT", "SR"]}, "0020000D": {"vr": "UI", "Value": ["1.2.3"]}}

    class Archive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.end_headers()
            self.wfile.write(json.dumps([study]).encode())

    with HTTPServer(("127.0.0.1", 0), Archive) as server:
        Thread(target=server.handle_request).start()
        (found,) = Pacs(f"http://127.0.0.1:{server.server_port}").studies(patient="4711")
    assert (found["ModalitiesInStudy"], found["StudyDate"]) == ("CT\\SR", "")


def test_addresses_with_passwords_and_other_schemes_are_refused(tmp_path: Path) -> None:
    for url in ("file:///etc/passwd", "http://reader:secret@127.0.0.1/", "dicom-web"):
        with pytest.raises(UserError, match="no http or https URL, or holds a password"):
            Pacs(url)
    with pytest.raises(UserError, match="Nothing was asked for"):
        Pacs("http://127.0.0.1:1/").studies()
    for date in ("31.01.2026", "2026013", "2026010120260131"):  # the archive would answer that it has no such study
        with pytest.raises(UserError, match=f"^{date} is no date that an archive knows: write 2026-01-31"):
            Pacs("http://127.0.0.1:1/").studies(date=date)
    with pytest.raises(UserError, match="name a file with USER:PASSWORD"):
        Pacs("http://127.0.0.1:1/", tmp_path / "none")
    (tmp_path / "bad").write_text("nocolon")
    with pytest.raises(UserError, match="does not hold USER:PASSWORD"):
        Pacs("http://127.0.0.1:1/", tmp_path / "bad")
