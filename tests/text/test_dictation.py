"""Sentences of everyday dictation: what is there, on which side and how much, as a reader takes it."""

from __future__ import annotations

import pytest

from medvlp.text.mentions import read_report

EXCEPTIONS = {  # what is excepted from a denial is there, and its place is not that of the rest
    "No acute findings save for a small left effusion.": ["effusion present left mild"],
    "No focal abnormality bar a small left effusion.": ["effusion present left mild"],
    "No other abnormality than a right effusion.": ["effusion present right"],
    "No other significant finding than a small left pneumothorax.": ["pneumothorax present left mild"],
    "No abnormality excepting a small left effusion.": ["effusion present left mild"],
    "Nothing but a small effusion.": ["effusion present mild"],
    "No abnormality besides a small right effusion.": ["effusion present right mild"],
    "No abnormality beyond a small right effusion.": ["effusion present right mild"],
    "No acute abnormality with the exception of a small right effusion.": ["effusion present right mild"],
    "Apart from scarring at the left apex, the lungs are clear.": ["consolidation absent"],
    "Lungs clear save for a calcified granuloma in the right mid zone.": [
        "consolidation absent",
        "granuloma present right mid lung",
    ],
    "Apart from the left base, which shows consolidation, no effusion.": [
        "consolidation present left lung base",
        "effusion absent",
    ],
    "Bilateral consolidation, sparing the left upper lobe.": ["consolidation present bilateral"],
    "Bilateral consolidation with sparing of the apices and small effusions.": [
        "consolidation present bilateral",
        "effusion present mild",
    ],
}
DENIALS = {  # what denies, what only sounds so, and where it ends
    "Infection thought unlikely, oedema more likely.": ["pneumonia absent", "edema uncertain"],
    "Pneumothorax excluded, effusion present.": ["pneumothorax absent", "effusion present"],
    "Pneumonia not likely and atelectasis present.": ["pneumonia absent", "atelectasis present"],
    "No pneumothorax, effusion small.": ["pneumothorax absent", "effusion present mild"],
    "No pneumothorax, effusion moderate in size.": ["pneumothorax absent", "effusion present moderate"],
    "Failure of resolution of the right effusion.": ["effusion present right"],
    "Slow resolution of the left consolidation.": ["consolidation present left"],
    "Nothing more than minor basal atelectasis.": ["atelectasis present lung base mild"],
    "No re-accumulation of the left pneumothorax.": ["pneumothorax absent left"],
    "The pneumothorax has not re-accumulated.": ["pneumothorax absent"],
    "Left effusion, small previously, has resolved.": ["effusion absent left mild"],
    "No complication of left pacemaker insertion.": ["pacemaker present left"],
    "No line or tube malposition.": ["support_devices present"],
    "No malposition of ET tube or chest tube.": ["endotracheal_tube present", "chest_tube present"],
    "No chest tube or rib fracture.": ["chest_tube absent", "rib_fracture absent rib"],
    "Status post thoracentesis, left effusion smaller.": ["effusion present left"],
    "No reaccumulation following drainage of the right effusion.": ["effusion absent right"],
    "Right effusion drained, no residual.": ["effusion absent right"],
    "No effusion - the heart is large.": ["effusion absent", "cardiomegaly present"],
    "No effusion -": ["effusion absent"],
    "ET and nasogastric tubes have been removed.": ["endotracheal_tube absent", "nasogastric_tube absent"],
    "No pacing lead fracture.": ["pacemaker present", "fracture absent"],
    "A trace of left effusion.": ["effusion present left mild"],
    "No trace of effusion.": ["effusion absent"],
    "CT chest of March 2019 showed a left effusion.": ["effusion historical left"],
    "The 2019 CT demonstrated a left effusion.": ["effusion historical left"],
}
NOTATION = {
    "R 5th rib fracture": ["rib_fracture present right rib"],
    "Fractures of L lateral 4th and 5th ribs.": ["rib_fracture present left rib"],
    "Effusion: trace L. Edema: none.": ["effusion present left mild", "edema absent"],
    "Eff - small, right.": ["effusion present right mild"],
    "Small R eff.": ["effusion present right mild"],
    "no ptx sm L eff": ["pneumothorax absent", "effusion present left mild"],
    "Effusion -, pneumothorax -, edema +.": ["effusion absent", "pneumothorax absent", "edema present"],
    "Effusion - none, edema - mild.": ["effusion absent", "edema present mild"],
    "☐ Effusion ☒ Edema": ["effusion conditional", "edema present"],
}
GRADES = {  # each side has its own
    "Small left, moderate right effusion.": ["effusion present left mild", "effusion present right moderate"],
    "No left, small right effusion.": ["effusion absent left", "effusion present right mild"],
    "Bilateral effusions, moderate on the right and small on the left.": [
        "effusion present bilateral",
        "effusion present right moderate",
        "effusion present left mild",
    ],
    "Sizeable left and gross right effusion.": ["effusion present left severe", "effusion present right severe"],
    "No gross effusion.": ["effusion absent"],
    "Effusion: R small, L none.": ["effusion present right mild", "effusion absent left"],
    "Effusion: left: small, right: none.": ["effusion present left mild", "effusion absent right"],
    "Effusion? Small left. Edema? N.": ["effusion present left mild", "edema absent"],
    "Effusion?": ["effusion uncertain"],
    "Moderate pleural and small pericardial effusion.": [
        "effusion present moderate",
        "pericardial_effusion present mild",
    ],
    "No effusion on the left, small on the right": [
        "effusion absent left",
        "effusion present right mild",
    ],  # no full stop
    "Effusion: absent on the left, small on the right": ["effusion absent left", "effusion present right mild"],
    "There is no mass in the right lung but one in the left.": ["mass absent right lung", "mass present left"],
    "Effusion on the left is small whereas that on the right is large.": [
        "effusion present left mild",
        "effusion present right severe",
    ],
    "There is no right, but a small left, effusion.": ["effusion absent right", "effusion present left mild"],
    "Effusion, left only.": ["effusion present left"],
    "Effusion, small on the left and right.": ["effusion present bilateral mild"],
}


