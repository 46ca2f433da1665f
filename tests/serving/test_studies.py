"""What is dropped becomes series that hang; what cannot be read is told, and stops nothing else."""

from __future__ import annotations

import io
import json
import shutil
import zipfile

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from medvlp.core.errors import UserError
from medvlp.io import UnreadableImage
from medvlp.io.dicom_file import parse
from medvlp.serving import studies
from medvlp.serving.studies import read_study
from tests.serving.room_files import MR, SECRETS, ct_slices, dataset, film, leafed, mr_volumes, nifti


def test_frontal_and_lateral_hang_together_then_current_and_prior(tmp_path):
    day = {"StudyInstanceUID": "1.2.3", "StudyDate": "20200102"}
    lateral = film(tmp_path / "a", ViewPosition="LL", PatientOrientation=["A", "F"], **day)
    frontal = film(tmp_path / "b", **day)
    prior = film(tmp_path / "c", StudyInstanceUID="1.2.4", StudyDate="20190101")
    study = read_study([prior, lateral, frontal])
    assert [(each.title, each.visit, each.view) for each in study.series] == [
        ("CR PA", 0, "frontal"), ("CR LL", 0, "lateral"), ("CR PA", 1, "frontal"),
    ]  # fmt: skip
    assert study.stages == ((0, 1), (0, 2), (0,), (1,), (2,))


def test_a_study_is_one_visit_however_its_machines_write_its_time(tmp_path):  # PS3.5 6.2, TM; PS3.3 C.7.2.1
    day = {"StudyInstanceUID": "1.2.3", "StudyDate": "20200102"}
    films = [film(tmp_path / time, StudyTime=time, **day) for time in ("101500", "101500.000")]
    films += [film(tmp_path / "a", StudyInstanceUID="1.2.4", StudyDate="20190101")]
    films += [film(tmp_path / "b", StudyInstanceUID="1.2.4")]
    assert [each.visit for each in read_study(films).series] == [0, 0, 1, 1]


