"""The room gives what the reader gives, of one parse; its objects lie as the file lies, its pictures as they hang."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread

from medvlp.answers.asking.model import Prepared
from medvlp.core.errors import UserError
from medvlp.core.map import Map
from medvlp.core.sample import Sample as Record
from medvlp.data.views.read import Read
from medvlp.io import UnreadableImage, read_frames
from medvlp.serving.audit import AuditLog
from medvlp.serving.exporting import shown_of
from medvlp.serving.exports.kinds import export
from medvlp.serving.exports.pacs import Pacs
from medvlp.serving.exports.picture import render
from medvlp.serving.maps import plain_map
from medvlp.serving.room import Room
from medvlp.serving.samples import Sample, Samples
from medvlp.serving.sessions import Sessions
from medvlp.serving.studies import read_study
from tests.serving.exports.test_pacs import archive, needs_orthanc, pacs
from tests.serving.room_files import CT, SECRETS, dataset, film, leafed, mr_volumes, nifti

__all__ = ["archive"]  # a fixture

MODEL = {"name": "m", "hash": "0" * 64, "preset": "dicom_voi_v1", "synthetic": True}


@pytest.fixture
def room(reader, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    return Room((reader,), Sessions(), samples=None, audit=AuditLog(None), folder=folder)


def test_what_was_read_for_the_viewer_gives_the_model_the_same(room, reader, films):
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([films[1]]))
    assert room.findings(token, key, 0, 0)["findings"] == reader.findings(reader.prepare(films[1]))["findings"]
    with pytest.raises(KeyError):
        room.findings(room.sessions.start(), key, 0, 0)


@pytest.mark.parametrize("voxel", [(2, 2, 2), (1.2, 1, 1)])
def test_a_model_sees_the_slices_of_a_series_as_they_were_acquired(of_volumes, tmp_path, voxel):
    """Sagittal slices, as far apart as their pixels: what the command line shows a model, the page shows it too."""
    folder, tags = tmp_path / "sagittal", {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2"}
    folder.mkdir()
    for k in range(6):
        pixels = np.random.default_rng(k).integers(0, 1500, (9, 12)).astype(np.int16)
        made = dataset(
            CT, "CT", pixels, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[k * voxel[2], 0, 0],
            PixelSpacing=[voxel[1], voxel[0]], SliceThickness=voxel[2], RescaleSlope=1, RescaleIntercept=-1024, **tags,
        )  # fmt: skip
        made.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    own = of_volumes.prepare(folder)
    (tmp_path / "private").mkdir()
    room = Room((of_volumes,), Sessions(), samples=None, audit=AuditLog(None), folder=tmp_path / "private")
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([folder]))
    assert len(own.pixels.position) == 6
    assert room.slices(token, key, 0, 0)["place_mm"] == of_volumes.slices(own)["place_mm"]
    assert room.findings(token, key, 0, 0)["findings"] == of_volumes.findings(own)["findings"]


def test_a_model_of_ct_refuses_an_mr_series_on_the_page_too(of_volumes, tmp_path):
    room = Room((of_volumes,), Sessions(), samples=None, audit=AuditLog(None), folder=tmp_path)
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([mr_volumes(tmp_path / "mr", 1)]))
    with pytest.raises(UnreadableImage, match="ct_lung_v1 is for Modality CT, its Modality is MR"):
        room.findings(token, key, 0, 0)


def test_a_model_of_pictures_says_so_of_a_volume(room, tmp_path):
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([nifti(tmp_path / "a.nii", to_left=True)]))
    with pytest.raises(UserError, match="This model looks at pictures, and this is a volume"):
        room.findings(token, key, 0, 0)
    with pytest.raises(UserError, match="A volume is not exported"):
        room.export(token, key, 0, 0, "png", {}, send=False)


def test_a_model_of_films_with_their_priors_is_not_said_to_look_at_volumes_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("medvlp.serving.samples.SAMPLES", (Sample("Chest", "cxr", (12,), 96),))
    pairs = OfAnotherPreset()
    pairs.describe = lambda: {"name": "m", "hash": "0" * 64, "kinds": ["stack"], "preset": None}
    room = Room((pairs,), Sessions(), samples=Samples(tmp_path), audit=AuditLog(None), folder=tmp_path)
    token = room.sessions.start()
    key = room.sample(token, 0)["key"]
    with pytest.raises(UserError, match="looks at volumes or several pictures together, and this is one picture"):
        room.findings(token, key, 0, 0)


class OfAnotherPreset:
    """A model that reads pictures by a preset which is not the display's, and keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def describe(self):
        return {**MODEL, "kinds": ["image"], "preset": "mimic_jpg_v1"}

    def prepare(self, source):
        self.shown.append(source)
        return source

    def findings(self, prepared):
        return {"refused": None, "findings": [], "warnings": []}

    def similar(self, prepared, sentence, k):
        return {"cases": [], "folded": 0}