TITLES = {
    "Pneumothorax: Lungs are well expanded. No pneumothorax.": ["pneumothorax absent"],
    "Pneumothorax: The left lung is not expanded. No right pneumothorax.": [
        "pneumothorax present left lung",
        "pneumothorax absent right",
    ],
    "Pneumothorax: Present. No tension pneumothorax.": ["pneumothorax present", "pneumothorax absent"],
    "Effusion: [x] none [ ] small": ["effusion absent"],
    "Effusion: [ ] none [x] small [ ] large": ["effusion present mild"],
    "Effusion: [x] small [ ] right [x] left.": ["effusion present left mild"],
    "Pneumothorax: [ ] Yes [x] No": ["pneumothorax absent"],
    "Heart: [ ] normal [x] enlarged": ["cardiomegaly present"],
    "Lungs: [x] clear [ ] effusion": ["consolidation absent", "effusion conditional"],
    "Effusion: [ ] none [ ] small": ["effusion conditional"],
    "Effusion: [ ] Edema: [x]": ["effusion conditional", "edema present"],
    "Effusion: [x], Edema: [x] none": ["effusion present", "edema absent"],
    "Left effusion: [ ] Right effusion: [x]": ["effusion conditional left", "effusion present right"],
    "Effusion: [x] left [ ] right Edema: [ ]": ["effusion present left", "edema conditional"],
    "Effusion: [ ] none [x] small Edema: [x] none [ ] mild": ["effusion present mild", "edema absent"],
    "Effusion: none [x] small [ ]": ["effusion absent"],
    "Effusion: none [ ] small [x] large [ ].": ["effusion present mild"],
    "Effusion: none [ ] small [ ]": ["effusion conditional"],
    "Pneumothorax: yes [x] no [ ] Effusion: yes [ ] no [x]": ["pneumothorax present", "effusion absent"],
    "Lungs: clear [ ] consolidation [x]": ["consolidation present lung"],
    "RIGHT LUNG: consolidation and atelectasis.": [
        "consolidation present right lung",
        "atelectasis present right lung",
    ],
    "On the right: effusion, no pneumothorax.": ["effusion present right", "pneumothorax absent right"],
    "Right lower lobe: atelectasis and small left effusion.": [
        "atelectasis present right lower lobe",
        "effusion present left mild",
    ],
    "Left lung: clear.": ["consolidation absent left"],
    "Effusion. Small left. Pneumothorax. None.": ["effusion present left mild", "pneumothorax absent"],
    "effusion. none. edema. mild.": ["effusion absent", "edema present mild"],
    "Pneumothorax. No. Effusion. Small basal atelectasis.": [
        "pneumothorax absent",
        "effusion present",
        "atelectasis present lung base mild",
    ],
    "Effusion: small left Edema: none": ["effusion present left mild", "edema absent"],
    "Effusion: none Left pneumothorax: small": ["effusion absent", "pneumothorax present left mild"],
    "Pneumothorax: No / Effusion: Yes": ["pneumothorax absent", "effusion present"],
    "Edema, effusion, pneumothorax: none.": ["edema absent", "effusion absent", "pneumothorax absent"],
    "Lungs clear, effusion: none.": ["consolidation absent", "effusion absent"],
    "No edema, effusion: small.": ["edema absent", "effusion present mild"],
    "Pericardium: small effusion. Pleura: no effusion.": ["pericardial_effusion present mild", "effusion absent"],
    "Pneumothorax: yes; effusion: no": ["pneumothorax present", "effusion absent"],
}
BONES = {
    "Fractures of the left clavicle and right 5th rib.": [
        "clavicle_fracture present left clavicle",
        "rib_fracture present right rib",
    ],
    "Left clavicle and right 5th rib fractures.": [
        "clavicle_fracture present left clavicle",
        "rib_fracture present right rib",
    ],
    "Left clavicle fracture and right 5th rib fracture.": [
        "clavicle_fracture present left clavicle",
        "rib_fracture present right rib",
    ],
    "Fracture of the left clavicle and right rib fracture.": [
        "clavicle_fracture present left clavicle",
        "rib_fracture present right rib",
    ],
    "Fractures of left 5th rib and right clavicle.": [
        "rib_fracture present left rib",
        "clavicle_fracture present right clavicle",
    ],
    "Fractures of the left 4th and 5th ribs.": ["rib_fracture present left rib"],
    "No clavicle and rib fractures.": ["clavicle_fracture absent clavicle", "rib_fracture absent rib"],
}
EARLIER = {  # what another film did not show says nothing of this one
    "No nodule on the prior CT.": [],
    "There was no effusion or pneumothorax seen on the previous film.": [],
    "The previous CT showed no nodule.": [],
    "On the prior CT there was no nodule.": [],
    "The effusion on the prior CT is no longer seen.": ["effusion absent"],
    "No nodule to match the nodule on the prior CT.": ["nodule absent", "nodule historical"],
    "No recurrence of the effusion on the prior film.": ["effusion absent"],
    "No residual effusion as on the prior film.": ["effusion absent"],
    "No new nodule since the prior CT.": ["nodule absent"],
    "No effusion, unlike on the prior CT.": ["effusion absent"],
}


