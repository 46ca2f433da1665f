"""A whole folder: every file is written without identifiers, or listed with a reason; a second start does the rest."""

from __future__ import annotations

import csv
import json
import re
import resource
import runpy
import shutil
import stat
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import config, dcmread
from typer.testing import CliRunner

from medvlp.core import provenance
from medvlp.core.errors import UserError
from medvlp.data.deidentify import folder as folder_module
from medvlp.data.deidentify.folder import deidentify_folder
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret
from tests.closed import unlistable
from tests.io.deidentify.planted import DATES, PLANTED, planted, report

SECRETS = (*PLANTED, *DATES, "ZQFILE", "ZQFOLDER", "ZQSIGNER")
YEAR = re.compile(rb"(?<![\d.])1951(?!\d)")  # of birth, by itself: new UIDs, drawn by chance, may hold its digits


def hospital(root: Path) -> Path:
    """Files of one patient in a folder called after her, and things that cannot be cleaned."""
    folder = root / "in" / "ZQFOLDER_ZQNAME"
    folder.mkdir(parents=True)
    planted(folder, name="ZQFILE1.dcm")
    report(folder)
    nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_filename(folder / "ZQFILE.nii.gz")
    with open(folder / "reports.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["PatientID", "Patient Name", "StudyInstanceUID", "StudyDate", "Report", "ward", "label"])
        text = "Mrs. ZQNAME, seen 12/03/1951. No effusion. ZQ4711001"
        study = dcmread(folder / "ZQFILE1.dcm").StudyInstanceUID
        writer.writerow(["ZQ4711001", "ZQNAME^ZQGIVEN", study, "2024-02-29", text, "ZQDEPT", "1"])
    (folder / "note.txt").write_text("Signed by ZQSIGNER, MD on 12/03/1951. Clear lungs.")
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    cut = planted(folder, scanner=1, name="cut.dcm")
    cut.write_bytes(cut.read_bytes()[:3000])
    planted(root, scanner=2, name="packed.dcm")
    with zipfile.ZipFile(root / "in" / "ZQFILE.zip", "w") as archive:
        archive.write(root / "packed.dcm", "ZQNAME/packed.dcm")
    return root / "in"


def run(root: Path, **options: object) -> object:
    """Under a fixed key: 1 of 3,650 that are drawn by chance moves one of DATES to another, as if it had stayed."""
    (root / "key").write_text("6b" * 32)
    return deidentify_folder(root / "in", root / "out", key_file=root / "key", keep_columns=["label"], **options)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hospital")
    before = bytes_of(hospital(root))
    run(root)
    assert bytes_of(root / "in") == before
    return root


def test_processes_write_the_bytes_and_the_list_that_one_does(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "in", tmp_path / "in")
    run(tmp_path, workers=2)
    assert bytes_of(tmp_path / "out") == bytes_of(done / "out")
    # But for the times of files that an archive holds, which are those of their unpacking.
    here, there = (
        re.sub(r'"stamp": "[^"]*"', "", (root / "out.private.jsonl").read_text()) for root in (tmp_path, done)
    )
    assert here == there


def test_no_identifier_in_any_byte_or_name_of_the_output(done: Path) -> None:
    for name, data in bytes_of(done / "out").items():
        assert not [word for word in SECRETS if word.encode() in data or word in name], name
        assert YEAR.search(data) is None, name


def test_every_file_is_written_or_listed_with_a_reason(done: Path) -> None:
    lines = [json.loads(line) for line in (done / "out.private.jsonl").read_text().splitlines()[1:]]
    told = {line["file"].split("/")[-1]: line.get("reason", line.get("kind")) for line in lines}
    assert told == {
        "ZQFILE1.dcm": "dicom", "report.dcm": "dicom", "ZQFILE.nii.gz": "nifti", "reports.csv": "table",
        "note.txt": "text", "photo.png": "unsupported_format", "cut.dcm": "truncated", "packed.dcm": "dicom",
        "ZQFILE.zip": "archive",
    }  # fmt: skip
    for line in lines:
        assert ("out" in line) == ("reason" not in line and line["kind"] != "archive")
        assert "out" not in line or (done / "out" / line["out"]).exists()


def test_the_list_and_the_key_are_for_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("Clear lungs.")
    deidentify_folder(tmp_path / "in", tmp_path / "out", key_file=tmp_path / "key")
    for name in ("out.private.jsonl", "key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_report_counts_and_tells_nothing(done: Path) -> None:
    told = json.loads((done / "out" / "report.json").read_text())
    assert told["files"]["left_out"] == {"truncated": 1, "unsupported_format": 1}
    assert told["files"]["written"] == 6
    assert told["attributes"]["PatientID"]["dummy"] >= 3
    assert told["pixels"]["files_searched"] == 2


def test_the_table_and_the_images_still_belong_together(done: Path) -> None:
    (path,) = (done / "out" / "reports").glob("*.csv")
    with open(path, newline="", encoding="utf-8") as handle:
        (row,) = csv.DictReader(handle)
    assert list(row) == ["PatientID", "StudyInstanceUID", "StudyDate", "Report", "label"]
    images = [dcmread(path) for path in (done / "out").rglob("*.dcm")]
    mine = next(each for each in images if each.StudyInstanceUID == row["StudyInstanceUID"] and each.Modality != "SR")
    assert (mine.PatientID, row["label"]) == (row["PatientID"], "1")
    sr = next(each for each in images if each.Modality == "SR")
    assert row["StudyDate"].replace("-", "") == sr.StudyDate  # both were 29 February 2024
    assert row["Report"] == "XXXX, seen XXXX. No effusion. XXXX"


def test_started_again_it_does_what_is_left_and_gives_the_same_bytes(tmp_path: Path) -> None:
    hospital(tmp_path)
    first = run(tmp_path)
    before = bytes_of(tmp_path / "out")
    journal = tmp_path / "out.private.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:4]) + lines[4][:20])  # killed while it wrote the fourth file's line
    again = run(tmp_path)
    assert bytes_of(tmp_path / "out") == before
    assert 1 <= again.again < first.written
    assert (again.written, again.left) == (first.written, first.left)


def test_files_that_were_done_before_are_not_progress_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.txt").write_text(f"Clear lungs {number}.")
    run(tmp_path)
    for number in (4, 5):
        (tmp_path / "in" / f"{number}.txt").write_text(f"Clear lungs {number}.")
    told: list[tuple[int, int]] = []
    run(tmp_path, progress=lambda *each: told.append(each))
    assert told == [(5, 6), (6, 6)]


def test_what_was_removed_of_the_output_is_written_again(tmp_path: Path) -> None:
    hospital(tmp_path)
    first, before = run(tmp_path), bytes_of(tmp_path / "out")
    next((tmp_path / "out").rglob("*.nii.gz")).unlink()
    assert run(tmp_path).again == first.written - 1
    assert bytes_of(tmp_path / "out") == before
    shutil.rmtree(tmp_path / "out")
    done = run(tmp_path)
    assert (done.written, done.again, bytes_of(tmp_path / "out")) == (first.written, 0, before)


def test_a_list_or_key_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Clear lungs.")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/key cannot be written \(.*\): choose a folder you may write to"):
        deidentify_folder(tmp_path / "in", tmp_path / "out", key_file=tmp_path / "file" / "key")
    (tmp_path / "out.private.jsonl").symlink_to(tmp_path / "file" / "list")
    with pytest.raises(
        UserError, match=r"out.private.jsonl cannot be written \(.*\): choose a folder you may write to"
    ):
        run(tmp_path)


def test_two_files_of_one_identifier_are_both_kept_and_a_copy_once(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    one = planted(root, name="a.dcm")
    (root / "b.dcm").write_bytes(one.read_bytes())
    other = dcmread(one)
    other.KVP = "66"
    other.save_as(root / "c.dcm")
    run(tmp_path)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2


@pytest.mark.filterwarnings("ignore:.*VR UI")
@pytest.mark.parametrize("uids", [False, True])
@pytest.mark.parametrize("study", ["1.2.840.10008./../../../esc", "1.2.840.10008.ZQNAME^ZQGIVEN", "/{root}/esc"])
def test_what_is_no_uid_leads_nowhere_and_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: str, uids: bool
) -> None:
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    root = tmp_path / "deep" / "er"  # so that what leads out stays in the test's own folder
    (root / "in").mkdir(parents=True)
    dataset = dcmread(planted(root / "in"))
    dataset.StudyInstanceUID = study.format(root=str(tmp_path).strip("/"))
    dataset.FrameOfReferenceUID = "1.2.840.10008.ZQ4711001"
    dataset.RelatedGeneralSOPClassUID = ["1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.ZQGIVEN"]
    dataset.save_as(root / "in" / "planted.dcm")
    done = run(root, profile=Profile(pixels="keep", uids=uids))
    assert not done.left
    there = {path.name for folder in (root, root.parent, tmp_path) for path in folder.iterdir()}
    assert there == {"deep", "er", "in", "out", "key", "out.private.jsonl"}
    for name, data in bytes_of(root / "out").items():
        assert not [word for word in SECRETS if word.encode() in data or word in name], name
    assert "ZQ" not in (root / "out.private.jsonl").read_text()


def test_a_uid_that_the_standard_lists_stays(tmp_path: Path) -> None:
    secret = Secret(b"k" * 32)
    assert secret.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert secret.uid("1.2.840.10008.1.2.1.4711").startswith("2.25.")


def test_a_link_in_the_output_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    planted(tmp_path / "in", name="a.dcm")
    run(tmp_path)
    (patient,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    patient.rename(tmp_path / "elsewhere")
    patient.symlink_to(tmp_path / "elsewhere")
    planted(tmp_path / "in", scanner=1, name="b.dcm")
    assert run(tmp_path).left == {"bad_header": 1}
    assert len(list((tmp_path / "elsewhere").rglob("*.dcm"))) == 1


def test_linked_folders_and_tables_that_cannot_be_read_are_listed_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    planted(tmp_path / "elsewhere", name="film.dcm")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "old.csv").write_bytes("PatientID,Report\n1,Größe normal\n".encode("cp1252"))
    (tmp_path / "in" / "torn.csv").write_text("PatientID,Report,label\n1,Clear\nMr. ZQNAME seen,1\n")
    done = run(tmp_path)
    lines = (json.loads(line) for line in done.journal.read_text(encoding="utf-8").splitlines()[1:])
    listed = {line["file"]: (line["reason"], line["detail"]) for line in lines}
    assert listed["more"] == ("directory", "it is a folder")
    assert listed["old.csv"][0] == listed["torn.csv"][0] == "table"
    assert "is not in the encoding utf-8-sig: save it as UTF-8" in listed["old.csv"][1]
    assert "line 3: 2 values under 3 columns" in listed["torn.csv"][1]
    assert done.left == {"directory": 1, "table": 2}


def test_a_folder_that_cannot_be_listed_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Clear lungs.")
    with unlistable(tmp_path / "in"):
        done = run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "out.private.jsonl").read_text().splitlines()[1:]]
    assert done.written == 1
    assert [(line["file"][:1], line.get("reason")) for line in lines] == [("a", None), ("d", "io_error")]


