"""`medvlp predict` over many files: what can be read is asked about, the rest is listed; tables are right."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medvlp.answers._writer import draws_of
from medvlp.answers.asking.files import files_of, predict_files
from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.answers.asking.places import written_places
from medvlp.answers.asking.score_table import write_score_table
from medvlp.cli.predict import _show_scores
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.errors import DataError
from medvlp.core.keys import Key
from medvlp.core.predictions import Mask, Predictions
from medvlp.core.protocols import Model
from medvlp.data.manifest import Manifest
from medvlp.data.picture_files import PictureFile, picture_files
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from medvlp.statistics.conformal_sets import SetRule
from medvlp.text.wordpiece import train_wordpiece
from tests.data.volumes import write_ct
from tests.models.words import DUAL, VISION, dual

if TYPE_CHECKING:
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]

PROMPTS = [
    {"name": label, "label": label, "positive": [label], "negative": [f"no {label}"]} for label in ("effusion", "edema")
]
READ = {"name": "read", "size": 32}
VOLUME = {"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of pictures that has learnt nothing."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    words = train_wordpiece(["pleural effusion", "no edema"] * 2, vocab_size=64, max_length=16)
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": PROMPTS}, ["effusion", "edema"], {"name": "dot"})
    save_bundle(folder, Bundle(model, words, preprocessing=[READ], answers=(asked,)))
    return folder


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Five pictures of three patients, the second cut short, a table and a manifest beside them."""
    root = tmp_path / "films"
    (root / "inside").mkdir(parents=True)
    draws = np.random.default_rng(3)
    names = [f"{'inside/' if at > 2 else ''}{at}.png" for at in range(5)]
    for name in names:
        Image.fromarray(draws.integers(0, 256, (40, 30), dtype=np.uint8)).save(root / name)
    (root / "1.png").write_bytes((root / "1.png").read_bytes()[:90])
    (root / "notes.txt").write_text("no picture")
    columns = {
        "id": [f"film{at}" for at in range(5)],
        "image": names,
        "id.patient": ["p", "p", "q", "r", "r"],
        "split": ["validate", "validate", "test", "test", "test"],
        "label.effusion": [1, 0, 1, 0, -1],
        "label.edema": [0.0, 1.0, np.nan, 0.0, 1.0],
    }
    Manifest.of(columns, root=root).save(tmp_path / "manifest.parquet")
    return root


def predict_alone(bundle: Path, paths: list[Path]) -> list[dict[str, float]]:
    """Scores of each file asked about for itself."""
    model = load(bundle)
    return [predict_files(model, [path])["results"][0]["scores"] for path in paths]


def test_a_folder_goes_on_past_a_damaged_file(cli: Cli, bundle: Path, films: Path) -> None:
    told = cli("predict", bundle, films, "--json")
    assert told.code == 3
    found = json.loads(told.out)
    names = ["0.png", "2.png", "inside/3.png", "inside/4.png"]
    assert [each["path"] for each in found["results"]] == [str(films / name) for name in names]
    (lost,) = found["unreadable"]
    assert (lost["path"], lost["reason"]) == (str(films / "1.png"), "truncated")
    assert "copy or export the file again" in lost["hint"]
    for result, alone in zip(
        found["results"][:2], predict_alone(bundle, [films / name for name in names[:2]]), strict=True
    ):
        assert alone == pytest.approx(result["scores"], abs=1e-6)
    plain = cli("predict", bundle, films)
    assert plain.code == 3
    assert f"{films / '1.png'} cannot be read (truncated): " in plain.err
    assert plain.out.count(".png\n") == 4


def test_processes_read_what_one_does(bundle: Path, films: Path) -> None:
    """Pixels, warnings, rows and what cannot be read, in their order."""
    for at in range(5, 40):
        shutil.copy(films / f"{at % 3}.png", films / f"{at}.png")
    model = load(bundle)
    alone, together = (predict_files(model, [films], workers=workers) for workers in (0, 2))
    assert len(alone["unreadable"]) == 12  # a third of the copies, and the film that they are of
    assert together == alone


