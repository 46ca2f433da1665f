from __future__ import annotations

import json
from dataclasses import replace

import pytest

from medvlp.core.errors import DataError
from medvlp.core.triplet import Triplet
from medvlp.text.mention_triplets import of_mentions, of_report
from medvlp.text.mentions import read_report
from medvlp.text.radgraph import parse_radgraph
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets, of_radgraph, read_triplets, write_triplets
from tests.text.radgraph_graphs import entry, small


def test_what_was_written_is_read_back(tmp_path) -> None:
    studies = [*map(of_radgraph, parse_radgraph(small())), of_report("Small left effusion, 12 mm.", study_id="é1")]
    assert write_triplets(studies, tmp_path / "t.jsonl") == 3
    assert list(read_triplets(tmp_path / "t.jsonl")) == studies


def test_a_line_is_one_study_with_the_seven_words_of_a_triplet(tmp_path) -> None:
    stated = StatedTriplet(Triplet("lower lobe", "left", "nodule", "present", "mild", "A nodule."), ("new",))
    write_triplets([StudyTriplets("s1", "p1", "rules", (stated,))], tmp_path / "t.jsonl")
    assert json.loads((tmp_path / "t.jsonl").read_text()) == {
        "study_id": "s1",
        "subject_id": "p1",
        "source": "rules",
        "triplets": [
            {
                "anatomy": "lower lobe",
                "observation": "nodule",
                "presence": "present",
                "sentence": "A nodule.",
                "modifiers": ["new"],
                "side": "left",
                "severity": "mild",
            }
        ],
    }


@pytest.mark.parametrize(
    ("words", "side"),
    [
        *((side, side) for side in ("left", "right", "bilateral")),
        *((word, "bilateral") for word in ("bilaterally", "bibasilar", "bi-basilar", "bibasally", "biapical", "both")),
        ("left-sided", "left"),
        ("right-lower", "right"),
        ("heart", ""),
        ("biventricular", ""),
    ],
)
def test_the_side_of_radgraphs_anatomy_is_read(words: str, side: str) -> None:
    annotation = entry(f"{words} opacity", (words, "ANAT-DP", ""), ("opacity", "OBS-DP", f"located_at {words}"))
    study = of_radgraph(parse_radgraph({"0": annotation})[0])
    assert [each.triplet.side for each in study.triplets] == [side]


def test_left_and_right_at_one_head_are_bilateral() -> None:
    annotation = entry(
        "left and right lung opacity",
        ("left", "ANAT-DP", "modify lung"),
        ("right", "ANAT-DP", "modify lung"),
        ("lung", "ANAT-DP", ""),
        ("opacity", "OBS-DP", "located_at lung"),
    )
    assert of_radgraph(parse_radgraph({"0": annotation})[0]).triplets[0].triplet.side == "bilateral"


def test_severity_is_the_first_modifier_that_grades() -> None:
    annotation = entry(
        "loculated large effusion",
        ("loculated", "OBS-DP", "modify effusion"),
        ("large", "OBS-DP", "modify effusion"),
        ("effusion", "OBS-DP", ""),
    )
    (stated,) = of_radgraph(parse_radgraph({"0": annotation})[0]).triplets
    assert (stated.triplet.severity, stated.modifiers) == ("severe", ("loculated", "large"))


def test_history_and_conditions_state_nothing() -> None:
    (mention,) = read_report("No effusion.")
    said = [replace(mention, presence=presence) for presence in ("historical", "conditional", "absent", "uncertain")]
    study = of_mentions(said, study_id="s1")
    assert [each.triplet.presence for each in study.triplets] == ["absent", "uncertain"]


