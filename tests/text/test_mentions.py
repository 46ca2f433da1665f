from __future__ import annotations

import pytest

from medvlp.text.mentions import Mention, read_report
from tests.text.reading import triplets


def only(text: str) -> Mention:
    (mention,) = read_report(text)
    return mention


@pytest.mark.parametrize(
    ("sentence", "side", "anatomy"),
    [
        ("Left lower lobe consolidation.", "left", "lower lobe"),
        ("Consolidation in the right upper lobe.", "right", "upper lobe"),
        ("The left lung base shows consolidation.", "left", "lung base"),
        ("Consolidation of both lower lobes.", "bilateral", "lower lobe"),
        ("Bibasilar consolidation.", "bilateral", "lung base"),
        ("Lingular consolidation.", "left", "lingula"),
        ("Middle lobe consolidation.", "right", "middle lobe"),
        ("Rt. lower lobe consolidation.", "right", "lower lobe"),
        ("RLL consolidation.", "right", "lower lobe"),
        ("Consolidation LMZ.", "left", "mid lung"),
        ("Left mid lung consolidation.", "left", "mid lung"),  # only the right lung has a middle lobe
        ("Consolidation in the right mid zone.", "right", "mid lung"),
        ("Small (R) consolidation.", "right", ""),
        ("Consolidation on the L.", "left", ""),
        ("L. basal consolidation.", "left", "lung base"),
        ("R/L consolidation.", "bilateral", ""),
        ("Consolidation, left greater than right.", "bilateral", ""),
        ("Consolidation.", "", ""),
    ],
)
def test_places_are_those_of_the_patient_as_said(sentence: str, side: str, anatomy: str) -> None:
    mention = only(sentence)
    assert (mention.side, mention.anatomy) == (side, anatomy)


