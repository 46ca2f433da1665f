from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.config.yaml import load_tree, merge, override
from medvlp.core.errors import ConfigError


def test_a_base_lies_under_and_overrides_lie_over(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("a: {x: 1, y: 2}\nb: [1, 2]\n")
    (tmp_path / "child.yaml").write_text("base: base.yaml\na: {y: 3}\nb: [9]\n")
    assert load_tree(tmp_path / "child.yaml", ["a.x=5", "b.0=7"]) == {"a": {"x": 5, "y": 3}, "b": [7]}
    (tmp_path / "child.yaml").write_text("base: base.yaml\na: {}\n")  # in a file as in an override
    assert load_tree(tmp_path / "child.yaml") == load_tree(tmp_path / "base.yaml", ["a={}"]) == {"a": {}, "b": [1, 2]}


def test_an_anchor_is_merged_into_a_mapping_and_what_is_written_out_goes_over_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &x {k: 1, j: 2}\nb:\n  <<: *x\n  j: 3\n")
    assert load_tree(tmp_path / "a.yaml") == {"a": {"k": 1, "j": 2}, "b": {"k": 1, "j": 3}}


def test_a_component_of_another_name_replaces_the_whole_one_below() -> None:
    assert merge({"m": {"name": "a", "k": 1}}, {"m": {"name": "b"}}) == {"m": {"name": "b"}}
    assert merge({"m": {"name": "a", "k": 1}}, {"m": {"name": "a", "j": 2}}) == {"m": {"name": "a", "k": 1, "j": 2}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1e-3", 0.001), ("a=true", True), ("a=[1, 2]", [1, 2]), ("a=null", None), ("a=x", "x"), ("a={b: 1}", {"b": 1})],
)
def test_override_values_are_yaml(text: str, value: object) -> None:
    assert override({}, text) == {"a": value}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("columns.image={folder}/{filename}", {"image": "{folder}/{filename}"}),
        ('columns.image="{folder}/{filename}"', {"image": "{folder}/{filename}"}),
        ("columns.image={file}", {"image": "{file}"}),
        ("columns.label.covid19=x", {"label.covid19": "x"}),
        ("columns.age=1", {"age": "1"}),
        ("columns.sex=no", {"sex": "no"}),
        ("columns.text=null", {"text": None}),
        ("columns={image: f, label.effusion: e}", {"image": "f", "label.effusion": "e"}),
    ],
)
def test_names_of_columns_are_text_under_keys_with_dots(text: str, columns: dict[str, str | None]) -> None:
    assert override({}, text) == {"columns": columns}
    inside = override({"data": {"layout": {"name": "csv", "columns": {"id": "who"}}}}, f"data.layout.{text}")
    kept = {} if text.startswith("columns=") else {"id": "who"}
    assert inside == {"data": {"layout": {"name": "csv", "columns": {**kept, **columns}}}}


def test_a_value_that_is_no_yaml_is_text_unless_it_is_half_a_list() -> None:
    assert override({}, "where=a: b: c") == {"where": "a: b: c"}
    assert override({"m": {"columns": ["sex"]}}, "m.columns.0=age") == {"m": {"columns": ["age"]}}
    for value in ("[1", "{a: 1", "'a", "!!python/object/apply:os.system ['true']"):
        with pytest.raises(ConfigError, match="the value is not YAML"):
            override({}, f"a={value}")
    assert override({}, "a={{b}: 1}") == {"a": "{{b}: 1}"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: 1\na: 2\n", "key 'a' is given twice"),
        ("a: [1\n", "is not YAML"),
        ("# Größe\na: 1\n", "is not UTF-8 .*: save it in that encoding"),
        ("a: {{b}: 1}\n", "is not YAML: {'b': None} is no key"),
        ("- 1\n", "holds no mapping at its top"),
        ("a: !!python/object/apply:os.system ['true']\n", "is not YAML: could not determine a constructor"),
    ],
)
def test_what_is_not_plain_data_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "c.yaml").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=sentence):
        load_tree(tmp_path / "c.yaml")


def test_a_circle_of_bases_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ConfigError, match=r"is its own base, by way of a\.yaml -> b\.yaml"):
        load_tree(tmp_path / "a.yaml")
    with pytest.raises(
        ConfigError,
        match=r"'pretrain/phantom_clp\.yaml' is neither .* did you mean 'pretrain/phantom_clip.*; .*configs has all\.$",
    ):
        load_tree("pretrain/phantom_clp.yaml")


def test_an_override_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="the list has 1 items, numbered from 0; '3' is not one"):
        override({"phases": [{}]}, "phases.3.until=1")
    with pytest.raises(ConfigError, match=r"not of the form key\.path=value"):
        override({}, "phases")


def test_a_key_that_yaml_reads_as_a_truth_value_is_its_text(tmp_path: Path) -> None:
    path = tmp_path / "patch.yaml"
    path.write_text("patches: [{name: lora, on: 'linear[*]', yes: no}]")
    assert load_tree(path) == {"patches": [{"name": "lora", "on": "linear[*]", "yes": False}]}