@pytest.mark.skipif(sys.platform == "darwin", reason="there all names are in UTF-8")
def test_a_name_that_is_not_in_utf8_ends_nothing(cli: Cli, bundle: Path, films: Path, tmp_path: Path) -> None:
    """As old archives of Windows unpack: Python shows a letter's byte as half a character, which none can write."""
    film = films.parent / "old" / os.fsdecode(b"M\xfcller.png")
    film.parent.mkdir()
    shutil.copy(films / "0.png", film)
    out = tmp_path / "p.csv"
    assert r"M\udcfcller.png" in cli("predict", bundle, film, "--out", out).out + cli("predict", bundle, film).out
    assert json.loads(cli("predict", bundle, film, "--json").out)["results"][0]["path"] == str(film)
    assert pd.read_csv(out)["id"].tolist() == [str(film).replace("\udcfc", r"\udcfc")]


def test_maps_are_of_what_is_said_to_be_present(cli: Cli, bundle: Path, films: Path, tmp_path: Path) -> None:
    def asked(name: str, rules: Mapping[str, SetRule]) -> str:
        stored = load_bundle(bundle)
        points = {"findings": {}, "conformal": {label: rule.to_dict() for label, rule in rules.items()}}
        answers = (replace(stored.answers[0], operating_points=points),)
        save_bundle(tmp_path / name, replace(stored, answers=answers))
        return cli("predict", tmp_path / name, films / "0.png", "--maps", tmp_path / f"{name}_maps").out

    # A score between 0 and 1 is above the first rule's limits and below the second's.
    low, high = SetRule(0.9, 0.0, 0.0, positives=50, negatives=50), SetRule(0.9, 1.0, 1.0, positives=50, negatives=50)
    said = asked("one", {"effusion": low, "edema": high})
    assert [path.name for path in (tmp_path / "one_maps").iterdir()] == ["001_effusion.png"]
    assert "no map" not in said
    assert "  no map: nothing is said to be present\n" in asked("none", {"effusion": high, "edema": high})
    assert not (tmp_path / "none_maps").exists()


@pytest.mark.parametrize("backend", [pytest.param("openvino", marks=pytest.mark.slow), "onnxruntime"])
def test_another_engine_gives_the_scores_and_says_how_well_it_agrees(
    cli: Cli, bundle: Path, films: Path, backend: str
) -> None:
    pytest.importorskip(backend, reason="an engine that computes towers, in the extra `serve`")
    told = cli("predict", bundle, films / "0.png", films / "2.png", "--json", "--backend", backend)
    assert told.code == 0
    assert f"Computed by {backend}: its towers agree with torch's to a cosine of " in told.err
    plain = predict_alone(bundle, [films / "0.png", films / "2.png"])
    for result, expected in zip(json.loads(told.out)["results"], plain, strict=True):
        assert result["scores"] == pytest.approx(expected, abs=0.02)


def test_what_lies_inside_a_tower_is_said_to_be_computed_by_torch(cli: Cli, films: Path, tmp_path: Path) -> None:
    """Masks are drawn from its levels, which no graph gives: there is no engine whose agreement could be told."""
    pytest.importorskip("onnxruntime", reason="an engine that computes towers, in the extra `serve`")
    heads = {"image/segmentation": {"name": "fpn", "classes": 1, "width": 4}}
    drawn = StoredAnswer("segmentation", "segmentation", {"labels": ["lung"]}, ["lung"])
    model = build_model({"name": "vision", "vision": VISION, "heads": heads}, tokenizer=None)
    save_bundle(tmp_path / "bundle", Bundle(model, None, preprocessing=[READ], answers=(drawn,)))
    told = cli("predict", tmp_path / "bundle", films / "0.png", "--backend", "onnxruntime")
    assert told.code == 0
    assert "Computed by torch: a graph of onnxruntime does not give what this answer reads of a tower." in told.err
    assert "Computed by onnxruntime" not in told.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--question", "is there an effusion?"), "takes a question (zero_shot): leave --question out"),
        (("--decoding", "beams=4"), "writes words (zero_shot): leave --decoding out"),
    ],
)
def test_an_option_that_nothing_asked_heeds_is_refused(
    cli: Cli, bundle: Path, films: Path, options: tuple[str, str], sentence: str
) -> None:
    assert sentence in cli("predict", bundle, films / "0.png", *options).refused()


