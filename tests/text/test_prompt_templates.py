"""Templates are filled in every combination; a label of normality is never denied by one."""

from __future__ import annotations

import pytest

from medvlp.core.errors import ConfigError
from medvlp.text.prompt_templates import OwnTexts, expand_templates

TEMPLATES = {
    "positive": ["{Finding}.", "{size} {finding} {place}"],
    "negative": ["no {finding}"],
    "uncertain": ["possible {finding}"],
    "sided": ["{side} {finding}"],
}


def test_every_combination_is_one_prompt_and_an_empty_word_leaves_no_space() -> None:
    made = expand_templates(
        "v1",
        TEMPLATES,
        {"mass": ["mass", "tumor"]},
        {"mass": {"size": ["small", "large"], "place": ["", "at the apex"]}},
    )[0]
    sized = [f"{s} {f}{p}" for s in ("small", "large") for f in ("mass", "tumor") for p in ("", " at the apex")]
    assert made.positive == ("Mass.", "Tumor.", *sized)
    assert made.negative == ("no mass", "no tumor")
    assert made.uncertain == ("possible mass", "possible tumor")
    assert made.on("left") == ("left mass", "left tumor")
    assert (made.name, made.label) == ("v1", "mass")


def test_own_texts_are_taken_as_they_are() -> None:
    made = expand_templates("v1", TEMPLATES, {"no_finding": OwnTexts(("Normal.",), ("Abnormal.",), ("Unclear.",))})[0]
    assert (made.positive, made.negative, made.uncertain) == (("Normal.",), ("Abnormal.",), ("Unclear.",))


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("no_finding", ["healthy chest"]),
        ("normal", ["no finding"]),
        ("clear", ["Normal heart"]),
        ("healthy", ["healthy chest", "clear lungs"]),
    ],
)
def test_a_denial_is_not_denied_by_a_template(label: str, names: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"deny '{label}' by a template, .* give it positive and negative texts"):
        expand_templates("v1", TEMPLATES, {label: names})


def test_a_name_that_begins_like_a_denial_is_none_and_a_capital_leaves_abbreviations_as_they_are() -> None:
    made = expand_templates("v1", {"positive": ["{Finding}."], "negative": ["no {finding}"]}, {"a": ["nodule in RUL"]})
    assert (made[0].positive, made[0].negative) == (("Nodule in RUL.",), ("no nodule in RUL",))


def test_slots_without_words_and_missing_templates_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'mass' has no words for \{size\}: add them under slots"):
        expand_templates("v1", TEMPLATES, {"mass": ["mass"]})
    with pytest.raises(ConfigError, match="have no negative template for 'mass'"):
        expand_templates("v1", {"positive": ["{finding}"]}, {"mass": ["mass"]})
