"""The 51 x 75 matrix: by hand for a small file, and against a loop for random triplets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.triplet import Triplet
from medvlp.text.medslip_matrix import load_matrix, matrix_of, save_matrix, save_medslip_folder
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.text.mention_triplets import of_report
from medvlp.text.radgraph import parse_radgraph
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets, of_radgraph
from tests.text.radgraph_graphs import in_words, small

WORDS = load_medslip_vocabulary()


def study(*triplets: tuple[str, str, str], source: str = "radgraph", name: str = "s1") -> StudyTriplets:
    """A study of (anatomy, observation, presence)."""
    return StudyTriplets(name, "", source, tuple(StatedTriplet(Triplet(a, "", o, p, "", "")) for a, o, p in triplets))


def cells(values: np.ndarray) -> dict[tuple[str, str], float]:
    return {
        (WORDS.anatomies[row], WORDS.observations[column]): float(values[row, column])
        for row, column in np.argwhere(values != -1)
    }


HAND = [
    {
        ("left_pleural", "effusion"): 1,
        ("lower_left_lobe", "opacity"): 1,
        ("unspecified", "pneumothorax"): 0,
        ("heart_size", "normal"): 1,
        ("unspecified", "wire"): 1,
    },
    {
        ("lung_bases", "opacity"): 1,
        ("unspecified", "effusion"): 0,
        ("unspecified", "edema"): 0,
        ("pulmonary", "edema"): 1,
    },
]


@pytest.mark.parametrize("annotations", [small(), in_words(small())], ids=["short labels", "labels in words"])
def test_the_small_file_gives_the_matrix_computed_by_hand(annotations) -> None:
    found = matrix_of([of_radgraph(report) for report in parse_radgraph(annotations)])
    assert found.values.shape == (2, 51, 75)
    assert found.values.dtype == np.int8
    assert [cells(values) for values in found.values] == HAND


def test_each_option_adds_only_what_it_names() -> None:
    report = parse_radgraph(small())[0]
    linked = cells(matrix_of([of_radgraph(report, linked_observations=True)], uncertain="soft").values[0])
    assert {cell: value for cell, value in linked.items() if cell not in HAND[0]} == {
        ("lower_left_lobe", "pneumonia"): 0.5,
        ("left_pleural", "excluded_obs"): 1,  # "small"
        ("unspecified", "excluded_obs"): 1,  # "Sternotomy"
        ("unspecified", "intact"): 1,
    }


def test_present_beats_absent_and_uncertain_leaves_the_cell_alone() -> None:
    for presences in (("present", "absent"), ("absent", "present")):
        found = matrix_of([study(*(("lungs", "edema", presence) for presence in presences))])
        assert cells(found.values[0]) == {("lung_volumes", "edema"): 1}
    assert cells(matrix_of([study(("lungs", "edema", "uncertain"))]).values[0]) == {}
    kept = matrix_of([study(("lungs", "edema", "absent"), ("lungs", "edema", "uncertain"))])
    assert cells(kept.values[0]) == {("lung_volumes", "edema"): 0}


@pytest.mark.parametrize(
    ("policy", "alone", "beside_absent", "beside_present"),
    [("ignore", -1, 0, 1), ("negative", 0, 0, 1), ("positive", 1, 1, 1), ("soft", 0.5, 0.5, 1)],
)
def test_the_policy_for_uncertain_observations(policy, alone, beside_absent, beside_present) -> None:
    doubt = ("unspecified", "edema", "uncertain")
    found = [
        matrix_of([study(doubt, *more)], uncertain=policy).values
        for more in ((), (("unspecified", "edema", "absent"),), (("unspecified", "edema", "present"),))
    ]
    cell = (0, WORDS.anatomies.index("unspecified"), WORDS.observations.index("edema"))
    assert [values[cell] for values in found] == [alone, beside_absent, beside_present]
    assert {values.dtype for values in found} == {np.dtype(np.float32 if policy == "soft" else np.int8)}


def test_the_right_midlung_has_its_row_only_when_asked_for() -> None:
    opacity = study(("midlung|right", "opacity", "present"))
    assert cells(matrix_of([opacity]).values[0]) == {("other", "opacity"): 1}
    assert cells(matrix_of([opacity], midlung_right=True).values[0]) == {("right_mid_lung", "opacity"): 1}


def test_the_own_reader_gives_cells_by_finding_place_and_side() -> None:
    text = "Small left pleural effusion. Right middle lobe pneumonia. No pneumothorax. The heart is enlarged."
    assert cells(matrix_of([of_report(text, study_id="s1")]).values[0]) == {
        ("left_pleural", "effusion"): 1,
        ("middle_right_lobe", "pneumonia"): 1,
        ("pleural_unspec", "pneumothorax"): 0,
        ("heart_size", "cardiomegaly"): 1,
    }


def test_the_mid_lung_is_no_lobe_of_the_left() -> None:
    read = of_report("Left mid lung pneumonia. Nodule in the right mid zone.", study_id="s1")
    found = cells(matrix_of([read]).values[0])
    assert {place for place, _ in found} == {"left_mid_lung", "right_mid_lung"}


def test_a_bilateral_finding_stands_in_both_rows_only_when_asked_for() -> None:
    read = of_report("Bilateral pleural effusions.", study_id="s1")
    assert cells(matrix_of([read]).values[0]) == {("pleural_unspec", "effusion"): 1}
    assert cells(matrix_of([read], both_sides=True).values[0]) == {
        ("left_pleural", "effusion"): 1,
        ("right_pleural", "effusion"): 1,
    }


ANATOMY = st.sampled_from(["lungs", "pleural|left", "heart", "unspecified", "humerus"])
OBSERVATION = st.sampled_from(["effusion", "opacities", "clear", "worse", "kyphosis"])
PRESENCE = st.sampled_from(["present", "absent", "uncertain"])


def test_another_lemmatiser_leads_radgraphs_words_to_their_columns() -> None:
    said = [study(("unspecified", "fluidity", "present"))]
    assert cells(matrix_of(said).values[0]) == {("unspecified", "tail_abnorm_obs"): 1}
    lemmas = {"fluidity": "effusion"}.__getitem__
    assert cells(matrix_of(said, lemmas=lemmas).values[0]) == {("unspecified", "effusion"): 1}


@given(st.lists(st.tuples(ANATOMY, OBSERVATION, PRESENCE), max_size=8), st.randoms())
def test_the_matrix_is_that_of_the_naive_loop_in_any_order(triplets, random) -> None:
    naive = np.full((51, 75), -1.0)
    for anatomy, observation, presence in triplets:
        cell = (
            WORDS.anatomies.index(WORDS.landmark_of(anatomy)),
            WORDS.observations.index(WORDS.column_of(observation)),
        )
        if presence == "present":
            naive[cell] = 1
        elif presence == "absent":
            naive[cell] = max(naive[cell], 0)
    shuffled = random.sample(triplets, len(triplets))
    assert np.array_equal(matrix_of([study(*triplets)]).values[0], naive)
    assert np.array_equal(matrix_of([study(*shuffled)]).values[0], naive)


def test_a_study_twice_or_an_unknown_policy_or_finding_is_refused() -> None:
    with pytest.raises(DataError, match="1 studies come more than once among 2: give every study one line"):
        matrix_of([study(), study()])
    with pytest.raises(ConfigError, match="uncertain is 'maybe', allowed are ignore, negative, positive, soft"):
        matrix_of([study()], uncertain="maybe")
    with pytest.raises(ConfigError, match="The finding 'efusion' has no column"):
        matrix_of([study(("", "efusion", "present"), source="rules")])


# files ---------------------------------------------------------------------------------------------------------------


def two() -> list[StudyTriplets]:
    return [study(("lungs", "clear", "present"), name="s1"), study(("heart", "normal", "absent"), name="s2")]


@pytest.mark.parametrize("policy", ["ignore", "soft"])
def test_the_npz_is_read_back_with_its_vocabulary(tmp_path, policy) -> None:
    found = matrix_of(two(), uncertain=policy)
    save_matrix(found, tmp_path / "m.npz")
    again = load_matrix(tmp_path / "m.npz")
    assert np.array_equal(again.values, found.values)
    assert again.values.dtype == found.values.dtype
    assert (again.study_ids, again.vocabulary, again.sha256) == (("s1", "s2"), "v1", WORDS.sha256)


def test_medslips_folder_is_array_ids_and_a_list_of_rows_for_each_split(tmp_path) -> None:
    found = matrix_of(two())
    images = {"train": {"a.jpg": "s2", "b.jpg": "s2"}, "test": {"c.jpg": "s1"}}
    save_medslip_folder(found, tmp_path, images=images)
    assert np.load(tmp_path / "landmark_observation_adj_mtx.npy").shape == (2, 51, 75)
    assert np.load(tmp_path / "landmark_observation_sids.npy").tolist() == ["s1", "s2"]
    assert json.loads((tmp_path / "train.json").read_text()) == {"a.jpg": {"labels_id": 1}, "b.jpg": {"labels_id": 1}}
    assert np.array_equal(np.load(tmp_path / "landmark_observation_adj_mtx.npy"), found.values)
    assert json.loads((tmp_path / "test.json").read_text()) == {"c.jpg": {"labels_id": 0}}


def test_files_that_do_not_fit_are_refused(tmp_path) -> None:
    found = matrix_of(two())
    with pytest.raises(DataError, match=r"m\.npz does not exist"):
        load_matrix(tmp_path / "m.npz")
    (tmp_path / "m.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="is not a file of anatomy-observation matrices"):
        load_matrix(tmp_path / "m.npz")
    save_matrix(found, tmp_path / "bomb.npz")
    whole = bytearray((tmp_path / "bomb.npz").read_bytes())
    at = whole.index(b"PK\x01\x02") + 24  # says that it unpacks to 4 GiB
    whole[at : at + 4] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "bomb.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"matrices \(it says that it unpacks to 42949\d+ bytes\)"):
        load_matrix(tmp_path / "bomb.npz")
    np.savez(
        tmp_path / "m.npz",
        values=found.values,
        study_ids=np.array(["s1", "s2"]),
        anatomies=np.array(WORDS.anatomies[::-1]),
        observations=np.array(WORDS.observations),
        vocabulary=np.array("v1"),
        sha256=np.array(""),
    )
    with pytest.raises(DataError, match="has other rows or columns than vocabulary v1"):
        load_matrix(tmp_path / "m.npz")
    with pytest.raises(DataError, match=r"1 images of the split 'train' .* the first is a\.jpg"):
        save_medslip_folder(found, tmp_path / "f", images={"train": {"a.jpg": "s9"}})
    np.savez(
        tmp_path / "m.npz",
        values=found.values,
        study_ids=np.array(["s1"]),
        anatomies=np.array(WORDS.anatomies),
        observations=np.array(WORDS.observations),
        vocabulary=np.array("v1"),
        sha256=np.array(""),
    )
    with pytest.raises(DataError, match=r"has shape \(2, 51, 75\), expected is \(1, 51, 75\) for 1 studies"):
        load_matrix(tmp_path / "m.npz")