def test_an_engine_that_nobody_knows_is_a_sentence(cli: Cli, bundle: Path, films: Path) -> None:
    told = cli("predict", bundle, films / "0.png", "--backend", "tensorrt")
    assert told.code == 2
    assert "There is no backend 'tensorrt': choose torch, openvino, onnxruntime, int8." in told.err


def test_nothing_that_can_be_read_is_a_mistake_as_before(cli: Cli, bundle: Path, films: Path) -> None:
    assert "1.png cannot be read (truncated): " in cli("predict", bundle, films / "1.png").refused()
    (films / "empty").mkdir()
    told = cli("predict", bundle, films / "empty").refused()
    assert told == f"medvlp: The folder {films / 'empty'} holds no picture: name one that does, or single files."


def test_what_the_model_would_not_read_or_write_is_refused(cli: Cli, bundle: Path, films: Path, tmp_path: Path) -> None:
    asked = ("predict", bundle, films / "0.png")
    told = cli(*asked, "--out", tmp_path / "scores.json").refused()
    assert "draws no masks, so nothing would be written to" in told
    assert "end it in .csv for a table of the scores" in told
    told = cli(*asked, "--question", "Is there an effusion?").refused()
    assert "takes a question" in told
    assert not (tmp_path / "scores.json").exists()
    assert cli(*asked, "--out", tmp_path / "one.csv").out.startswith(f"{tmp_path / 'one.csv'}: 1 row.\n")


def test_rows_of_a_manifest_without_a_file_are_told(cli: Cli, bundle: Path, films: Path, tmp_path: Path) -> None:
    Manifest.of({"id": ["a", "b", "c"], "image": ["0.png", None, "2.png"]}, root=films).save(tmp_path / "m.parquet")
    told = cli("predict", bundle, tmp_path / "m.parquet", "--out", tmp_path / "p.csv")
    assert (told.code, told.out.splitlines()[0]) == (0, f"{tmp_path / 'p.csv'}: 2 rows.")
    assert told.err == f"{tmp_path / 'm.parquet'}: 1 of 3 rows name no file in image and are left out.\n"


