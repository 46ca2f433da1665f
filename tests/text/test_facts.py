"""Facts as numbers say what their mentions say: against rules written out over mentions, on many sentences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medvlp.text.facts import confirmed, facts_of, facts_of_labels
from medvlp.text.mentions import NOT_ENGLISH, Mention, read_report
from medvlp.text.ontology import ancestors, findings

SENTENCES = (
    "Left effusion.",
    "Small left pleural effusion.",
    "Large left pleural effusion, increased.",
    "Bilateral effusions.",
    "Small bilateral pleural effusions.",
    "Effusion.",
    "Possible left effusion.",
    "No effusion.",
    "No left effusion.",
    "No large effusion.",
    "No new effusion.",
    "No fracture.",
    "No rib fracture.",
    "Right rib fracture.",
    "Fracture of the right clavicle.",
    "Two 5 mm nodules in the left upper lobe.",
    "A 5 mm nodule in the left upper lobe.",
    "Nodule in the left lung.",
    "Nodule in the left upper lobe.",
    "History of pneumonia.",
    "Pneumonia.",
    "Right lower lobe pneumonia.",
    "Consolidation.",
    "No acute cardiopulmonary process.",
    "The lungs are clear.",
    "Cardiomegaly.",
    "Mild cardiomegaly, unchanged.",
    "Pulmonary edema.",
    "Central line on the right.",
)


def confirms(known: Mention, said: Mention) -> bool:
    """The rule, over mentions."""
    if known.presence != said.presence:
        return False
    details = ("anatomy", "severity", "change", "count", "size_mm")
    if said.presence == "absent":  # a denial holds of whatever it is a wider denial of
        kind = known.finding in ancestors(said.finding)
        wide = all(getattr(known, d) in ("", None, getattr(said, d)) for d in details)
        return kind and wide and known.side in ("", said.side)
    kind = said.finding in ancestors(known.finding)
    narrow = all(getattr(said, d) in ("", None, getattr(known, d)) for d in details)
    sides = {"", known.side} | ({"left", "right"} if known.side == "bilateral" else set())
    return kind and narrow and said.side in sides


def test_facts_confirm_each_other_as_their_mentions_do() -> None:
    mentions = {m: m.sentence for text in SENTENCES for m in read_report(text)}
    packed = {m: facts_of(m.sentence)[[*read_report(m.sentence)].index(m)] for m in mentions}
    assert len(packed) == 30
    table = confirmed(np.array(list(packed.values())), np.array(list(packed.values())))
    for (i, known), (j, said) in itertools.product(enumerate(packed), repeat=2):
        assert table[i, j] == confirms(known, said), (known.sentence, said.sentence)
    assert table.sum() > len(packed)  # some confirm others, none confirms all
    assert not table.all(axis=1).any()


@pytest.mark.parametrize(
    ("known", "said", "true"),
    [
        ("Small left effusion.", "Left effusion.", True),
        ("Small left effusion.", "Large left effusion.", False),
        ("Left effusion.", "Small left effusion.", False),
        ("Bilateral effusions.", "Right effusion.", True),
        ("Left effusion. Right effusion.", "Bilateral effusions.", False),
        ("Right rib fracture.", "Fracture.", True),
        ("Fracture.", "Right rib fracture.", False),
        ("No fracture.", "No rib fracture.", True),
        ("No rib fracture.", "No fracture.", False),
        ("No effusion.", "No large effusion.", True),
        ("No large effusion.", "No effusion.", False),
        ("No left effusion.", "No effusion.", False),
        ("Possible pneumonia.", "Pneumonia.", False),
        ("Pneumonia.", "Possible pneumonia.", False),
        ("History of pneumonia.", "Pneumonia.", False),
        ("No effusion.", "Effusion.", False),
        ("Edema has not improved.", "Edema has improved.", False),
        ("The right effusion has not increased.", "The right effusion has increased.", False),
        ("The right effusion has not increased.", "The right effusion is stable.", True),
    ],
)
def test_what_is_said_is_not_more_than_what_is_known(known: str, said: str, true: bool) -> None:
    table = confirmed(np.array(facts_of(known)), np.array(facts_of(said)))
    assert bool(table.any(axis=0).all()) is true


def test_labels_state_findings_and_nothing_of_their_side() -> None:
    known = np.array(facts_of_labels({"effusion": 1.0, "fracture": 0.0, "nodule": -1.0, "edema": float("nan")}))
    assert len(known) == 3
    for said, true in (
        ("Effusion.", True),
        ("Left effusion.", False),
        ("No right rib fracture.", True),
        ("Possible nodule.", True),
        ("Nodule.", False),
        ("No edema.", False),
    ):
        assert confirmed(known, np.array(facts_of(said))).any() == true, said


def test_every_finding_has_a_number_of_its_own() -> None:
    facts = [facts_of_labels({name: value})[0] for name in findings() for value in (1.0, 0.0, -1.0)]
    assert len(set(facts)) == 3 * len(findings())
    assert min(facts) > 0  # 0 is no fact


def test_facts_of_a_report_are_those_of_its_findings_and_impression() -> None:
    report = "INDICATION: Pneumonia.\nFINDINGS: Left effusion.\nIMPRESSION: Left effusion. No nodule."
    assert facts_of(report) == (*facts_of("Left effusion."), *facts_of("No nodule."))


def test_a_report_that_cannot_be_read_states_nothing_and_says_so() -> None:
    facts_of.cache_clear()  # of a text that was read before it says nothing
    with pytest.warns(UserWarning, match=NOT_ENGLISH):
        assert facts_of("Kein Pleuraerguss und keine Infiltrate in der Lunge.") == ()
