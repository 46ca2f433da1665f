"""Model cards say the numbers of the results in the form of their readers, and nothing that is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from medvlp.core.errors import DataError
from medvlp.pages.hub_card import hub_card
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.record import Record


def _front(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hub_card_holds_each_number_of_the_test_split(inputs: ReportInputs) -> None:
    front = _front(hub_card(inputs))
    (entry,) = front["model-index"]
    (found,) = entry["results"]
    assert found["dataset"] == {"type": "phantom", "name": "The synthetic hospital", "split": "test"}
    scores = inputs.results[0]
    for name, metric in (("roc_auc", "auroc"), ("average_precision", "average_precision")):
        values = [each["value"] for each in found["metrics"] if each["type"] == name]
        rows = [row for row in scores.metrics if row.metric == metric and row.group is None and row.split == "test"]
        assert values == [round(row.value, 4) for row in rows if row.value is not None]
    assert front["library_name"] == "medvlp"
    assert "synthetic-data" in front["tags"]


def test_the_hub_card_says_limits_and_flags_and_no_licence_that_nobody_gave(inputs: ReportInputs) -> None:
    text = hub_card(inputs)
    assert "license" not in _front(text)
    for words in ("The split has a flaw.", "Flagged: The score of edema knows site=north.", "not a medical device"):
        assert words in text
    assert _front(hub_card(replace(inputs, study={"licence": "MIT"})))["license"] == "mit"
    own = _front(hub_card(replace(inputs, study={"licence": "Ask us"})))
    assert (own["license"], own["license_name"]) == ("other", "Ask us")


def test_the_hub_card_is_whole_by_itself_and_a_name_breaks_no_row(inputs: ReportInputs) -> None:
    odd = [replace(row, label="a|b\nc") if row.label == "effusion" else row for row in inputs.results[0].metrics]
    text = hub_card(replace(inputs, results=(replace(inputs.results[0], metrics=tuple(odd)), *inputs.results[1:])))
    assert "What was run." not in text
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert any(row.startswith(r"| a\|b c") for row in rows)
    assert {row.replace(r"\|", "").count("|") for row in rows} == {6}


@pytest.mark.parametrize("learnt", [False, True])
def test_the_hub_card_says_where_a_model_learnt_though_it_was_judged_on_patients(
    inputs: ReportInputs, learnt: bool
) -> None:
    assert inputs.record is not None
    model = inputs.record.model.model_copy(update={"provenance": {"synthetic": learnt}})
    data = inputs.record.data.model_copy(update={"synthetic": False})
    record = inputs.record.model_copy(update={"model": model, "data": data})
    results = tuple(replace(each, synthetic=False) for each in inputs.results)
    text = hub_card(replace(inputs, record=record, results=results))
    assert ("synthetic-data" in _front(text)["tags"]) is learnt
    assert ("Trained on synthetic data" in text) is learnt


def test_a_record_comes_back_as_it_was_and_damage_is_named(inputs: ReportInputs, tmp_path) -> None:
    assert inputs.record is not None
    path = tmp_path / "evaluation.json"
    inputs.record.write(path)
    assert Record.read(path) == inputs.record
    path.write_text(path.read_text().replace('"manifest"', '"manifes"', 1))
    with pytest.raises(DataError, match=r"evaluation\.json is not a record of an evaluation \(model\.manifes: Extra"):
        Record.read(path)