def test_scores_of_a_manifest_are_a_table_that_score_reads(cli: Cli, bundle: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    told = cli("predict", bundle, films.parent / "manifest.parquet", "--out", out)
    assert told.code == 3
    assert told.out.startswith(f"{out}: 4 rows.\n")
    table = pd.read_csv(out, keep_default_na=False, dtype=str)
    assert list(table) == [
        "id", "patient_id", "split", "label:effusion", "score:effusion", "label:edema", "score:edema",
    ]  # fmt: skip
    assert table["id"].tolist() == ["film0", "film2", "film3", "film4"]
    assert table["patient_id"].tolist() == ["p", "q", "r", "r"]
    assert table["split"].tolist() == ["validate", "test", "test", "test"]
    assert table["label:effusion"].tolist() == ["1", "1", "0", "-1"]
    assert table["label:edema"].tolist() == ["0", "", "0", "1"]
    alone = predict_alone(bundle, [films / name for name in ("0.png", "2.png", "inside/3.png", "inside/4.png")])
    for scores, row in zip(alone, table.to_dict("records"), strict=True):
        assert {label: float(row[f"score:{label}"]) for label in scores} == pytest.approx(scores, abs=2e-6)
    done = cli("score", out, "--out", tmp_path / "r.json", "--no-page", "--resamples", "20")
    assert done.code == 0, done.err


def test_what_nobody_knows_is_blank_and_score_asks_for_it(cli: Cli, bundle: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    assert cli("predict", bundle, films / "inside", "--out", out).code == 0
    assert out.read_text().splitlines()[0] == "id,patient_id,label:effusion,score:effusion,label:edema,score:edema"
    told = cli("score", out, "--out", tmp_path / "r.json").refused()
    assert "lack 'patient_id' in 2 of " in told


def test_rows_of_two_manifests_that_are_numbered_alike_keep_their_patients(tmp_path: Path) -> None:
    both = (("p", 1.0), ("q", 0.0))
    rows = [PictureFile("row-000001", (Path(f"{p}.png"),), patient=p, labels={"edema": v}) for p, v in both]
    results = [{"path": f"{p}.png", "id": "row-000001", "scores": {"edema": 0.5}} for p in ("p", "q")]
    write_score_table(tmp_path / "scores.csv", {"results": results}, rows)
    lines = (tmp_path / "scores.csv").read_text().splitlines()[1:]
    assert lines == ["row-000001,p,1,0.5", "row-000001,q,0,0.5"]


def test_rows_of_a_synthetic_manifest_are_marked(tmp_path: Path) -> None:
    columns = {"id": ["a"], "image": ["a.png"], "label.edema": [1.0]}
    Manifest.of(columns, root=tmp_path, meta={"synthetic": True}).save(tmp_path / "m.parquet")
    rows = picture_files([tmp_path / "m.parquet"], fields=["image"], studies=False)
    found = {"results": [{"path": str(tmp_path / "a.png"), "id": "a", "scores": {"edema": 0.5}}]}
    write_score_table(tmp_path / "p.csv", found, rows)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == ["id,patient_id,synthetic,label:edema,score:edema", "a,,1,1,0.5"]


def test_a_held_back_picture_is_a_group_of_the_table(tmp_path: Path) -> None:
    rows = picture_files([Path("a.png"), Path("b.png")], fields=["image"], studies=False)
    results = [{"path": f"{name}.png", "scores": {"edema": 0.5}, "abstained": name == "b"} for name in "ab"]
    write_score_table(tmp_path / "p.csv", {"results": results}, rows)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "id,patient_id,label:edema,score:edema,group:gate", "a.png,,,0.5,let in", "b.png,,,0.5,held back",
    ]  # fmt: skip


def test_where_results_go_is_looked_at_first(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in ("file", "file/masks", "file/p.csv"):
        assert "cannot be written" in cli("predict", tmp_path / "none", "a.png", "--out", tmp_path / out).refused()
    told = cli("predict", tmp_path / "none", "a.png", "--out", "a", "--out", "b").refused()
    assert "--out is one .csv file for scores and one folder for masks at most" in told


def test_folders_of_volumes_are_volumes_and_folders_of_pictures_are_studies(tmp_path: Path) -> None:
    for name in ("ct/a.nii", "ct/deep/b.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_ct(tmp_path / name, 2)
    (tmp_path / "studies/one").mkdir(parents=True)
    (tmp_path / "studies/one/1.png").write_bytes(b"")
    (tmp_path / "studies/DICOMDIR").write_bytes(b"")  # of a disc: it makes no study of the folder of its studies
    asked: dict[str, Any] = {"fields": ["volume", "stack"], "studies": True}
    found = picture_files([tmp_path / "ct", tmp_path / "studies"], **asked)
    assert [each.source for each in found] == [
        tmp_path / "ct/a.nii", tmp_path / "ct/deep/b.nii.gz", tmp_path / "studies/one",
    ]  # fmt: skip
    manifest = Manifest.of({"id": ["a", "b"], "stack": [["1.png", "2.png"], None]}, root=tmp_path)
    manifest.save(tmp_path / "m.parquet")
    (study,) = picture_files([tmp_path / "m.parquet"], **asked)
    assert study.source == (tmp_path / "1.png", tmp_path / "2.png")
    with pytest.raises(DataError, match=r"has no column image, which the model looks at \(it names stack\)"):
        picture_files([tmp_path / "m.parquet"], fields=["image"], studies=False)


def test_what_else_lies_on_a_disc_makes_no_study_of_the_folder_of_its_series(tmp_path: Path) -> None:
    for name, data in (("README.TXT", b"Text."), ("SE1/IM1", bytes(128) + b"DICM"), ("SE1/note", b"Text.")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    asked: dict[str, Any] = {"fields": ["volume"], "studies": True}
    assert [each.source for each in picture_files([tmp_path], **asked)] == [tmp_path / "SE1"]
    (tmp_path / "logo.png").write_bytes(b"")  # a study of its own, which hides none below it
    assert [each.source for each in picture_files([tmp_path], **asked)] == [tmp_path, tmp_path / "SE1"]
    (tmp_path / "logo.png").unlink()
    (tmp_path / "SE1/IM1").unlink()  # no picture at all: the folder is read, so that it is said why not
    assert [each.source for each in picture_files([tmp_path], **asked)] == [tmp_path / "SE1"]


def test_dicom_files_without_an_ending_are_pictures_beside_others(tmp_path: Path) -> None:
    """What a PACS writes on a disc (PS3.10 8.2: names of eight letters, no ending) lies beside the viewer's icons."""
    for name, data in (("IM000001", bytes(128) + b"DICM"), ("DICOMDIR", bytes(128) + b"DICM"), ("LIESMICH", b"Text.")):
        (tmp_path / name).write_bytes(data)
    asked: dict[str, Any] = {"fields": ["image"], "studies": False}
    assert [each.id for each in picture_files([tmp_path], **asked)] == [str(tmp_path / "IM000001")]
    (tmp_path / "icon.png").write_bytes(b"")
    found = picture_files([tmp_path], **asked)
    assert [each.source for each in found] == [tmp_path / "IM000001", tmp_path / "icon.png"]


class Corner(Answer):
    """Marks the first pixel of whatever it sees."""

    gives: ClassVar[frozenset[str]] = frozenset({"masks"})
    streams: ClassVar[bool] = True

    def needs(self, model: Model) -> frozenset[Key]:
        return frozenset({Key(model.vision_kind, "pooled")})

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:
        masks = []
        for sample in rows.samples:
            shape = (40, 30) if "image" in sample.fields else (3, 16, 20)
            values = np.zeros(shape, bool)
            values.flat[0] = True
            masks.append({"corner": Mask.of(values)})
        return Predictions(tuple(rows.table.ids), masks=tuple(masks))


class Heard(Answer):
    """Writes how it was asked to write."""

    gives: ClassVar[frozenset[str]] = frozenset({"text"})

    def needs(self, model: Model) -> frozenset[Key]:
        return frozenset({Key(model.vision_kind, "pooled")})

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:
        return Predictions(tuple(rows.table.ids), text=(str(ask.decoding),) * len(rows.table))


def test_how_words_are_chosen_is_told_to_who_writes(films: Path) -> None:
    model = VisionLanguageModel(Bundle(dual(DUAL), None, preprocessing=[READ]))
    model.answers = {"heard": Heard()}
    for decoding in (None, Decoding(beams=4)):
        found = predict_files(model, [films / "0.png"], decoding=decoding)["results"]
        assert found[0]["text"] == str(decoding)


class Drawn(Heard):
    """Writes what it draws."""

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:
        draws = draws_of(rows.table.ids, 1, seed=0)
        return Predictions(tuple(rows.table.ids), text=tuple(map(str, draws[:, 0].tolist())))


def test_what_is_drawn_for_a_picture_hangs_on_its_name_and_not_on_its_place_or_folder(films: Path) -> None:
    """Samples were called 0, 1, ...: a picture's words were others where another one stood before it."""
    model = VisionLanguageModel(Bundle(dual(DUAL), None, preprocessing=[READ]))
    model.answers = {"drawn": Drawn()}
    both = predict_files(model, [films / "0.png", films / "2.png"])["results"]
    alone = predict_files(model, [films / "2.png"])["results"]
    assert both[1]["text"] == alone[0]["text"] != both[0]["text"]
    elsewhere = shutil.copytree(films, films.parent / "moved")
    assert predict_files(model, [elsewhere / "2.png"])["results"][0]["text"] == alone[0]["text"]
    asked = model.ask("drawn", [films / "0.png", elsewhere / "2.png"])
    assert (asked.ids, asked.text) == (("0", "1"), (both[0]["text"], alone[0]["text"]))


def test_files_of_two_kinds_are_numbered_together(films: Path, tmp_path: Path) -> None:
    """Each kind counted from one: the mask of the volume was written over by that of nobody, and two files got one."""
    write_ct(tmp_path / "v.nii", 3)
    two = dual({**DUAL, "stack": {"name": "slices", "slice": VISION}})
    model = VisionLanguageModel(Bundle(two, None, preprocessing=[READ, VOLUME]))
    model.answers = {"corner": Corner()}
    paths = [films / "0.png", tmp_path / "v.nii", films / "1.png", films / "2.png"]
    found = predict_files(model, files_of(model, paths), out=tmp_path / "masks")
    written = [Path(each["masks"]["corner"]["path"]).name for each in found["results"]]
    assert written == ["001_corner.png", "002_corner.nii.gz", "004_corner.png"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == sorted(written)
    assert [each["path"] for each in found["unreadable"]] == [str(films / "1.png")]
    volume = nibabel.Nifti1Image.from_filename(tmp_path / "masks" / "002_corner.nii.gz")
    assert np.asanyarray(volume.dataobj).sum() == 1


class Marks(Corner):
    """Draws pixel n of an effusion, of a mass, and of what may be one; a second such answer one pixel on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:
        pixels = np.arange(40 * 30).reshape(40, 30)
        drawn = {name: Mask.of(pixels == self.first + n) for n, name in enumerate(("effusion", "mass+", "mass?"))}
        return Predictions(tuple(rows.table.ids), masks=(drawn,) * len(rows.table))


def test_each_mask_and_map_is_in_the_file_that_is_told_for_it(bundle: Path, films: Path, tmp_path: Path) -> None:
    """Also of labels that differ in signs alone, of answers that draw the same finding, of one folder for both."""
    model = load(bundle)
    model.answers |= {"marks": Marks(0), "more": Marks(1)}
    asked = [films / "0.png"]
    found = predict_files(model, asked, out=tmp_path / "out", maps=tmp_path / "out")["results"][0]
    told = {
        (n, label): mask
        for n, each in enumerate((found, found["answers"]["more"]))
        for label, mask in each["masks"].items()
    }
    pixels = {key: np.flatnonzero(np.asarray(Image.open(mask["path"]))).tolist() for key, mask in told.items()}
    assert pixels == {(n, label): [n + k] for n in (0, 1) for k, label in enumerate(("effusion", "mass+", "mass?"))}
    written = [*(mask["path"] for mask in told.values()), *(each["map"] for each in found["maps"])]
    assert sorted(written) == sorted(map(str, (tmp_path / "out").iterdir()))


def test_relations_are_printed_surest_first(capsys: pytest.CaptureFixture[str]) -> None:
    words = [["effusion", "located_at", "left_pleural_space"], ["edema", "located_at", "lungs"]]
    found = [{"triplet": each, "score": 0.9 - n / 2, "boxes": [0.0] * 8} for n, each in enumerate(words)]
    _show_scores({"relations": found})
    lines = ["  effusion located at left pleural space: 0.90", "  edema located at lungs: 0.40"]
    assert capsys.readouterr().out.splitlines() == lines


def test_masks_of_pictures_are_told_in_pixels_and_of_volumes_in_voxels(capsys: pytest.CaptureFixture[str]) -> None:
    said = Predictions(("a",), masks=({f"{n}d": Mask.of(np.ones((40,) * n, bool)) for n in (2, 3)},))
    _show_scores(written_places(said, 0, Path("a"), None, number=1, names=set()))
    assert capsys.readouterr().out.splitlines() == ["  2d: 1,600 pixels", "  3d: 64,000 voxels"]