def test_what_a_sentence_says_of_one_label_is_one_triplet_a_denial_elsewhere_another() -> None:
    text = "Left lower lobe consolidation, likely pneumonia; no pneumonia on the right."
    study = of_mentions(read_report(text), study_id="s1", vocabulary="phantom12")
    assert [
        (each.triplet.anatomy, each.triplet.side, each.triplet.observation, each.triplet.presence)
        for each in study.triplets
    ] == [("lower lobe", "left", "consolidation", "present"), ("lung", "right", "consolidation", "absent")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Left lower lobe consolidation, possible pneumonia.", [("lower lobe", "left", "present")]),
        (
            "Possible pneumonia in the left lung with consolidation in the lower lobe.",
            [("lower lobe", "left", "present")],
        ),
        ("Consolidation in the lower lobe, possible left pneumonia.", [("lower lobe", "left", "present")]),
        ("Left consolidation, possible pneumonia in the lower lobe.", [("lower lobe", "left", "present")]),
        ("Possible pneumonia; left lower lobe consolidation.", [("lower lobe", "left", "present")]),
        (
            "Left lower lobe consolidation and possible right pneumonia.",
            [("lower lobe", "left", "present"), ("lung", "right", "uncertain")],
        ),
        ("Left lower lobe consolidation; no pneumonia.", [("lower lobe", "left", "present"), ("lung", "", "absent")]),
    ],
)
def test_a_sign_and_its_reading_share_a_place_and_the_greater_certainty_on_one_side_alone(
    text: str, said: list[tuple[str, str, str]]
) -> None:
    triplets = [each.triplet for each in of_mentions(read_report(text), study_id="s1", vocabulary="phantom12").triplets]
    assert {each.observation for each in triplets} == {"consolidation"}
    assert [(each.anatomy, each.side, each.presence) for each in triplets] == said


def test_radgraphs_observation_without_a_grade_has_none_and_stands_once_and_an_anatomy_alone_says_nothing() -> None:
    twice = entry("effusion . effusion .", ("effusion", "OBS-DP", ""), ("effusion#2", "OBS-DP", ""))
    lung = entry("lung", ("lung", "ANAT-DP", ""))
    said = [of_radgraph(report).triplets for report in parse_radgraph({"0": twice, "1": lung})]
    assert [[(each.triplet.observation, each.triplet.severity) for each in report] for report in said] == [
        [("effusion", "")],
        [],
    ]


def test_modifiers_of_the_own_reader_are_change_size_and_count() -> None:
    (stated,) = of_mentions(read_report("Three 5 mm nodules, new."), study_id="s1").triplets
    assert stated.modifiers == ("new", "5 mm", "3")


def test_what_is_said_twice_stands_once() -> None:
    mentions = read_report("Left effusion.") * 2
    assert len(of_mentions(mentions, study_id="s1").triplets) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"t\.jsonl, line 2 is not a study with its triplets \("),
        ('{"study_id": "s", "subject_id": "", "source": "rules"}', r"line 2 is not a study .*'triplets'"),
        ('{"study_id": "s", "subject_id": "", "source": "ai", "triplets": []}', r"'ai'; allowed are radgraph, rules"),
        (
            '{"study_id": "s", "subject_id": "", "source": "rules", "triplets": [{"anatomy": "", "side": "up", '
            '"observation": "", "presence": "present", "severity": "", "sentence": "", "modifiers": []}]}',
            r"line 2 is not a study .*side is 'up'",
        ),
        (
            '{"study_id": "s", "subject_id": "", "source": "rules", "triplets": [{"anatomy": 1, "side": "", '
            '"observation": "", "presence": "present", "severity": "", "sentence": "", "modifiers": []}]}',
            r"line 2 is not a study .*a value is not text",
        ),
    ],
)
def test_a_spoilt_line_is_refused_by_its_number(tmp_path, line: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"study_id": "s1", "subject_id": "", "source": "rules", "triplets": []}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        list(read_triplets(path))


@pytest.mark.parametrize(("key", "value"), [("severity", 1), ("modifiers", "new"), ("modifiers", [1])])
def test_what_is_no_text_in_a_triplet_is_refused_and_a_blank_line_passed_over(
    tmp_path, key: str, value: object
) -> None:
    path = tmp_path / "t.jsonl"
    write_triplets([of_report("Small left effusion.", study_id="s1")], path)
    study = json.loads(path.read_text())
    study["triplets"][0][key] = value
    path.write_text(f"\n{json.dumps(study)}\n")
    with pytest.raises(DataError, match=r"line 2 is not a study .*a value is not text|severity is 1"):
        list(read_triplets(path))


def test_a_study_on_two_lines_is_refused_and_not_the_last_of_them_taken(tmp_path) -> None:
    write_triplets([of_report(f"{side} effusion.", study_id="s1") for side in ("Left", "Right")], tmp_path / "t.jsonl")
    with pytest.raises(DataError, match=r"t\.jsonl holds a study on two lines: give each one line"):
        list(read_triplets(tmp_path / "t.jsonl"))


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"does not exist: check the path, or make it with `medvlp data triplets`"):
        list(read_triplets(tmp_path / "t.jsonl"))