def test_better_aeration_is_no_course_of_a_finding() -> None:
    (read,) = read_report("Improved aeration of the right base with a left effusion.")
    assert (read.finding, read.side, read.change) == ("effusion", "left", "")


@pytest.mark.parametrize(
    ("sentence", "said"),
    {
        "Two nodules: 4 mm in LUL and 7 mm in RLL.": [
            ("", "", None, 2),
            ("left", "upper lobe", 4.0, None),
            ("right", "lower lobe", 7.0, None),
        ],
        "Nodules: RUL 4 mm, LLL 7 mm": [("right", "upper lobe", 4.0, None), ("left", "lower lobe", 7.0, None)],
        "Nodule: 4 mm in the left upper lobe.": [("left", "upper lobe", 4.0, None)],
    }.items(),
)
def test_each_of_several_nodules_has_its_own_place_and_size(
    sentence: str, said: list[tuple[str, str, float | None, int | None]]
) -> None:
    assert [(each.side, each.anatomy, each.size_mm, each.count) for each in read_report(sentence)] == said


@pytest.mark.parametrize(
    ("sentence", "said"), (EXCEPTIONS | DENIALS | NOTATION | GRADES | TITLES | BONES | EARLIER).items()
)
def test_a_dictated_sentence_says_what_a_reader_takes_from_it(sentence: str, said: list[str]) -> None:
    read = [
        " ".join(filter(None, (each.finding, each.presence, each.side, each.anatomy, each.severity)))
        for each in read_report(sentence)
        if each.finding not in ("no_finding", "lung_opacity")
    ]
    assert read == said
