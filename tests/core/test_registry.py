from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from math import inf
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
import yaml

from medvlp.core import registry
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Objective, Score
from medvlp.core.registry import FromModel, build, component, fill, json_schema, schema
from tests.plugins import installed


class Part:
    """A component with one option of each sort."""

    def __init__(
        self,
        *,
        width: Annotated[int, FromModel("width")],
        rate: float,
        mode: Literal["fast", "slow"] = "fast",
        names: tuple[str, ...] = (),
    ) -> None:
        self.width, self.rate, self.mode, self.names = width, rate, mode, names


class Loose:
    """A component that hides its options."""

    def __init__(self, **options: object) -> None:
        self.options = options


class Bare:
    """A component without options."""


class BareModule(torch.nn.Module):
    """The same, of a base whose constructor takes anything."""


class Unchecked:
    """A component with an option of no type: YAML's ``1e-3`` would come as a word."""

    def __init__(self, *, rate=1.0):
        self.rate = rate


class Mode(Enum):
    FAST = "quick"


class Plain:
    """A component whose options are of types that YAML has not, and a number that JSON has not."""

    def __init__(
        self,
        *,
        file: Path = Path("a/b.txt"),
        mode: Mode = Mode.FAST,
        names: frozenset[str] = frozenset({"a"}),
        size: tuple[int, ...] = (1, 2),
        inside: Mapping[str, object] = {"most": inf},
    ) -> None:
        self.said = file, mode, names, size, inside


class WrongDefault:
    """A component with an option whose default is not what its annotation says."""

    def __init__(self, *, size: int = None) -> None:  # noqa: RUF013
        self.size = size


class Elsewhere:
    """A component with an option of a type that its module has not."""

    def __init__(self, *, size: Size = 1) -> None:  # noqa: F821
        self.size = size


ONES = torch.ones(2)


class Tensors:
    """A component with an option that no file can hold."""

    def __init__(self, *, start: torch.Tensor = ONES) -> None:
        self.start = start


class Forgetful(Objective):
    """An objective that is not written to its end."""


class ForgetfulScore(Score):
    """Neither is this score."""


class Called:
    """A component with an option that is called as the key which names it."""

    def __init__(self, *, name: str = "x") -> None:
        self.said = name


@pytest.fixture(autouse=True)
def other_package() -> Iterator[None]:
    """Another package's entry points, beside the files of medvlp/objectives."""
    names = {"part": "Part", "loose": "Loose", "bare": "Bare", "bare_module": "BareModule"}
    with installed(**{name: f"objectives {__name__}:{c}" for name, c in names.items()}):
        yield


def test_a_components_name_is_its_file_and_private_files_are_none():
    names = registry.available("objectives")
    assert {"clip", "siglip", "caption", "distill", "part"} <= set(names)
    assert not any(name.startswith("_") for name in names)
    assert list(names) == sorted(names)
    assert component("objectives", "clip").__name__ == "Clip"


def test_other_packages_components_are_built_like_our_own():
    part = build("objectives", {"name": "part", "rate": 0.5}, where="x", given={"width": 7})
    assert (part.width, part.rate, part.mode, part.names) == (7, 0.5, "fast", ())


def test_what_a_package_brought_is_refused_without_it_and_the_refusal_says_where_it_may_be():
    with installed(elsewhere=f"objectives {__name__}:Part"):
        assert component("objectives", "elsewhere") is Part
    with pytest.raises(ConfigError, match=r"named 'elsewhere': .* lists all, those of another package once it is inst"):
        component("objectives", "elsewhere")


def test_every_default_is_written_out_and_given_values_are_no_options():
    assert fill("objectives", {"name": "part", "rate": 1}, where="x") == {
        "name": "part",
        "rate": 1.0,
        "mode": "fast",
        "names": [],
    }
    assert "width" not in schema("objectives", "part").model_fields


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"rate": 1}, r"phases.0 needs a name: .*; `medvlp components objectives` lists all\.$"),
        ({"name": "prat"}, r"^phases.0: There is no objectives component named 'prat': did you mean 'part'\?"),
        ({"name": "../clip"}, "no objectives component named"),
        ({"name": "_contrast"}, "no objectives component named"),
        ({"name": "part"}, "phases.0.rate is missing"),
        ({"name": "part", "rate": "much"}, "phases.0.rate is 'much': input should be a valid number"),
        ({"name": "part", "rate": 1, "mode": "fats"}, "phases.0.mode is 'fats': input should be 'fast' or 'slow'"),
        ({"name": "part", "rate": 1, "moed": "x"}, r"phases.0.moed is not a known key: did you mean 'mode'\?"),
        ({"name": "part", "rate": 1, "width": 3}, "phases.0.width is not a known key"),
    ],
)
def test_faulty_specs_are_refused_with_path_and_nearest_name(spec, sentence):
    with pytest.raises(ConfigError, match=sentence):
        fill("objectives", spec, where="phases.0")


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        fill("objectives", {"name": "part", "mode": "x", "colour": 1}, where="p")
    assert all(path in str(caught.value) for path in ("p.mode", "p.colour", "p.rate"))


