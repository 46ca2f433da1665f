"""An option of a configuration that another one makes idle is refused, not passed over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from medvlp.config.recipe import full_tree, recipe_of
from medvlp.config.tree import DataConfig, SubsetConfig, TokenizerConfig, check_config, checked
from medvlp.config.yaml import load_tree
from medvlp.core.errors import ConfigError
from medvlp.runs.data import open_manifest
from medvlp.runs.evaluate import EvaluationRun, load_evaluation
from medvlp.runs.train import dry_run
from medvlp.training.options import OTHER_NAMES
from tests.tiny import tiny_tree


def test_a_key_of_another_trainer_is_answered_by_the_one_that_a_tree_has() -> None:
    plain = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    whole = full_tree(check_config(plain, source=""))
    assert {"epochs", "lr", "batch_size", "optimizer"} <= OTHER_NAMES.keys()
    for key, here in OTHER_NAMES.items():
        said = f"training.{key} is not a known key: here it is {here}."
        with pytest.raises(ConfigError, match=re.escape(said)):
            check_config({**plain, "training": {**plain["training"], key: 1}}, source="")
        place: Any = whole
        for step in re.findall(r"\w+", here.partition(",")[0]):
            place = place[int(step) if step.isdigit() else step]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"columns": {"image": "file"}}, r"data\.columns is short for the layout csv, and there is a layout"),
        ({"table": "t.csv"}, r"data\.table goes with data\.columns, which say what is in it"),
        ({"group": {"keep": "stack", "prefer": ["B30f"]}}, "choose one of several rows, and keep is stack"),
        ({"group": {"keep": "pair", "column": "reconstruction"}}, "prefer and column choose one of several"),
        ({"group": {"keep": "prior", "by": "id.site"}}, "an earlier picture is one of the same patient"),
        (
            {"part": "test", "split": "patient"},
            r"data\.part says in which part all records stand: leave data\.split out",
        ),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_what_nothing_would_read_is_refused(options: dict[str, Any], sentence: str, several: bool) -> None:
    tree = {"root": "nowhere", "layout": "image_folder", **options}
    if several and "part" in options:
        with pytest.raises(ConfigError, match="part says where all records stand: leave split out"):
            checked(DataConfig, {"sets": {"here": tree}}, source="")
        return
    with pytest.raises(ConfigError, match=sentence):
        open_manifest(checked(DataConfig, {"sets": {"here": tree}} if several else tree, source=""))


def test_a_split_that_a_base_has_is_left_out_by_null() -> None:
    data = load_evaluation("evaluate/run.yaml", ["data.part=test", "data.split=null"]).data
    assert (data.part, data.split) == ("test", DataConfig(root="data/csv").split)


def test_labels_of_a_share_are_refused() -> None:
    with pytest.raises(ConfigError, match="labels are the classes of per_class"):
        checked(SubsetConfig, {"share": 0.1, "labels": ["effusion"]}, source="")


def test_a_path_that_begins_with_a_tilde_lies_below_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    words = ["model=~/bundle", "out=~/out", "data.manifest=~/m.parquet", "data.cache=~/cache"]
    words.append("evaluation.measures.grounding={maps: ['~/a', {name: '~/b'}, '1 ~/c']}")
    tree = checked(EvaluationRun, load_tree("evaluate/run.yaml", words), source="").model_dump()
    assert (tree["model"], tree["out"]) == ("/home/ada/bundle", "/home/ada/out")
    assert (tree["data"]["manifest"], tree["data"]["cache"]) == ("/home/ada/m.parquet", "/home/ada/cache")
    assert tree["evaluation"]["measures"]["grounding"]["maps"] == ["/home/ada/a", {"name": "/home/ada/b"}, "1 ~/c"]
    run = tiny_tree(Path("~/run"), Path("~/hospital"), Path("~/cache")) | {"init_from": "~/bundle"}
    config = check_config(run, source="")
    assert (config.run, config.data.cache, config.init_from) == ("/home/ada/run", "/home/ada/cache", "/home/ada/bundle")


def test_texts_longer_than_any_model_reads_are_refused_before_their_positions_fill_the_memory() -> None:
    with pytest.raises(ConfigError, match=r"max_length is 100000000: input should be less than or equal to 131072\.$"):
        checked(TokenizerConfig, {"max_length": 100000000}, source="")


def test_a_path_that_no_tokenizer_reads_is_refused() -> None:
    tree = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    tree["tokenizer"] = {"path": "words"}
    with pytest.raises(ConfigError, match="is read by name: transformers, and the name is clinical_wordpiece"):
        dry_run(check_config(tree, source=""))


def test_options_of_an_optimiser_are_filled_in_or_refused_with_their_place() -> None:
    phase = {"until": 5, "objectives": [{"name": "clip"}]}
    given = {"phases": [{**phase, "optimiser": {"name": "muon", "options": {"momentum": 0.9}}}]}
    trees = [tiny_tree(Path("run"), Path("hospital"), Path("cache")) | more for more in ({}, given)]
    plain, muon = (check_config(tree, source="") for tree in trees)
    filled: list[Any] = [full_tree(plain), full_tree(muon)]
    assert filled[0]["optimiser"]["options"] == {}
    assert filled[1]["phases"][0]["optimiser"]["options"] == {"momentum": 0.9}
    assert recipe_of(plain) != recipe_of(muon)
    wrong = [
        (
            {"name": "muon", "options": {"momentun": 2}},
            r"\.options\.momentun is not a known key: did you mean 'momentum'",
        ),
        ({"name": "muon", "options": {"momentum": 2}}, r"\.options\.momentum is 2: input should be less than 1"),
        ({"name": "mouon"}, r"\.name: .*did you mean 'muon'"),
        ({"name": "schedule_free"}, r": Optimiser 'schedule_free' takes the place of schedule 'cosine'"),
    ]
    for options, sentence in wrong:
        later = {"phases": [phase, {**phase, "until": 9, "optimiser": options}]}
        with pytest.raises(ConfigError, match=r"^phases\[1\]\.optimiser" + sentence):
            full_tree(check_config({**trees[0], **later}, source=""))


def test_faults_of_keys_and_of_components_are_told_at_once() -> None:
    plain = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    tree = plain | {"sead": 1, "training": {**plain["training"], "batch": "many"}}
    tree |= {
        "model": {
            **plain["model"],
            "vision": "tinm",
            "heads": {"image/a": {"name": "poler"}},
            "patches": [{"name": "lore"}],
        },
        "answers": {
            "zero_shot": {"prompt": "a.yaml"},
            "mine": {"name": "findigs"},
            "findings": {},
            "their_own": {"k": 1},
        },
        "states": {"near": {"name": "kmeanz"}},
    }
    tree |= {"data": {**plain["data"], "sampler": "unifrom", "split": {"trian": 0.5}}, "optimiser": {"name": "adamv"}}
    phase = {"objectives": [{"name": "clip", "positivs": "each", "weight": "heavy", "score": "dott"}, "clop"]}
    tree |= {"phases": [phase, {**phase, "until": 5, "optimiser": {"rate": -1}}]}
    tree |= {"evaluation": {"measures": {"retrieval": {"k": 1}, "zero_shot": None}}}
    sentences = ["model.heads.image/a: There is no models/heads component named 'poler': did you mean 'pooler'"]
    before = repr(tree)
    with pytest.raises(ConfigError) as caught:
        check_config(tree, source="a.yaml")
    sentences += ["sead is not a known key", "training.batch is 'many'", "data.split.trian is not a part"]
    sentences += ["model.vision: There is no models/encoders component named 'tinm': did you mean 'timm'"]
    sentences += ["states.near: There is no state", "data.sampler: There is no", "optimiser.name: There is no"]
    sentences += ["phases[0].until is missing", "phases[1].optimiser.rate is -1", "measures.retrieval.k is not a known"]
    for i in range(2):
        sentences += [f"phases[{i}].objectives[0].positivs is not a known key: did you mean 'positives'"]
        sentences += [f"phases[{i}].objectives[1]: There is no objectives component named 'clop'"]
        sentences += [f"phases[{i}].objectives[0].weight is 'heavy': give a finite number or a ramp"]
        sentences += [f"phases[{i}].objectives[0].score: There is no models/scores component named 'dott'"]
    sentences += [
        "model.patches[0]: There is no models/patches component named 'lore'",
        "answers.zero_shot.prompt is no",
    ]
    sentences += ["answers.mine: There is no answers component named 'findigs': did you mean 'findings'"]
    assert [each for each in sentences if str(caught.value).count(each) != 1] == []
    assert not re.search(r"answers\.(findings|their_own)", str(caught.value))  # an objective may give what they lack
    assert repr(tree) == before


def test_a_component_may_be_given_by_its_name_alone_wherever_one_stands() -> None:
    plain = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    plain["states"] = {"copy": {"name": "frozen"}}
    short = {**plain, "states": {"copy": "frozen"}, "phases": [{"until": 64, "objectives": ["clip"]}]}
    short["data"] = {**plain["data"], "suffix": ["sentences", "affine", "intensity"]}
    named = [
        check_config(tree | {"model": {**plain["model"], "text": text}}, source="")
        for tree, text in ((plain, {"name": "transformer"}), (short, "transformer"))
    ]
    assert full_tree(named[0]) == full_tree(named[1])
    with pytest.raises(ConfigError, match=r"^model\.vision is missing: give it a value\. model\.text is missing"):
        full_tree(check_config(plain | {"model": "dual"}, source=""))


def test_the_full_tree_has_the_weight_of_every_objective_and_that_of_1_is_the_recipe_without() -> None:
    tree = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    own = [
        {"until": 64, "objectives": [{"name": "clip", **weight}]} for weight in ({}, {"weight": 1.0}, {"weight": 2.0})
    ]
    configs = [check_config(tree | {"phases": [phase]}, source="") for phase in own]
    filled: list[Any] = [full_tree(config) for config in configs]
    assert [each["phases"][0]["objectives"][0]["weight"] for each in filled] == [1, 1, 2]
    assert recipe_of(configs[0]) == recipe_of(configs[1]) != recipe_of(configs[2])
    assert recipe_of(check_config(filled[0], source="")) == recipe_of(configs[0])


def test_a_text_tower_that_names_another_tokenizer_than_the_run_has_is_refused() -> None:
    tree = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    tree["model"] = {**tree["model"], "text": {**tree["model"]["text"], "tokenizer": "transformers"}}
    with pytest.raises(
        ConfigError, match=r"^model\.text\.tokenizer is 'transformers', and tokenizer\.name is 'clinical_wordpiece'"
    ):
        full_tree(check_config(tree, source=""))


@pytest.mark.parametrize("odd", [5, "clip", [5], {"a": 5}, {"a": {"optimiser": {"rate": -1}}}])
def test_whatever_stands_where_components_belong_is_a_sentence(odd: object) -> None:
    plain = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    for key in ("model", "data", "phases", "states", "banks", "optimiser", "evaluation", "training"):
        with pytest.raises(ConfigError, match=rf"\b{key}\b"):
            check_config({**plain, key: odd, "sead": 1}, source="")
