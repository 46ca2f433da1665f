"""A hospital's CT: a row is a series, and what could not be read as one volume is listed with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.io import UnreadableImage, read_volume
from tests.data.test_layouts import write_dicom, write_table

OPTIONS = {"images": "d", "modalities": ["CT"]}


def slices(folder: Path, series: str, count: int = 3, modality: str = "CT", **tags: object) -> None:
    """Write slices 5 mm apart, the first file highest."""
    for k in range(count):
        place = {"ImagePositionPatient": [0, 0, -5 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        scale = {"PixelSpacing": [1, 1], "RescaleSlope": 1, "RescaleIntercept": -k, "RescaleType": "HU"}
        write_dicom(
            folder / f"{k}.dcm", patient="MRN1", accession="A1", study="1.2.1", modality=modality,
            **{"SeriesInstanceUID": series, **place, **scale, **tags},  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    root = tmp_path / "pacs"
    slices(root / "d/lung", "1.9.1", ConvolutionKernel=["B60f", "2"], SeriesDescription="LUNG")
    write_table(root / "reports.csv", [{"AccessionNumber": "A1", "PatientID": "MRN1", "Report": "Clear."}])
    return root


def test_a_row_is_a_series_and_its_folder_is_read_as_the_volume(hospital: Path) -> None:
    slices(hospital / "d/soft", "1.9.2", count=4, ConvolutionKernel="B30f")
    manifest = index_cohort("hospital", hospital, OPTIONS)
    assert manifest.column("volume").tolist() == ["d/lung", "d/soft"]
    assert manifest.column("text").tolist() == ["Clear."] * 2
    assert manifest.column("kernel").tolist() == ["B60f\\2", "B30f"]
    assert manifest.column("series_description").tolist() == ["LUNG", None]
    assert len(set(manifest.column("id"))) == 2
    assert len(set(manifest.column("id.study"))) == 1
    assert read_volume(hospital / "d/soft").voxels[:, 0, 0].tolist() == [-3, -2, -1, 0]  # from the feet upwards


def test_what_is_not_one_volume_is_listed_by_its_reason(hospital: Path) -> None:
    slices(hospital / "d/scout", "1.9.3", count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    slices(hospital / "d/bare", "", count=1)
    slices(hospital / "d/a", "1.9.4", count=1)
    slices(hospital / "d/b", "1.9.4", count=1, SOPInstanceUID="1.8.1")
    slices(hospital / "d/both", "1.9.5", count=1)
    write_dicom(
        hospital / "d/both/x.dcm",
        patient="MRN1",
        accession="A1",
        study="1.2.1",
        modality="CT",
        SeriesInstanceUID="1.9.6",
    )
    manifest = index_cohort("hospital", hospital, OPTIONS)
    assert manifest.column("volume").tolist() == ["d/lung"]
    assert manifest.meta["skipped"] == {
        "localizer": ["d/scout/0.dcm"],
        "no_series_uid": ["d/bare/0.dcm"],
        "series_in_several_folders": ["d/a/0.dcm", "d/b/0.dcm"],
        "folder_of_several_series": ["d/both/0.dcm", "d/both/x.dcm"],
    }


@pytest.mark.parametrize("other", [{"modality": "PT"}, {"series": ""}, {"series": "1.9.1", "SOPInstanceUID": "1.8.1"}])
def test_a_folder_that_the_reader_would_find_two_series_in_is_no_row(hospital: Path, other: dict[str, str]) -> None:
    slices(hospital / "d/lung", "1.9.1", SOPInstanceUID="1.8.1", count=1)
    slices(hospital / "d/soft", "1.9.2")
    slices(hospital / "d/soft/beside", **{"series": "1.9.3", "count": 1, **other})  # type: ignore[arg-type]
    (hospital / "d/soft/beside/0.dcm").rename(hospital / "d/soft/x.dcm")
    with pytest.raises(UnreadableImage, match="it holds 2 series"):
        read_volume(hospital / "d/soft")
    manifest = index_cohort("hospital", hospital, OPTIONS)
    assert manifest.column("volume").tolist() == ["d/lung"]
    assert manifest.meta["skipped"]["folder_of_several_series"] == [f"d/soft/{k}.dcm" for k in range(3)]


def test_a_localizer_or_a_picture_without_a_place_beside_a_series_is_in_nobodys_way(hospital: Path) -> None:
    slices(hospital / "d/lung/a", "1.9.3", count=1, modality="MR", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (hospital / "d/lung/a/0.dcm").rename(hospital / "d/lung/x.dcm")
    write_dicom(hospital / "d/lung/y.dcm", patient="MRN1", accession="A1", study="1.2.1", modality="OT")
    assert index_cohort("hospital", hospital, OPTIONS).column("volume").tolist() == ["d/lung"]
    assert read_volume(hospital / "d/lung").shape[0] == 3


def test_slices_of_several_patients_or_studies_are_no_series(hospital: Path) -> None:
    slices(hospital / "d/lung", "1.9.1", StudyInstanceUID="1.2.9", count=1, SOPInstanceUID="1.8.2")
    slices(hospital / "d/soft", "1.9.2")
    slices(hospital / "d/soft2", "1.9.2", count=1, PatientID="MRN2", SOPInstanceUID="1.8.3")
    slices(hospital / "d/thin", "1.9.3")
    manifest = index_cohort("hospital", hospital, OPTIONS)
    assert manifest.column("volume").tolist() == ["d/thin"]
    assert [len(paths) for paths in manifest.meta["skipped"].values()] == [3 + 4]
    assert list(manifest.meta["skipped"]) == ["series_of_several_studies"]


def test_a_file_of_many_frames_is_the_volume_itself(hospital: Path) -> None:
    slices(hospital / "d/enhanced", "1.9.7", count=1, NumberOfFrames=20)
    manifest = index_cohort("hospital", hospital, OPTIONS)
    assert manifest.column("volume").tolist() == ["d/enhanced/0.dcm", "d/lung"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR IS")
@pytest.mark.parametrize("frames", ["20.0", [20, 20]])
def test_a_number_of_frames_that_is_no_plain_integer_is_read_as_the_reader_reads_it(
    hospital: Path, frames: object
) -> None:
    slices(hospital / "d/odd", "1.9.7", count=1, NumberOfFrames=frames)
    manifest = index_cohort("hospital", hospital, OPTIONS)
    assert manifest.column("volume").tolist() == ["d/lung", "d/odd/0.dcm"]


@pytest.mark.parametrize("frames", ["0", "1", ""])
def test_one_frame_is_a_slice_of_its_folder(hospital: Path, frames: str) -> None:
    slices(hospital / "d/one", "1.9.7", count=1, NumberOfFrames=frames)
    assert index_cohort("hospital", hospital, OPTIONS).column("volume").tolist() == ["d/lung", "d/one"]


def test_films_and_series_of_one_hospital_are_rows_side_by_side(hospital: Path) -> None:
    for name in ("film", "next"):
        write_dicom(hospital / f"d/{name}.dcm", patient="MRN1", accession="A1", study="1.2.1")
    manifest = index_cohort("hospital", hospital, {**OPTIONS, "modalities": ["CT", "DX"]})
    assert manifest.column("image").tolist() == ["d/film.dcm", None, "d/next.dcm"]  # in the order of paths
    assert manifest.column("volume").tolist() == [None, "d/lung", None]


def test_a_series_of_several_files_of_many_frames_is_all_of_its_folder(hospital: Path) -> None:
    slices(hospital / "d/echoes", "1.9.7", count=2, NumberOfFrames=20)
    assert index_cohort("hospital", hospital, OPTIONS).column("volume").tolist() == ["d/echoes", "d/lung"]


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_other_modalities_of_slices_are_series_too_and_what_is_not_wanted_stays_listed(
    hospital: Path, modality: str
) -> None:
    slices(hospital / "d/other", "1.9.2", modality=modality)
    manifest = index_cohort("hospital", hospital, {**OPTIONS, "modalities": [modality]})
    assert manifest.column("volume").tolist() == ["d/other"]
    assert manifest.meta["skipped"] == {"other_modality": [f"d/lung/{k}.dcm" for k in range(3)]}


def test_a_series_has_one_id_whichever_of_its_slices_is_first(hospital: Path) -> None:
    before = index_cohort("hospital", hospital, OPTIONS).column("id").tolist()
    (hospital / "d/lung/0.dcm").unlink()
    assert index_cohort("hospital", hospital, OPTIONS).column("id").tolist() == before


def test_a_tree_without_a_series_that_is_a_volume_is_refused(hospital: Path) -> None:
    slices(hospital / "d/lung", "1.9.8", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(DataError, match=r"No series can be a volume \(3 localizer\)"):
        index_cohort("hospital", hospital, OPTIONS)
