"""medSpaCy's public interface: entities with text, label_, start_char, end_char, sent and five marks under `_`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

import pytest

from medvlp.core.errors import ConfigError, UserError
from medvlp.text.adapters.medspacy import load_pipeline, mentions_of_document
from medvlp.text.mention_triplets import of_mentions


@dataclass
class Marks:
    is_negated: bool = False
    is_uncertain: bool = False
    is_historical: bool = False
    is_hypothetical: bool = False
    is_family: bool = False
    section_category: str | None = None


@dataclass
class Span:
    text: str


@dataclass
class Entity:
    text: str
    label_: str = "PROBLEM"
    start_char: int = 3
    end_char: int = 12
    sent: Span = field(default_factory=lambda: Span("No  pneumonia ."))
    _: Marks = field(default_factory=Marks)


@dataclass
class Document:
    ents: list[Entity]


def presence(**marks: bool) -> str:
    (mention,) = mentions_of_document(Document([Entity("pneumonia", _=Marks(**marks))])).mentions
    return mention.presence


def test_each_mark_has_its_presence_and_the_stronger_one_wins() -> None:
    assert presence() == "present"
    assert presence(is_negated=True) == "absent"
    assert presence(is_uncertain=True) == "uncertain"
    assert presence(is_historical=True) == "historical"
    assert presence(is_hypothetical=True) == "conditional"
    assert presence(is_negated=True, is_uncertain=True) == "uncertain"
    assert presence(is_negated=True, is_historical=True) == "absent"
    assert presence(is_negated=True, is_hypothetical=True) == "conditional"


def test_words_place_and_section_are_carried_over() -> None:
    entity = Entity("small left pleural effusion", start_char=8, end_char=35, _=Marks(section_category="findings"))
    (mention,) = mentions_of_document(Document([entity])).mentions
    assert (mention.finding, mention.side, mention.severity) == ("effusion", "left", "mild")
    assert (mention.text, mention.start, mention.end) == ("small left pleural effusion", 8, 35)
    assert (mention.sentence, mention.section) == ("No pneumonia .", "findings")
    assert of_mentions([mention], study_id="s1").triplets[0].triplet.anatomy == "pleural space"


def test_a_label_that_names_a_finding_counts_before_the_words() -> None:
    found = mentions_of_document(Document([Entity("the density", label_="LUNG OPACITY")]))
    assert [mention.finding for mention in found.mentions] == ["lung_opacity"]
    mapped = mentions_of_document(Document([Entity("fluid", label_="PE")]), labels={"PE": "effusion"})
    assert [mention.finding for mention in mapped.mentions] == ["effusion"]


def test_relatives_and_what_is_no_finding_are_left_out_with_the_reason() -> None:
    entities = [Entity("pneumonia", _=Marks(is_family=True)), Entity("hypertension")]
    found = mentions_of_document(Document(entities))
    assert found.mentions == ()
    assert found.left_out == {
        "said of a relative": ("pneumonia",),
        "no finding of the ontology": ("hypertension",),
    }


def test_labels_must_name_findings() -> None:
    with pytest.raises(ConfigError, match=r"labels names the finding 'efusion': .*effusion"):
        mentions_of_document(Document([]), labels={"PE": "efusion"})


@pytest.mark.skipif(importlib.util.find_spec("medspacy") is not None, reason="medSpaCy is installed")
def test_without_the_package_the_way_to_get_it_is_told() -> None:
    with pytest.raises(UserError, match="needs the package 'medspacy', which is not installed: pip install medspacy"):
        load_pipeline()
