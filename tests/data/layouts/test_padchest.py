"""PadChest: lists of terms, rows that say nothing, who labelled, images anywhere below the root."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts import index_cohort
from medvlp.text.captions import caption_findings

HEAD = ["", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM"]
HEAD += ["Projection", "Report", "MethodLabel", "Labels", "Localizations"]


def write(root: Path, labels: list[str]) -> None:
    rows = [HEAD]
    for i, text in enumerate(labels):
        view, method = ["PA", "L", "AP_horizontal"][i % 3], "Physician" if i % 2 == 0 else "RNN_model"
        rows.append(
            [str(i), f"{i}_x.png", str(i % 2), "20140915", f"s{i}", f"p{i // 2}", ["1930.0", ""][i % 2], "FM"[i % 2]]
        )
        rows[-1] += [view, " sin hallazg .", method, text, "[]"]
    with open(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(rows)


LABELS = ["['normal']", "['Pleural effusion', ' laminar atelectasis']", "['unchanged', 'nodule']", "[]", "['kyphosis']"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, LABELS)
    for i, folder in enumerate(["0", "0", "1", "images"]):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{i}_x.png").touch()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/3_x.png").touch()
    return tmp_path


def test_terms_are_findings_and_rows_that_say_nothing_have_no_labels(root: Path) -> None:
    manifest = index_cohort("padchest", root)
    assert manifest.column("image").tolist() == ["0/0_x.png", "0/1_x.png", "1/2_x.png", "copy/3_x.png"]
    first, second, third, fourth = (manifest.record(i) for i in range(4))
    assert (first["label.no_finding"], first["label.effusion"]) == (1, 0)
    assert (second["label.effusion"], second["label.atelectasis"], second["label.mass"]) == (1, 1, 0)
    assert "label.nodule" not in third
    assert "label.effusion" not in fourth
    assert (third["view_position"], third["id.patient"], second["sex"]) == ("AP", "p1", "M")
    assert manifest.meta["skipped"] == {"missing_file": ["4_x.png"], "second_copy": ["images/3_x.png"]}
    by_people = index_cohort("padchest", root, {"labelled_by": "physician", "require_files": False})
    assert by_people.column("id").tolist() == ["0_x.png", "2_x.png", "4_x.png"]
    assert by_people.record(2)["label.scoliosis"] == 0


@pytest.mark.parametrize(
    ("term", "findings"),
    [
        ("loculated fissural effusion", {"effusion"}),
        ("empyema", {"effusion"}),
        ("hydropneumothorax", {"effusion", "pneumothorax"}),
        ("interstitial pattern", {"infiltration"}),
        ("alveolar pattern", {"infiltration"}),
        ("air bronchogram", {"infiltration", "consolidation"}),
        ("calcified pleural thickening", {"pleural_thickening"}),
        ("fissure thickening", {"pleural_thickening"}),
        ("asbestosis signs", {"fibrosis"}),
    ],
)
def test_a_term_below_another_in_the_tree_is_that_finding_too(tmp_path: Path, term: str, findings: set[str]) -> None:
    write(tmp_path, [f"['{term}']"])
    record = index_cohort("padchest", tmp_path, {"require_files": False}).record(0)
    assert {name.removeprefix("label.") for name, value in record.items() if value == 1} == findings


def test_an_age_is_of_the_study_and_lying_is_told_from_standing(root: Path) -> None:
    manifest = index_cohort("padchest", root)
    assert [manifest.record(i).get("age") for i in range(4)] == [84, None, 84, None]
    assert manifest.column("position").tolist() == [None, None, "supine", None]


def test_a_study_of_two_patient_numbers_is_of_one_patient(root: Path) -> None:
    table = root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    table.write_text(table.read_text().replace(",s2,p1,", ",s1,p1,"))  # the release has one such study
    manifest = index_cohort("padchest", root)
    assert manifest.column("id.study").tolist() == ["s0", "s1", "s1", "s3"]
    assert set(manifest.column("id.patient")) == {"p0"}


def test_a_list_that_is_none_is_refused_and_all_findings_have_words(root: Path) -> None:
    assert set(load_card("padchest").vocabularies["terms"]) <= set(caption_findings())
    write(root, ["__import__('os').getcwd()"])
    with pytest.raises(DataError, match="line 2: Labels is no list of terms"):
        index_cohort("padchest", root)