@pytest.mark.parametrize(
    ("sentence", "sides"),
    [
        ("Left effusion and right pneumothorax.", {"effusion": "left", "pneumothorax": "right"}),
        ("Effusion on the left, pneumothorax on the right.", {"effusion": "left", "pneumothorax": "right"}),
        ("Effusion and atelectasis on the left.", {"effusion": "left", "atelectasis": "left"}),
        ("Left effusion with adjacent atelectasis.", {"effusion": "left", "atelectasis": "left"}),
        ("Right effusion, but the left base has atelectasis.", {"effusion": "right", "atelectasis": "left"}),
        ("Right basal atelectasis due to left effusion.", {"atelectasis": "right", "effusion": "left"}),
        ("Left pneumothorax after removal of the right chest tube.", {"pneumothorax": "left", "chest_tube": "right"}),
        ("The lungs are clear apart from a left nodule.", {"consolidation": "", "lung_opacity": "", "nodule": "left"}),
        ("Left pleural effusion. Cardiomegaly.", {"effusion": "left", "cardiomegaly": ""}),
        ("Right upper lobe nodule and left effusion.", {"nodule": "right", "effusion": "left"}),
        ("Right chest tube was left in place.", {"chest_tube": "right"}),
        ("Left chest tube left in situ.", {"chest_tube": "left"}),
        ("Left chest tube in place.", {"chest_tube": "left"}),
        ("Chest tube on the left in place.", {"chest_tube": "left"}),
        ("Chest tube left in place, right effusion.", {"chest_tube": "", "effusion": "right"}),
        ("Central line left in place.", {"central_line": ""}),
        ("Left in place: central line.", {"central_line": ""}),
        ("Left PICC with tip in the right atrium.", {"central_line": "left"}),
        ("Left pacemaker with leads in the right atrium and right ventricle.", {"pacemaker": "left"}),
        ("Right PICC ends in the left brachiocephalic vein.", {"central_line": "right"}),
        ("Left subclavian line ends at the right upper or mid atrium.", {"central_line": "left"}),
        ("Left PICC with its tip in the right hemithorax.", {"central_line": "left"}),
        ("Chest tubes on the left and right.", {"chest_tube": "bilateral"}),
        ("Right pneumothorax, seen on the left lateral decubitus film only.", {"pneumothorax": "right"}),
        ("Fluid in the left oblique fissure.", {"effusion": "left"}),
        ("Swan-Ganz catheter with its tip in the right main pulmonary artery.", {"central_line": ""}),
        ("Left IJ Swan-Ganz catheter ends in the right pulmonary artery.", {"central_line": "left"}),
        ("B/L effusion, left nodule.", {"effusion": "bilateral", "nodule": "left"}),
        ("RIJ line, left effusion.", {"central_line": "right", "effusion": "left"}),
        ("Possible pneumonia in the right clinical setting.", {"pneumonia": ""}),
        ("Left edema in the right clinical context.", {"edema": "left"}),
        ("Opacity overlying the left ventricle.", {"lung_opacity": "left"}),
        ("Left lower lobe pneumonia and atelectasis in the right base.", {"pneumonia": "left", "atelectasis": "right"}),
        ("Right pneumothorax and effusion at the left base.", {"pneumothorax": "right", "effusion": "left"}),
        ("Edema and bilateral effusions, left more than right.", {"edema": "bilateral", "effusion": "bilateral"}),
        ("Right basilar opacity/atelectasis.", {"lung_opacity": "right", "atelectasis": "right"}),
        ("Leftward shift of the mediastinum.", {"mediastinal_shift": "left"}),
        ("Edema, R>L effusions.", {"edema": "", "effusion": "bilateral"}),
        ("The left lung has a nodule and the right lung shows a mass.", {"nodule": "left", "mass": "right"}),
        ("Right chest tube, and the left base shows edema.", {"chest_tube": "right", "edema": "left"}),
        ("The right hilum is clear and the left base shows edema.", {"edema": "left"}),
        ("The right hilum and base are clear and there is left edema.", {"edema": "left"}),
        ("Right hilum clear, left base shows edema.", {"edema": "left"}),
        ("The left base is hazy and the right base is hazy, consistent with edema.", {"edema": "bilateral"}),
        ("The left hemidiaphragm is elevated and there is atelectasis.", {"atelectasis": "left"}),
        ("On the left, which is larger, and right effusions.", {"effusion": "bilateral"}),
        ("Small effusions, larger on the left.", {"effusion": "bilateral"}),
        ("Worse edema and bilateral effusions, now moderate on the right.", {"edema": "", "effusion": "bilateral"}),
        (
            "Right opacity and leftward mediastinal shift, consistent with effusion.",
            {"lung_opacity": "right", "mediastinal_shift": "left", "effusion": "right"},
        ),
        ("Opacities, more prominent on right.", {"lung_opacity": "bilateral"}),
        ("Small effusion on the left.", {"effusion": "left"}),
        ("The pneumothorax is larger on the left than before.", {"pneumothorax": "left"}),
        ("Chest tube right and small left effusion.", {"chest_tube": "right", "effusion": "left"}),
        ("Edema, left small to moderate effusion.", {"edema": "", "effusion": "left"}),
        (
            "On the right there is an effusion, on the left a pneumothorax.",
            {"effusion": "right", "pneumothorax": "left"},
        ),
        (
            "On the right, effusion and atelectasis; on the left, a nodule.",
            {"effusion": "right", "atelectasis": "right", "nodule": "left"},
        ),
        ("On the left, no effusion or edema.", {"effusion": "left", "edema": "left"}),
        ("Right mastectomy with left effusion.", {"effusion": "left"}),
        ("Right mastectomy, left effusion.", {"effusion": "left"}),  # what no lexicon has is on its own side
        ("Right shoulder arthroplasty and small left effusion.", {"effusion": "left"}),
        ("Elevated right hemidiaphragm, left effusion.", {"effusion": "left"}),
        ("Right lung expanded, left effusion.", {"effusion": "left"}),
        ("Right apical scarring and left basilar nodule.", {"nodule": "left"}),
        ("Left effusion, right mastectomy.", {"effusion": "left"}),
        ("Left effusion and severe osteoarthritis of the right shoulder.", {"effusion": "left"}),
        ("Left nodule and surgical changes in the right breast.", {"nodule": "left"}),
        ("Nodule in the left lung, right mastectomy.", {"nodule": "left"}),
        ("Left opacity, likely atelectasis, right base clear.", {"lung_opacity": "left", "atelectasis": "left"}),
        ("Left pneumonia, right normal.", {"pneumonia": "left"}),
        ("Left IJ and right subclavian lines.", {"central_line": "bilateral"}),
        ("Left loculated and right free effusions.", {"effusion": "bilateral"}),
        ("Left sixth and right seventh rib fractures.", {"rib_fracture": "bilateral"}),
        ("Opacities in the right hilar region and left perihilar region.", {"lung_opacity": "bilateral"}),
        ("Nodules in the left and right lung consistent with edema.", {"nodule": "bilateral", "edema": "bilateral"}),
        ("The right lung shows effusion and the left is clear.", {"effusion": "right"}),
        ("The left lung shows consolidation while the right is clear.", {"consolidation": "left"}),
        ("Effusions, left greater than right.", {"effusion": "bilateral"}),
        ("L PTX, R basilar atelectasis.", {"pneumothorax": "left", "atelectasis": "right"}),
        ("R pulmonary nodule and Lt mass.", {"nodule": "right", "mass": "left"}),
        (
            "No L peripherally inserted central catheter, rt infiltrate.",
            {"central_line": "left", "infiltration": "right"},
        ),
        ("R IJ line and L chest tube.", {"central_line": "right", "chest_tube": "left"}),
        ("L1 fracture, lateral L spine.", {"fracture": ""}),
        ("Right pneumothorax with development of left effusion.", {"pneumothorax": "right", "effusion": "left"}),
        ("Right IJ line with placement of left chest tube.", {"central_line": "right", "chest_tube": "left"}),
        ("No pneumothorax post biopsy of the left nodule.", {"pneumothorax": "", "nodule": "left"}),
        ("No pneumothorax after biopsy of the right upper lobe mass.", {"pneumothorax": "", "mass": "right"}),
        ("No pneumothorax following right lung biopsy.", {"pneumothorax": ""}),
        ("Left pneumothorax following biopsy of the right lung.", {"pneumothorax": "left"}),
        ("Pneumothorax after surgery, larger on the right.", {"pneumothorax": "right"}),
        ("Atelectasis with post surgical change on the left.", {"atelectasis": "left"}),
        ("Left nodule; effusion, edema, or both.", {"nodule": "left", "effusion": "", "edema": ""}),
        ("RLL opacity, likely edema vs. pneumonia.", dict.fromkeys(("lung_opacity", "edema", "pneumonia"), "right")),
        (
            "Effusions at the left and right base have increased with atelectasis.",
            {"effusion": "bilateral", "atelectasis": "bilateral"},
        ),
    ],
)
def test_each_finding_has_its_own_side(sentence: str, sides: dict[str, str]) -> None:
    assert {mention.finding: mention.side for mention in read_report(sentence)} == sides


