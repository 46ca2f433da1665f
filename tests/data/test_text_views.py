from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Sample
from medvlp.data.pipeline import added_fields, apply_views
from medvlp.data.views.captions import Captions
from medvlp.data.views.hard_negative import HardNegative
from medvlp.data.views.misgraded import Misgraded
from medvlp.data.views.rewrite import Rewrite
from medvlp.data.views.sections import Sections
from medvlp.data.views.sentences import Sentences
from medvlp.data.views.translations import Translations

SEEDS = st.integers(0, 2**40)
REPORT = (
    "FINDINGS: Small left pleural effusion. No lung nodule is seen. The heart is enlarged.\nIMPRESSION: Left effusion."
)


# rewrite -------------------------------------------------------------------------------------------------------------


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_rewritten_report_is_a_function_of_the_draw_and_still_known_as_the_same_report(seed: int) -> None:
    view = Rewrite(probability=1.0)
    first, again = (apply_views(Sample("a", {"text": REPORT}), [view], draw=seed).fields for _ in range(2))
    assert first == again
    plain = apply_views(Sample("b", {"text": REPORT}), [Rewrite(probability=0.0)], draw=seed).fields
    assert plain["text"] == REPORT
    drawn = apply_views(Sample("c", {"text": REPORT}), [view, Sentences(probability=1, most=1)], draw=seed).fields
    assert first["id.report"] == plain["id.report"] == drawn["id.report"]


def test_rows_are_rewritten_each_for_itself_and_a_report_is_rewritten_at_its_probability() -> None:
    view = Rewrite(probability=0.5, sentences=False)
    rows = ("Lung nodule.", "Lung nodule.")
    texts = [apply_views(Sample("a", {"text": rows}), [view], draw=k).fields["text"] for k in range(300)]
    assert set(texts) >= {rows, ("Pulmonary nodule.", "Lung nodule."), ("Lung nodule.", "Pulmonary nodule.")}
    assert abs(sum(text != rows for text in texts) / 300 - 0.5 * 0.75) < 0.15


def test_verified_rewrites_are_read_as_the_report_is() -> None:
    view = Rewrite(probability=1.0, synonyms=1.0, verify=True)
    text = apply_views(Sample("a", {"text": "Left lung nodule."}), [view]).fields["text"]
    assert text == "Left pulmonary nodule."


# hard_negative -------------------------------------------------------------------------------------------------------


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_false_copies_stand_beside_the_report_or_their_statement_and_the_report_stays(seed: int) -> None:
    whole = apply_views(Sample("a", {"text": REPORT}), [HardNegative(kinds=("side",))], draw=seed).fields
    assert whole["text"] == REPORT
    assert whole["text.negative"] == (REPORT.replace("left", "right").replace("Left", "Right"),)
    view = HardNegative(kinds=("side", "severity"), stated="text.stated", most=2)
    fields = apply_views(Sample("a", {"text": REPORT}), [view], draw=seed).fields
    stated, false = fields["text.stated"], fields["text.negative"]
    assert isinstance(stated, tuple)
    assert isinstance(false, tuple)
    assert len(stated) == len(false) == 2
    assert set(stated) == {"Small left pleural effusion."}
    assert set(false) <= {f"{grade} left pleural effusion." for grade in ("Moderate", "Large")} | {
        "Small right pleural effusion."
    }
    assert set(added_fields([view])) == {"text.negative", "text.stated"}


def test_a_text_without_a_clean_change_gets_no_negative() -> None:
    sample = Sample("a", {"text": "The trachea is midline.", "label.x": 1.0})
    assert HardNegative()(sample, torch.Generator()).fields == sample.fields
    assert HardNegative()(Sample("b", {}), torch.Generator()).fields == {}


# captions ------------------------------------------------------------------------------------------------------------


def test_labels_become_a_text_and_what_is_missing_is_not_mentioned() -> None:
    labels = {"label.effusion": 1.0, "label.nodule": 0.0, "label.edema": math.nan}
    for seed in range(20):
        text = str(apply_views(Sample("a", labels), [Captions()], draw=seed).fields["text"])
        assert "pleural effusion" in text.lower()
        assert "nodule" in text
        assert "edema" not in text
        chosen = apply_views(Sample("a", labels), [Captions(findings=("nodule",))], draw=seed).fields["text"]
        assert "effusion" not in str(chosen).lower()


