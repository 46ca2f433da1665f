from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from medvlp.core.errors import ConfigError
from medvlp.phantom.facts import FINDINGS
from medvlp.text.labels import label_report
from medvlp.text.mentions import read_report
from medvlp.text.ontology import VOCABULARIES, ancestors, findings, load, terms, vocabulary, word_class
from medvlp.text.phrases import tokens_of
from tests.text.notation import written_out


@pytest.mark.parametrize("key", [key for key, finding in findings().items() if finding.code is not None])
def test_a_code_is_one_of_dicoms_dictionary(key: str) -> None:
    scheme, keyword = findings()[key].code or ("", "")
    assert keyword in dir(getattr(codes, scheme))


def test_a_finding_knows_its_parents_and_its_kinds_at_a_place() -> None:
    for finding in findings().values():
        assert set(finding.parents) <= set(findings())
        assert set(finding.at.values()) <= set(findings())
        assert finding.key in ancestors(finding.key)
    assert ancestors("covid19") == {"covid19", "viral_pneumonia", "pneumonia"}


@pytest.mark.parametrize("key", [key for key, finding in findings().items() if finding.terms])
def test_a_finding_is_found_by_its_title_or_by_its_first_phrase(key: str) -> None:
    phrase = max(written_out(findings()[key].terms[0]), key=len).replace(" .. ", " ")
    found = {value.finding for each in terms().find(tokens_of(phrase)) for value in each.values}
    assert key in found


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "Small left pnuemothorax. No effussion or opacitiy.",
            "pneumothorax present, effusion absent, lung_opacity absent",
        ),
        ("Cardiomegally, atelectesis", "cardiomegaly present, atelectasis present"),
        ("No consolidatoin.", "consolidation absent"),
        ("The right hemithorax and the annulus fibrosus.", ""),
        ("Ankle joint effusion, vasogenic edema, opacification of the left mastoid, fatty infiltration.", ""),
    ],
)
def test_misspelt_findings_are_read_and_what_is_none_of_the_chest_is_not(written: str, read: str) -> None:
    assert ", ".join(f"{each.finding} {each.presence}" for each in read_report(written)) == read


@pytest.mark.parametrize(
    ("name", "labels", "some"),
    [
        ("nih14", 15, {"Pleural_Thickening", "Infiltration", "No Finding"}),
        ("chexpert14", 14, {"Enlarged Cardiomediastinum", "Support Devices", "Lung Opacity"}),
        ("openi_gold", 15, {"normal", "Hernia"}),
        ("phantom12", 12, {"rib_fracture", "pacemaker"}),
        ("vindr28", 28, {"Nodule/Mass", "Enlarged PA", "No finding"}),
        ("ct_rate18", 18, {"Mosaic attenuation pattern", "Medical material"}),
        ("padchest", 41, {"hiatal hernia", "NSG tube", "COPD signs"}),
    ],
)
def test_vocabularies_have_the_labels_of_their_data_sets(name: str, labels: int, some: set[str]) -> None:
    names = [label.name for label in vocabulary(name).labels]
    assert len(names) == len(set(names)) == labels
    assert some <= set(names)
    assert list(label_report("Normal chest.", name)) == [label.key for label in vocabulary(name).labels]


def test_what_a_label_counts_is_a_finding() -> None:
    for name in VOCABULARIES:
        for label in vocabulary(name).labels:
            counted = {*label.counts, *label.signs, *label.implied_by}
            assert counted <= set(findings())
            assert label.key in findings() or counted


def test_the_phantoms_vocabulary_is_its_list_of_findings() -> None:
    assert tuple(label.key for label in vocabulary("phantom12").labels) == FINDINGS


def test_an_unknown_vocabulary_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no label vocabulary 'chexpert'.*chexpert14"):
        vocabulary("chexpert")


def test_a_word_tells_one_language_only() -> None:
    assert not word_class("english") & word_class("other")


def test_a_file_of_the_lexicon_is_parsed_once_for_all_its_classes_of_words() -> None:
    assert load("words") is load("words")
    assert all(word_class(name) == frozenset(words.split()) for name, words in load("words").items())