def test_the_nearest_finding_that_is_explained_or_accompanied_gives_its_place_within_the_clause() -> None:
    mild = read_report("Left basal opacity, mild right mass, likely edema with fracture; suggesting hernia.")
    assert [m.side for m in mild] == ["left", "right", "right", "right", ""]
    assert [m.severity for m in mild[:3]] == ["", "mild", "mild"]
    assert [m.side for m in read_report("Left opacity/nodule and mass/edema.")] == ["left", "left", "", ""]


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("Small left effusion, none on the right.", {"left": "present", "right": "absent"}),
        ("Effusion on the left, none on the right.", {"left": "present", "right": "absent"}),
        ("Left effusion, with none on the right.", {"left": "present", "right": "absent"}),
        ("Left effusion and none seen on the right.", {"left": "present", "right": "absent"}),
        ("Left effusion, but there is clearly none on the right.", {"left": "present", "right": "absent"}),
        ("Left effusion cannot be excluded; none is seen on the right.", {"left": "uncertain", "right": "absent"}),
        ("No left-sided and only a trace right-sided effusion.", {"left": "absent", "right": "present"}),
        ("None on the left, effusion on the right.", {"right": "present"}),
        ("There is a nodule in the left lower lobe, not seen on the right.", {"left": "present", "right": "absent"}),
        ("Effusion is seen on the left, absent on the right.", {"left": "present", "right": "absent"}),
        ("Effusion on the left but not on the right.", {"left": "present", "right": "absent"}),
        ("Effusion is not seen on the right.", {"right": "absent"}),
        ("Effusion: none on the right.", {"right": "absent"}),
        ("Effusion: right - none.", {"right": "absent"}),
        ("Effusion: right none, left small.", {"left": "present", "right": "absent"}),
        ("Effusion: no right, small left.", {"left": "present", "right": "absent"}),
        ("Left PICC replaced by right PICC.", {"left": "absent", "right": "present"}),
        ("Effusion: none.", {"": "absent"}),
        ("Effusion, none.", {"": "absent"}),
        ("Pneumothorax, none seen.", {"": "absent"}),
        ("Left effusion, absent on the prior exam.", {"left": "present"}),
        ("No right and small left effusion.", {"right": "absent", "left": "present"}),
        ("No right and no left effusion.", {"right": "absent", "left": "absent"}),
    ],
)
def test_the_side_that_has_none_is_not_the_one_that_has_it(sentence: str, said: dict[str, str]) -> None:
    assert {mention.side: mention.presence for mention in read_report(sentence)} == said


