"""A prior is an earlier picture of the same patient, of the same view and part; never a later one, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import DataError
from medvlp.data.collate import collate
from medvlp.data.layouts.hospital import index as index_hospital
from medvlp.data.layouts.phantom import index as index_phantom
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records
from medvlp.data.priors import stack_priors
from medvlp.data.views.read_stack import ReadStack

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary


def films(**columns: list[object]) -> Manifest:
    plain: dict[str, list[object]] = {
        "id": list("abcdefg"),
        "image": ["a3", "a1", "a2", "l1", "b1", None, "c1"],
        "id.patient": ["p", "p", "p", "p", "q", "q", None],
        "study_number": [3, 1, 2, 1, 1, 2, 1],
        "view_position": ["PA", "AP", "PA", "LL", "PA", "PA", "PA"],
        "text": [f"Report {n}." for n in range(7)],
        "boxes.nodule": [[[0.0, 0.0, 1.0, 1.0]], *[None] * 6],
    }
    return Manifest.of({**plain, **columns}, root=Path())


def stacks(manifest: Manifest) -> list[object]:
    return stack_priors(manifest).arrow("stack").to_pylist()


def test_the_last_earlier_film_of_the_view_is_second_and_rows_stay_what_they_were() -> None:
    assert stacks(films()) == [["a3", "a2"], ["a1"], ["a2", "a1"], ["l1"], ["b1"], None, ["c1"]]
    made = stack_priors(films())
    assert made.column("text").tolist() == films().column("text").tolist()
    assert set(made.names) == {"stack", "id", "id.patient", "study_number", "view_position", "text"}


def test_another_part_of_the_split_an_unknown_number_and_the_same_study_are_no_priors() -> None:
    torn = films(split=["test", "train", "train", "train", "train", "train", "train"])
    assert stacks(torn)[:3] == [["a3"], ["a1"], ["a2", "a1"]]
    assert stacks(films(study_number=[3, None, None, 1, 1, 2, 1]))[:3] == [["a3"], ["a1"], ["a2"]]
    assert stacks(films(study_number=[1, 1, 1, 1, 1, 1, 1]))[:3] == [["a3"], ["a1"], ["a2"]]
    with pytest.raises(DataError, match="no column 'study_number'"):
        stack_priors(films().without("study_number"))


def test_the_other_hand_is_no_prior_and_unpaired_is_as_blank() -> None:
    """Image Laterality (0020,0062) is R, L, U or B, and older files have none."""
    sides = films().with_column("laterality", ["L", "L", "R", None, "U", None, "U"])
    assert stacks(sides)[:3] == [["a3", "a1"], ["a1"], ["a2"]]
    assert stacks(sides.with_column("laterality", ["U", None, "R", None, "U", None, "U"]))[0] == ["a3", "a1"]


def test_numbers_of_studies_that_are_words_are_refused() -> None:
    with pytest.raises(DataError, match="study_number holds words, of which '10' stands before '9'"):
        stack_priors(films(study_number=["10", "9", "8a", None, "1", "2", "1"]))


def test_of_several_films_of_the_prior_study_the_same_view_position_comes_first() -> None:
    several = films(study_number=[3, 2, 2, 1, 1, 2, 1])
    assert stacks(several)[0] == ["a3", "a2"]
    assert stacks(several.with_column("view_position", ["AP", "AP", "PA", "LL", "PA", "PA", "PA"]))[0] == ["a3", "a1"]
    assert stacks(several.with_column("view_position", ["PA"] * 7))[0] == ["a3", "a1"]  # then the first row
    # The last study comes before the same position in an older one.
    assert stacks(films(view_position=["PA", "PA", "AP", "LL", "PA", "PA", "PA"]))[0] == ["a3", "a2"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["train", "test"])), max_size=12))
def test_no_later_film_and_no_other_patient_or_part_ever_stands_second(rows: list[tuple[int, int, str]]) -> None:
    columns: dict[str, list[object]] = {
        "id": [str(i) for i in range(len(rows) + 1)],
        "image": [str(i) for i in range(len(rows) + 1)],
        "id.patient": [*(f"p{row[0]}" for row in rows), "z"],
        "study_number": [*(row[1] for row in rows), 1],
        "split": [*(row[2] for row in rows), "train"],
    }
    for i, found in enumerate(stacks(Manifest.of(columns, root=Path()))[:-1]):
        assert isinstance(found, list)
        earlier = [r for r in rows if (r[0], r[2]) == (rows[i][0], rows[i][2]) and r[1] < rows[i][1]]
        assert found[0] == str(i)
        assert len(found) == 1 + bool(earlier)
        if earlier:
            assert rows[int(found[1])] == max(earlier, key=lambda r: r[1])


def test_a_batch_has_the_current_film_first_and_masks_a_missing_prior(tiny_cohort: CohortSummary) -> None:
    frontal = index_phantom(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    made = stack_priors(frontal)
    counts = [len(found) for found in made.arrow("stack").to_pylist()]
    chosen = [counts.index(2), counts.index(1)]
    read = ReadStack(size=32)
    samples = [read(Records(made).sample(row), torch.Generator()) for row in chosen]
    column = collate(samples, torch.arange(2)).columns["stack"]
    assert column.values.shape == (2, 2, 1, 32, 32)
    assert column.mask is not None
    assert column.mask.tolist() == [[True, True], [True, False]]
    second = Path(made.arrow("stack").to_pylist()[chosen[0]][1])
    row = [str(path) for path in frontal.column("image")].index(str(second))
    assert frontal.column("id.patient")[row] == made.column("id.patient")[chosen[0]]
    assert frontal.column("study_number")[row] < made.column("study_number")[chosen[0]]


def test_a_hospital_numbers_studies_by_their_dates_as_they_were_planted(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    planted, found = (
        index_phantom(tiny_cohort.root),
        index_hospital(tiny_cohort.root, images="dicom", key_file=tmp_path / "key"),
    )
    number = dict(zip(planted.column("image"), planted.column("study_number") + 1, strict=True))  # there from 0
    assert [number[path] for path in found.column("image")] == found.column("study_number").tolist()
    assert max(number.values()) > 1
