from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.leakage import check_split, refuse_leaks
from medvlp.data.manifest import Manifest
from medvlp.data.splits import part_facts, split_hash
from medvlp.data.splits._groups import place
from medvlp.data.splits.patient import by_patient


def patients(n: int, first: int = 0) -> Manifest:
    numbers = range(first, first + n)
    columns = {
        "id": [f"i{k}-{j}" for k in numbers for j in (0, 1)],
        "id.patient": [f"p{k}" for k in numbers for _ in (0, 1)],
    }
    return Manifest.of({**columns, "text": ["x"] * (2 * n)}, root=Path())


def split_by_patient(manifest: Manifest, **options: Any) -> Manifest:
    return by_patient(manifest, **options).apply(manifest)


def test_fractions_are_met_on_average_and_no_patient_is_on_two_sides() -> None:
    manifest = split_by_patient(patients(4000), fractions={"train": 0.6, "validate": 0.1, "test": 0.3})
    sides = manifest.column("split").tolist()
    assert all(a == b for a, b in zip(sides[::2], sides[1::2], strict=True))
    for name, share in (("train", 0.6), ("validate", 0.1), ("test", 0.3)):
        # five standard deviations of a binomial share
        assert abs(sides.count(name) / len(sides) - share) < 5 * (share * (1 - share) / 4000) ** 0.5


def test_adding_patients_moves_nobody_and_another_seed_moves_some() -> None:
    few, many = split_by_patient(patients(300)), split_by_patient(patients(800))
    assert few.column("split").tolist() == many.column("split").tolist()[:600]
    other = split_by_patient(patients(50), seed=1)
    assert other.column("split").tolist() != few.column("split").tolist()
    assert split_hash(other) != split_hash(few)


@pytest.mark.parametrize(
    ("count", "sizes"), [(12, [8, 2, 2]), (39, [27, 4, 8]), (42, [29, 5, 8]), (299, [209, 30, 60]), (3, [1, 1, 1])]
)
def test_few_patients_get_the_shares_that_were_asked_for(count: int, sizes: list[int]) -> None:
    """Within a patient of 70, 10 and 20 %; drawn alone, 39 patients fell into 23, 3 and 13, 12 into 12, 0 and 0."""
    for seed in range(3):
        manifest = split_by_patient(patients(count), seed=seed)
        assert [part.patients for part in part_facts(manifest)] == sizes
        # Who stands where goes by the same places as in a large cohort.
        order = sorted(range(count), key=lambda k: place(seed, f"p{k}"))
        sides = manifest.column("split").tolist()
        assert [sides[2 * k] for k in order] == ["train"] * sizes[0] + ["validate"] * sizes[1] + ["test"] * sizes[2]


def test_many_patients_stand_where_they_stood() -> None:
    manifest = split_by_patient(patients(300), seed=5)
    bounds = ((0.7, "train"), (0.8, "validate"), (2.0, "test"))
    for name, side in zip(manifest.column("id.patient"), manifest.column("split"), strict=True):
        assert side == next(part for bound, part in bounds if place(5, name) < bound)


def test_a_part_that_nobody_is_left_for_is_refused() -> None:
    told = (
        r"The 2 different id\.patient leave nobody for validate, test \(shares: train 0\.7, validate 0\.1, test 0\.2\)"
        ": index more of them, or give fractions with fewer or larger parts"
    )
    with pytest.raises(DataError, match=told):
        split_by_patient(patients(2))
    with pytest.raises(DataError, match=r"The 400 different id\.patient leave nobody for validate"):
        split_by_patient(patients(400), fractions={"train": 0.99999, "validate": 0.00001})
    everybody = split_by_patient(patients(2), fractions={"train": 0.0, "validate": 0.0, "test": 1.0})
    assert set(everybody.column("split")) == {"test"}


def test_a_split_without_known_patients_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 2 records have no id\.patient, so a split could leak"):
        split_by_patient(Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", ""]}, root=Path()))
    with pytest.raises(DataError, match="name the patient column when indexing"):
        split_by_patient(Manifest.of({"id": ["a"], "text": ["x"]}, root=Path()))
    with pytest.raises(ConfigError, match="do not sum to 1"):
        split_by_patient(patients(1), fractions={"train": 0.5})


def test_leaks_by_patient_study_and_image_bytes_are_found(cohort: Callable[..., Manifest]) -> None:
    manifest = cohort(6)
    shutil.copy(manifest.root / "0.png", manifest.root / "4.png")  # s4 shows the same picture as s0
    manifest = manifest.with_column("split", ["train", "test", "train", "train", "test", None])
    manifest = manifest.with_column("id.study", ["t0", "t1", "t2", "t3", "t2", "t0"])
    leaks = check_split(manifest)
    assert [(leak.kind, leak.a, leak.b, leak.split_a, leak.split_b) for leak in leaks] == [
        ("patient", "s0", "s1", "train", "test"),
        ("study", "s2", "s4", "train", "test"),
        ("image", "s0", "s4", "train", "test"),
    ]
    with pytest.raises(DataError, match=r"leaks \(1 by patient, 1 by study, 1 by image\)"):
        refuse_leaks(leaks)
    refuse_leaks([])


def test_a_changed_file_is_hashed_again(cohort: Callable[..., Manifest]) -> None:
    manifest = cohort(2).with_column("split", ["train", "test"]).with_column("id.patient", ["p", "q"])
    assert check_split(manifest) == []
    shutil.copy(manifest.root / "0.png", manifest.root / "1.png")
    assert [leak.kind for leak in check_split(manifest)] == ["image"]


def test_no_split_column_is_one_sentence() -> None:
    with pytest.raises(DataError, match="no column 'split'"):
        check_split(patients(1))
