"""Batches of several records a class, with classes that are alike side by side."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import build
from medvlp.data.manifest import Manifest

PATIENTS = ["p", "q", "p", None, "r", "q", "p", "s", "s", "t", "u"]


def sampler(seed: int = 0, stored: list[Any] | None = None, **options: Any) -> Any:
    columns: dict[str, list[Any]] = {"id": [f"r{i}" for i in range(11)], "text": ["x"] * 11, "id.patient": PATIENTS}
    columns |= {} if stored is None else {"vector.image": stored}
    spec = {"name": "m_per_class", "column": "id.patient", **options}
    return build("data/samplers", spec, where="x", given={"manifest": Manifest.of(columns, root=Path()), "seed": seed})


@given(m=st.integers(1, 4), seed=st.integers(0, 99), epochs=st.integers(1, 3), batch=st.integers(1, 9))
def test_each_value_stands_once_an_epoch_with_m_records_however_it_is_cut(m, seed, epochs, batch):
    made, end = sampler(seed, m=m), 6 * m * epochs
    run = np.concatenate([made.indices(a, b) for a, b in itertools.pairwise([*range(0, end, batch), end])])
    groups = [[PATIENTS[i] for i in run[k : k + m]] for k in range(0, end, m)]
    assert all(len(set(group)) == 1 for group in groups)
    for epoch in range(epochs):
        assert sorted(group[0] for group in groups[6 * epoch : 6 * epoch + 6]) == list("pqrstu")
    # Those of a value come in turn: over the run none of them more than once oftener than another.
    for patient in "pqrstu":
        counts = Counter(run.tolist())
        own = [counts[i] for i, value in enumerate(PATIENTS) if value == patient]
        assert max(own) - min(own) <= 1
    assert 3 not in run


def test_a_value_of_few_records_repeats_and_one_of_many_does_not():
    run = sampler(m=3).indices(0, 18).reshape(6, 3)
    by_patient = {PATIENTS[row[0]]: len(set(row.tolist())) for row in run}
    assert by_patient == {"p": 3, "q": 2, "r": 1, "s": 2, "t": 1, "u": 1}


def test_values_that_look_alike_are_side_by_side():
    """Six values at six angles, in two bundles of three: each clump of three is one bundle, whatever the seed."""
    angle = {"p": 0.0, "q": 0.2, "r": 0.1, "s": 2.0, "t": 2.2, "u": 2.1}
    vectors = [None if p is None else [5 * np.cos(angle[p]), 5 * np.sin(angle[p])] for p in PATIENTS]
    orders = set()
    for seed in range(8):
        made = sampler(seed, vectors, m=1, vectors="vector.image")
        clumps = ["".join(sorted(PATIENTS[i] for i in made.indices(k, k + 3))) for k in (0, 3, 6, 9)]
        assert sorted(clumps[:2]) == sorted(clumps[2:]) == ["pqr", "stu"]
        orders.add(tuple(made.indices(0, 6).tolist()))
    assert len(orders) > 2
    first = sampler(0, vectors, m=1, vectors="vector.image", together=2)
    # In pairs: whoever comes first takes its nearest of those that are left.
    names = [PATIENTS[i] for i in first.indices(0, 6)]
    left = set("pqrstu")
    for one, other in zip(names[::2], names[1::2], strict=True):
        left -= {one}
        assert other == min(sorted(left), key=lambda each, one=one: abs(angle[each] - angle[one]))
        left -= {other}


def test_what_it_refuses():
    with pytest.raises(DataError, match=r"no column 'id\.study'"):
        sampler(column="id.study")
    with pytest.raises(DataError, match=r"no column 'vector\.image'"):
        sampler(0, None, vectors="vector.image")
    blank = Manifest.of({"id": ["a"], "text": ["x"], "id.patient": [None]}, root=Path())
    spec = {"name": "m_per_class", "column": "id.patient"}
    with pytest.raises(ConfigError, match=r"finds no value in column 'id\.patient': name another column"):
        build("data/samplers", spec, where="x", given={"manifest": blank, "seed": 0})