def test_a_synthetic_study_is_shown_to_a_model_by_the_models_preset(tmp_path, monkeypatch):
    monkeypatch.setattr("medvlp.serving.samples.SAMPLES", (Sample("Chest", "cxr", (12,), 96),))
    model = OfAnotherPreset()
    room = Room((model,), Sessions(), samples=Samples(tmp_path), audit=AuditLog(None), folder=tmp_path)
    token = room.sessions.start()
    key = room.sample(token, 0)["key"]
    assert room.findings(token, key, 0, 0)["refused"] is None
    assert model.shown == [room.sessions.study(token, key).series[0].images["mimic_jpg_v1"]]


class OfBrightness(OfAnotherPreset):
    """The same, whose map is how bright its view of the picture is."""

    def prepare(self, source):
        sample = Read(size=30, preset="mimic_jpg_v1")(Record("a", {"image": source}), torch.Generator())
        return Prepared(sample, sample.fields["image"], sample.record("image"), (), "image")

    def where(self, prepared, asked, method):
        return plain_map(Map(prepared.pixels[0].numpy()).placed(prepared.sample.record("image")), None)


@pytest.mark.parametrize("orientation", [["L", "F"], ["R", "F"], ["L", "H"], ["R", "H"], ["F", "L"], ["H", "R"]])
def test_a_map_of_a_model_that_is_shown_films_as_they_are_stored_lies_on_the_hung_film(tmp_path, orientation):
    """Presets of published JPEG files turn no film, the page does."""
    hung = np.full((300, 200), 100, np.uint16)
    hung[240:280, 150:190] = 4000  # at the feet, on the left
    turns = {"R": lambda film: film[:, ::-1], "H": lambda film: film[::-1]}
    stored = hung
    for letter in orientation:
        stored = turns.get(letter, lambda film: film)(stored)
    stored = stored.T if orientation[0] in "FH" else stored
    path = film(tmp_path / "a", np.ascontiguousarray(stored), PatientOrientation=orientation)
    room = Room((OfBrightness(),), Sessions(), samples=None, audit=AuditLog(None), folder=tmp_path)
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([path], presets=room.presets))
    np.testing.assert_array_equal(room.sessions.study(token, key).series[0].content[0].values, hung)
    told = room.where(token, key, 0, 0, "effusion", "")
    grid = np.frombuffer(base64.b64decode(told["values"]), np.uint8).reshape(told["rows"], told["columns"])
    across, down = Map(grid, tuple(told["box"])).peak()
    assert 150 < across < 190
    assert 240 < down < 280


def test_an_exported_picture_is_what_was_painted(room, films):
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([films[0]]))
    made = room.export(token, key, 0, 0, "png", {"frame": 0, "window": None}, send=False)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["data"]))).convert("L"))
    levels = next(read_frames(films[0])).levels()
    rows, columns = levels.shape
    assert any(np.array_equal(picture[y : y + rows, :columns], levels) for y in range(picture.shape[0] - rows))
    with pytest.raises(UserError, match="There is no export 'exe'"):
        room.export(token, key, 0, 0, "exe", {}, send=False)
    for frame in (1, -1, "0", None, True):
        with pytest.raises(UserError, match="There is no frame"):
            room.export(token, key, 0, 0, "png", {"frame": frame}, send=False)
    for window in ([40], [40, 0, "LINEAR"], [40, "wide", "LINEAR"], [40, 400, "soft"], 40):
        with pytest.raises(UserError, match=r"is no window: give null, or \[centre, width, VOI LUT Function\]\.$"):
            room.export(token, key, 0, 0, "png", {"window": window}, send=False)


def test_of_a_picture_that_the_model_cannot_look_at_the_picture_alone_is_exported(tmp_path):
    room = Room((OfAnotherPreset(),), Sessions(), samples=None, audit=AuditLog(None), folder=tmp_path)
    token, path = room.sessions.start(), film(tmp_path / "a")
    key = room.sessions.add(token, read_study([path]))  # as the model's preset, which is asked for, does not read it
    view = {"frame": 0, "window": None, "mapped": "effusion"}
    made = base64.b64decode(room.export(token, key, 0, 0, "png", view, send=False)["data"])
    picture = np.asarray(Image.open(io.BytesIO(made)).convert("L"))
    levels = next(read_frames(path)).levels()
    assert any(np.array_equal(picture[y : y + 300, :200], levels) for y in range(len(picture) - 299))
    for kind in ("sr", "seg", "fhir"):
        with pytest.raises(UserError, match="does not fit this one: choose another model"):
            room.export(token, key, 0, 0, kind, view, send=False)