def test_places_and_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    planted(root)
    with pytest.raises(UserError, match="which is never written to"):
        deidentify_folder(root, root / "out", key_file=tmp_path / "key")
    with pytest.raises(UserError, match="does not exist"):
        deidentify_folder(tmp_path / "none", tmp_path / "out", key_file=tmp_path / "key")
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="empty holds no file"):
        deidentify_folder(tmp_path / "empty", tmp_path / "out", key_file=tmp_path / "key")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(UserError, match="no run of this command made it"):
        deidentify_folder(root, tmp_path / "full", key_file=tmp_path / "key")
    run(tmp_path)
    with pytest.raises(UserError, match="was begun with another options"):
        run(tmp_path, profile=Profile(dates="remove"))
    with pytest.raises(UserError, match="was begun with another key"):
        deidentify_folder(root, tmp_path / "out", key_file=tmp_path / "key2", keep_columns=["label"])


@pytest.mark.parametrize("packed", [False, True])
def test_a_column_to_keep_that_no_table_has_is_refused_before_anything_is_written(packed: bool, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.csv").write_text("PatientID,label\n1,2\n")
    (root / "b.csv").write_text("ZQNAME,1951\n")  # without a line of names
    if packed:
        with zipfile.ZipFile(root / "a.zip", "w") as archive:
            archive.write(root / "a.csv", "a.csv")
        (root / "a.csv").unlink()
    ways = {"lable": "did you mean 'label'?", "Label": "did you mean 'label'?", "ward": "see their first lines."}
    for name, hint in ways.items():
        with pytest.raises(UserError, match=rf"No table of .*in has the column '{name}' to keep: (.*)$") as told:
            deidentify_folder(root, tmp_path / "out", key_file=tmp_path / "key", keep_columns=["label", name])
        assert str(told.value).endswith(f"to keep: {hint}")
        assert not (tmp_path / "out").exists()


def test_the_command_exits_with_3_where_files_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from medvlp.cli.data import app

    hospital(tmp_path)
    words = ["deidentify", str(tmp_path / "in"), str(tmp_path / "out"), "--key", str(tmp_path / "key")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 3
    assert "Left out, see there: 1 truncated, 1 unsupported_format." in told.output
    assert not caplog.records
    assert not [word for word in SECRETS if word in told.output]
    assert YEAR.search(told.output.encode()) is None
    (tmp_path / "in" / "ZQFOLDER_ZQNAME" / "photo.png").unlink()
    (tmp_path / "in" / "ZQFOLDER_ZQNAME" / "cut.dcm").unlink()
    told = CliRunner().invoke(app, [*words[:2], str(tmp_path / "new"), *words[3:], "--retain", "patient"])
    assert told.exit_code == 0


def test_what_a_file_became_before_it_changed_does_not_stay(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    one = planted(root, name="a.dcm")
    (root / "b.dcm").write_bytes(one.read_bytes())  # a copy
    run(tmp_path)
    (before,) = (tmp_path / "out").rglob("*.dcm")
    other = dcmread(one)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"{other.SOPInstanceUID}.1"
    other.save_as(one)
    run(tmp_path)
    again = bytes_of(tmp_path / "out")
    (tmp_path / "out.private.jsonl").unlink()
    shutil.rmtree(tmp_path / "out")
    run(tmp_path)
    assert again == bytes_of(tmp_path / "out")  # that of an undisturbed run
    assert before.exists()  # the copy's
    for path in root.iterdir():
        path.write_bytes(b"no picture any more")
    run(tmp_path)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_files_of_another_version_of_the_rules_are_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital(tmp_path)
    run(tmp_path)
    before = bytes_of(tmp_path / "out")
    assert run(tmp_path).again > 0
    monkeypatch.setattr(folder_module, "code_hash", lambda *folders: "of other rules")
    assert run(tmp_path).again == 0
    assert bytes_of(tmp_path / "out") == before


def test_the_table_of_rules_belongs_to_the_version_of_the_program(tmp_path: Path) -> None:
    source, copied = Path(provenance.__file__), tmp_path / "core" / "provenance.py"
    shutil.copytree(source.parent.parent / "io" / "deidentify", tmp_path / "io" / "deidentify")
    copied.parent.mkdir()
    shutil.copy(source, copied)
    before = runpy.run_path(str(copied))["code_hash"]("io")
    with open(tmp_path / "io" / "deidentify" / "table_e1_1.csv", "a", encoding="ascii") as handle:
        handle.write("00090010,X,\n")
    assert runpy.run_path(str(copied))["code_hash"]("io") != before


def test_a_second_command_on_one_output_is_refused_and_nothing_half_written_stays(tmp_path: Path) -> None:
    hospital(tmp_path)

    def both(done: int, total: int) -> None:
        with pytest.raises(UserError, match=r"^Another command writes .*: wait for it, or name another output folder"):
            run(tmp_path)

    (tmp_path / "out").mkdir()
    (tmp_path / "out.private.jsonl").touch()  # of a command that was killed at once
    (tmp_path / "out" / ".f1.nii.gz.7.part").write_bytes(b"half")
    run(tmp_path, progress=both)
    assert not [name for name in bytes_of(tmp_path / "out") if name.endswith(".part")]


def test_a_disk_that_is_full_when_the_list_is_written_is_one_sentence_and_the_rest_is_done_next_time(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / "in" / f"{number:02d}.txt").write_text(f"Clear lungs {number}.")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"^The disk is full: .*out.private.jsonl could not be written; nothing"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    done = run(tmp_path)
    assert (done.written, 0 < done.again < 12) == (12, True)
    before = bytes_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out.private.jsonl").unlink()
    run(tmp_path)
    assert bytes_of(tmp_path / "out") == before