def test_a_folder_of_slices_is_one_volume_and_a_film_beside_it_is_a_film(tmp_path):
    ct_slices(tmp_path / "ct")
    film(tmp_path / "ct" / "film.dcm")
    (tmp_path / "ct" / "notes.txt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "ct").iterdir():
            archive.write(path, f"deep/{path.name}")
    for paths in ([tmp_path / "all.zip"], [tmp_path / "ct"]):
        study = read_study(paths)
        assert [each.document["kind"] for each in study.series] == ["volume", "image"]
        assert study.series[0].document["geometry"]["slices"] == 20
        assert study.series[0].document["unit"] == "HU"
        assert [(reason, many) for reason, _, many in study.refused] == [("not_an_image", 1)]


def test_files_stay_where_they_are(tmp_path):
    cut = sorted(ct_slices(tmp_path / "ct").iterdir())[3]
    cut.write_bytes(cut.read_bytes()[:-100])
    mr_volumes(tmp_path / "mr", 2)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    study = read_study([tmp_path / "ct", *(tmp_path / "mr").iterdir()])
    assert [each.document["kind"] for each in study.series] == ["volume", "volume", "image"]
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_a_file_whose_groups_are_not_of_its_frames_is_told_and_stops_no_other(tmp_path):
    groups = [Dataset(), Dataset()]
    odd = film(tmp_path / "odd", NumberOfFrames=1, PerFrameFunctionalGroupsSequence=groups)
    study = read_study([odd, film(tmp_path / "film")])
    assert [each.title for each in study.series] == ["CR PA"]
    ((reason, sentence, _),) = study.refused
    assert (reason, sentence.partition(";")[0]) == (
        "bad_header", "it has functional groups for 2 frames, NumberOfFrames is 1",
    )  # fmt: skip
    with pytest.raises(UnreadableImage, match="functional groups for 2 frames"):
        read_study([odd])


@pytest.mark.parametrize(("named", "told"), [("US", ""), ("OD", "OD")])
def test_unspecified_values_have_no_unit_that_reads_as_a_modality(tmp_path, named, told):
    path = film(tmp_path / "a", RescaleSlope=2, RescaleIntercept=1, RescaleType=named)  # US is "unspecified" there
    document = read_study([path]).series[0].document
    assert (document["unit"], document["frames"][0]["unit"]) == (told, told)


@pytest.mark.parametrize("named", ["BQML", "GML"])
def test_values_of_a_pet_have_the_unit_that_its_files_state(tmp_path, named):  # PS3.3 C.8.9.1.1.3
    paths = sorted(mr_volumes(tmp_path / "pet", 1).iterdir())
    for path in paths:
        made = dcmread(path)
        made.SOPClassUID, made.Modality, made.Units = "1.2.840.10008.5.1.4.1.1.128", "PT", named
        made.RescaleSlope, made.RescaleIntercept = 0.5, 0
        made.save_as(path)
    volume, frame = (read_study(files).series[0].document for files in (paths, paths[:1]))
    assert (volume["kind"], frame["kind"]) == ("volume", "image")
    assert volume["unit"] == frame["unit"] == frame["frames"][0]["unit"] == named


def test_two_patients_are_never_hung_as_one(tmp_path):
    with pytest.raises(UserError, match="The files are of 2 patients"):
        read_study([film(tmp_path / "a"), film(tmp_path / "b", PatientID="OTHER")])


def test_windows_of_a_volume_have_the_files_voi_lut_function(tmp_path):  # PS3.3 C.11.2.1.3
    for number, (function, width) in enumerate([("SIGMOID", 400), ("LINEAR_EXACT", 0.5), ("LINEAR", 400)]):
        for path in ct_slices(tmp_path / str(number)).iterdir():
            made = dcmread(path)
            made.WindowCenter, made.WindowWidth, made.VOILUTFunction = [40, 50], [width, 80], function
            made.save_as(path)
        windows = read_study([tmp_path / str(number)]).series[0].document["windows"]
        assert windows[:2] == [("file", 40, width, function), ("window 1", 50, 80, function)]
        assert [each[3] for each in windows[2:]] == [*["LINEAR"] * 5, "LINEAR_EXACT"]


@pytest.mark.parametrize("largest", [0.003, 1, 4000])
def test_a_window_by_what_a_volume_holds_is_as_wide_as_that(tmp_path, largest):
    voxels = np.linspace(0, largest, 4000, dtype=np.float32).reshape(20, 20, 10)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")  # a diffusivity in mm2/s, an anisotropy
    [(name, centre, width, function)] = read_study([tmp_path / "a.nii"]).series[0].document["windows"]
    every = voxels[voxels != 0]  # of each slice: in PET what is hot may lie off the middle
    assert (name, function) == ("0.5 to 99.5 %", "LINEAR_EXACT")
    assert (centre - width / 2, centre + width / 2) == pytest.approx(np.percentile(every, [0.5, 99.5]), rel=1e-3)


def test_a_missing_slice_is_made_and_told(tmp_path):
    ct_slices(tmp_path / "ct")
    (tmp_path / "ct" / "9.dcm").unlink()
    document = read_study([tmp_path / "ct"]).series[0].document
    assert document["count"] == 20
    assert "slices interpolated where the files have none: 1" in document["warnings"]


def test_pixels_are_the_stored_values_of_the_hung_picture(tmp_path):
    study = read_study([film(tmp_path / "a", PatientOrientation=["R", "F"]), ct_slices(tmp_path / "ct")])
    volume, picture = study.series
    values = np.frombuffer(picture.pixels(0, 1), "<u2").reshape(300, 200)
    assert values[260, 30] == 4000  # turned: the file's columns ran to the right
    assert np.frombuffer(volume.pixels(19, 20), "<i2").reshape(40, 48)[34, 40] == 2000
    with pytest.raises(IndexError):
        volume.pixels(19, 21)


def test_both_ways_of_a_volume_hang_alike(tmp_path):
    sources = [ct_slices(tmp_path / "a"), ct_slices(tmp_path / "b", axial_rows_to_left=False)]
    sources += [nifti(tmp_path / "c.nii", to_left=True), nifti(tmp_path / "d.nii.gz", to_left=False)]
    hung = [read_study([source]).series[0].content.values for source in sources]
    for values in hung[1:]:
        np.testing.assert_array_equal(values, hung[0])


def refusals(study):
    return [(each["reason"], each["sentence"], each["files"]) for each in study.document["refused"]]


def test_a_nifti_of_four_dimensions_says_so_alone_and_beside_another(tmp_path):
    path = tmp_path / "fmri.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 4, 5), np.int16), np.eye(4)), path)
    with pytest.raises(UnreadableImage, match="8 x 8 x 4 x 5 voxels: more than three dimensions") as refusal:
        read_study([path])
    assert refusal.value.reason == "several_volumes"
    study = read_study([path, film(tmp_path / "film.dcm")])
    assert [each.title for each in study.series] == ["CR PA"]
    ((reason, sentence, files),) = refusals(study)
    assert (reason, "more than three dimensions" in sentence, files) == ("several_volumes", True, 1)


@pytest.mark.parametrize("count", [12, 13, 14])
def test_volumes_of_one_series_are_all_there_or_it_is_said_that_they_are_not(tmp_path, count):
    study = read_study([mr_volumes(tmp_path / "mr", count)])
    assert [int(each.content.values.min()) for each in study.series] == [10 * time for time in range(12)]
    told = [("too_large", "only its first 12 volumes are shown; bring the others alone", 1)]
    assert refusals(study) == (told if count > 12 else [])


def test_a_series_of_volumes_that_cannot_be_told_apart_is_told_of_once_and_leafed_through(tmp_path):
    paths = [film(tmp_path / "film.dcm")]
    for number in range(70):  # each slice of a grid of its own
        tags = {"Modality": "MR", "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2"}
        tags |= {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, number]}
        paths.append(film(tmp_path / f"{number}.dcm", **tags, PixelSpacing=[1 + number / 100, 1]))
    study = read_study(paths)
    assert [(each.title, each.document["count"]) for each in study.series] == [("CR PA", 1), ("MR PA", 70)]
    ((reason, sentence, files),) = refusals(study)
    assert (reason, "more than 64 grids" in sentence, files) == ("several_volumes", True, 1)


