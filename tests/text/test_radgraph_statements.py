"""The parse of RadGraph's entities, against hand-made graphs and a slow version written row by row."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.text.radgraph import parse_radgraph, radgraph_statements
from tests.text.radgraph_graphs import entry, in_words, small


def said(annotation: dict[str, Any], **options: bool) -> list[tuple[str, str, str | None]]:
    report = parse_radgraph({"0": annotation})[0]
    return [(each.anatomy, each.observation, each.presence) for each in radgraph_statements(report, **options)]


EFFUSION = entry(
    "Small left pleural effusion .",
    ("Small", "OBS-DP", "modify effusion"),
    ("left", "ANAT-DP", "modify pleural"),
    ("pleural", "ANAT-DP", ""),
    ("effusion", "OBS-DP", "located_at pleural"),
)
NESTED = entry(
    "Opacity in the left lower lobe",
    ("Opacity", "OBS-DP", "located_at lobe"),
    ("left", "ANAT-DP", "modify lower"),
    ("lower", "ANAT-DP", "modify lobe"),
    ("lobe", "ANAT-DP", ""),
)
LINKED = entry(
    "Opacity suggests pneumonia in the lingula",
    ("Opacity", "OBS-DP", "suggestive_of pneumonia"),
    ("pneumonia", "OBS-U", "located_at lingula"),
    ("lingula", "ANAT-DP", ""),
)
ACROSS = entry("Lungs . Clear", ("Lungs", "ANAT-DP", ""), ("Clear", "OBS-DP", "located_at Lungs"))


def test_head_and_modifiers_make_the_anatomy_and_modifiers_are_kept_with_the_observation() -> None:
    (only,) = radgraph_statements(parse_radgraph({"0": EFFUSION})[0])
    assert (only.anatomy, only.observation, only.presence) == ("pleural|left", "effusion", "present")
    assert only.modifiers == ("small",)
    assert only.sentence == "Small left pleural effusion ."


def test_what_is_located_at_a_modifier_is_located_at_the_head() -> None:
    annotation = entry(
        "Left base opacity",
        ("Left", "ANAT-DP", "modify base"),
        ("base", "ANAT-DP", ""),
        ("opacity", "OBS-U", "located_at Left"),
    )
    assert said(annotation) == [("base|left", "opacity", "uncertain")]


def test_an_anatomy_of_which_nothing_is_said_gives_a_row_without_observation() -> None:
    assert said(entry("The trachea .", ("trachea", "ANAT-DP", ""))) == [("trachea", "", None)]


def test_observations_without_relations_are_unspecified_with_and_without_an_anatomy_in_the_sentence() -> None:
    alone = entry("No pneumothorax", ("pneumothorax", "OBS-DA", ""))
    assert said(alone) == [("unspecified", "pneumothorax", "absent")]
    beside = entry(
        "Clear lungs no pneumothorax",
        ("Clear", "OBS-DP", "located_at lungs"),
        ("lungs", "ANAT-DP", ""),
        ("pneumothorax", "OBS-DA", ""),
    )
    assert said(beside) == [("lungs", "clear", "present"), ("unspecified", "pneumothorax", "absent")]


def test_an_observation_at_two_anatomies_is_said_of_both() -> None:
    annotation = entry(
        "Heart and mediastinum normal",
        ("Heart", "ANAT-DP", ""),
        ("mediastinum", "ANAT-DP", ""),
        ("normal", "OBS-DP", "located_at Heart; located_at mediastinum"),
    )
    assert said(annotation) == [("heart", "normal", "present"), ("mediastinum", "normal", "present")]


def test_only_present_observations_modify_or_suggest() -> None:
    annotation = entry(
        "Possible small effusion from edema",
        ("small", "OBS-U", "modify effusion"),
        ("effusion", "OBS-DP", ""),
        ("edema", "OBS-DP", "suggestive_of effusion"),
    )
    (only,) = radgraph_statements(parse_radgraph({"0": annotation})[0])
    assert (only.modifiers, only.suggested_by) == ((), ("edema",))


def test_absent_anatomies_and_measurements_take_no_part() -> None:
    annotation = entry(
        "No lobe 5 mm",
        ("lobe", "Anatomy::definitely absent", ""),
        ("mm", "Observation::measurement::definitely present", ""),
    )
    assert said(annotation) == [("unspecified", "", None)]


def test_modifiers_of_modifiers_count_only_when_asked_for() -> None:
    assert said(NESTED) == [("lobe|lower", "opacity", "present")]
    assert said(NESTED, nested_modifiers=True) == [("lobe|lower|left", "opacity", "present")]


def test_an_observation_linked_only_to_another_is_placed_with_it_only_when_asked_for() -> None:
    assert said(LINKED) == [("lingula", "pneumonia", "uncertain")]
    assert said(LINKED, linked_observations=True) == [
        ("lingula", "pneumonia", "uncertain"),
        ("lingula", "opacity", "present"),
    ]


def test_what_another_observation_suggests_takes_its_place_when_asked_for() -> None:
    annotation = entry(
        "Opacity in lingula suggests pneumonia",
        ("Opacity", "OBS-DP", "located_at lingula; suggestive_of pneumonia"),
        ("lingula", "ANAT-DP", ""),
        ("pneumonia", "OBS-U", ""),
    )
    assert said(annotation)[1] == ("unspecified", "pneumonia", "uncertain")
    assert said(annotation, linked_observations=True)[1] == ("lingula", "pneumonia", "uncertain")


def test_relations_between_sentences_hold_only_when_asked_for() -> None:
    assert said(ACROSS) == [("lungs", "", None), ("unspecified", "", None)]
    assert ("lungs", "clear", "present") in said(ACROSS, across_sentences=True)


def test_both_styles_of_labels_give_the_same_statements() -> None:
    for short, words in zip(parse_radgraph(small()), parse_radgraph(in_words(small())), strict=True):
        assert radgraph_statements(short) == radgraph_statements(words)


# A slow version, written from the published rules on a table of one row per (entity, relation). ----------------------


def slow(annotation: dict[str, Any]) -> set[tuple[object, ...]]:
    sentences = dict.fromkeys(range(len(annotation["text"].split())), 0)
    number = 0
    for at, token in enumerate(annotation["text"].split()):
        sentences[at] = number
        number += token == "."
    rows = [
        (name, e["tokens"].lower(), e["label"], kind, target, sentences[e["start_ix"]])
        for name, e in annotation["entities"].items()
        for kind, target in (e["relations"] or [(None, None)])
    ]
    found: set[tuple[object, ...]] = set()
    for sentence in {row[5] for row in rows}:
        own = [row for row in rows if row[5] == sentence]
        heads = [row for row in own if row[2] == "ANAT-DP" and row[4] is None]

        def of(name: str, kind: str, own: list = own) -> tuple[str, ...]:
            return tuple(r[1] for r in own if r[4] == name and r[3] == kind and r[2] == "OBS-DP")

        def emit(anatomy: str, row: tuple, sentence: int = sentence, of=of) -> None:
            found.add((sentence, anatomy, row[1], row[2], of(row[0], "modify"), of(row[0], "suggestive_of")))

        loose = [row for row in own if row[2].startswith("OBS") and row[4] is None]
        for head in heads:
            modifiers = [row for row in own if row[2] == "ANAT-DP" and row[4] == head[0]]
            anatomy, names = "|".join(row[1] for row in (head, *modifiers)), {head[0], *(row[0] for row in modifiers)}
            at = [r for r in own if r[2].startswith("OBS") and r[3] == "located_at" and r[4] in names]
            for row in at:
                emit(anatomy, row)
            if not at:
                found.add((sentence, anatomy, "", None, (), ()))
        for row in loose:
            emit("unspecified", row)
        if not heads and not loose:
            found.add((sentence, "unspecified", "", None, (), ()))
    return found


LABEL = {"present": "OBS-DP", "absent": "OBS-DA", "uncertain": "OBS-U", None: None}
TEXT = "lung base left tip . effusion opacity small . edema lobe clear"
WORDS = [word for word in TEXT.split() if word != "."]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(WORDS), unique=True, min_size=1))
    entities = []
    for word in chosen:
        label = draw(st.sampled_from(["ANAT-DP", "ANAT-DP", "OBS-DP", "OBS-DA", "OBS-U"]))
        edges = draw(
            st.lists(
                st.tuples(st.sampled_from(["modify", "located_at", "suggestive_of"]), st.sampled_from(chosen)),
                max_size=2,
                unique_by=lambda edge: edge[1],
            )
        )
        entities.append((word, label, ";".join(f"{kind} {target}" for kind, target in edges if target != word)))
    return entry(TEXT, *entities)


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_with_all_options_off_the_statements_are_those_of_the_published_rules(annotation: dict[str, Any]) -> None:
    report = parse_radgraph({"0": annotation})[0]
    fast = [
        (e.number, e.anatomy, e.observation, LABEL[e.presence], e.modifiers, e.suggested_by)
        for e in radgraph_statements(report)
    ]
    assert set(fast) == slow(annotation)
    assert len(set(fast)) == len(fast)


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_options_lose_no_observation(annotation: dict[str, Any]) -> None:
    plain = {(o, p) for _, o, p in said(annotation) if o}
    for option in ("linked_observations", "nested_modifiers", "across_sentences"):
        assert plain <= {(o, p) for _, o, p in said(annotation, **{option: True})}, option
