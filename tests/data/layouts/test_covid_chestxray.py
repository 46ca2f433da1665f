"""The COVID-19 image data collection: its header, one case under two numbers, diagnoses as labels."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.layouts.covid_chestxray import _labels

HEAD = [
    "patientid",
    "offset",
    "sex",
    "age",
    "finding",
    "RT_PCR_positive",
    "survival",
    "intubated",
    "intubation_present",
    "went_icu",
    "in_icu",
    "needed_supplemental_O2",
    "extubated",
    "temperature",
    "pO2_saturation",
    "leukocyte_count",
    "neutrophil_count",
    "lymphocyte_count",
    "view",
    "modality",
    "date",
    "location",
    "folder",
    "filename",
    "doi",
    "url",
    "license",
    "clinical_notes",
    "other_notes",
    "",
]
EURORAD = "https://www.eurorad.org/case/10483"
HANNOVER = "https://github.com/ml-workgroup/covid-19-image-repository"


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    rows = [
        {"patientid": "285", "filename": "a.jpg", "url": EURORAD, "finding": "Pneumonia/Viral/COVID-19"},
        {"patientid": "339", "filename": "b.png", "url": EURORAD, "view": "L", "offset": "3", "age": "52"},
        {"patientid": "7", "filename": "c.jpg", "url": HANNOVER, "view": "AP Supine", "offset": "-5", "survival": "N"},
        {"patientid": "8", "filename": "d.jpg", "url": HANNOVER, "view": "AP Erect", "finding": "No Finding"},
        {"patientid": "9", "filename": "e.nii.gz", "folder": "volumes", "modality": "CT", "view": "Axial"},
        {"patientid": "9", "filename": "f.jpg", "modality": "CT", "view": "Axial"},
        {"patientid": "10", "filename": "gone.jpg"},
    ]
    default = {"view": "PA", "modality": "X-ray", "folder": "images", "finding": "Pneumonia", "clinical_notes": "x,\ny"}
    with open(tmp_path / "metadata.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, HEAD)
        writer.writeheader()
        writer.writerows([default | row for row in rows])
    for name in ("images/a.jpg", "images/b.png", "images/c.jpg", "images/d.jpg", "images/f.jpg", "masks/a_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_x_rays_are_rows_and_all_else_is_listed(collection: Path) -> None:
    manifest = index_cohort("covid_chestxray", collection)
    assert manifest.column("image").tolist() == ["images/a.jpg", "images/b.png", "images/c.jpg", "images/d.jpg"]
    assert manifest.meta["skipped"] == {
        "other_modality": ["volumes/e.nii.gz", "images/f.jpg"],
        "missing_file": ["images/gone.jpg"],
    }
    assert manifest.column("view_position").tolist() == ["PA", "LATERAL", "AP", "AP"]
    assert manifest.column("position").tolist() == [None, None, "supine", "erect"]
    assert manifest.column("text")[0] == "x,\ny"
    assert [manifest.record(i).get("offset") for i in range(4)] == [None, 3, -5, None]
    assert manifest.record(2)["survival"] == "N"
    assert set(manifest.column("source")) == {"www.eurorad.org", "github.com"}
    with_ct = index_cohort("covid_chestxray", collection, {"modalities": ["X-ray", "CT"]})
    assert with_ct.meta["skipped"]["volume"] == ["volumes/e.nii.gz"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        ("AP semi erect", ("AP", "erect")),  # as one film of the collection says
        ("AP erect", ("AP", "erect")),
        ("AP Supine", ("AP", "supine")),
        ("APS", ("AP", "supine")),
        ("PA", ("PA", None)),
        ("L", ("LATERAL", None)),
    ],
)
def test_every_way_to_say_ap_is_ap(collection: Path, view: str, wanted: tuple[str, str | None]) -> None:
    table = collection / "metadata.csv"
    table.write_text(table.read_text().replace("AP Supine", view))
    record = index_cohort("covid_chestxray", collection).record(2)
    assert (record["view_position"], record.get("position")) == wanted


def test_one_address_is_one_patient_but_not_that_of_a_collection(collection: Path) -> None:
    patients = index_cohort("covid_chestxray", collection).column("id.patient").tolist()
    assert patients[0] == patients[1]
    assert patients[2] != patients[3]


def test_masks_are_found_by_the_name_without_its_ending(collection: Path) -> None:
    manifest = index_cohort("covid_chestxray", collection, {"masks": "masks"})
    assert manifest.column("mask.lungs").tolist() == ["masks/a_mask.png", None, None, None]


ORDER = ("no_finding", "pneumonia", "viral_pneumonia", "bacterial_pneumonia", "covid19", "tuberculosis")


@pytest.mark.parametrize(
    ("finding", "values"),
    [
        ("Pneumonia/Viral/COVID-19", (0, 1, 1, 0, 1, 0)),
        ("COVID-19", (0, 1, 1, 0, 1, 0)),  # earlier versions have one word
        ("COVID-19, ARDS", (0, 1, 1, 0, 1, 0)),
        ("Pneumonia/Viral/SARS", (0, 1, 1, 0, 0, 0)),
        ("Pneumonia/Viral", (0, 1, 1, 0, None, 0)),  # which virus is not told
        ("Pneumonia", (0, 1, None, None, None, 0)),  # neither which kind
        ("Pneumonia/Bacterial/Streptococcus", (0, 1, 0, 1, 0, 0)),
        ("Mycoplasma Bacterial Pneumonia", (0, 1, 0, 1, 0, 0)),
        ("Pneumonia/Fungal/Pneumocystis", (0, 1, 0, 0, 0, 0)),
        ("Lipoid", (0, 1, 0, 0, 0, 0)),
        ("Tuberculosis", (0, 0, 0, 0, 0, 1)),
        ("No Finding", (1, 0, 0, 0, 0, 0)),
        ("ARDS", (0, None, None, None, None, None)),
        ("todo", (None,) * 6),
        ("Unknown", (None,) * 6),
        ("", (None,) * 6),
    ],
)
def test_a_diagnosis_is_what_it_says_implies_and_rules_out(finding: str, values: tuple[int | None, ...]) -> None:
    assert tuple(_labels(finding)[name] for name in ORDER) == values


def test_a_table_without_a_column_or_a_folder_without_images_is_one_sentence(collection: Path) -> None:
    (collection / "short.csv").write_text("patientid,findings\n1,x\n")
    with pytest.raises(DataError, match="has no column"):
        index_cohort("covid_chestxray", collection, {"table": "short.csv"})
    for path in (collection / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="None of the 5 files that the covid_chestxray release names exists"):
        index_cohort("covid_chestxray", collection)
    assert len(index_cohort("covid_chestxray", collection, {"require_files": False})) == 5