def test_what_the_model_lacks_is_named():
    with pytest.raises(ConfigError, match="p: 'part' needs 'width' from the model, which has none"):
        build("objectives", {"name": "part", "rate": 1}, where="p")


def test_options_that_are_passed_through_are_refused():
    with pytest.raises(ConfigError, match=r"Component Loose passes .*options: .* through: name every option"):
        schema("objectives", "loose")


def test_an_option_without_a_type_is_refused():
    with (
        installed(unchecked=f"objectives {__name__}:Unchecked"),
        pytest.raises(ConfigError, match=r"Component Unchecked has no annotation for rate=1.0: write one\."),
    ):
        schema("objectives", "unchecked")


def test_options_are_written_as_plain_data_and_made_again_of_it():
    with installed(plain=f"models/heads {__name__}:Plain"):
        filled = fill("models/heads", {"name": "plain"}, where="h")
        assert yaml.safe_load(yaml.safe_dump(filled)) == json.loads(json.dumps(filled)) == filled
        assert build("models/heads", filled, where="h").said == build("models/heads", {"name": "plain"}, where="h").said
        assert build("models/heads", filled, where="h").said == (
            *(Path("a/b.txt"), Mode.FAST, frozenset({"a"}), (1, 2)),
            {"most": inf},
        )


def test_an_option_that_a_specification_could_never_give_is_refused():
    with (
        installed(called=f"objectives {__name__}:Called"),
        pytest.raises(ConfigError, match=r"p: 'called' has an option `name` of its own: call it otherwise"),
    ):
        build("objectives", {"name": "called"}, where="p")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("WrongDefault", r"p\.size is None: input should be a valid integer\."),
        (
            "Elsewhere",
            rf"Component Elsewhere: name 'Size' is not defined in {__name__}: import it there, and not under",
        ),
        ("Tensors", r"p: no file holds an option of 'faulty' \(.*Tensor.*\): give it a plain type\."),
    ],
)
def test_an_option_that_no_configuration_can_hold_is_refused_when_it_is_built(kind, sentence):
    with installed(faulty=f"objectives {__name__}:{kind}"), pytest.raises(ConfigError, match=sentence):
        build("objectives", {"name": "faulty"}, where="p")


def test_a_class_without_what_its_kind_must_have_is_refused_before_anything_is_read():
    with installed(
        forgetful=f"objectives {__name__}:Forgetful", forgetful_score=f"models/scores {__name__}:ForgetfulScore"
    ):
        with pytest.raises(ConfigError, match=r"p: Forgetful lacks forward, needs: add it\."):
            build("objectives", {"name": "forgetful"}, where="p")
        with pytest.raises(ConfigError, match=r"h: ForgetfulScore lacks forward: add it\."):
            build("models/scores", {"name": "forgetful_score"}, where="h")


@pytest.mark.parametrize("name", ["bare", "bare_module"])
def test_a_class_without_constructor_has_no_options(name):
    build("objectives", {"name": name}, where="x")
    with pytest.raises(ConfigError, match=r"x.rate is not a known key"):
        fill("objectives", {"name": name, "rate": 1}, where="x")


def test_two_components_of_one_name_are_refused_whoever_brings_them():
    with (
        installed(clip=f"objectives {__name__}:Part"),
        pytest.raises(
            ConfigError, match=r"There are 2 objectives components named 'clip' \(.*:Part, medvlp\.objectives\.clip\)"
        ),
    ):
        component("objectives", "clip")
    with (
        installed(bare=f"objectives {__name__}:Part"),
        pytest.raises(ConfigError, match=r"There are 2 objectives components named 'bare' \(.*\): rename all but one"),
    ):
        component("objectives", "bare")


@pytest.mark.parametrize("place", ["no_such_package.loss:Loss", f"{__name__}:NoSuchClass"])
def test_a_component_that_cannot_be_imported_is_one_sentence(place):
    with (
        installed(torn=f"objectives {place}"),
        pytest.raises(ConfigError, match=rf"objectives component 'torn' of another package, {place}, cannot be impo"),
    ):
        component("objectives", "torn")


def test_a_class_is_called_what_a_configuration_calls_it():
    assert registry.name_of("objectives", Part) == "part"
    assert registry.name_of("objectives", component("objectives", "clip")) == "clip"
    assert registry.name_of("objectives", dict) == "builtins.dict"


def test_folders_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="There is no component folder 'objektives' in medvlp"):
        registry.available("objektives")


def test_json_schema_accepts_a_good_spec_and_refuses_a_bad_one(monkeypatch):
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.setattr(registry, "available", lambda folder: ("distill", "part"))
    whole = json_schema("objectives")
    jsonschema.validate({"name": "part", "rate": 1}, whole)
    jsonschema.validate({"name": "distill", "teacher": "t", "bank": "b"}, whole)
    for bad in ({"name": "part"}, {"name": "part", "rate": 1, "x": 2}, {"name": "none"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, whole)
