"""Batches of one value: each batch within it, all of its records come, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.data.manifest import Manifest


def made(sites: list[Any], *, batch: int, seed: int = 0, states: Any = None, **options: Any) -> Any:
    columns = {"id": [f"r{i}" for i in range(len(sites))], "text": ["x"] * len(sites), "site": sites}
    given = {"manifest": Manifest.of(columns, root=Path()), "seed": seed, "batch": batch, "states": states or {}}
    spec = {"name": "within", **({} if "state" in options else {"column": "site"}), **options}
    return build("data/samplers", spec, where="x", given=given)


@given(
    sites=st.lists(st.sampled_from("ABC"), min_size=8, max_size=40), batch=st.integers(1, 7), seed=st.integers(0, 99)
)
def test_a_batch_is_of_one_value_and_an_epoch_holds_all_that_have_enough(
    sites: list[str], batch: int, seed: int
) -> None:
    sampler = made(sites, batch=batch, seed=seed, least=2)
    enough = {value for value in sites if sites.count(value) >= 2}
    count = sum(-(-sites.count(value) // batch) for value in enough)
    rows = sampler.indices(0, count * batch)
    for k in range(count):
        assert len({sites[row] for row in rows[k * batch : (k + 1) * batch]}) == 1
    assert {sites[row] for row in rows} == enough
    assert set(rows.tolist()) == {i for i, value in enumerate(sites) if value in enough}
    most = {value: -(-(-(-sites.count(value) // batch) * batch) // sites.count(value)) for value in enough}
    for row in set(rows.tolist()):
        assert (rows == row).sum() <= most[sites[row]]
    cut = np.concatenate([sampler.indices(a, a + 1) for a in range(count * batch, count * batch + 5)])
    assert cut.tolist() == sampler.indices(count * batch, count * batch + 5).tolist()


def test_no_record_comes_twice_in_a_batch_that_its_value_fills() -> None:
    sampler = made(list("AAAAABBBBBB"), batch=4)
    for k in range(20):
        assert len(set(sampler.indices(4 * k, 4 * k + 4).tolist())) == 4


class Halves:
    def labels_of(self, ids: list[str]) -> torch.Tensor:
        return torch.tensor([-1 if each == "r0" else int(each[1:]) % 2 for each in ids])


def test_the_labels_of_a_state_do_as_well_as_a_column() -> None:
    sampler = made([None] * 9, batch=4, state="halves", states={"halves": Halves()})
    rows = sampler.indices(0, 40).reshape(-1, 4)
    assert {tuple(sorted(set((row % 2).tolist()))) for row in rows} == {(0,), (1,)}
    assert 0 not in rows


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="finds no state 'halfs': did you mean 'halves'"):
        made([None], batch=2, state="halfs", states={"halves": Halves()})
    with pytest.raises(ConfigError, match="takes a column of the data or a state: give one of the two"):
        made(["A"], batch=2, column="site", state="halves")
    with pytest.raises(ConfigError, match="finds no value of 'site' with 3 records: lower least"):
        made(["A", "A", "B"], batch=2, least=3)
