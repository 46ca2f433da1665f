"""A bundle with thresholds, calibrations, evidence and a gate: a tiny run on sixty patients, judged into the bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.once import made_once
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.serving.reader import Reader


@pytest.fixture(scope="module")
def browser():
    """Chromium, for the modules that import `tests.serving.browsing`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    from tests.serving.browsing import CHROMIUM, FLAGS

    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def room():
    """An open room without models; a module may have another."""
    from medvlp.serving.launch import Options, open_room

    running = open_room(Options(port=0, samples=False), readers=())
    yield running
    running.close()


@pytest.fixture
def page(room, browser):
    """A page of its own session; whatever it violates, throws or asks of others fails the test."""
    from tests.serving.browsing import opened

    with opened(room, browser) as page:
        yield page


def into_bundle(folder: Path, tree: dict, measures: dict) -> Path:
    """Judge ``bundle/`` of a folder on the data that it was trained on, write that into it, and return the folder."""
    from medvlp.runs.evaluate import EvaluationRun, evaluate

    data = {key: tree["data"][key] for key in ("root", "layout", "where", "split")}
    options = {"resamples": 100, "min_positives": 1, "gallery": 0, "into_bundle": True, "measures": measures}
    run = {"model": str(folder / "bundle"), "out": str(folder), "data": data, "evaluation": options}
    evaluate(EvaluationRun.model_validate(run), page=False)
    return folder


@pytest.fixture(scope="session")
def judged(wide_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``bundle/`` and the ``results/`` of its evaluation; read only."""
    import torch

    from medvlp.config.tree import load_config
    from medvlp.models.bundle import load_bundle, save_bundle
    from medvlp.models.gate import Gate, Space
    from medvlp.runs.train import train

    def make(folder: Path) -> Path:
        tree = tiny_tree(folder / "run", wide_cohort.root, folder / "cache")
        tree["data"]["split"] = {
            "name": "patient",
            "fractions": {"train": 0.3, "validate": 0.5, "test": 0.2},
            "seed": 0,
        }
        done = train(load_config(write_tree(folder / "config.yaml", tree)))
        still = Space(torch.zeros(64, dtype=torch.float64), torch.zeros(64, 64, dtype=torch.float64), limit=1.0)
        gate = Gate({"layout": still}, rate=0.02, counts=(100, 50))  # lets everything in that is not blank
        save_bundle(folder / "bundle", replace(load_bundle(done.bundle), gate=gate))
        measures: dict = dict.fromkeys(("probes", "few_shot", "robustness", "retrieval", "image_retrieval"))
        measures |= {"grounding": {"maps": [{"name": "hires_cam"}], "cases": 20, "sanity": 0}}
        return into_bundle(folder, tree, measures)

    return made_once(tmp_path_factory, "judged", make)


@pytest.fixture(scope="session")
def sure(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The bundle with a hit rate that is worth a map for one finding, and for no other."""
    import medvlp
    from medvlp.models.bundle import load_bundle, save_bundle
    from medvlp.serving import Reader

    hit = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40, "centre": 0.3, "gain": 0.4, "gain_low": 0.2}
    bundle = load_bundle(judged / "bundle")
    answers = []
    for each in bundle.answers:
        if each.maps is not None:
            each = replace(each, maps={**each.maps, "hits": {"effusion": {each.maps["default"]: hit}}})
        answers.append(each)
    folder = tmp_path_factory.mktemp("sure") / "bundle"
    save_bundle(folder, replace(bundle, answers=tuple(answers)))
    return Reader(medvlp.load(folder), name="tiny")