@pytest.mark.parametrize(
    ("sentence", "left", "right"),
    [
        ("Moderate to large right and small left effusions.", "mild", "severe"),
        ("Edema, large right and small left effusions.", "mild", "severe"),
        ("Small right and moderate left effusions.", "moderate", "mild"),
        ("Small effusion on the right, moderate on the left.", "moderate", "mild"),
        ("Moderate right-sided effusion, small left sided.", "mild", "moderate"),
        ("The effusion is moderate on the right and small on the left.", "mild", "moderate"),
        ("A large right and a small left effusion.", "mild", "severe"),
        ("Small right and moderate to large left effusions.", "severe", "mild"),
        ("Effusions: moderate right, small left.", "mild", "moderate"),
        ("Effusions: right moderate, left small.", "mild", "moderate"),
    ],
)
def test_each_side_has_its_own_grade(sentence: str, left: str, right: str) -> None:
    effusions = {mention.side: mention.severity for mention in read_report(sentence) if mention.finding == "effusion"}
    assert effusions == {"left": left, "right": right}


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        (
            "The effusion has cleared on the right but persists on the left.",
            [("effusion", "absent", "right"), ("effusion", "present", "left")],
        ),
        (
            "Effusion has increased on the left and has resolved on the right.",
            [("effusion", "present", "left"), ("effusion", "absent", "right")],
        ),
        (
            "The right effusion has resolved and the left has increased.",
            [("effusion", "absent", "right"), ("effusion", "present", "left")],
        ),
        (
            "The left pneumothorax is unchanged, the right has cleared",
            [("pneumothorax", "present", "left"), ("pneumothorax", "absent", "right")],
        ),
        (
            "The right chest tube is in place and the left has been removed.",
            [("chest_tube", "present", "right"), ("chest_tube", "absent", "left")],
        ),
        ("The right effusion is small and the left is clear.", [("effusion", "present", "right")]),
        (
            "There is no pneumothorax on the left, however a small one is seen on the right.",
            [("pneumothorax", "absent", "left"), ("pneumothorax", "present", "right")],
        ),
        (
            "A fracture is not identified, but cannot be excluded.",
            [("fracture", "absent", ""), ("fracture", "uncertain", "")],
        ),
        *(
            (sentence, [("effusion", "absent", ""), ("effusion", "uncertain", "")])
            for sentence in (
                "No effusion, though a small one could be missed.",
                "No effusion, although a small loculated one may be missed.",
                "Effusion is unlikely but not excluded.",
            )
        ),
        (
            "Effusions have resolved on the left and improved on the right.",
            [("effusion", "absent", "left"), ("effusion", "present", "right")],
        ),
        *(
            (sentence, [("pneumothorax", "absent", "left"), ("pneumothorax", "present", "right")])
            for sentence in (
                "The pneumothorax has cleared on the left; on the right it persists.",
                "Pneumothorax on the left has resolved and on the right it is unchanged.",
                "Left pneumothorax resolved, right stable.",
                "Resolved left and new right pneumothorax.",
                "No pneumothorax on the left, small on the right.",
                "The left pneumothorax has resolved while that on the right has increased.",
                "Pnuemothorax on the left has resolved but persists on the right.",
                "The left pnuemothorax has resolved and the right has increased.",
                "The left-sided pneumothorax is gone and the right-sided one is smaller.",
            )
        ),
        (
            "Left effusion stable and right resolved.",
            [("effusion", "present", "left"), ("effusion", "absent", "right")],
        ),
        (
            "There is a left but no right pleural effusion.",
            [("effusion", "present", "left"), ("effusion", "absent", "right")],
        ),
        (
            "New left and resolved right pneumothorax.",
            [("pneumothorax", "present", "left"), ("pneumothorax", "absent", "right")],
        ),
        (
            "The effusion on the left is stable and the right has resolved.",
            [("effusion", "present", "left"), ("effusion", "absent", "right")],
        ),
        (
            "Right chest tube in place, left removed.",
            [("chest_tube", "present", "right"), ("chest_tube", "absent", "left")],
        ),
        ("A nodule with a new one cm cavity.", [("nodule", "present", ""), ("lung_cavity", "present", "")]),
        (
            "The right lower lobe opacity has resolved, but remains in the left base.",
            [("lung_opacity", "absent", "right"), ("lung_opacity", "present", "left")],
        ),
        (
            "Pneumothorax has resolved on the left and is unchanged on the right.",
            [("pneumothorax", "absent", "left"), ("pneumothorax", "present", "right")],
        ),
        (
            "Effusion is seen on the left but is not seen on the right.",
            [("effusion", "present", "left"), ("effusion", "absent", "right")],
        ),
        *(
            (sentence, [("effusion", "present", "right"), ("effusion", "absent", "left")])
            for sentence in (
                "Bilateral effusions, now resolved on the left.",
                "Bilateral effusions which have resolved on the left.",
                "Both effusions are no longer evident on the left.",
                "Bilateral effusions, the left has resolved.",
                "Right, but not left, effusion.",
                "A right, but no left, pleural effusion is identified.",
                "Right rather than left effusion.",
                "Effusion in the right but not the left pleural space.",
            )
        ),
        *(
            (sentence, [("effusion", "absent", "right"), ("effusion", "present", "left")])
            for sentence in (
                "The right effusion has resolved, but not the left.",
                "The right effusion, but not the left, has resolved.",
                "The right effusion, but not the left effusion, has resolved.",
                "The right effusion has cleared, not the left one.",
                "The right but not left effusion has resolved.",
                "Effusions have resolved on the right but not on the left.",
            )
        ),
        *(
            (sentence, [("consolidation", "present", "right"), ("consolidation", "absent", "left")])
            for sentence in (
                "The right, not the left, lung shows consolidation.",
                "The right lung, but not the left, shows consolidation.",
                "Consolidation in the right, but not the left, lung.",
            )
        ),
        (
            "The left lung, but not the right lung, is clear.",
            [("consolidation", "absent", "left"), ("lung_opacity", "absent", "left")],
        ),
        ("Not right but left effusion.", [("effusion", "absent", "right"), ("effusion", "present", "left")]),
        (
            "Right lower lobe but not left lower lobe consolidation.",
            [("consolidation", "present", "right"), ("consolidation", "absent", "left")],
        ),
        (
            "Bilateral chest tubes, removed on the right.",
            [("chest_tube", "present", "left"), ("chest_tube", "absent", "right")],
        ),
        (
            "Bilateral rib fractures, no new left rib fracture.",
            [("rib_fracture", "present", "bilateral"), ("rib_fracture", "absent", "left")],
        ),
        (
            "Chest tube on the right, but no left effusion.",
            [("chest_tube", "present", "right"), ("effusion", "absent", "left")],
        ),
        (
            "The left effusion resolved but the right did not.",
            [("effusion", "absent", "left"), ("effusion", "present", "right")],
        ),
        *(
            (f"No effusion {but} on the left.", [("effusion", "absent", ""), ("effusion", "present", "left")])
            for but in (
                "other than a trace",
                "except",
                "apart from a small amount",
                "with the exception of a small one",
            )
        ),
        (
            "No effusion, atelectasis at the left base.",
            [("effusion", "absent", ""), ("atelectasis", "present", "left")],
        ),
        (
            "No effusion, edema or opacity at the left base.",
            [("effusion", "absent", "left"), ("edema", "absent", "left"), ("lung_opacity", "absent", "left")],
        ),
        ("No pneumothorax s/p right thoracentesis.", [("pneumothorax", "absent", "")]),
        ("No edema, effusion increased on the left.", [("edema", "absent", ""), ("effusion", "present", "left")]),
        ("The right PICC is withdrawn and is in the left arm.", [("central_line", "present", "right")]),
        (
            "The right effusion has resolved and is followed by left edema.",
            [("effusion", "absent", "right"), ("edema", "present", "left")],
        ),
    ],
)
def test_what_is_gone_on_one_side_and_left_on_the_other_is_two_statements(
    sentence: str, said: list[tuple[str, str, str]]
) -> None:
    assert [(each.finding, each.presence, each.side) for each in read_report(sentence)] == said


