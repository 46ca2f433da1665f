"""The small words: suggestions, lazy names, triplets, provenance, error classes."""

from __future__ import annotations

import importlib
import json
import platform
from pathlib import Path
from types import ModuleType

import pytest

import medvlp.core
from medvlp.core import provenance
from medvlp.core.errors import ConfigError, DataError, UserError, did_you_mean
from medvlp.core.lazy import attach
from medvlp.core.triplet import Triplet


def test_the_nearest_name_is_suggested_only_when_it_is_near():
    assert did_you_mean("cilp", ["siglip", "clip"]) == "did you mean 'clip'? (allowed: clip, siglip)"
    assert did_you_mean("CLIP", ["plip", "clip", "Image"]).startswith("did you mean 'clip'? ")
    assert did_you_mean("image", ["Impression", "Image"]).startswith("did you mean 'Image'? ")
    assert did_you_mean("zzz", ["clip"]) == "allowed is clip"
    assert did_you_mean("zzz", ["clip", "plip"]) == "allowed are clip, plip"
    assert did_you_mean("clip", []) == "there is none"


def test_a_beginning_is_meant_before_a_likeness_and_of_many_names_the_nearest_are_told() -> None:
    assert did_you_mean("nih", ["openi", "nih_chestxray14"]).startswith("did you mean 'nih_chestxray14'? ")
    many = [f"pretrain/{number:02d}.yaml" for number in range(50)]
    told = did_you_mean("pretrain/7.yaml", many)
    assert told.endswith(" and 45 more)")
    assert "pretrain/07.yaml" in told
    assert told.count(".yaml") == 6


def test_every_public_name_of_core_is_there():
    for name in medvlp.core.__all__:
        assert getattr(medvlp.core, name) is not None
    assert dir(medvlp.core) == sorted(medvlp.core.__all__)


def test_a_name_that_a_package_lacks_is_an_attribute_error():
    get, _, _ = attach("medvlp.core", {"Triplet": "triplet"})
    with pytest.raises(AttributeError, match=r"module 'medvlp.core' has no attribute 'Tripel'"):
        get("Tripel")


def test_every_user_error_ends_the_program_with_2():
    assert issubclass(ConfigError, UserError)
    assert issubclass(DataError, UserError)
    assert UserError.exit_code == ConfigError.exit_code == DataError.exit_code == 2


@pytest.mark.parametrize(("name", "value"), [("side", "Left"), ("presence", "maybe")])
def test_a_triplet_takes_the_words_of_the_project_only(name, value):
    good = {"anatomy": "", "side": "left", "observation": "effusion", "presence": "present", "severity": ""}
    with pytest.raises(DataError, match=f"Triplet.{name} is '{value}', allowed are"):
        Triplet(**{**good, name: value}, sentence="")


def test_a_hash_depends_on_the_value_and_not_on_the_order_of_keys():
    assert provenance.hash_of({"a": 1, "b": [1, 2]}) == provenance.hash_of({"b": [1, 2], "a": 1})
    assert provenance.hash_of({"b": [2, 1]}) != provenance.hash_of({"b": [1, 2]})
    assert provenance.hash_of({"a": 1}) == "015abd7f5cc57a2d"  # sha256 of {"a":1}


def test_the_environment_names_no_machine_and_no_folder():
    told = provenance.environment()
    text = json.dumps(told)
    assert platform.node() not in text
    assert "/" not in text
    assert told["packages"]["torch"]
    assert len(told["code"]) == 16


def test_no_public_name_hides_behind_a_submodule_of_the_same_name():
    """Importing ``package.name`` sets the package's attribute to the module, whatever __getattr__ would give."""
    clashes = []
    for path in sorted(Path(medvlp.__file__).parent.rglob("__init__.py")):
        package = ".".join(path.parent.relative_to(Path(medvlp.__file__).parents[1]).parts)
        module = importlib.import_module(package)
        names = [name for name in getattr(module, "__all__", ()) if not isinstance(getattr(module, name), ModuleType)]
        files = {p.stem for p in path.parent.glob("*.py")} | {p.name for p in path.parent.iterdir() if p.is_dir()}
        clashes += [f"{path.parent.name}: {name}" for name in names if name in files]
    assert clashes == []
