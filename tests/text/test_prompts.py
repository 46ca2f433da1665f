from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError
from medvlp.core.resources import resource
from medvlp.phantom.facts import FINDINGS
from medvlp.text.prompts import PromptSet, load_prompts


def test_the_default_set_covers_every_finding_with_ensembles_and_sides() -> None:
    sets = load_prompts(resource("configs", "zero_shot/cxr_findings_v1.yaml"))
    assert [each.label for each in sets] == list(FINDINGS)
    assert all(len(each.positive) >= 4 and len(each.negative) >= 4 for each in sets)
    without_side = {each.label for each in sets if not each.sided}
    assert without_side == {"cardiomegaly", "edema", "emphysema", "endotracheal_tube"}


def test_sided_prompts_name_the_side() -> None:
    prompts = PromptSet("v1", "effusion", ("a",), ("b",), ("{side} effusion", "Effusion on the {side}."))
    assert prompts.on("left") == ("left effusion", "Effusion on the left.")
    with pytest.raises(ConfigError, match=r"prompts v1 for 'edema' have no sided templates: add sided: with \{side\}"):
        PromptSet("v1", "edema", ("a",), ("b",)).on("left")


def test_a_positive_prompt_with_a_side_stands_for_both(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text('name: v1\nsets: [{label: a, positive: [x, "{side} x", y], negative: [z]}]')
    assert load_prompts(path)[0].positive == ("x", "left x", "right x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: v1\nsets: [", r"cannot be read as YAML \(.* line \d+, .*\): check the path and mend the syntax"),
        ("name: v1", r"must have just the keys name and sets"),
        ("name: v1\nsets: []", r"has no sets: add one for each label"),
        ("name: v1\nsets: [{label: a, positive: [x]}]", r"has label, positive, but needs label, positive and negative"),
        ("name: v1\nsets: [{label: a, positive: [x], negative: [no], odd: 1}]", r"has label, positive, negative, odd"),
        (
            "name: v1\nsets: [{label: a, positive: [x], negative: [no]}]",
            r"negative of a must be a list of texts.*quote",
        ),
        ("name: v1\nsets: [{label: a, positive: [], negative: [y]}]", r"positive of a must be a list of texts"),
        ("name: v1\nsets: [{label: a, positive: [x], negative: [x]}]", r"a has 'x' as positive and negative: keep one"),
        (
            "name: v1\nsets: [{label: a, positive: ['{side} x'], negative: [left x]}]",
            r"a has 'left x' as positive and negative",
        ),
        (
            "name: v1\nsets: [{label: a, positive: [x], negative: [z], sided: [left a]}]",
            r"'left a' of a needs \{side\}",
        ),
        (
            "name: v1\nsets: [{label: a, positive: [x], negative: [z], sided: ['{side} {lobe} a']}]",
            r"'\{side\} \{lobe\} a' of a needs \{side\} once",
        ),
        ("name: v1\nsets: [{label: a, positive: [x], negative: [z, ' ']}]", r"negative of a must be a list of texts"),
        (
            "name: v1\nsets: [{label: a, positive: ['{place} a'], negative: [z]}]",
            r"positive prompt '\{place\} a' of a may hold \{side\} once",
        ),
        (
            "name: v1\nsets: [{label: a, positive: [x], negative: [z]}, {label: a, positive: [x], negative: [z]}]",
            r"has a twice: keep one set each",
        ),
    ],
)
def test_mistakes_in_a_prompt_file_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_prompts(path)


def test_a_missing_prompt_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read as YAML \(No such file .*\): check the path"):
        load_prompts(tmp_path / "none.yaml")
