"""Sentences as they are typed in haste, in Britain and America and by template: what a reader takes from them."""

from __future__ import annotations

import pytest

from medvlp.text.mentions import read_report

DOUBTED_BEHIND_A_DENIAL = {  # what opens with a word of doubt is no further item of what is denied
    "No pneumothorax, possible small effusion.": {"pneumothorax": "absent", "effusion": "uncertain"},
    "No effusion and probable left atelectasis.": {"effusion": "absent", "atelectasis": "uncertain"},
    "No effusion or edema, suspected left lower lobe pneumonia.": {
        "effusion": "absent",
        "edema": "absent",
        "pneumonia": "uncertain",
    },
    "No definite or possible nodule.": {"nodule": "absent"},
}
NIL = {
    "Nil effusion.": {"effusion": "absent"},
    "Nil new consolidation.": {"consolidation": "absent"},
    "Nil evidence of pneumonia or edema.": {"pneumonia": "absent", "edema": "absent"},
    "Nil change in the left effusion.": {"effusion": "present"},
    "Effusion: nil. Pneumothorax - nil.": {"effusion": "absent", "pneumothorax": "absent"},
    "Effusion nil, consolidation at the left base.": {"effusion": "absent", "consolidation": "present"},
}
TEMPLATES = {  # "Heart: enlarged" says what "heart enlarged" does
    "Heart: Enlarged.": {"cardiomegaly": "present"},
    "Heart: not enlarged.": {"cardiomegaly": "absent"},
    "HEART SIZE: NORMAL. LUNGS: CLEAR.": {"cardiomegaly": "absent", "consolidation": "absent"},
    "Costophrenic angles: blunted.": {"effusion": "uncertain"},
    "Pleural effusion: [None]. Heart: [Enlarged].": {"effusion": "absent", "cardiomegaly": "present"},
    "[ ] Effusion\n[x] Pneumothorax": {"effusion": "conditional", "pneumothorax": "present"},  # a box without a cross
    "[ ] Effusion [x] Edema [] Nodule": {"effusion": "conditional", "edema": "present", "nodule": "conditional"},
    "Effusion [ ] Edema [X] Nodule [ ]": {"effusion": "conditional", "edema": "present", "nodule": "conditional"},
    "Effusion: N. Edema: Y.": {"effusion": "absent", "edema": "present"},
    # A title that names the finding again, or under which others are denied, states nothing by itself.
    "PNEUMOTHORAX: No pneumothorax.": {"pneumothorax": "absent"},
    "Effusion/pneumothorax: No effusion or pneumothorax.": {"effusion": "absent", "pneumothorax": "absent"},
    "Cardiomegaly: heart size is normal.": {"cardiomegaly": "absent"},
    "Pneumothorax: Prior pneumothorax has resolved.": {"pneumothorax": "absent"},
    "Effusion: possible small effusion.": {"effusion": "uncertain"},
    "Pneumonia: No consolidation.": {"consolidation": "absent"},
    "Chest tube: no pneumothorax.": {"chest_tube": "present", "pneumothorax": "absent"},
    "Consolidation: likely pneumonia.": {"consolidation": "present", "pneumonia": "uncertain"},
    "Fractures: No acute or displaced.": {"fracture": "absent"},
    "Effusion: No large, small on the left.": {"effusion": "present"},
    "Heart: enlarged, no edema. Lungs: mass.": {"cardiomegaly": "present", "edema": "absent", "mass": "present"},
}
DENIED_QUALITIES = {  # none of the nodules is that large: they are there
    "Multiple nodules, none larger than 5 mm.": {"nodule": "present"},
    "Nodules in both lungs, none of which exceeds 6 mm.": {"nodule": "present"},
    "Effusion: none of note.": {"effusion": "absent"},
}
AFTER_A_PROCEDURE = {
    "No pneumothorax s/p right chest tube placement.": {"pneumothorax": "absent", "chest_tube": "historical"},
    "No effusion status post chest tube removal.": {"effusion": "absent", "chest_tube": "absent"},
    "After placement of a chest tube the effusion has resolved.": {"chest_tube": "present", "effusion": "absent"},
    "S/p CABG, sternal wires intact.": {"support_devices": "present"},
    "s/p CABG w/ sternal wires.": {"support_devices": "present"},
    "?pneumothorax post central line insertion.": {"pneumothorax": "uncertain", "central_line": "present"},
    "Possible small effusion after chest tube placement.": {"effusion": "uncertain", "chest_tube": "present"},
    "RLL PNA, LLL atx.": {"pneumonia": "present", "atelectasis": "present"},
}
LISTS_IN_ONE_LINE = {
    "1) No edema 2) small effusion 3) cardiomegaly": {
        "edema": "absent",
        "effusion": "present",
        "cardiomegaly": "present",
    },
    "(a) no effusion, (b) left lower lobe collapse": {"effusion": "absent", "atelectasis": "present"},
    "1) No mass (image 2) or effusion 2) edema": {"mass": "absent", "effusion": "absent", "edema": "present"},
    "1) No evidence of: a) effusion b) edema 2) nodule": {"effusion": "absent", "edema": "absent", "nodule": "present"},
}
CUES = {  # each is the only statement of its cue or rule
    "The lungs are devoid of consolidation.": {"consolidation": "absent"},
    "The bases are spared from edema.": {"edema": "absent"},
    "The appearance argues against pneumonia.": {"pneumonia": "absent"},
    "The opacity is not inconsistent with pneumonia.": {"lung_opacity": "present", "pneumonia": "uncertain"},
    "No effusion is seen, without excluding a small pneumothorax.": {"effusion": "absent", "pneumothorax": "uncertain"},
    "Larger effusion when the chest tube was removed.": {"effusion": "present", "chest_tube": "absent"},
    "No opacity compatible with pneumonia.": {"lung_opacity": "absent", "pneumonia": "absent"},
    "No changes to suggest edema.": {"edema": "absent"},
    "Nothing but a small effusion.": {"effusion": "present"},
    "Not only an effusion but a nodule.": {"effusion": "present", "nodule": "present"},
    "No change to the effusion.": {"effusion": "present"},
    "Please correlate clinically for pneumonia.": {"pneumonia": "conditional"},
    "There is little if any effusion on the right.": {"effusion": "uncertain"},
    "Pneumonia is not favored.": {"pneumonia": "uncertain"},
    "Insufficient evidence to diagnose pneumonia.": {"pneumonia": "uncertain"},
    "A small pneumothorax may be obscured.": {"pneumothorax": "uncertain"},
    "A rib fracture may be occult.": {"rib_fracture": "uncertain"},
    "Asymmetric edema could have a similar appearance.": {"edema": "uncertain"},
    "The lucency is thought to be a bulla rather than a pneumothorax.": {
        "emphysema": "uncertain",
        "pneumothorax": "absent",
    },
    "Atelectasis is favoured over infection.": {"atelectasis": "uncertain", "pneumonia": "uncertain"},
    "Slight clearing of the edema.": {"edema": "present"},
}
AGAINST_AN_EARLIER_FILM = {
    "New right effusion not seen on the prior.": {"effusion": "present"},
    "Right basal opacity not present on prior, suspicious for pneumonia.": {
        "lung_opacity": "present",
        "pneumonia": "uncertain",
    },
    "Compared to prior, pneumonia in the right lower lobe.": {"pneumonia": "present"},
    "Prior pneumonia in the right lower lobe.": {"pneumonia": "historical"},
}
WORDS = {
    "Pneumothorax is not definitively identified.": {"pneumothorax": "absent"},
    "Can't see any effusion.": {"effusion": "absent"},
    "Pneumothorax? None seen. Effusion? None.": {"pneumothorax": "absent", "effusion": "absent"},
    "Nodule in the right upper lobe not seen previously.": {"nodule": "present"},
    "Fx of the left 4th rib.": {"rib_fracture": "present"},
    "Heart size WNL.": {"cardiomegaly": "absent"},
    "Acute infiltrate in the right lower lobe.": {"infiltration": "present"},
    "No acute infiltrate.": {"infiltration": "absent"},
    "No active lung disease.": {"no_finding": "present"},
    "Haemopneumothorax on the left.": {"pneumothorax": "present", "effusion": "present"},
    "No pl eff.": {"effusion": "absent"},
    "Enlarged right paratracheal node.": {"lymphadenopathy": "present"},
    "Lymph nodes are not enlarged.": {"lymphadenopathy": "absent"},
    "Heart size and mediastinal contours are normal.": {
        "cardiomegaly": "absent",
        "enlarged_cardiomediastinum": "absent",
    },
    "Heart size, mediastinal contour, and pulmonary vascularity are within normal limits.": {
        "cardiomegaly": "absent",
        "enlarged_cardiomediastinum": "absent",
        "edema": "absent",
    },
    "Heart is enlarged and the mediastinum is normal.": {"cardiomegaly": "present"},
    "Heart and mediastinum are not normal.": {"cardiomegaly": None},
    "F/u effusion.": {"effusion": "present"},
    "PA/lateral chest: pneumonia.": {"pneumonia": "present"},
    "Left effusion/atelectasis.": {"atelectasis": "uncertain"},
    "Hilar/mediastinal lymphadenopathy.": {"lymphadenopathy": "present"},
    "LINES/TUBES: ETT 4 cm above carina.": {"support_devices": "present", "endotracheal_tube": "present"},
    "No pleural or pericardial effusion.": {"effusion": "absent", "pericardial_effusion": "absent"},
    "Pericardial and pleural effusions.": {"effusion": "present", "pericardial_effusion": "present"},
    "Hazy left base, likely a combination of effusion and collapse.": {
        "effusion": "uncertain",
        "atelectasis": "uncertain",
    },
    "Collapse of the T8 vertebral body.": {"atelectasis": None},
    "The trachea is central.": {"mediastinal_shift": "absent"},
    "CVL unchanged.": {"central_line": "present"},
    "LVAD in place.": {"support_devices": "present"},
    "No Impella device.": {"support_devices": "absent"},
    "The side port of the NG tube is not seen.": {"nasogastric_tube": "present"},
}


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        pair
        for group in (
            DOUBTED_BEHIND_A_DENIAL,
            NIL,
            TEMPLATES,
            DENIED_QUALITIES,
            AFTER_A_PROCEDURE,
            LISTS_IN_ONE_LINE,
            CUES,
            AGAINST_AN_EARLIER_FILM,
            WORDS,
        )
        for pair in group.items()
    ],
)
def test_a_sentence_says_of_each_finding_what_a_reader_takes_from_it(
    sentence: str, said: dict[str, str | None]
) -> None:
    read = {mention.finding: mention.presence for mention in read_report(sentence)}
    assert {finding: read.get(finding) for finding in said} == said


def test_what_shares_a_predicate_keeps_its_own_place() -> None:
    heart = read_report("Heart and mediastinum are normal.")[0]
    assert (heart.finding, heart.presence, heart.anatomy) == ("cardiomegaly", "absent", "")


def test_the_side_port_of_a_tube_is_no_port() -> None:
    assert {each.finding for each in read_report("NG tube, its side port above the stomach.")} == {"nasogastric_tube"}
    assert {each.finding for each in read_report("Right-sided port.")} == {"central_line"}


@pytest.mark.parametrize(
    "sentence",
    [
        "7 mm oval mass in the right breast at 10 o'clock.",
        "Spiculated mass in the upper outer quadrant of the left breast.",
        "2 cm lesion in the right lobe of the liver.",
        "Hypoechoic lesion in segment 6 of the liver.",
        "Mass in the head of the pancreas.",
        "Calcifications in both breasts.",
    ],
)
def test_what_lies_in_another_organ_is_no_finding_of_the_lung(sentence: str) -> None:
    assert read_report(sentence) == ()
    assert read_report(f"Mass in the right lung, {sentence.lower()}")[0].finding == "mass"