def test_a_report_is_kept_unless_it_is_to_be_written_over_and_silent_labels_give_no_text() -> None:
    sample = Sample("a", {"text": "Clear.", "label.effusion": 1.0})
    assert apply_views(sample, [Captions()]).fields["text"] == "Clear."
    assert "effusion" in str(apply_views(sample, [Captions(overwrite=True)]).fields["text"])
    assert "effusion" in str(apply_views(sample, [Captions(to="text.caption")]).fields["text.caption"])
    assert apply_views(Sample("b", {"label.effusion": math.nan}), [Captions()]).fields.keys() == {"label.effusion"}


# pairs and clauses ---------------------------------------------------------------------------------------------------


def test_findings_and_impression_are_two_fields_of_one_sample() -> None:
    views = [Sections(sections=(name,), to=f"text.{name}") for name in ("findings", "impression")]
    fields = apply_views(Sample("a", {"text": REPORT}), views).fields
    assert fields["text.impression"] == "Left effusion."
    assert str(fields["text.findings"]).startswith("Small left pleural effusion.")
    assert added_fields(views) == ("text.findings", "text.impression")


def test_clauses_are_drawn_where_asked() -> None:
    text = "No effusion or nodule. Normal heart."
    whole = {"No effusion or nodule.", "Normal heart."}
    parts = {"No effusion.", "No nodule.", "Normal heart."}
    for clauses, want in ((False, whole), (True, parts)):
        view = Sentences(probability=1, most=1, clauses=clauses)
        drawn = {str(apply_views(Sample("a", {"text": text}), [view], draw=k).fields["text"]) for k in range(60)}
        assert drawn == want


# options -------------------------------------------------------------------------------------------------------------


def test_a_language_is_drawn_as_often_as_another_and_it_stays_the_same_report() -> None:
    words = {"text": "No effusion.", "text.de": "Kein Erguss.", "text.fr": "Pas d'\u00e9panchement.", "text.es": ""}
    view = Translations(others=("text.de", "text.fr", "text.es", "text.nl"))
    drawn = [apply_views(Sample("a", words), [view], draw=seed).fields for seed in range(600)]
    counts = {text: sum(fields["text"] == text for fields in drawn) for text in list(words.values())[:3]}
    assert sum(counts.values()) == 600
    assert all(150 < count < 250 for count in counts.values())
    english = apply_views(Sample("b", {"text": "no effusion."}), [view], draw=0).fields
    assert {fields["id.report"] for fields in drawn} == {english["id.report"]}
    assert all(fields["text.report"] == "No effusion." for fields in drawn)
    none = Sample("c", {"text.de": "Kein Erguss."})
    assert apply_views(none, [view], draw=0).fields == none.fields


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rewrite(probability=1.5), "rewrite takes a text field and probabilities from 0 to 1"),
        (lambda: Rewrite(field="image"), "rewrite takes a text field"),
        (lambda: HardNegative(to="text"), "hard_negative reads one text field and writes others"),
        (lambda: HardNegative(kinds=()), "hard_negative needs at least one kind and one copy"),
        (lambda: HardNegative(most=0), "hard_negative needs at least one kind and one copy"),
        (lambda: Translations(others=()), "others"),
        (lambda: Captions(findings=("efusion",)), "captions has no words for the finding 'efusion': did you mean"),
        (lambda: Captions(absent=-1), "captions writes a text field and denies at least 0 findings"),
    ],
)
def test_an_option_out_of_range_is_one_sentence_that_tells_what_to_change(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as told:
        make()  # type: ignore[operator]
    assert "change" in str(told.value)


# misgraded -----------------------------------------------------------------------------------------------------------


def test_a_misgraded_sentence_stands_beside_its_true_form_in_words_of_the_training_reports() -> None:
    samples = [Sample("a", {"text": REPORT}), Sample("b", {"text": "Massive effusion."})]
    view = Misgraded().fitted(samples)
    assert view.shares == {"effusion": {"massive": 1.0, "small": 1.0}}
    assert view.fitted([]) is view
    made = [apply_views(samples[0], [view], draw=seed).fields for seed in range(20)]
    written = {(fields.get("text.graded"), fields.get("text.misgraded")) for fields in made}
    pair = (("Small left pleural effusion.",), ("Massive left pleural effusion.",))
    assert written == {pair, (None, None)}  # where the word drawn is the true one there is no pair
    assert all(fields["text"] == REPORT for fields in made)
    assert set(added_fields([view])) == {"text.misgraded", "text.graded"}
    with pytest.raises(ConfigError, match="misgraded knows no words to draw from"):
        Misgraded()(samples[0], torch.Generator())
    with pytest.raises(ConfigError, match="misgraded reads one text field and writes two others"):
        Misgraded(to="text")
