"""`medvlp components`: lists, one component, JSON, and a word that is neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from medvlp.core.components import KINDS
from medvlp.core.registry import available

Cli = Callable[..., Any]


def test_the_list_names_every_component_under_its_kind(cli: Cli) -> None:
    out = cli("components").out
    headings = [line.partition(":")[0] for line in out.splitlines() if line and not line.startswith(" ")]
    assert headings == list(KINDS)
    names = [line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names == [name for kind in KINDS for name in available(kind)]
    told = json.loads(cli("components", "--json").out)
    assert [(entry["kind"], entry["name"]) for entry in told] == [(k, n) for k in KINDS for n in available(k)]


def test_one_component_tells_its_options_defaults_and_an_example(cli: Cli) -> None:
    out = cli("components", "clip").out
    for words in (
        "objectives/clip: CLIP (Radford et al. 2021)",
        "Named in: phases[].objectives",
        "  label_smoothing: float, at least 0, below 1 (default 0.0)",
        "  reading: 'shared' | 'any' | 'each' (default 'shared')",
        "  objectives: [{name: clip, exclude: true_of}]",
    ):
        assert words in out
    (told,) = json.loads(cli("components", "objectives/clip", "--json").out)
    assert told["entry"]["paper"] == "Radford et al. 2021"
    assert {"name": "text", "type": "str", "default": "'text'", "about": "view of the texts"} in told["options"]


def test_a_name_of_two_kinds_tells_both(cli: Cli) -> None:
    out = cli("components", "transformers").out
    assert "models/encoders/transformers: " in out
    assert "models/text_vectors/transformers: " in out


def test_a_word_beside_the_list_of_methods_is_refused(cli: Cli) -> None:
    told = cli("components", "clip", "--methods").refused()
    assert told == "medvlp: --methods lists all methods, and clip is not looked up: leave one of them out."


def test_an_unknown_word_is_one_sentence(cli: Cli) -> None:
    said = cli("components", "objectivs").refused()
    assert said.startswith("medvlp: There is no kind or component named 'objectivs': did you mean 'objectives'? ")
    assert said.endswith(" more); `medvlp components` lists all.")
