from __future__ import annotations

import numpy as np

from medvlp.text.medslip_findings import abnormal_words, finding_columns, score_names
from medvlp.text.medslip_matrix import mirror_matrix, mirrored_rows, one_sided_rows
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary

WORDS = load_medslip_vocabulary()


def test_left_and_right_change_places_and_twice_is_as_before() -> None:
    rows = mirrored_rows(WORDS.anatomies)
    assert [rows[i] for i in rows] == list(range(51))
    moved = {WORDS.anatomies[i]: WORDS.anatomies[row] for i, row in enumerate(rows) if i != row}
    assert len(moved) == 22
    assert moved["left_costophrenic"] == "right_costophrenic"
    assert moved["upper_left_lobe"] == "upper_right_lobe"
    assert all(
        name.replace("left", "?") == other.replace("right", "?") for name, other in moved.items() if "left" in name
    )


def test_what_has_one_side_only_is_left_unsaid() -> None:
    names = [WORDS.anatomies[row] for row in one_sided_rows(WORDS.anatomies)]
    assert names == ["middle_right_lobe", "right_atrium", "right_ventricle"]
    draw = np.random.default_rng(0)
    matrix = draw.integers(-1, 2, size=(4, 51, 75)).astype(np.int8)
    before = matrix.copy()
    once = mirror_matrix(matrix, WORDS.anatomies)
    twice = mirror_matrix(once, WORDS.anatomies)
    assert np.array_equal(matrix, before)
    two_sided = [row for row in range(51) if row not in one_sided_rows(WORDS.anatomies)]
    assert np.array_equal(twice[:, two_sided], matrix[:, two_sided])
    assert (once[:, one_sided_rows(WORDS.anatomies)] == -1).all()
    left, right = WORDS.anatomies.index("left_pleural"), WORDS.anatomies.index("right_pleural")
    assert np.array_equal(once[:, left], matrix[:, right])
    aorta = WORDS.anatomies.index("aorta")
    assert np.array_equal(once[:, aorta], matrix[:, aorta])


def test_findings_have_the_columns_that_zero_shot_reads() -> None:
    """NIH's names as the released evaluation maps them."""
    column = {finding: WORDS.observations[i] for finding, i in finding_columns(WORDS.observations).items()}
    assert column["infiltration"] == "infiltrate"
    assert column["pleural_thickening"] == "thicken"
    assert column["fibrosis"] == "tail_abnorm_obs"
    same = ("effusion", "atelectasis", "cardiomegaly", "mass", "nodule", "pneumonia", "pneumothorax", "consolidation")
    assert all(column[name] == name for name in (*same, "edema", "emphysema", "hernia"))


def test_scores_are_called_by_the_finding_only_where_the_word_means_it() -> None:
    called = dict(zip(WORDS.observations, score_names(WORDS.observations), strict=True))
    assert called["infiltrate"] == "infiltration"
    assert called["abnormality"] == "abnormality"  # not "other pleural": it is said of anything
    assert len(set(called.values())) == 75
    abnormal = {WORDS.observations[i] for i in abnormal_words(WORDS.observations)}
    assert not abnormal & {"clear", "normal", "tail_abnorm_obs", "excluded_obs"}
    assert abnormal_words(["no_finding", "mass"]) == (1,)
