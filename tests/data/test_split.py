from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.cache import Cache
from medvlp.data.leakage import check_split, refuse_leaks
from medvlp.data.manifest import Manifest
from medvlp.data.splits import split_by_patient, split_hash


def patients(n: int, first: int = 0) -> Manifest:
    numbers = range(first, first + n)
    columns = {
        "id": [f"i{k}-{j}" for k in numbers for j in (0, 1)],
        "id.patient": [f"p{k}" for k in numbers for _ in (0, 1)],
    }
    return Manifest.of({**columns, "text": ["x"] * (2 * n)}, root=Path())


def test_fractions_are_met_on_average_and_no_patient_is_on_two_sides() -> None:
    manifest = split_by_patient(patients(4000), fractions={"train": 0.6, "validate": 0.1, "test": 0.3})
    sides = manifest.column("split").tolist()
    assert all(a == b for a, b in zip(sides[::2], sides[1::2], strict=True))
    for name, share in (("train", 0.6), ("validate", 0.1), ("test", 0.3)):
        # five standard deviations of a binomial share
        assert abs(sides.count(name) / len(sides) - share) < 5 * (share * (1 - share) / 4000) ** 0.5


def test_adding_patients_moves_nobody_and_another_seed_moves_some() -> None:
    few, many = split_by_patient(patients(50)), split_by_patient(patients(200))
    assert few.column("split").tolist() == many.column("split").tolist()[:100]
    other = split_by_patient(patients(50), seed=1)
    assert other.column("split").tolist() != few.column("split").tolist()
    assert split_hash(other) != split_hash(few)


def test_a_split_without_known_patients_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 2 records have no id\.patient, so a split could leak"):
        split_by_patient(Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", ""]}, root=Path()))
    with pytest.raises(DataError, match="name the patient column when indexing"):
        split_by_patient(Manifest.of({"id": ["a"], "text": ["x"]}, root=Path()))
    with pytest.raises(ConfigError, match="do not sum to 1"):
        split_by_patient(patients(1), fractions={"train": 0.5})


def test_leaks_by_patient_study_and_image_bytes_are_found(cohort: Callable[..., Manifest], cache: Cache) -> None:
    manifest = cohort(6)
    shutil.copy(manifest.root / "0.png", manifest.root / "4.png")  # s4 shows the same picture as s0
    manifest = manifest.with_column("split", ["train", "test", "train", "train", "test", None])
    manifest = manifest.with_column("id.study", ["t0", "t1", "t2", "t3", "t2", "t0"])
    leaks = check_split(manifest, cache=cache)
    assert [(leak.kind, leak.a, leak.b, leak.split_a, leak.split_b) for leak in leaks] == [
        ("patient", "s0", "s1", "train", "test"),
        ("study", "s2", "s4", "train", "test"),
        ("image", "s0", "s4", "train", "test"),
    ]
    with pytest.raises(DataError, match=r"leaks \(1 by patient, 1 by study, 1 by image\)"):
        refuse_leaks(leaks)
    refuse_leaks([])


def test_a_changed_file_is_hashed_again(cohort: Callable[..., Manifest], cache: Cache) -> None:
    manifest = cohort(2).with_column("split", ["train", "test"]).with_column("id.patient", ["p", "q"])
    assert check_split(manifest, cache=cache) == []
    shutil.copy(manifest.root / "0.png", manifest.root / "1.png")
    assert [leak.kind for leak in check_split(manifest, cache=cache)] == ["image"]


def test_no_split_column_is_one_sentence() -> None:
    with pytest.raises(DataError, match="no column 'split'"):
        check_split(patients(1))
