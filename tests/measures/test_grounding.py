"""Grounding of a bundle: which pictures are asked what, and the results that an evaluation writes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from medvlp.core.errors import ConfigError
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample
from medvlp.data.layouts import index_cohort
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.views.read import Read
from medvlp.evaluation.evaluation import Evaluation, EvaluationOptions
from medvlp.evaluation.grounding.gain import CHOICE
from medvlp.evaluation.grounding.regions import Region, Regions
from medvlp.measures._grounding_maps import Drawer, Question, questions_of
from medvlp.measures.detection import Detection
from medvlp.measures.grounding import Grounding
from medvlp.runs.evaluate import Evaluated, evaluate, load_evaluation
from tests.data.films import film, write
from tests.messages import messages


@pytest.fixture(scope="module")
def judged(tiny_run: Any, tiny_cohort: Any, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return evaluate(load_evaluation(written(tmp_path_factory.mktemp("grounding"), tiny_run, tiny_cohort.root)))


def written(folder: Path, run: Any, root: Path, **grounding: object) -> Path:
    tree = {
        "model": str(run.bundle),
        "out": str(folder / "out"),
        "data": {"root": str(root), "layout": "phantom", "where": {"view_position": ["PA", "AP"]}, "allow_leaks": True},
        "evaluation": {
            "resamples": 100,
            "min_positives": 1,
            "gallery": 0,
            "split": "train",
            "measures": {"probes": None, "sentences": None, "grounding": {"cases": 3, "sanity": 4, **grounding}},
        },
    }
    (folder / "e.yaml").write_text(yaml.safe_dump(tree))
    return folder / "e.yaml"


def test_a_bundle_is_judged_beside_its_controls(judged: Evaluated) -> None:
    found = {name: result for name, result in judged.found.items() if name.startswith("grounding")}
    roles = {name: result.role for name, result in found.items()}
    assert roles == {
        "grounding_hires_cam": "model",
        "grounding_hires_cam_random": "control",
        "grounding_hires_cam_sanity": "model",
        "grounding_centre": "control",
    }
    counts = {r.find("pointing_game", "all").counts.n for n, r in found.items() if not n.endswith("sanity")}
    assert len(counts) == 1
    stages = [r.label for r in found["grounding_hires_cam_sanity"].metrics if r.metric == "map_of_random_weights"]
    assert stages == ["top 25%", "top 50%", "top 75%", "all"]
    assert all(result.synthetic and result.recipe for result in found.values())
    assert (judged.results.parent / "grounding_hires_cam.json").is_file()
    assert judged.page.is_file()


def test_nothing_is_chosen_where_training_pictures_are_judged(judged: Evaluated) -> None:
    for name in ("grounding_hires_cam", "grounding_centre"):
        assert not [row for row in judged.found[name].metrics if row.metric in ("sensitivity", CHOICE)]


class Corner(Grounding):
    """A map that is strongest in a corner, and stronger in pictures of an odd number, those with a mass."""

    def _labels(self, evaluation: Evaluation) -> list[str]:
        return ["mass"]

    def _drawers(self, evaluation: Evaluation, questions: list[Question]) -> dict[str, Drawer]:
        def draw(model: Model, sample: Sample, findings: Sequence[str]) -> list[Map]:
            values = np.zeros((4, 4), np.float32)
            values[0, 0] = 1 + int(sample.id) % 2
            return [Map(values) for _ in findings]

        return {"corner": Drawer("zero_shot", draw)}


class Unencoded(Evaluation):
    """An evaluation of a model that is asked for maps alone."""

    def _encoded(self, prepared: Prepared, *, texts: bool) -> Any:
        return None


def chosen_in(folder: Path, *, fit: str | None, patients: Sequence[int]) -> tuple[set[str | None], list[str]]:
    """Return operating points, and the splits in which a default map was chosen; numbers 4 to 7 are of `held`."""
    numbers = range(8)
    manifest = Manifest.of(
        {
            "id": [str(number) for number in numbers],
            "image": [write(folder, f"{number}.png", film(number)) for number in numbers],
            "id.patient": [f"p{patient}" for patient in patients],
            "split": ["test"] * 4 + ["held"] * 4,
            "label.mass": [float(number % 2) for number in numbers],
            "boxes.mass": [[[0.0, 0.0, 60.0, 60.0]] if number % 2 else [] for number in numbers],
        },
        root=folder,
    )
    model = SimpleNamespace(answers={}, features="", model=SimpleNamespace(vision_kind="image"))
    evaluation = Unencoded(
        model,  # type: ignore[arg-type]
        whole=manifest,
        manifest=manifest,
        open=lambda split: prepare(manifest.where({"split": split}), [Read(size=32)], cache=folder / "cache"),
        others=lambda where: manifest,
        where={},
        options=EvaluationOptions(resamples=10, split="test", fit=fit, min_positives=1),
        recipe="",
        synthetic=True,
    )
    rows = next(iter(Corner(sanity=0).run(evaluation))).metrics
    chosen = [(row.label, row.split) for row in rows if row.metric == CHOICE]
    return {row.operating_point for row in rows}, chosen


def test_what_is_chosen_is_chosen_on_the_split_that_is_named_and_on_other_patients(tmp_path: Path) -> None:
    assert chosen_in(tmp_path, fit="held", patients=range(8)) == (
        {None, "youden_validate"},
        [("mass", "held"), ("macro", "held")],
    )
    assert chosen_in(tmp_path, fit=None, patients=range(8)) == ({None}, [])
    assert chosen_in(tmp_path, fit="validate", patients=range(8)) == ({None}, [])
    assert chosen_in(tmp_path, fit="held", patients=[0, 1, 2, 3, 3, 5, 6, 7]) == ({None}, [])


def test_rows_without_a_picture_are_asked_for_no_map_and_have_no_box_of_the_control(tmp_path: Path) -> None:
    """They are reports alone, of which a label may well say that a finding is absent."""
    images = [write(tmp_path, "0.png", film(0)), None, write(tmp_path, "2.png", film(2))]
    boxes = [[[0.0, 0.0, 60.0, 60.0]], [], []]
    data = Manifest.of({"id": list("abc"), "image": images, "text": list("xyz"), "boxes.mass": boxes}, root=tmp_path)
    prepared = prepare(data, [Read(size=32)], cache=tmp_path / "cache")
    assert [question.index for question in questions_of(prepared, Regions(data), ["mass"], 5)] == [0, 2]
    part = SimpleNamespace(prepared=prepared)
    options = SimpleNamespace(split="test")
    evaluation: Any = SimpleNamespace(splits={"train", "test"}, options=options, part=lambda name: part, judged=part)
    control = Detection()._control(evaluation, ["mass"])
    assert control is not None
    assert [each.boxes.tolist() for each in control] == [[[0, 0, 60, 60]], [], [[0, 0, 60, 60]]]


def test_slices_of_volumes_whose_places_are_known_in_voxels_are_left_out(tmp_path: Path) -> None:
    """A 2D model of slices has scores of rows that name a volume; the evaluation goes on without maps."""
    columns = {"volume": ["a.nii"], "number.slice": [2.0], "boxes.nodule": [[[0, 0, 0, 4, 4, 4]]]}
    data = Manifest.of({"id": ["a"], **columns}, root=tmp_path)
    said = Predictions(("a",), scores={"nodule": np.array([0.5])})
    evaluation: Any = SimpleNamespace(
        model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
        judged=SimpleNamespace(prepared=prepare(data, [])),
        manifest=data,
        compares=False,
        giving=lambda part: iter([("findings", None, said)]),
    )
    assert list(Grounding().run(evaluation)) == []


def test_boxes_and_runs_of_a_manifest(tmp_path: Path) -> None:
    manifest = Manifest.of(
        {
            "id": list("abcd"),
            "image": ["a.png"] * 4,
            "boxes.mass": [[[1.0, 2.0, 3.0, 4.0]], [], None, None],
            "label.mass": [1.0, 0.0, 0.0, 1.0],
            "mask.nodule": [[2, 3, 2, 2, 2], [2, 3, 6], None, None],
        },
        root=tmp_path,
    )
    regions = Regions(manifest)
    assert regions.findings == ("mass", "nodule")
    drawn, looked, denied, unknown = (regions.of(manifest, i, "mass") for i in range(4))
    assert drawn is not None
    assert drawn.boxes == ((1.0, 2.0, 3.0, 4.0),)
    assert (looked, denied) != (None, None)
    assert [r.present for r in (looked, denied) if r is not None] == [False, False]
    assert unknown is None  # the label says it is there and nobody drew it
    runs = [regions.of(manifest, i, "nodule") for i in range(4)]
    assert [r.present for r in runs if r is not None] == [True, False]
    assert runs[0] is not None
    # Down the columns; a file of another size is refused by whoever lays it on.
    np.testing.assert_array_equal(runs[0].mask(tmp_path), [[False, True, False], [False, True, False]])
    assert Region(boxes=((0, 0, 1, 1),)).mask(tmp_path) is None
    both = Regions(manifest.with_column("boxes.nodule", [[[1.0, 0.0, 2.0, 2.0]], [], None, None]))
    outlined = both.of(manifest.with_column("boxes.nodule", [[[1.0, 0.0, 2.0, 2.0]], [], None, None]), 0, "nodule")
    assert outlined is not None
    assert (outlined.boxes, outlined.mask(tmp_path) is None) == (((1.0, 0.0, 2.0, 2.0),), False)


def test_a_recipe_asks_for_findings_that_the_models_own_prompts_do_not(
    tiny_run: Any, tiny_cohort: Any, tmp_path: Path
) -> None:
    cohort = index_cohort("phantom", tiny_cohort.root)
    there = [name for name in cohort.names if "." not in name or name.endswith((".patient", ".study", ".atelectasis"))]
    table = cohort.table.select(there).rename_columns([name.replace("atelectasis", "pneumonia") for name in there])
    Manifest(table, root=tiny_cohort.root, meta=cohort.meta).save(tmp_path / "m.parquet")
    found, said = {}, {}
    for recipe in (None, "cxr_labels_v1"):
        tree = yaml.safe_load(written(tmp_path, tiny_run, tiny_cohort.root, recipe=recipe, sanity=0).read_text())
        tree["data"] |= {"layout": None, "manifest": str(tmp_path / "m.parquet")}
        (tmp_path / "e.yaml").write_text(yaml.safe_dump(tree))
        with messages() as said[recipe]:
            done = evaluate(load_evaluation(tmp_path / "e.yaml"), page=False).found
        found[recipe] = {name: result for name, result in done.items() if name.startswith("grounding")}
    assert not found[None]
    assert "No grounding: places are known of pneumonia, and none is asked for." in said[None]
    made = found["cxr_labels_v1"]["grounding_hires_cam"]
    assert made.find("pointing_game", "pneumonia").counts.n > 0
    assert not made.fitted  # the rates are not those of the words that the bundle asks with


def test_a_map_that_was_asked_for_and_cannot_be_made_is_refused(
    tiny_run: Any, tiny_cohort: Any, tmp_path: Path
) -> None:
    path = written(tmp_path, tiny_run, tiny_cohort.root, maps=[{"name": "attention"}])
    with pytest.raises(ConfigError, match="attention"):
        evaluate(load_evaluation(path))


def test_a_map_of_no_known_name_is_refused(tiny_run: Any, tiny_cohort: Any, tmp_path: Path) -> None:
    path = written(tmp_path, tiny_run, tiny_cohort.root, maps=[{"name": "grad_camm"}])
    with pytest.raises(ConfigError, match=r"no features/maps component named 'grad_camm'.*grad_cam"):
        evaluate(load_evaluation(path))