@pytest.mark.parametrize(
    ("sentence", "size", "count"),
    [
        ("A 5 mm nodule.", 5.0, None),
        ("Nodule of 1.2 cm.", 12.0, None),
        ("A 2.3 x 1.1 cm mass.", 23.0, None),
        ("Two nodules, 5 and 8 mm.", 8.0, 2),
        ("3 nodules.", None, 3),
        ("Solitary nodule.", None, 1),
        (".5 cm nodule.", 5.0, None),
        ("Nodule (.5 x .3 cm).", 5.0, None),
        ("3-4 mm nodule.", 4.0, None),
        ("Two 5 mm nodules.", 5.0, 2),
        ("Film from 03/2019 shows a nodule.", None, None),
        ("Multiple nodules.", None, None),
        ("Nodule of 7 mm (previously 9 mm).", 7.0, None),  # the size of this film
        ("Nodule of 7 mm, previously measuring about 9 mm.", 7.0, None),
        ("The nodule measures 8 mm, decreased from 12 mm.", 8.0, None),
        ("Nodule that has decreased from 12 to 8 mm.", 8.0, None),
        ("Nodule that has grown from 8 mm to 12 mm.", 12.0, None),
        ("The mass measures 3.1 x 2.0 cm compared to 4.5 x 3.0 cm previously.", 31.0, None),
        ("Mass of 3.1 cm, was 4.5 cm.", 31.0, None),
        ("Mass of 3 cm (prior study 4.5 cm).", 30.0, None),
        ("Nodules ranging from 3 to 8 mm.", 8.0, None),
        ("The nodule was 6 mm.", 6.0, None),
        ("Endotracheal tube 3 cm above the carina.", None, None),
        ("There is a 2 cm nodule in the right lung ².", 20.0, None),  # a digit that is no number
        (f"{'9' * 5000} nodules.", None, None),
    ],
)
def test_sizes_are_in_millimetres_and_counts_are_those_said(sentence: str, size: float, count: int) -> None:
    mention = only(sentence)
    assert (mention.size_mm, mention.count) == (size, count)