def phases(folder, count, **tags):
    """Pictures of one place in the order of their Instance Numbers, which is not that of their names."""
    folder.mkdir()
    series, study = generate_uid(), generate_uid()
    for time in range(count):
        made = dataset(
            MR, "MR", np.full((16, 16), time, np.int16), ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, 3], PixelSpacing=[2, 2], SliceThickness=3, SeriesInstanceUID=series,
            StudyInstanceUID=study, InstanceNumber=time + 1, **{name: value(time) for name, value in tags.items()},
        )  # fmt: skip
        made.save_as(folder / f"{7 * time % count}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("tags", [{"TriggerTime": lambda time: 33 * time}, {}], ids=["cine", "nothing tells apart"])
def test_all_phases_of_one_place_are_leafed_through_in_their_order(tmp_path, tags):
    study = read_study([phases(tmp_path / "cine", 25, **tags)])
    (series,) = study.series
    assert (series.document["kind"], refusals(study)) == ("image", [])
    assert [int(frame.values[0, 0]) for frame in series.content] == list(range(25))


def test_slices_that_are_no_volume_are_shown_one_by_one_and_the_damaged_one_is_named(tmp_path):
    folder = ct_slices(tmp_path / "ct")  # the slice of file 4.dcm is the 16th
    for path in folder.iterdir():
        numbered = dcmread(path)
        numbered.InstanceNumber = 20 - int(path.stem)
        numbered.save_as(path)
    cut = folder / "4.dcm"
    cut.write_bytes(cut.read_bytes()[:-100])
    study = read_study([folder])
    (series,) = study.series
    assert [int(frame.values.max()) for frame in series.content] == [24] * 15 + [3024] * 4
    whole, one = (sentence for _, sentence, _ in refusals(study))
    fault = "its pixel data ends after 3740 of 3840 bytes; copy or export the file again"
    assert whole == f"its 20 slices are shown one by one, not as a volume: Instance Number 16: {fault}"
    assert one == fault


def test_every_page_of_a_tiff_is_a_frame(tmp_path, monkeypatch):
    pages = [Image.fromarray(np.full((30, 20), 50 * n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    study = read_study([tmp_path / "a.tif"])
    assert [int(frame.values[0, 0]) for frame in study.series[0].content] == [0, 50, 100]
    assert study.series[0].document["count"] == 3
    assert refusals(study) == []
    monkeypatch.setattr("medvlp.serving.studies._MOST_PAGES", 2)
    study = read_study([tmp_path / "a.tif"])
    assert len(study.series[0].content) == 2
    ((reason, sentence, _),) = refusals(study)
    assert (reason, "only its first 2 frames are shown" in sentence) == ("too_large", True)


def test_colours_count_in_all_forms_that_are_held(tmp_path, monkeypatch):
    pages = [Image.fromarray(np.full((30, 20, 3), (50, 60, n), np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    # Luma to show, three colours, luma for a model in single precision; and how the one value of luma is shown.
    each = 30 * 20 * (2 + 3 + 4) + (4 + 1)
    assert read_study([tmp_path / "a.tif"]).memory == 3 * each
    monkeypatch.setattr("medvlp.serving.studies._MOST_FRAME_BYTES", 2 * each)
    assert len(read_study([tmp_path / "a.tif"]).series[0].content) == 2


def test_what_helps_is_told_to_who_reads_on_a_page(tmp_path):
    voxels = nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.diag([-2.0, -2.0, 3.0, 1.0]))
    nibabel.save(voxels, tmp_path / "a.nii")
    study = read_study([film(tmp_path / "b"), tmp_path / "a.nii"])
    ((reason, sentence, _),) = refusals(study)
    assert reason == "several_volumes"
    assert sentence.endswith("; save each of its volumes as a file of its own")


def test_a_frame_of_another_size_is_told_of(tmp_path):
    pages = [Image.fromarray(np.zeros(shape, np.uint8)) for shape in ((30, 20), (15, 10), (30, 20))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    study = read_study([tmp_path / "a.tif"])
    assert len(study.series[0].content) == 2
    assert refusals(study) == [
        ("other_size", "1 of its 3 frames cannot be leafed through with the first picture, which has 30 x 20 pixels; "
         "bring pictures of another size one by one", 1),
    ]  # fmt: skip


def test_each_frame_knows_its_file_even_where_the_first_file_is_damaged(tmp_path):
    paths = leafed(tmp_path, modality="MR")
    uids = [dcmread(path).SOPInstanceUID for path in paths]
    series = read_study(paths).series[0]
    assert [header.SOPInstanceUID for header in series.headers] == uids
    damaged = dcmread(paths[0])
    damaged.ModalityLUTSequence = [Dataset()]  # a table without its data
    damaged.save_as(paths[0])
    study = read_study(paths, presets=("mr_percentile_v1",))
    assert [header.SOPInstanceUID for header in study.series[0].headers] == uids[1:]
    assert list(study.series[0].images) == ["mr_percentile_v1"]
    # What the display's preset reads the viewer has: it is not read and held again.
    assert read_study(paths, presets=("dicom_voi_v1",)).memory == read_study(paths).memory
    assert [reason for reason, _, _ in refusals(study)] == ["bad_lut"]


def test_a_frontal_and_a_lateral_scout_of_one_series_have_their_own_letters_and_lengths(tmp_path):  # C.7.6.2.1.1
    tags = {"Modality": "CT", "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "PatientOrientation": None}
    tags |= {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImagePositionPatient": [0, 0, 0]}
    across = ([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])  # rows to the left, to the back; columns to the feet
    paths = [
        film(tmp_path / str(n), ImageOrientationPatient=cosines, PixelSpacing=[n + 1, n + 1], **tags)
        for n, cosines in enumerate(across)
    ]
    (series,) = read_study(paths).series
    told = [(frame["edges"], frame["spacing"]) for frame in series.document["frames"]]
    assert told == [(("R", "L", "H", "F"), (1, 1)), (("A", "P", "H", "F"), (2, 2))]


def test_what_deflated_files_swell_to_is_not_held_for_all_of_them(tmp_path, monkeypatch):  # PS3.5 A.5
    for path in (paths := leafed(tmp_path)):
        packed = dcmread(path)
        packed.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        packed.save_as(path)
    swollen = []
    monkeypatch.setattr(studies, "parse", lambda stream: swollen.append(parse(stream)) or swollen[-1])
    assert read_study(paths).series[0].document["count"] == len(swollen) == 3
    assert all(isinstance(each.stream, io.BytesIO) and each.stream.closed for each in swollen)


def test_documents_identify_nobody(tmp_path):
    study = read_study([film(tmp_path / "DOE^JANE_MRN12345"), ct_slices(tmp_path / "MRN12345")])
    text = json.dumps(study.document)
    assert [secret for secret in (*SECRETS, "DOE", "MRN", str(tmp_path)) if secret in text] == []


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [("a.html", b"<html><script>alert(1)</script>", "not_an_image"), ("a.svg", b"<svg xmlns=''/>", "not_an_image"),
     ("empty", b"", "empty"), ("cut.dcm", b"\0" * 128 + b"DICM", "truncated")],
)  # fmt: skip
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableImage) as refusal:
        read_study([tmp_path / name])
    assert refusal.value.reason == reason


def test_an_archive_that_leads_out_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../out.dcm", b"x")
    with pytest.raises(UnreadableImage, match="unsafe_archive"):
        read_study([tmp_path / "a.zip"])
    shutil.rmtree(tmp_path)