def test_what_is_exported_of_a_further_image_is_its_own(tmp_path):
    paths = leafed(tmp_path)
    series = read_study(paths).series[0]
    uids = []
    for frame in range(3):
        shown = shown_of(series, frame=frame, window=None, model=MODEL, found=None, mapped=None)
        np.testing.assert_array_equal(shown.pixels, next(read_frames(paths[frame])).levels())
        uids.append(shown.header().SOPInstanceUID)
        assert shown.synthetic
    assert uids == [dcmread(path).SOPInstanceUID for path in paths]


def test_no_finding_of_the_first_image_goes_out_with_another(room, tmp_path, monkeypatch):
    token = room.sessions.start()
    key = room.sessions.add(token, read_study(leafed(tmp_path)))
    written = []

    def noted(shown, kind):
        written.append(shown)
        return export(shown, kind)

    monkeypatch.setattr("medvlp.serving.room.export", noted)
    view = {"frame": 2, "window": None, "mapped": "effusion"}
    for kind in ("sr", "seg", "fhir"):
        with pytest.raises(UserError, match=r"^The model looked at the first image only: go to it, or export PNG\.$"):
            room.export(token, key, 0, 0, kind, view, send=False)
    assert room.export(token, key, 0, 0, "png", view, send=False)["media_type"] == "image/png"
    (shown,) = written
    assert (shown.findings, shown.layer) == ((), None)
    assert shown.refused == "The model looked at the first image only."
    room.export(token, key, 0, 0, "fhir", {"frame": 0}, send=False)
    assert {each.name for each in written[1].findings} == {
        row["finding"] for row in room.findings(token, key, 0, 0)["findings"]
    }
    assert written[1].findings


def test_a_map_of_a_turned_picture_lies_as_the_file_lies(tmp_path):
    series = read_study([film(tmp_path / "a", PatientOrientation=["R", "F"])]).series[0]
    grid = np.zeros((3, 2), np.uint8)
    grid[2, 1] = 255  # hung: feet, left of the patient, at the right hand
    told = {"rows": 3, "columns": 2, "values": base64.b64encode(grid.tobytes()), "box": [0, 0, 200, 300], "method": "m"}
    shown = shown_of(series, frame=0, window=None, model=MODEL, found=None, mapped=("effusion", told))
    row, column = np.unravel_index(shown.layer.values.argmax(), shown.layer.values.shape)
    assert row > 200
    assert column < 100  # in the file, columns run to the right of the patient
    assert shown.pixels.shape == (300, 200)


@pytest.mark.parametrize("orientation", [["R", "F"], ["L", "H"], ["F", "L"]])
def test_a_picture_of_a_turned_film_has_the_sides_that_were_painted(tmp_path, orientation):
    """It has no orientation of its own by which a viewer could turn it."""
    series = read_study([film(tmp_path / "a", PatientOrientation=orientation)]).series[0]
    dark = {"rows": 1, "columns": 1, "values": base64.b64encode(b"\0").decode(), "box": [0, 0, 9, 9], "method": "m"}
    shown = shown_of(series, frame=0, window=None, model=MODEL, found=None, mapped=("effusion", dark))
    levels, page = series.content[0].levels(), render(shown)
    rows, columns = levels.shape
    assert shown.pixels.tolist() != levels.tolist()
    tops = range(page.shape[0] - rows)
    assert any((page[y : y + rows, :columns] == levels[..., None]).all() for y in tops)


@pytest.mark.parametrize(("orientation", "tall", "wide"), [(["L", "F"], 600, 200), (["F", "L"], 200, 600)])
def test_a_picture_of_a_film_whose_pixels_are_not_square_has_the_shape_that_was_painted(
    tmp_path, orientation, tall, wide
):  # PS3.3 10.7.1.3: the distance between rows, then between columns, as the film is stored
    series = read_study([film(tmp_path / "a", PatientOrientation=orientation, PixelSpacing=[0.5, 0.25])]).series[0]
    page = render(shown_of(series, frame=0, window=None, model=MODEL, found=None, mapped=None))
    white = np.argwhere((page[: tall + 60, :wide] == 255).all(axis=-1))
    across, down = white[:, 1], white[:, 0]
    assert (np.ptp(across) + 1, np.ptp(down) + 1) == pytest.approx((40, 80) if tall > wide else (80, 40), abs=2)


class TwoPatients:
    """An archive of two films, one of each patient."""

    def __init__(self, folder):
        self.films = {f"1.2.{patient}": film(folder / patient, PatientID=patient) for patient in "12"}

    def studies(self, *, patient="", date=""):
        told = {"StudyDate": date, "ModalitiesInStudy": "CR", "NumberOfStudyRelatedInstances": "1"}
        return [{"StudyInstanceUID": f"1.2.{patient}", **told}]

    def retrieve(self, study, folder):
        return [Path(shutil.copy(self.films[study], folder / "0.dcm"))]