@pytest.mark.parametrize(
    ("sentence", "size", "count"),
    [
        ("Nodules in the left lung, 5\u00b2 in all.", None, 5),  # a foot note's mark is a digit, and no number
        ("Left lower lobe nodule 2\u00b2 x 3 cm.", 30.0, None),
        (f"Nodule, number {'1' * 5000}.", None, None),  # longer than Python makes numbers of
        (f"A nodule of {'1' * 400} mm.", None, None),
    ],
)
def test_digits_that_are_no_number_are_passed_over(sentence: str, size: float | None, count: int | None) -> None:
    (mention,) = read_report(sentence)
    assert (mention.size_mm, mention.count) == (size, count)


@pytest.mark.parametrize(
    ("sentence", "severity"),
    [
        ("Mildly enlarged heart.", "mild"),
        ("Trace effusion.", "mild"),
        ("A small, loculated left effusion.", "mild"),
        ("Effusion, small, left-sided pneumonectomy.", "mild"),
        ("A moderate amount of pleural fluid.", "moderate"),
        ("Severe pulmonary edema.", "severe"),
        ("Effusion, small in size.", "mild"),
        ("Mildly displaced rib fracture.", ""),
        ("Markedly improved pulmonary edema.", ""),
        ("Slightly larger moderate left effusion.", "moderate"),
        ("Markedly decreased, now small left effusion.", "mild"),
        ("Heart size is mildly increased.", "mild"),
        ("Moderate increasing left effusion.", "moderate"),
        ("Fluid in the minor fissure.", ""),
        ("Large-bore left chest tube.", ""),
        ("Large right hilum and small left effusion.", "mild"),
        ("Mild to moderate edema.", "moderate"),
        ("Interval decrease from large to small effusion.", "mild"),
        ("Effusion is small.", "mild"),
        ("Left effusion small.", "mild"),
        ("Effusion: moderate to large.", "severe"),
        ("Pulmonary edema: mild interstitial.", "mild"),
        ("Effusion (small) on the left.", "mild"),
        ("Cardiomegaly: Present (mild).", "mild"),
        ("The pneumothorax on the right is now large and apical.", "severe"),
        ("Effusions are small to moderate.", "moderate"),
        ("The effusion is not large, was moderate and is slightly less.", ""),
        ("Effusion is small bowel artifact.", ""),
        ("Effusion, previously large, is now small.", "mild"),
        ("Previously large effusion is now small.", "mild"),
        ("The effusion on the left, which was small, is now large.", "severe"),
        ("Large effusion, now moderate.", "moderate"),
        ("Small effusion, increased to moderate.", "moderate"),
        ("Left effusion has decreased from large to small.", "mild"),
        ("The effusion has decreased and is now small.", "mild"),
        ("Interval increase in the effusion, which is now moderate.", "moderate"),
        ("Large left effusion has become small.", "mild"),
        ("The effusion has decreased from moderate.", ""),
        ("Effusion(s): Small left.", "mild"),
        ("Edema - mild.", "mild"),
        ("Mod. left effusion.", "moderate"),
        ("Mod-large effusion.", "severe"),
        ("Huge left effusion.", "severe"),
        ("Effusion, previously moderate.", ""),
        ("Effusion.", ""),
    ],
)
def test_severity_is_that_of_the_finding(sentence: str, severity: str) -> None:
    assert only(sentence).severity == severity


