"""``csv`` as docs/howto/cohorts.md says it: volumes with a table of labels, questions about pictures."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.splits.patient import by_patient
from medvlp.io import read_volume


def test_a_folder_of_nifti_files_with_a_table_of_labels(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    affine = np.diag([-0.7, -0.7, 2.5, 1.0])
    for name in ("a", "b"):
        voxels = np.full((4, 3, 2), ord(name), np.int16)
        nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / "ct" / f"{name}.nii.gz")
    (tmp_path / "t.csv").write_text("case;effusion;mass\na;1;\nb;0;-1\ngone;1;0\n")
    columns = {"volume": "{case}.nii.gz", "patient_id": "case", "label.effusion": "effusion", "label.mass": "mass"}
    manifest = index_cohort("csv", tmp_path, {"columns": columns, "images": "ct"})
    assert manifest.record(0) == {
        "id": "row-000001", "volume": "a.nii.gz", "id.patient": "a", "label.effusion": 1.0,
    }  # fmt: skip
    assert manifest.column("label.effusion").tolist() == [1.0, 0.0, 1.0]
    assert manifest.column("label.mass")[1:].tolist() == [-1.0, 0.0]
    volume = read_volume(manifest.path(1, "volume"))
    assert (volume.shape, float(volume.voxels.min())) == ((2, 3, 4), float(ord("b")))
    np.testing.assert_allclose(volume.spacing, (2.5, 0.7, 0.7))
    with pytest.raises(DataError, match="None of the 3 files of the column 'volume' exists"):
        index_cohort("csv", tmp_path, {"columns": columns})


def test_the_parts_of_a_table_may_have_their_usual_names(tmp_path: Path) -> None:
    words = ["Train", "training", "val", "VALID", "validation", "dev", "testing", "external", ""]
    (tmp_path / "t.csv").write_text("note,part\n" + "".join(f"Clear.,{word}\n" for word in words))
    manifest = index_cohort("csv", tmp_path, {"columns": {"text": "note", "split": "part"}})
    known = ["train"] * 2 + ["validate"] * 4 + ["test", "external", None]
    assert manifest.column("split").tolist() == known


def test_a_volume_may_be_a_folder_of_slices(tmp_path: Path) -> None:
    (tmp_path / "ct" / "one").mkdir(parents=True)
    (tmp_path / "t.csv").write_text("case,report\none,Clear lungs.\n")
    columns = {"volume": "ct/{case}", "text": "report", "patient_id": "case"}
    manifest = index_cohort("csv", tmp_path, {"columns": columns})
    assert manifest.path(0, "volume") == (tmp_path / "ct" / "one").resolve()
    with pytest.raises(DataError, match="None of the 1 files of the column 'image' exists"):
        index_cohort("csv", tmp_path, {"columns": {"image": "ct/{case}"}})


def test_questions_about_pictures_of_known_patients(tmp_path: Path) -> None:
    """Columns in the manner of MIMIC-CXR-VQA: several questions an image, several images a patient."""
    rows = ["subject_id,study_id,image_path,semantic_type,question,answer"]
    for patient in ("10000032", "10000764", "10001217"):
        for study in ("50", "53"):
            path = f"p10/p{patient}/s{study}/x.jpg"
            (tmp_path / "files" / path).parent.mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "files" / path)
            rows += [f'{patient},{study},{path},verify,"Is there an effusion, or edema?",yes']
            rows += [f"{patient},{study},{path},query,List all abnormalities.,"]
    (tmp_path / "vqa.csv").write_text("\n".join(rows))
    columns = {
        "image": "image_path",
        "patient_id": "subject_id",
        "study_id": "{subject_id}/{study_id}",
        "text": "{question} {answer}",
        "text.question": "question",
        "text.answer": "answer",
        "question_type": "semantic_type",
    }
    manifest = index_cohort("csv", tmp_path, {"columns": columns, "images": "files"})
    assert len(manifest) == 12  # a row a question
    assert manifest.record(0) == {
        "id": "row-000001",
        "image": "p10/p10000032/s50/x.jpg",
        "id.patient": "10000032",
        "id.study": "10000032/50",
        "text": "Is there an effusion, or edema? yes",
        "text.question": "Is there an effusion, or edema?",
        "text.answer": "yes",
        "question_type": "verify",
    }
    assert "text" not in manifest.record(1)  # a question without an answer is no pair
    assert manifest.record(1)["text.question"] == "List all abnormalities."
    assert manifest.path(0, "image") == (tmp_path / "files/p10/p10000032/s50/x.jpg").resolve()
    halves = by_patient(manifest, fractions={"train": 0.67, "test": 0.33}).apply(manifest)
    side: dict[str, set[str]] = {}
    for patient, part in zip(manifest.column("id.patient"), halves.column("split"), strict=True):
        side.setdefault(patient, set()).add(part)
    assert all(len(parts) == 1 for parts in side.values())
    assert {part for parts in side.values() for part in parts} == {"train", "test"}
    verify = index_cohort(
        "csv", tmp_path, {"columns": columns, "images": "files", "where": {"semantic_type": "verify"}}
    )
    assert set(verify.column("text.answer")) == {"yes"}
