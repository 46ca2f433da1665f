"""Train here, test there: several data sets in one configuration, each with its own layout, root and part."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medvlp.config.recipe import full_tree, recipe_of, resumed
from medvlp.config.tree import DataConfig, RunConfig, check_config, load_config
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import build
from medvlp.pages.record import Record
from medvlp.runs.data import open_manifest
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.train import train
from tests.data.films import film
from tests.runs.test_known import read, tree, write_cohort


def folder_of_classes(root: Path, count: int) -> Path:
    """Write a tree of class folders, one film a patient."""
    for number in range(count):
        name = root / ("effusion" if number % 2 else "normal") / f"who{number}_a.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        film(500 + number).save(name)
    return root


def sets(tmp_path: Path) -> dict[str, Any]:
    """Return a table to train on and a tree of class folders to test on."""
    here = read(write_cohort(tmp_path / "here", 0, ["train"] * 16 + ["validate"] * 4))
    here.pop("cache")
    layout = {"name": "image_folder", "patient": r"who(\d+)_"}
    root = str(folder_of_classes(tmp_path / "there", 8))
    return {"here": here, "there": {"root": root, "layout": layout, "part": "test"}}


def opened(made: dict[str, Any], **more: Any) -> Any:
    return open_manifest(DataConfig.model_validate({"sets": made, **more}))


def test_each_set_has_its_own_layout_root_and_part(tmp_path: Path) -> None:
    manifest = opened(sets(tmp_path))
    assert manifest.root == tmp_path
    assert manifest.column("set").tolist() == ["here"] * 20 + ["there"] * 8
    assert manifest.column("split").tolist() == ["train"] * 16 + ["validate"] * 4 + ["test"] * 8
    assert (manifest.path(0), manifest.path(20)) == (tmp_path / "here/0.png", tmp_path / "there/effusion/who1_a.png")
    assert manifest.column("id.patient").tolist()[::20] == [":p0", ":1"]
    assert opened(sets(tmp_path), where={"set": "there"}).column("label.effusion").sum() == 4


def test_a_run_trains_on_one_and_is_judged_on_the_other_and_the_page_names_both(tmp_path: Path) -> None:
    made = tree(tmp_path / "run", tmp_path)
    made["data"] = {"sets": sets(tmp_path), "prefix": [{"name": "read", "size": 32}], "cache": str(tmp_path / "cache")}
    done = train(check_config(made, source="test"))
    assert json.loads((done.run / "data.json").read_text())["records"] == {"test": 8, "train": 16, "validate": 4}
    # The tree that is written down is read again, and is the same run.
    assert recipe_of(resumed(done.run)) == recipe_of(check_config(made, source="test"))
    assert yaml.safe_load((done.run / "config.yaml").read_text()) == full_tree(resumed(done.run))
    judged = evaluate(
        EvaluationRun.model_validate(
            {
                "model": str(done.bundle),
                "out": str(tmp_path / "out"),
                "data": made["data"] | {"prefix": []},
                "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 0},
            }
        )
    )
    assert judged.found["zero_shot"].find("auroc", "effusion").counts.n == 8
    assert all(result.caveats == () for result in judged.found.values())
    record = Record.read(tmp_path / "out" / "evaluation.json")
    assert {name: each["layout"] for name, each in record.data.sets.items()} == {"here": "csv", "there": "image_folder"}
    page = judged.page.read_text()
    assert "here (csv) and there (image_folder)" in page
    # A bundle is judged on several sets at once, each a group of its own.
    both = write_cohort(tmp_path / "new", 200, ["test"] * 8)
    second = {"there": made["data"]["sets"]["there"], "new": {k: v for k, v in read(both).items() if k != "cache"}}
    config = {"model": str(done.bundle), "out": str(tmp_path / "out2"), "data": {"sets": second}}
    found = evaluate(
        EvaluationRun.model_validate({**config, "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 0}}),
        page=False,
    ).found["zero_shot"]
    assert found.find("auroc", "effusion").counts.n == 16
    assert {row.group for row in found.metrics} >= {"set=there", "set=new"}


def test_old_cases_are_replayed_by_a_share_of_every_epoch(tmp_path: Path) -> None:
    made = sets(tmp_path)
    made["there"]["part"] = "train"
    manifest = opened(made).split_of("train")
    given = {"manifest": manifest, "seed": 0}
    spec = {"name": "balanced", "column": "set", "weights": {"here": 3, "there": 1}}
    sampler = build("data/samplers", spec, where="x", given=given)
    drawn = manifest.column("set")[sampler.indices(0, 2 * len(manifest))].tolist()
    assert drawn.count("here") == 3 * drawn.count("there") == 36


def test_a_patient_of_both_sets_is_a_leak_unless_their_numbers_have_nothing_to_do_with_each_other(
    tmp_path: Path,
) -> None:
    made = sets(tmp_path)
    made["there"]["layout"]["patient"] = r"wh(o\d+)_"
    named = {f"p{number}": f"o{number}" for number in range(20)}
    table = tmp_path / "here" / "films.csv"
    text = table.read_text()
    for old, new in reversed(named.items()):
        text = text.replace(f",{old},", f",{new},")
    table.write_text(text)
    with pytest.raises(DataError, match=r"leaks \(8 by patient\).* or give each of data\.sets a namespace where their"):
        opened(made)
    made["there"]["namespace"] = "there"
    assert opened(made).meta["leaks"]["found"] == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sets": {}}, "data: give root, the folder of the data set, or several data sets under sets."),
        (
            {"root": "/x"},
            "data: root is said of one data set, and there are several: put it into each of sets, and take back what "
            "a base says: root: '', layout: null.",
        ),
        (
            {"split": "patient"},
            "data: split is said of one data set, and there are several: put it into each of sets, and take back what "
            "a base says: root: '', layout: null.",
        ),
        (
            {"sets": {"a": {"root": "/x", "quarantine": 0.5}}},
            "data: sets.a: quarantine is said once for all: take it out of the set.",
        ),
        (
            {"sets": {"a b": {"root": "/x"}}},
            "data: sets.a b: a set's name has letters, digits, '.', '-', '_': rename it.",
        ),
        (
            {"sets": {"a": {"root": "/x", "part": "test", "split": "patient"}}},
            "data: sets.a: part says where all records stand: leave split out.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(change: dict[str, Any], told: str) -> None:
    data = {"sets": {"a": {"root": "/x", "layout": "openi"}}, **change}
    towers = {"vision": {"name": "timm", "architecture": "resnet18"}, "text": {"name": "transformer"}}
    model = {"name": "dual", **towers}
    plain = {"run": "r", "data": data, "model": model, "phases": [{"until": 1, "objectives": [{"name": "clip"}]}]}
    with pytest.raises(ConfigError) as refused:
        check_config(plain, source="test")
    assert str(refused.value) == f"test: {told}"


def test_the_manuals_two_sets_stand_on_a_base_of_one_that_is_taken_back(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "configure.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(data:\n  sets:\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert '`root: ""`, `layout: null`' in page
    own = yaml.safe_load(block)["data"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"base": "pretrain/csv.yaml", "data": own}))
    with pytest.raises(ConfigError, match="take back what a base says: root: '', layout: null"):
        load_config(tmp_path / "c.yaml")
    data = load_config(tmp_path / "c.yaml", ['data.root=""', "data.layout=null"]).data
    assert (data.root, data.layout, list(data.sets)) == ("", None, ["here", "there"])


def test_a_run_of_one_data_set_has_the_recipe_that_it_had_before_there_were_sets(tmp_path: Path) -> None:
    config: RunConfig = check_config(tree(tmp_path / "run", tmp_path), source="test")
    plain = full_tree(config)
    data: Any = plain["data"]
    assert (data["sets"], data["part"], data["namespace"], data["hashes"]) == ({}, None, None, True)
    for change in ({"hashes": False}, {"cache": None}):
        other = config.model_copy(update={"data": config.data.model_copy(update=change)})
        assert recipe_of(other) == recipe_of(config)
    for change in ({"part": "train"}, {"namespace": "x"}):
        other = config.model_copy(update={"data": config.data.model_copy(update=change)})
        assert recipe_of(other) != recipe_of(config)