def test_a_course_is_that_of_the_side_of_which_it_is_said() -> None:
    read = read_report("The right effusion, but not the left effusion, has improved.")
    assert [(each.side, each.presence, each.change) for each in read] == [
        ("right", "present", "improved"),
        ("left", "present", ""),
    ]


def test_only_a_place_opens_the_clause_behind_it() -> None:
    """What is said of one finding does not go over to the next, where a full stop is missing between them."""
    said = [
        (found.finding, found.change)
        for found in read_report("The effusion is unchanged there is a nodule on the left.")
    ]
    assert said == [("effusion", "stable"), ("nodule", "")]


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("New left effusion.", "new"),
        ("Stable cardiomegaly.", "stable"),
        ("No significant change in the effusion.", "stable"),
        ("The effusion has decreased.", "improved"),
        ("Worsening edema.", "worse"),
        ("The right effusion has not increased.", "stable"),
        ("Edema has not improved.", "stable"),
        ("No interval increase in the left effusion.", "stable"),
        ("Edema without further worsening.", "stable"),
        ("The nodule is not significantly larger.", "stable"),
        ("The pneumothorax is no worse.", "stable"),
        ("Non-resolving consolidation.", "stable"),
        ("Pleural effusions have neither increased nor decreased.", "stable"),
        ("The effusion seen on the prior study has not changed.", "stable"),
        ("There is little change in the right effusion.", "stable"),
        ("There is neither improvement nor worsening of the edema.", "stable"),
        ("Again seen is a left effusion, now larger.", "worse"),
        ("Left effusion, larger than the right.", ""),
        ("Effusions, larger on the right.", ""),
        ("The effusion has increased on the right.", "worse"),
        ("Nodules larger than 5 mm.", ""),
        ("Effusion.", ""),
    ],
)
def test_comparisons_are_marked_and_say_that_the_finding_is_there(sentence: str, change: str) -> None:
    mention = only(sentence)
    assert (mention.change, mention.presence) == (change, "present")


