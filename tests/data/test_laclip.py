"""LaCLIP: a report and its rewrites, each as likely; negation, side and severity stay."""

from __future__ import annotations

from collections import Counter

import pytest

from medvlp.config.yaml import load_tree
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.core.sample import Sample
from medvlp.data.pipeline import added_fields, apply_views
from medvlp.data.views.rewrite import Rewrite
from medvlp.text.facts import facts_of
from medvlp.text.sections import report_text
from tests.text.reading import lost_in, phantom_reports

REPORT = "Small left pleural effusion. No pneumothorax."
SAME = (
    "There is a small left pleural effusion. There is no pneumothorax.",
    "No pneumothorax. Small left effusion.",
    "Left-sided pleural effusion, small. Pneumothorax is absent.",
    "A small effusion on the left. No evidence of pneumothorax.",
)
# A language model's slips: a "no" lost, a side turned, a degree changed, a finding dropped or made up, a number.
OTHER = (
    "Small left pleural effusion. Pneumothorax.",
    "Small right pleural effusion. No pneumothorax.",
    "Large left pleural effusion. No pneumothorax.",
    "Small left pleural effusion.",
    "Small left pleural effusion. No pneumothorax. Cardiomegaly.",
    "Small left pleural effusion of 3 cm. No pneumothorax.",
    "Effusion.",
)
STORED = ("text.a", "text.b", "text.c", "text.d")


def drawn(view: Rewrite, draws: int, **texts: object) -> Counter[str]:
    fields = {"text": REPORT, **{name.replace("_", "."): value for name, value in texts.items()}}
    made = [apply_views(Sample("a", fields), [view], draw=seed).fields["text"] for seed in range(draws)]
    return Counter(map(str, made))


def test_the_report_and_its_stored_rewrites_are_drawn_alike() -> None:
    view = Rewrite(probability=0.8, stored=STORED)
    counts = drawn(view, 1500, **dict(zip(("text_a", "text_b", "text_c", "text_d"), SAME, strict=True)))
    assert set(counts) == {REPORT, *SAME}
    for text in counts:  # 1 / (n + 1), within 4 standard errors
        assert abs(counts[text] / 1500 - 0.2) < 4 * (0.2 * 0.8 / 1500) ** 0.5, text
    together = drawn(Rewrite(probability=0.8, stored=("text.all",)), 300, text_all=SAME)
    assert set(together) == {REPORT, *SAME}  # or as rows of one field


@pytest.mark.parametrize("other", OTHER)
def test_a_stored_rewrite_that_says_something_else_is_never_drawn(other: str) -> None:
    view = Rewrite(probability=1.0, stored=("text.a", "text.b"))
    assert set(drawn(view, 20, text_a=other, text_b=SAME[1])) == {SAME[1]}
    assert set(drawn(view, 5, text_a=other)) == {REPORT}  # nor where it is the only one
    assert set(drawn(view, 5)) == {REPORT}


def test_written_to_another_field_it_is_a_second_reading_and_the_text_stays() -> None:
    view = Rewrite(field="text.stated", to="text.restated", probability=1.0, synonyms=1.0)
    assert added_fields([view]) == ("text.restated",)
    fields = {"text": REPORT, "text.stated": ("Left lung nodule.", "No edema.")}
    made = apply_views(Sample("a", fields), [view], draw=1).fields
    assert {name: made[name] for name in fields} == fields
    assert made["text.restated"][0] == "Left pulmonary nodule."
    assert "id.report" not in made
    never = Rewrite(field="text.stated", to="text.restated", probability=0.0)
    assert apply_views(Sample("a", fields), [never]).fields["text.restated"] == fields["text.stated"]
    with pytest.raises(ConfigError, match="rewrite takes a text field and probabilities from 0 to 1"):
        Rewrite(to="image.other")


def test_whatever_the_recipe_shows_of_a_report_the_report_says() -> None:
    """The rewrites and the drawn sentences of compare/laclip: no fact is new, turned, or of another degree."""
    suffix = load_tree("compare/laclip.yaml")["data"]["suffix"]
    views = [build("data/views", spec, where="test") for spec in suffix if spec["name"] in ("rewrite", "sentences")]
    assert len(views) == 2
    changed = 0
    for place, report in enumerate(phantom_reports(1000)[:60]):
        text = report_text(report.text, ("findings", "impression")).text
        rewritten = apply_views(Sample("a", {"text": text}), views[:1], draw=place).fields["text"]
        assert lost_in(text, str(rewritten)) == ""
        shown = apply_views(Sample("a", {"text": text}), views, draw=place).fields["text"]
        assert set(facts_of(str(shown))) <= set(facts_of(text))
        changed += rewritten != text
    assert 0.6 < changed / 60 < 0.95  # at its probability of 0.8
