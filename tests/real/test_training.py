"""Training on real files: any CSV, and a hospital folder of DICOM files with a report table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medvlp
from medvlp.config.tree import load_config
from medvlp.data.layouts import index_cohort
from medvlp.data.manifest import Manifest
from medvlp.runs.train import train

NOTES = {"image": "{folder}/{filename}", "text": "clinical_notes", "patient_id": "patientid", "view_position": "view"}


def test_the_notes_of_covid_cases_train_a_model(pack: Callable[[str], Path], tmp_path: Path, small: list[str]) -> None:
    words = [
        f"data={{root: {pack('covid-cxr')}, columns: {json.dumps(NOTES)}, table: metadata.csv, having: [text]}}",
        "data.prefix=[{name: read, size: 64}, {name: sections}]",
        "data.suffix=[{name: sentences}, {name: affine}]",
        "phases.0.until=320",
        "training.validate_every=160",
        f"run={tmp_path / 'run'}",
        f"data.cache={tmp_path / 'cache'}",
    ]
    rest = [word for word in small if not word.startswith("data.")]
    done = train(load_config("pretrain/csv.yaml", [*words, *rest]))
    rows = [json.loads(line) for line in (done.run / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == 20
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    checked = [row["retrieval/recall@5"] for row in rows if row["kind"] == "validate"]
    assert len(checked) == 2
    assert all(0 <= value <= 1 for value in checked)
    assert json.loads((done.run / "data.json").read_text())["quarantined"] == []
    model = medvlp.load(done.bundle)
    images = [pack("covid-cxr") / "images" / "000001.jpg", pack("covid-cxr") / "images" / "a4318ac9.jpg"]
    scores = model.score(images, ["bilateral consolidation", "clear lungs"])
    assert scores.shape == (2, 2)
    assert np.abs(scores).max() <= 1 + 1e-6


def test_rows_of_one_case_report_are_one_patient_whatever_their_numbers(pack: Callable[[str], Path]) -> None:
    options = {"table": "metadata.csv", "columns": {**NOTES, "url": "url"}, "same_patient": ["url"]}
    manifest = index_cohort("csv", pack("covid-cxr"), options)
    patients, addresses = manifest.column("id.patient"), manifest.column("url")
    assert all(len(set(patients[addresses == address])) == 1 for address in set(addresses))
    alone = index_cohort("csv", pack("covid-cxr"), {"table": "metadata.csv", "columns": NOTES})
    # By their numbers alone, pictures of one article stand as several patients.
    assert len(set(alone.column("id.patient"))) > len(set(patients))
    for number in set(alone.column("id.patient")):
        assert len(set(patients[alone.column("id.patient") == number])) == 1


# a hospital of real DICOM files -------------------------------------------------------------------------------------


REPORTS = {
    "RG1_J2KI.dcm": "FINDINGS: Several rounded opacities in both lungs. No effusion. The heart is normal in "
    "size.\nIMPRESSION: Multiple masses.",
    "RG3_J2KI.dcm": "FINDINGS: No fracture.\nIMPRESSION: Normal radiograph of the extremity.",
}


@pytest.fixture
def hospital(pydicom_file: Callable[[str], Path], tmp_path: Path) -> Path:
    """Twenty studies of ten patients: two radiographs of pydicom-data under other numbers, and a report table."""
    import pydicom
    from pydicom.uid import generate_uid

    root = tmp_path / "hospital"
    rows = []
    for study in range(20):
        name = list(REPORTS)[study % 2]
        data = pydicom.dcmread(pydicom_file(name))
        patient, accession = f"MRN{study // 2:03d}", f"ACC{study:03d}"
        data.PatientID, data.AccessionNumber = patient, accession
        data.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(study)])
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(study)])
        path = root / "pacs" / patient / accession / "image.dcm"
        path.parent.mkdir(parents=True)
        data.save_as(path)
        rows.append({"AccessionNumber": accession, "PatientID": patient, "Report": REPORTS[name]})
    with open(root / "reports.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ["AccessionNumber", "PatientID", "Report"])
        writer.writeheader()
        writer.writerows(rows)
    return root


def test_a_hospital_folder_of_real_files_trains(hospital: Path, tmp_path: Path, small: list[str]) -> None:
    words = [
        f"data.root={hospital}",
        "data.layout.images=pacs",
        f"data.layout.key_file={tmp_path / 'key'}",
        f"data.cache={tmp_path / 'cache'}",
        "phases.0.until=64",
        "training.validate_every=64",
        f"run={tmp_path / 'run'}",
    ]
    done = train(load_config("pretrain/hospital.yaml", [*words, *small, "tokenizer.vocab_size=128"]))
    assert done.outcome.samples_seen == 64
    manifest = Manifest.load(done.run / "manifest.parquet")
    assert len(manifest) == 20
    assert set(manifest.column("text")) == set(REPORTS.values())
    assert len(set(manifest.column("id.patient"))) == 10
    written = "".join(path.read_text() for path in done.run.rglob("*") if path.suffix in (".json", ".jsonl", ".yaml"))
    assert "MRN0" not in written
    assert "MRN0" not in str(manifest.arrow("id.patient"))
    said = medvlp.load(done.bundle).ask("zero_shot", hospital / "pacs" / "MRN000" / "ACC000" / "image.dcm")
    assert said.scores
    assert set(said.scores) == {"effusion"}  # of all findings the only one that a report names
    assert all(np.isfinite(scores).all() for scores in said.scores.values())