@pytest.mark.parametrize(
    ("sentence", "finding"),
    [
        ("Extensive subcutaneous emphysema.", "emphysema"),
        ("Soft tissue edema of the chest wall.", "edema"),
        ("No mass effect.", "mass"),
        ("No mass effect, hemorrhage, or midline shift.", "mediastinal_shift"),  # of the brain
        ("Patient with cystic fibrosis.", "fibrosis"),
        ("There is a 5 mm left thyroid nodule.", "nodule"),
        ("Left adrenal mass.", "mass"),
        ("No suspicious lytic or blastic lesions.", "lung_lesion"),
        ("Adequate opacification of the pulmonary arteries.", "lung_opacity"),
        ("Good contrast opacification, no filling defect.", "lung_opacity"),
        ("The pulmonary arteries are well opacified.", "lung_opacity"),
    ],
)
def test_what_only_sounds_like_a_finding_is_none(sentence: str, finding: str) -> None:
    assert finding not in {mention.finding for mention in read_report(sentence)}


def test_a_fracture_at_a_rib_is_a_rib_fracture() -> None:
    assert only("Fractures of the left fifth to seventh ribs.").finding == "rib_fracture"
    assert only("Cortical step of the sixth rib, consistent with a fracture.").finding == "rib_fracture"
    assert only("Fracture of the right clavicle.").finding == "clavicle_fracture"


def test_the_place_of_an_exception_is_not_that_of_the_rest() -> None:
    clear, _, nodule = read_report("Both lungs are clear except for a nodule in the left apex.")
    assert (clear.presence, clear.side, clear.anatomy) == ("absent", "bilateral", "")
    assert (nodule.presence, nodule.side, nodule.anatomy) == ("present", "left", "lung apex")


def test_sections_are_chosen_and_what_the_visit_is_for_is_no_finding() -> None:
    text = "INDICATION: Pneumonia.\nFINDINGS: Left effusion.\nIMPRESSION: Effusion."
    assert [(m.finding, m.section) for m in read_report(text)] == [("effusion", "findings"), ("effusion", "impression")]
    assert only_in(text, "indication").presence == "historical"


def only_in(text: str, section: str) -> Mention:
    (mention,) = read_report(text, sections=(section,))
    return mention


def test_triplets_are_the_statements_without_history_and_conditions() -> None:
    text = "Left effusion. History of pneumonia. If fever persists, consider abscess or pneumonia. No edema."
    assert [(t.observation, t.side, t.presence) for t in triplets(text)] == [
        ("effusion", "left", "present"),
        ("edema", "", "absent"),
    ]