@pytest.fixture(scope="session")
def written(wide_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``bundle/``, which writes reports and relates, and scores nothing, and with its ``results/``."""
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train

    def make(folder: Path) -> Path:
        tree = tiny_tree(folder / "run", wide_cohort.root, folder / "cache")
        found, places = ["effusion", "nodule"], ["left_pleural_space", "right_pleural_space"]
        vectors = {"name": "hashed_words", "width": 16}
        relations = {"labels": [*found, *places], "predicates": ["located_at"], "drawn": found}
        relations |= {"head": {"queries": 6, "width": 16, "layers": 1, "heads": 2, "feedforward": 16}}
        captions = {"name": "caption", "width": 16, "layers": 1, "heads": 2}
        texts = {"texts": {each: each.replace("_", " ") for each in (*found, *places, "located_at")}}
        tree["banks"] = {"relations": {"file": str(write_tree(folder / "bank.yaml", texts)), "encoder": vectors}}
        tree["phases"] = [{"until": 64, "objectives": [captions, {"name": "rlipv2", **relations}]}]
        shares = {"train": 0.4, "validate": 0.1, "test": 0.5}
        tree["data"] |= {"suffix": [], "split": {"name": "patient", "fractions": shares, "seed": 0}}
        tree["training"] |= {"validate_every": 64, "average": None}
        tree["evaluation"]["choose"] = "relations/recall"
        done = train(load_config(write_tree(folder / "config.yaml", tree)))
        shutil.copytree(done.bundle, folder / "bundle")
        return into_bundle(folder, tree, dict.fromkeys(("probes", "few_shot", "robustness", "image_retrieval")))

    return made_once(tmp_path_factory, "written", make)


@pytest.fixture(scope="session")
def proven(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The bundle as if its answers had beaten every control, and boxes of two of four entities had been judged."""
    import medvlp
    from medvlp.models.bundle import load_bundle, save_bundle
    from medvlp.serving import Reader

    bundle, answers = load_bundle(written / "bundle"), []
    box = {"metric": "box_overlap@0.5", "value": 0.4, "low": 0.3, "high": 0.5, "n": 40}
    for each in bundle.answers:
        over = [{**row, "value": 0.2, "low": 0.1, "high": 0.3} for row in each.measured["over"]]
        labels = {name: {**box, "label": name} for name in ("effusion", "right_pleural_space")}
        labels = labels if each.name == "relations" else each.measured["labels"]
        answers.append(replace(each, measured={**each.measured, "over": over, "labels": labels}))
    folder = tmp_path_factory.mktemp("proven") / "bundle"
    save_bundle(folder, replace(bundle, answers=tuple(answers), gate=None))
    return Reader(medvlp.load(folder), name="proven")


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of pictures of 60 x 90 with a bright square (no square in every fifth), and a table; read only.

    ``mask.square`` is drawn where the square is, ``mask.corner`` always in the same corner, where nothing is seen.
    """
    import numpy as np
    from PIL import Image

    def make(folder: Path) -> Path:
        rows = ["image;square;corner;there;question;answer;patient;split"]
        corner = np.zeros((60, 90), np.uint8)
        corner[:15, :30] = 255
        for number in range(100):
            draw = np.random.default_rng(number)
            x, y, side = draw.integers(0, 60), draw.integers(0, 34), draw.integers(16, 26)
            pixels, mask = draw.integers(0, 60, (60, 90)).astype(np.uint8), np.zeros((60, 90), np.uint8)
            if number % 5:
                pixels[y : y + side, x : x + side] += 150
                mask[y : y + side, x : x + side] = 255
            for name, values in (("", pixels), ("s", mask), ("c", corner)):
                Image.fromarray(values).save(folder / f"{name}{number}.png")
            asked = ("is there a square ?", "yes") if number % 2 else ("is there a circle ?", "no")
            split = "train" if number < 60 else "validate" if number < 70 else "test"
            square = f"s{number}.png" if number % 5 else ""
            rows.append(f"{number}.png;{square};c{number}.png;{number % 5 > 0:d};{';'.join(asked)};p{number};{split}")
        (folder / "table.csv").write_text("\n".join(rows))
        return folder

    return made_once(tmp_path_factory, "squares", make)


@pytest.fixture(scope="session")
def drawing(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``bundle/``, which draws squares and corners and answers questions, and with its ``results/``."""
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train

    def make(folder: Path) -> Path:
        tree = tiny_tree(folder / "run", squares, folder / "cache")
        columns = {
            "image": "image",
            "text": "question",
            "mask.square": "square",
            "mask.corner": "corner",
            "label.square": "there",
        }
        columns |= {"text.question": "question", "text.answer": "answer", "patient_id": "patient", "split": "split"}
        tree["data"] |= {"layout": {"name": "csv", "table": "table.csv", "columns": columns}, "where": {}, "suffix": []}
        tree["data"] |= {"prefix": [{"name": "read", "size": 48}], "split": {"name": "own"}}
        vision = {**tree["model"]["vision"], "image_size": 48, "coordinates": True}
        vision["options"] = {"channels": [16, 16, 32, 32], "stem_width": 16, "zero_init_last": False}
        tree["model"] = {**tree["model"], "vision": vision}
        draws = {"name": "dice_ce", "labels": ["square", "corner"], "decoder": {"name": "unet", "width": 16}}
        asks = {"name": "answer_question", "answers": ["no", "yes"], "width": 16}
        tree["phases"] = [{"until": 720, "objectives": [draws, asks]}]
        tree["optimiser"] = {"rate": 5.0e-3, "warmup": 80, "clip": None}
        tree["training"] |= {"validate_every": 240, "checkpoint_every": 240, "average": None}
        tree["evaluation"]["choose"] = "segmentation/dice/macro"
        done = train(load_config(write_tree(folder / "config.yaml", tree)))
        shutil.copytree(done.bundle, folder / "bundle")
        return into_bundle(folder, tree, {})

    return made_once(tmp_path_factory, "drawing", make)


@pytest.fixture(scope="session")
def ct_hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes of six synthetic patients; read only."""
    from medvlp.phantom.cohort import make_cohort

    def make(folder: Path) -> Path:
        return make_cohort(folder / "hospital", patients=6, modality="ct", image_size=32, workers=1).root

    return made_once(tmp_path_factory, "serving_ct", make)


@pytest.fixture(scope="session")
def of_volumes(ct_hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A model that pools slices, trained for a moment."""
    import medvlp
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train
    from medvlp.serving import Reader

    def make(folder: Path) -> Path:
        tree = tiny_tree(folder / "run", ct_hospital, folder / "cache")
        prefix = [{"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}, {"name": "sections"}]
        draw = {"name": "sample_slices", "count": 4, "how": "jittered"}
        tree["data"] |= {"where": {}, "group": {"keep": "one"}, "prefix": prefix, "suffix": [draw]}
        model = tree["model"]
        heads = {"stack/volume": {"name": "slice_pooler", "heads": 2}}
        heads |= {"stack/raw": {"name": "projection", "reads": "volume"}}
        tree["model"] = {**model, "vision": {"name": "slices", "slice": model["vision"]}, "heads": heads}
        tree["phases"] = [{"until": 16, "objectives": [{"name": "clip", "image": "stack"}]}]
        tree["training"] |= {"validate_every": 16, "average": None}
        tree["evaluation"]["choose"] = "retrieval/recall@1"
        return train(load_config(write_tree(folder / "config.yaml", tree))).bundle

    return Reader(medvlp.load(made_once(tmp_path_factory, "serving_volumes", make)), name="volumes")


@pytest.fixture(scope="session")
def films(wide_cohort: CohortSummary) -> list[Path]:
    """Test pictures of the hospital."""
    from medvlp.data.layouts.phantom import index

    found = index(wide_cohort.root).where({"view_position": ["PA", "AP"]})
    return [wide_cohort.root / str(found.record(i)["image"]) for i in range(12)]


@pytest.fixture(scope="session")
def reader(judged: Path) -> Reader:
    """The bundle at work."""
    import medvlp
    from medvlp.serving import Reader

    return Reader(medvlp.load(judged / "bundle"), name="tiny")


@pytest.fixture(scope="session")
def runs_folder(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one that was trained and judged, its features, and a training that is running."""
    import numpy as np
    import pandas as pd

    from medvlp.core.table import FeatureTable

    place = tmp_path_factory.mktemp("runs")
    run = place / "tiny"
    shutil.copytree(judged / "run", run, symlinks=True)
    shutil.copytree(judged / "results", run / "results")
    shutil.copytree(judged / "bundle", place / "bundle")
    live = place / "live"
    live.mkdir()
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (live / "log.jsonl").write_text("".join(lines[:2]) + lines[2][:20])  # the last line is being written
    shutil.copy(run / "config.yaml", live)
    entry = {"id": "A1", "split": "train", "reason": "truncated", "hint": "copy it again"}
    (live / "data.json").write_text(json.dumps({"quarantined": [entry]}))
    ids = pd.read_parquet(run / "manifest.parquet")["id"].tolist()
    features = np.random.default_rng(0).normal(size=(len(ids), 5)).astype(np.float32)
    FeatureTable(ids, {"image/embedding": features}, {"model": "tiny"}).save(place / "features.parquet")
    return place
