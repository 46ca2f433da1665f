"""The rows and columns of the published matrices, by position, and the rules that lead words to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.text.ontology import findings, load

WORDS = load_medslip_vocabulary()
ROWS = """trachea left_hilar right_hilar hilar_unspec left_pleural right_pleural pleural_unspec heart_size heart_border
left_diaphragm right_diaphragm diaphragm_unspec retrocardiac lower_left_lobe upper_left_lobe lower_right_lobe
middle_right_lobe upper_right_lobe left_lower_lung left_mid_lung left_upper_lung left_apical_lung left_lung_unspec
right_lower_lung right_mid_lung right_upper_lung right_apical_lung right_lung_unspec lung_apices lung_bases
left_costophrenic right_costophrenic costophrenic_unspec cardiophrenic_sulcus mediastinal spine clavicle rib stomach
right_atrium right_ventricle aorta svc interstitium parenchymal cavoatrial_junction cardiopulmonary pulmonary
lung_volumes unspecified other"""
COLUMNS = """normal clear sharp sharply unremarkable intact stable free effusion opacity pneumothorax edema atelectasis
tube consolidation process abnormality enlarge tip low pneumonia line congestion catheter cardiomegaly fracture air
tortuous lead disease calcification prominence device engorgement picc clip elevation expand nodule wire fluid
degenerative pacemaker thicken marking scar hyperinflate blunt loss widen collapse density emphysema aerate mass crowd
infiltrate obscure deformity hernia drainage distention shift stent pressure lesion finding borderline hardware dilation
chf redistribution aspiration tail_abnorm_obs excluded_obs"""


def test_rows_and_columns_stand_in_the_published_order() -> None:
    assert WORDS.anatomies == tuple(ROWS.split())
    assert WORDS.observations == tuple(COLUMNS.split())
    assert (len(WORDS.anatomies), len(WORDS.observations), len(WORDS.excluded)) == (51, 75, 25)
    assert WORDS.normal == frozenset(WORDS.observations[:8])


@pytest.mark.parametrize(
    ("anatomy", "row"),
    [
        ("lungs", "lung_volumes"),
        ("lung", "lung_volumes"),
        ("lungs|both", "lung_volumes"),
        ("volumes|lung", "lung_volumes"),
        ("silhouette|cardiac", "heart_size"),
        ("heart", "heart_size"),
        ("borders|heart", "heart_border"),
        ("lobe|left|lower", "lower_left_lobe"),
        ("lobe|lower|left", "lower_left_lobe"),
        ("lobe|right|middle", "middle_right_lobe"),
        ("lobe|left|middle", "other"),
        ("lobe|lower", "lung_bases"),
        ("lobe|upper", "other"),
        ("lingula", "upper_left_lobe"),
        ("pleural", "pleural_unspec"),
        ("pleural|left", "left_pleural"),
        ("pleural|bilateral", "pleural_unspec"),
        ("pleural|left|right", "pleural_unspec"),
        ("pleural|left|right|small", "other"),
        ("lung|left|base", "left_lower_lung"),
        ("base|left", "left_lower_lung"),
        ("lung|right|mid", "right_mid_lung"),
        ("midlung|left", "left_mid_lung"),
        ("left", "left_lung_unspec"),
        ("lung|left|perihilar", "left_hilar"),
        ("hemithorax|right", "right_lung_unspec"),
        ("apex|left", "left_apical_lung"),
        ("apical", "lung_apices"),
        ("biapical", "lung_apices"),
        ("bibasilar", "lung_bases"),
        ("lungs|bases", "lung_bases"),
        ("angle|costophrenic|right", "right_costophrenic"),
        ("angles|costophrenic", "costophrenic_unspec"),
        ("hemidiaphragms", "diaphragm_unspec"),
        ("atrium|right", "right_atrium"),
        ("atrium|left", "other"),
        ("atrium", "other"),
        ("ventricle|left", "other"),
        ("cavoatrial junction", "cavoatrial_junction"),
        ("junction|cavoatrial", "other"),
        ("silhouette|cardiomediastinal", "mediastinal"),
        ("abdomen|upper", "stomach"),
        ("pulmonary|vascular", "pulmonary"),
        ("humerus", "other"),
        ("unspecified", "unspecified"),
    ],
)
def test_the_first_landmark_that_matches_is_the_row(anatomy: str, row: str) -> None:
    assert WORDS.landmark_of(anatomy) == row


def test_the_right_midlung_is_known_only_when_asked_for() -> None:
    assert WORDS.landmark_of("midlung|right") == "other"
    assert WORDS.landmark_of("midlung|right", mended=True) == "right_mid_lung"
    assert WORDS.landmark_of("midlung|left") == WORDS.landmark_of("midlung|left", mended=True) == "left_mid_lung"


SIDED = ("hilum", "pleural", "hemidiaphragm", "lung", "costophrenic", "apex")
LEVELS = ("", "lower", "base", "mid", "upper")


@given(st.sampled_from(SIDED), st.sampled_from(LEVELS))
def test_left_and_right_are_mirror_images(base: str, level: str) -> None:
    left, right = (WORDS.landmark_of("|".join(filter(None, (base, side, level)))) for side in ("left", "right"))
    assert left.replace("left", "right") == right
    assert left != right


@pytest.mark.parametrize(
    ("observation", "column"),
    [
        ("Effusions", "effusion"),
        ("opacification", "opacity"),
        ("increased", "enlarge"),
        ("enlargement", "enlarge"),
        ("calcified", "calcification"),
        ("atelectatic", "atelectasis"),
        ("distended", "distention"),
        ("wide", "widen"),
        ("prominent", "prominence"),
        ("nodularity", "nodule"),
        ("elevated", "elevation"),
        ("drain", "drainage"),
        ("consolidative", "consolidation"),
        ("dilated", "dilation"),
        ("hydropneumothoraces", "pneumothorax"),
        ("pacer", "pacemaker"),
        ("infectious process", "pneumonia"),
        ("infection", "pneumonia"),
        ("kyphotic", "tail_abnorm_obs"),
        ("difficult to assess", "tail_abnorm_obs"),
        ("fibrosis", "tail_abnorm_obs"),
        ("sternotomy", "excluded_obs"),
        ("unchanged", "excluded_obs"),
        ("improved", "excluded_obs"),
        ("smaller", "excluded_obs"),
        ("", "excluded_obs"),
        ("clear", "clear"),
    ],
)
def test_observations_lead_to_their_column(observation: str, column: str) -> None:
    assert WORDS.column_of(observation) == column


def test_every_finding_and_place_of_the_own_reader_has_a_cell() -> None:
    assert set(WORDS.findings) == set(findings())
    assert set(WORDS.findings.values()) <= set(WORDS.observations)
    anatomies = {finding.anatomy for finding in findings().values()} | set(load("places")["anatomy"])
    assert anatomies <= set(WORDS.places)
    assert {row for rows in WORDS.places.values() for row in rows} <= set(WORDS.anatomies)


@pytest.mark.parametrize(
    ("finding", "anatomy", "side", "cell"),
    [
        ("effusion", "", "left", ("left_pleural", "effusion")),
        ("effusion", "", "bilateral", ("pleural_unspec", "effusion")),
        ("effusion", "pericardium", "", ("other", "effusion")),
        ("pneumonia", "middle lobe", "right", ("middle_right_lobe", "pneumonia")),
        ("pneumothorax", "lung apex", "right", ("right_apical_lung", "pneumothorax")),
        ("cardiomegaly", "", "", ("heart_size", "cardiomegaly")),
        ("rib_fracture", "", "left", ("rib", "fracture")),
        ("infiltration", "a place unheard of", "left", ("other", "infiltrate")),
    ],
)
def test_findings_of_the_own_reader_have_the_cell_of_their_place(finding, anatomy, side, cell) -> None:
    assert WORDS.cell_of_finding(finding, anatomy, side) == cell


def test_an_unknown_finding_or_version_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'effusions' has no column in the MeDSLIP vocabulary v1: .*effusion"):
        WORDS.cell_of_finding("effusions", "", "")
    with pytest.raises(ConfigError, match=r"no version 'v9' of the MeDSLIP vocabulary: choose one of v1\."):
        load_medslip_vocabulary("v9")