class Full:
    """An archive that takes nothing, or all."""

    full = True

    def store(self, objects):
        if self.full:
            raise UserError("The archive answered 507: check that it runs, its address and the password file.")
        return len(objects)


def test_the_log_says_of_which_study_a_file_is_and_that_it_was_sent_once_the_archive_has_it(tmp_path):
    archive, log = Full(), tmp_path / "audit.jsonl"
    room = Room((), Sessions(), samples=None, audit=AuditLog(log), folder=tmp_path, archive=archive)
    token, study = room.sessions.start(), read_study([film(tmp_path / "a")])
    key = room.sessions.add(token, study)
    with pytest.raises(UserError, match="The archive answered 507"):
        room.export(token, key, 0, 0, "png", {}, send=True)
    assert log.read_text() == ""
    archive.full = False
    assert room.export(token, key, 0, 0, "png", {}, send=True) == {"sent": 1}
    room.export(token, key, 0, 0, "png", {}, send=False)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["sent", "exported"]
    assert [(line["kind"], line["input"], line["series"]) for line in lines] == 2 * [("png", study.digest, 0)]


def test_a_search_by_a_sentence_is_logged_with_its_model_and_without_the_sentence(tmp_path):
    log = tmp_path / "audit.jsonl"
    room = Room((OfAnotherPreset(),), Sessions(), samples=None, audit=AuditLog(log), folder=tmp_path)
    room.similar(room.sessions.start(), "", 0, 0, "Left pleural effusion.", 6)
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["event"], line["model"], "input" in line) == ("similar", "0" * 64, False)
    assert "effusion" not in log.read_text()


def test_what_is_not_there_is_told_whatever_is_asked_of_it(tmp_path):
    empty, one = (
        Room(readers, Sessions(), samples=None, audit=AuditLog(None), folder=tmp_path)
        for readers in ((), (OfAnotherPreset(),))
    )
    for room, model in ((empty, 0), (one, 1), (one, -1)):
        token = room.sessions.start()
        key = room.sessions.add(token, read_study(leafed(tmp_path)))
        with pytest.raises(UserError, match="No model is loaded"):
            room.similar(token, "", 0, model, "Left pleural effusion.", 6)
        for number in (1, -1):
            with pytest.raises(KeyError):
                room.export(token, key, number, model, "png", {}, send=False)
    with pytest.raises(UserError, match="No model is loaded"):
        one.export(token, key, 0, 1, "png", {}, send=False)


def test_a_row_of_one_tabs_list_is_its_study_whatever_another_tab_searched(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    archive, films = TwoPatients(tmp_path), {}
    room = Room((), Sessions(), samples=None, audit=AuditLog(None), folder=folder, archive=archive)
    token = room.sessions.start()
    assert room.sessions.enter(token)
    lists = {patient: room.listed(token, patient, "20200102")["list"] for patient in "12"}
    for patient, listed in lists.items():
        opened = room.sessions.study(token, room.fetched(token, listed, 0)["key"])
        films[patient] = opened.series[0].headers[0].PatientID
    assert films == {"1": "1", "2": "2"}
    for wrong, number in (("none", 0), (lists["1"], 1), (lists["1"], -1)):
        with pytest.raises(KeyError):
            room.fetched(token, wrong, number)
    with pytest.raises(KeyError):
        room.fetched(room.sessions.start(), lists["1"], 0)


@needs_orthanc
def test_a_study_of_an_archive_is_opened_by_its_place_and_written_back(reader, tmp_path, archive, monkeypatch):
    folder = tmp_path / "private"
    folder.mkdir()
    room = Room((reader,), Sessions(), samples=None, audit=AuditLog(None), folder=folder, archive=pacs(archive))
    pacs(archive).store([film(tmp_path / "a", StudyDate="20200102", InstanceNumber=1).read_bytes()])
    token, another = room.sessions.start(), room.sessions.start()
    listed = room.listed(token, "MRN12345", "")
    assert ([each["StudyDate"] for each in listed["studies"]], listed["more"]) == (["20200102"], False)
    with monkeypatch.context() as patched:
        patched.setattr(Pacs, "most", 1)
        assert room.listed(token, "MRN12345", "")["more"]  # a list that is full says that there may be others
    assert [secret for secret in SECRETS if secret in json.dumps(listed)] == []
    with pytest.raises(KeyError):
        room.fetched(another, listed["list"], 0)
    opened = room.fetched(token, listed["list"], 0)
    assert [each["title"] for each in opened["series"]] == ["CR PA"]
    assert room.export(token, opened["key"], 0, 0, "sr", {}, send=True) == {"sent": 1}
    assert room.files == 0
