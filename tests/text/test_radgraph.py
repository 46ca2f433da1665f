from __future__ import annotations

import json
from dataclasses import replace

import pytest

from medvlp.core.errors import DataError
from medvlp.text.radgraph import Relation, parse_radgraph, read_radgraph
from tests.text.radgraph_graphs import SMALL, entry, in_words, small


def test_keys_of_mimic_give_patient_and_study() -> None:
    reports = read_radgraph(SMALL)
    assert [(report.subject_id, report.study_id) for report in reports] == [
        ("10000032", "50414267"),
        ("10000032", "53189527"),
    ]


def test_labels_in_words_and_numbered_keys_tell_the_same() -> None:
    short, words = parse_radgraph(small()), parse_radgraph(in_words(small()))
    assert [report.study_id for report in words] == ["0", "1"]
    assert [replace(report, study_id="", subject_id="") for report in short] == [
        replace(report, study_id="", subject_id="") for report in words
    ]


def test_sentences_end_at_full_stops_but_not_inside_numbers() -> None:
    report = parse_radgraph({"0": entry("A 1 . 5 cm nodule . Is it new ? Yes !", ("new", "OBS-DP", ""))})[0]
    assert report.sentences == ("A 1 . 5 cm nodule .", "Is it new ?", "Yes !")
    assert report.entities[0].sentence == 1
    report = parse_radgraph({"0": entry("Grade 2 . Heart normal ! 3 nodules .", ("nodules", "OBS-DP", ""))})[0]
    assert report.sentences == ("Grade 2 .", "Heart normal !", "3 nodules .")
    assert report.entities[0].sentence == 2


@pytest.mark.parametrize(
    ("label", "kind", "presence"),
    [
        ("Observation::measurement::definitely present", "measurement", "present"),
        ("Anatomy::measurement::uncertain", "measurement", "uncertain"),
        ("Anatomy::definitely absent", "anatomy", "absent"),
        ("Observation::uncertain", "observation", "uncertain"),
        ("ANAT-U", "anatomy", "uncertain"),
        ("OBS-DA", "observation", "absent"),
    ],
)
def test_labels_of_radgraph_xl_are_known(label: str, kind: str, presence: str) -> None:
    entity = parse_radgraph({"0": entry("5 mm", ("mm", label, ""))})[0].entities[0]
    assert (entity.kind, entity.presence) == (kind, presence)


def test_a_relation_of_none_is_no_relation() -> None:
    annotations = {"0": entry("Clear lungs", ("Clear", "OBS-DP", "located_at lungs"), ("lungs", "ANAT-DP", ""))}
    annotations["0"]["entities"]["lungs"]["relations"] = [None]
    entities = parse_radgraph(annotations)[0].entities
    assert entities[0].relations == (Relation("located_at", "lungs"),)
    assert entities[1].relations == ()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: e.pop("text"), r"report 1 has no 'text': RadGraph entries hold"),
        (lambda e: e.pop("entities"), r"report 1 has no 'entities'.*keep one of them as 'entities'"),
        (lambda e: e["entities"].update(b=3), r"entity 'b' is not an object"),
        (lambda e: e["entities"]["a"].update(label="ANAT"), r"entity 'a' has the label 'ANAT'; RadGraph's are ANAT-DP"),
        (lambda e: e["entities"]["a"].pop("start_ix"), r"entity 'a' lacks tokens, start_ix or relations"),
        (lambda e: e["entities"]["a"].update(start_ix=9), r"starts at token 9 of a text of 2 tokens"),
        (lambda e: e["entities"]["a"].update(relations=[["on", "a"]]), r"has the relation \['on', 'a'\]; allowed are"),
        (lambda e: e["entities"]["a"].update(relations=[["modify", "z"]]), r"points at entity 'z', which is not there"),
    ],
)
def test_what_is_not_of_the_form_is_refused_by_number_not_by_path(spoil, message: str) -> None:
    annotations = {"p10/p10000032/s50414267.txt": entry("a b", ("a", "OBS-DP", ""))}
    spoil(annotations["p10/p10000032/s50414267.txt"])
    with pytest.raises(DataError, match=message) as refused:
        parse_radgraph(annotations)
    assert "10000032" not in str(refused.value)


def test_missing_damaged_and_empty_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json does not exist"):
        read_radgraph(tmp_path / "nowhere.json")
    (tmp_path / "list.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match="not a JSON object"):
        read_radgraph(tmp_path / "list.json")
    with pytest.raises(DataError, match="holds no report: check that it is RadGraph's output"):
        parse_radgraph({})
