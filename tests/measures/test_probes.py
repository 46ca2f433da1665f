"""`medvlp evaluate` on a model without words: probes of the data's own labels, few shots, attributes, kept features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.core.resources import resource_folder
from medvlp.evaluation.results import load_result
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, save_bundle
from medvlp.runs.evaluate import evaluate, load_evaluation
from medvlp.statistics.metrics import auroc
from medvlp.text.wordpiece import train_wordpiece
from tests.tiny import VISION

COLUMNS = "{id: name, image: file, id.patient: who, view_position: view, split: part, label.edema: edema}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = build_model({"name": "vision", "vision": VISION}, tokenizer=None).eval()
    made = Bundle(model=model, tokenizer=None, preprocessing=[{"name": "read", "size": 32}])
    folder = tmp_path_factory.mktemp("bundle") / "b"
    save_bundle(folder, made)
    return folder


def write_films(root: Path, *, flip_test: bool = False) -> Path:
    """60 patients with two films each; edema is a brighter half, and is seen more often in AP films."""
    root.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for film in range(120):
        patient, edema = film // 2, float(generator.random() < 0.5)
        view = "AP" if generator.random() < (0.7 if edema else 0.3) else "PA"
        pixels = generator.integers(0, 160, size=(32, 32))
        pixels[16:] += int(60 * edema)
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{film}.png")
        part = "test" if patient % 3 == 0 else "train"
        rows.append((f"f{film}", f"{film}.png", f"p{patient}", view, part, edema))
    table = pd.DataFrame(rows, columns=["name", "file", "who", "view", "part", "edema"])
    if flip_test:
        table.loc[table["part"] == "test", "edema"] = 1 - table["edema"]
    table.to_csv(root / "films.csv", index=False)
    return root


def asked(films: Path, bundle: Path, out: Path, *more: str) -> list[str]:
    return [
        f"model={bundle}",
        f"out={out}",
        "workers=1",
        f"data.root={films}",
        f"data.layout={{name: csv, table: films.csv, columns: {COLUMNS}}}",
        f"data.cache={out.parent / 'cache'}",
        f"evaluation.features={out.parent / 'features'}",
        "evaluation.resamples=100",
        "evaluation.measures.few_shot={shots: [1, 4, 40], draws: 3}",
        "evaluation.measures.probes.probes=[linear, {name: knn, neighbours: [5]}]",
        *more,
    ]


CONFIG = "probe/nih_chestxray14.yaml"


def test_probes_few_shots_and_attributes_of_a_model_without_words(bundle: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films")
    done = evaluate(load_evaluation(CONFIG, asked(films, bundle, tmp_path / "out")), page=False)
    assert list(done.found) == [
        "linear_probe",
        "knn_probe",
        "thumbnail",
        "few_shot",
        "few_shot_thumbnail",
        "attribute_view_position",
    ]
    assert [result.role for result in done.found.values()] == ["model"] * 2 + ["control", "model"] + ["control"] * 2
    table = pd.read_csv(films / "films.csv")
    test, train = table[table["part"] == "test"], table[table["part"] == "train"]
    for result in done.found.values():
        metric = "auroc@4" if "few" in result.name else "auroc"
        assert (result.find(metric, "edema").counts.n, result.find(metric, "edema").counts.patients) == (len(test), 20)
    # A third of the films stays the test; the validation is of training patients.
    few = done.found["few_shot"]
    assert {row.metric for row in few.metrics} == {"auroc@1", "auroc@4"}
    assert any("40 shots of edema need 40 training patients" in each for each in few.caveats)
    assert few.find("auroc@4", "edema").counts.draws == 3
    # Validation patients, too, were not among those whose views were counted.
    view = done.found["attribute_view_position"]
    scored = view.cases.set_index("id").loc[test["name"]]
    assert scored["score:edema"].nunique() == 2
    assert view.find("auroc", "edema").value == pytest.approx(auroc(test["edema"], test["view"] == "AP"))
    assert set(train["view"]) == {"AP", "PA"}
    for name, result in done.found.items():
        assert load_result(tmp_path / "out" / "results" / f"{name}.json", cases=False) == result


def test_labels_of_the_test_choose_nothing_and_kept_features_change_nothing(bundle: Path, tmp_path: Path) -> None:
    found, tables = [], []
    for name in ("straight", "flipped"):
        films = write_films(tmp_path / name, flip_test=name == "flipped")
        told = asked(films, bundle, tmp_path / f"out_{name}")
        found.append(evaluate(load_evaluation(CONFIG, told), page=False).found)
        tables.append(sorted(path.name for path in (tmp_path / "features").iterdir()))
    # The second run finds the features of the first, so nothing was encoded twice, and nothing depends on test labels.
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3
    for name, result in found[0].items():
        scores = [column for column in result.cases if column.startswith(("score:", "few_shot:"))]
        assert scores
        pd.testing.assert_frame_equal(result.cases[scores], found[1][name].cases[scores])


def test_the_control_of_a_probe_that_starts_from_words_is_the_linear_one(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films")
    words = train_wordpiece(["edema", "no edema"] * 2, vocab_size=64, max_length=16)
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words).eval()
    prompts = [{"name": "p", "label": "edema", "positive": ["edema"], "negative": ["no edema"]}]
    asked_for = StoredAnswer("zero_shot", "zero_shot", {"prompts": prompts}, ["edema"], {"name": "dot"})
    made = Bundle(model, words, preprocessing=[{"name": "read", "size": 32}], answers=(asked_for,))
    save_bundle(tmp_path / "b", made)
    off = ["evaluation.measures.few_shot=null", "evaluation.measures.attributes=null"]
    scores = []
    for name in ("ensemble", "linear"):
        told = asked(films, tmp_path / "b", tmp_path / name, *off, f"evaluation.measures.probes.probes=[{name}]")
        found = evaluate(load_evaluation(CONFIG, told), page=False).found
        assert f"{name}_probe" in found
        scores.append(found["thumbnail"].cases["score:edema"].to_numpy())
    assert np.array_equal(*scores)


def test_where_validation_patients_are_judged_there_are_no_few_shots_and_all_else(bundle: Path, tmp_path: Path) -> None:
    """A sweep that reports validation beside test judges each run on both."""
    words = asked(write_films(tmp_path / "films"), bundle, tmp_path / "out", "evaluation.split=validate")
    found = evaluate(load_evaluation(CONFIG, words), page=False).found
    assert "attribute_view_position" in found
    assert not {"few_shot", "few_shot_thumbnail", "linear_probe"} & set(found)


def test_what_the_data_lacks_is_refused(bundle: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films")

    def refused(text: str, *more: str) -> None:
        with pytest.raises(DataError, match=text):
            evaluate(load_evaluation(CONFIG, asked(films, bundle, tmp_path / "out", *more)), page=False)

    refused(
        r"few_shot draws from the split train .* the data has the splits test, train: name a split", "data.split=own"
    )
    refused("no label 'oedema' of evaluation.labels: did you mean 'edema'", "evaluation.labels=[oedema]")
    refused(
        "no column 'view_postion' of evaluation.measures.attributes: did you mean 'view_position'",
        "evaluation.measures.attributes.columns=[view_postion]",
    )
    table = pd.read_csv(films / "films.csv")
    table.loc[table["part"] == "test", "file"] = [None, *table["file"][table["part"] == "test"][1:]]
    table.to_csv(films / "films.csv", index=False)
    refused(r"1 of 40 records have no picture for a probe to read: .* data\.having=\[image\]")


def test_every_probe_configuration_is_read() -> None:
    names = sorted(path.name for path in (resource_folder("configs") / "probe").glob("*.yaml"))
    for name in names:
        run = load_evaluation(f"probe/{name}")
        assert run.evaluation.measures["few_shot"] is not None
        assert run.data.split["name"] == "held_out"
    assert names == ["nih_chestxray14.yaml", "pneumonia_kermany.yaml", "pneumonia_kinds.yaml"]
