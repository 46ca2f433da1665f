"""A cohort on disk: the same bytes however it is made, resumable, refusing what it is not, and true to its tables."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import resource
import select
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.files import temporary_of
from medvlp.core.predictions import Mask
from medvlp.phantom.cohort import CohortSummary, make_cohort
from medvlp.phantom.facts import FINDINGS
from medvlp.phantom.sampling import sample_cohort

Hashes = Callable[[Path], dict[str, str]]
RECIPE = {"patients": 3, "image_size": 64, "seed": 5}


def small(out: Path, **changes: object) -> CohortSummary:
    return make_cohort(out, **{"workers": 1, **RECIPE, **changes})  # pyrefly: ignore


def table(cohort: CohortSummary, name: str) -> pd.DataFrame:
    return pd.read_parquet(cohort.root / "truth" / f"{name}.parquet")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    return small(tmp_path_factory.mktemp("reference") / "hospital")


@pytest.mark.pool
def test_one_and_two_workers_write_the_same_bytes(
    reference: CohortSummary, tmp_path: Path, tree_hashes: Hashes
) -> None:
    small(tmp_path / "two", workers=2)
    assert tree_hashes(tmp_path / "two") == tree_hashes(reference.root)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(
    reference: CohortSummary, tmp_path: Path, tree_hashes: Hashes
) -> None:
    small(tmp_path / "same")
    small(tmp_path / "other", seed=6)
    assert tree_hashes(tmp_path / "same") == tree_hashes(reference.root)
    assert not set(tree_hashes(tmp_path / "other").values()) & set(tree_hashes(reference.root).values())


def test_a_complete_cohort_is_returned_at_once_and_untouched(reference: CohortSummary, tree_hashes: Hashes) -> None:
    before = tree_hashes(reference.root)
    again = small(reference.root, workers=2)
    assert (again.made, again.studies, again.images) == (0, reference.studies, reference.images)
    assert tree_hashes(reference.root) == before


def test_an_interrupted_cohort_goes_on_where_it_stopped(
    reference: CohortSummary, tmp_path: Path, tree_hashes: Hashes
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "h", progress=interrupt)
    assert not (tmp_path / "h" / "cohort.json").exists()
    seen: list[tuple[int, int]] = []
    summary = small(tmp_path / "h", progress=lambda done, total: seen.append((done, total)))
    assert summary.made == reference.studies - 2
    assert seen == [(done, reference.studies) for done in range(2, reference.studies + 1)]
    assert tree_hashes(tmp_path / "h") == tree_hashes(reference.root)


def test_a_folder_of_another_recipe_is_refused_whether_finished_or_not(
    reference: CohortSummary, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"another recipe \(seed 5 instead of 9\): choose another folder"):
        small(reference.root, seed=9)

    def interrupt(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "h", progress=interrupt)
    with pytest.raises(
        DataError, match=r"an unfinished phantom cohort of another recipe \(image_size 64 instead of 96\)"
    ):
        small(tmp_path / "h", image_size=96)


def test_a_folder_with_other_things_or_a_broken_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty and holds no phantom cohort: choose a new or empty folder"):
        small(tmp_path)
    for broken in ("{", "[1]", "7"):
        (tmp_path / "cohort.json").write_text(broken)
        with pytest.raises(DataError, match="cannot be read as a phantom cohort's recipe"):
            small(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_one_sentence_and_the_cohort_can_go_on(
    reference: CohortSummary, tmp_path: Path, tree_hashes: Hashes
) -> None:
    studies = sample_cohort(patients=3, seed=5, modality="cxr")
    trap = studies[1]
    folder = tmp_path / "h" / "dicom" / trap.patient.id / trap.accession
    target = temporary_of(folder / f"{trap.views[0]}.dcm")

    def fill(done: int, total: int) -> None:
        if done == 1:  # the next file's bytes go to a device without room
            folder.mkdir(parents=True)
            target.symlink_to("/dev/full")

    with pytest.raises(
        UserError,
        match=rf"disk is full: .*{trap.views[0]}\.dcm could not be written; nothing that was complete is lost",
    ):
        small(tmp_path / "h", progress=fill)
    assert not list(tmp_path.rglob("*.part"))
    assert not (folder / f"{trap.views[0]}.dcm").exists()
    (folder / ".x.dcm.17.part").write_bytes(b"DI")  # of a process that was killed
    small(tmp_path / "h")
    assert tree_hashes(tmp_path / "h") == tree_hashes(reference.root)


def test_a_file_that_may_not_grow_is_a_full_disk_too(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="disk is full"):
            small(tmp_path / "h")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 8}, "image_size=8 is too small for a phantom cohort: use at least 32"),
        ({"workers": 0}, "workers=0 is too small"),
        ({"patients": 0}, "0 patients cannot be made"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_written(
    changes: dict[str, int], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        small(tmp_path / "h", **changes)
    assert not (tmp_path / "h").exists()


def test_cohort_json_says_what_it_is(tiny_cohort: CohortSummary) -> None:
    facts = json.loads((tiny_cohort.root / "cohort.json").read_text())
    assert facts["synthetic"] is True
    assert "nothing about clinical performance" in facts["note"]
    assert (facts["patients"], facts["studies"], facts["images"]) == (12, tiny_cohort.studies, tiny_cohort.images)
    assert {"numpy", "scipy", "pydicom", "pyarrow"} <= set(facts["versions"])
    assert not (tiny_cohort.root / "truth" / ".rows").exists()


def test_tables_join_and_agree_with_the_drawn_facts(tiny_cohort: CohortSummary) -> None:
    drawn = sample_cohort(patients=12, seed=0, modality="cxr")
    studies, images, findings = (table(tiny_cohort, name) for name in ("studies", "images", "findings"))
    assert studies["accession"].tolist() == [study.accession for study in drawn]
    assert len(images) == tiny_cohort.images == sum(len(study.views) for study in drawn)
    assert set(images["accession"]) == set(studies["accession"])
    assert len(findings) == sum(len(study.findings) for study in drawn)
    labels = studies.set_index("accession")[[f"label:{name}" for name in FINDINGS]]
    assert labels.to_numpy().sum() == len(findings)
    assert set(studies["split"]) == {"train", "validate", "test"}
    assert (studies["held_out"] == (studies["split"] == "test")).all()
    with (tiny_cohort.root / "reports.csv").open(newline="", encoding="utf-8") as file:
        reports = list(csv.DictReader(file))
    assert [row["StudyInstanceUID"] for row in reports] == studies["study_uid"].tolist()
    text = {row["AccessionNumber"]: " ".join(row["Report"].split()) for row in reports}
    for row in table(tiny_cohort, "triplets").itertuples():
        assert " ".join(row.sentence.split()) in text[row.accession]


def test_every_dicom_reads_back_joins_its_row_and_shows_bright_bones(tiny_cohort: CohortSummary) -> None:
    studies = table(tiny_cohort, "studies").set_index("accession")
    for row in table(tiny_cohort, "images").itertuples():
        dataset = pydicom.dcmread(tiny_cohort.root / row.path)
        study = studies.loc[row.accession]
        assert (dataset.SOPInstanceUID, dataset.StudyInstanceUID) == (row.sop_uid, study.study_uid)
        assert (dataset.PatientID, dataset.AccessionNumber) == (study.patient_id, row.accession)
        assert dataset.StationName == study.scanner
        assert dataset.pixel_array.shape == (row.rows, row.columns) == (128, 128)
        values = dataset.pixel_array
        # A VOI LUT is indexed by integers; devices that use one have the identity as their modality transform.
        values = values if "VOILUTSequence" in dataset else apply_modality_lut(values, dataset)
        shown = apply_voi_lut(values, dataset).astype(float)
        shown *= -1 if dataset.PhotometricInterpretation == "MONOCHROME1" else 1
        # The spine and heart under the carina are denser than the two lungs; on a lateral film, the spine than the air
        # in front of it.
        if row.view == "LATERAL":
            continue
        middle = shown[60:100, 54:74].mean()
        lungs = min(shown[45:70, 25:42].mean(), shown[45:70, 86:103].mean())
        assert middle > lungs, row.path


def test_boxes_and_masks_lie_in_their_picture_and_agree(tiny_cohort: CohortSummary) -> None:
    images = table(tiny_cohort, "images").set_index("path")
    boxes = table(tiny_cohort, "boxes")
    findings = table(tiny_cohort, "findings").set_index(["accession", "finding"])
    assert len(boxes) > 10
    for row in boxes.itertuples():
        image = images.loc[row.path]
        mask = Mask((image.rows, image.columns), np.array(row.mask)).array()
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (row.x0, row.y0, row.x1, row.y1) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert findings.loc[(image.accession, row.finding), "name"] == row.name
        # The patient's left is at the right of a frontal picture.
        if image.view != "LATERAL" and row.name == "pneumothorax":
            assert (row.side == "left") == ((row.x0 + row.x1) / 2 > image.columns / 2)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    return small(tmp_path_factory.mktemp("ct") / "hospital", modality="ct")


def test_ct_cohorts_hold_volumes_with_label_maps_in_the_same_place(volumes: CohortSummary) -> None:
    images, findings = table(volumes, "images"), table(volumes, "findings")
    assert set(images["view"]) == {"CT"}
    for row in images.itertuples():
        volume = nib.load(volumes.root / row.path)
        labels = nib.load(volumes.root / "truth" / "ct_masks" / Path(row.path).relative_to("ct"))
        assert volume.shape == labels.shape == (row.columns, row.rows, row.slices)
        assert np.allclose(volume.affine, labels.affine)
        assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
        values = np.asarray(volume.dataobj)
        assert values.min() >= -1024
        assert -1000 <= np.median(values[:4]) <= -900  # air beside the body
        present = set(findings.loc[findings["accession"] == row.accession, "finding"] + 1)
        assert set(np.unique(np.asarray(labels.dataobj))) <= present | {0}


def test_ct_cohorts_are_the_same_bytes_again(volumes: CohortSummary, tmp_path: Path, tree_hashes: Hashes) -> None:
    small(tmp_path / "again", modality="ct")
    assert tree_hashes(tmp_path / "again") == tree_hashes(volumes.root)
    shutil.rmtree(tmp_path / "again")


def test_a_second_command_in_one_folder_is_refused_and_one_killed_at_its_first_or_last_breath_is_tidied_up(
    reference: CohortSummary, tmp_path: Path, tree_hashes: Hashes
) -> None:
    rows = tmp_path / "h" / "truth" / ".rows"
    rows.mkdir(parents=True)
    (rows / ".recipe.json.17.part").write_text("{")

    def both(done: int, total: int) -> None:
        with pytest.raises(UserError, match=r"^Another command is at work in .*: wait for it, or choose another"):
            small(tmp_path / "h")

    small(tmp_path / "h", progress=both)
    assert tree_hashes(tmp_path / "h") == tree_hashes(reference.root)
    rows.mkdir()
    (rows / "S1.json").write_text("{}")
    assert small(tmp_path / "h").made == 0
    assert tree_hashes(tmp_path / "h") == tree_hashes(reference.root)


def _killed_with_workers(out: Path, tell: int) -> None:
    def progress(done: int, total: int) -> None:
        if done:
            os.write(tell, json.dumps([each.pid for each in multiprocessing.active_children()]).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    small(out, workers=2, progress=progress)


@pytest.mark.pool
def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    told, tell = os.pipe()
    command = multiprocessing.get_context("fork").Process(target=_killed_with_workers, args=(tmp_path / "h", tell))
    command.start()
    command.join()
    assert command.exitcode == -signal.SIGKILL
    workers = json.loads(os.read(told, 1000))
    assert len(workers) == 2
    for end in (told, tell):
        os.close(end)
    for worker in workers:
        with suppress(ProcessLookupError):  # gone already
            ended = os.pidfd_open(worker)
            there = not select.select([ended], [], [], 60)[0]
            os.close(ended)
            if there:
                os.kill(worker, signal.SIGKILL)
            assert not there
