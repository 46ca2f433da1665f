"""The schema that editors use says of the shipped configurations what the reader says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from medvlp.config.schema import config_schema
from medvlp.core.registry import json_schema
from medvlp.core.resources import resource_folder
from tests.plugins import installed

jsonschema = pytest.importorskip("jsonschema")
FILES = sorted(
    path for folder in ("pretrain", "finetune") for path in (resource_folder("configs") / folder).glob("*.yaml")
)


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_a_package_that_cannot_be_imported_takes_nothing_from_the_others(tmp_path, monkeypatch) -> None:
    (tmp_path / "zero_division.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = json_schema("objectives")
    with installed(gone="objectives no_such_package:Loss", zero="objectives zero_division:Loss"):
        found = json_schema("objectives")
    told = [each for each in found["oneOf"] if each not in own["oneOf"]]
    assert [each["properties"]["name"]["const"] for each in told] == ["gone", "zero"]
    assert all(each["description"].startswith("Cannot be used: ") for each in told)
    assert [each for each in found["oneOf"] if each not in told] == own["oneOf"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(validator, path) -> None:
    assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"sed": 1},
        {"seed": -1},
        {"training": {"bach": 3}},
        {"training": {"track": [{"name": "wandbb"}]}},
        {"training": {"track": [{"name": "mlflow", "offline": True}]}},
        {"optimiser": {"name": "adamx"}},
        {"phases": [{"until": 5, "optimiser": {"schedule": "cosin"}}]},
        {"model": {"name": "duel"}},
        {"model": {"name": "dual", "vision": {"name": "timm", "architecure": "resnet18"}}},
        {"phases": [{"until": 5, "objectives": [{"name": "clip", "positive": "own"}]}]},
        {"phases": [{"until": 5, "objectives": [{"weight": 2}]}]},
        {"data": {"suffix": [{"name": "flip"}]}},
        {"data": {"split": {"train": 1.5}}},
        {"data": {"split": {"train": 0.8, "tset": 0.2}}},
        {"data": {"split": {"name": "kfold", "flod": 1}}},
        {"data": {"subset": {"share": 0}}},
    ],
)
def test_what_the_reader_refuses_is_marked(validator, wrong) -> None:
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize(
    "split",
    ["official", {"train": 0.8, "test": 0.2}, {"name": "kfold", "fold": 1}, {"name": "gloria", "card": "siim"}, None],
)
def test_every_form_of_a_split_is_valid(validator, split) -> None:
    assert validator.is_valid({"data": {"split": split}})


def test_a_part_without_a_name_goes_on_with_its_base(validator) -> None:
    assert validator.is_valid({"base": "phantom_clip.yaml", "model": {"embed_dim": 64, "vision": {"image_size": 64}}})
