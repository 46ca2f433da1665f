"""What a teacher made once of every augmentation is found again, and nothing else is given out for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medvlp.core import Batch, Column, ConfigError, DataError, FeatureTable, Plan
from medvlp.core.keys import keys
from medvlp.state.stored import Stored

BOTH = Plan.of(keys("image/embedding", "text/embedding"))
IDS = [each for _ in range(2) for each in "abc"]
REPLAYS = [f"{number} views" for number in range(2) for _ in "abc"]
ROWS = {
    view: np.random.default_rng(i).normal(size=(6, 4)).astype(np.float32) for i, view in enumerate(("image", "text"))
}


def table() -> FeatureTable:
    return FeatureTable(IDS, {**{f"t:{view}/embedding": rows for view, rows in ROWS.items()}, "id.replay": REPLAYS})


def filled(**options) -> Stored:
    store = Stored(teacher="t", **options)
    store.refresh(table())
    return store


def batch(ids: str, replays: list[str], texts: list[int] | None = None) -> Batch:
    every = torch.arange(len(ids))
    columns = {"image": Column(torch.zeros(len(ids), 1, 2, 2), every), "id.replay": Column(tuple(replays), every)}
    owner = every if texts is None else torch.tensor(texts)
    return Batch(tuple(ids), every, {**columns, "text": Column(("words",) * len(owner), owner)})


def test_rows_are_those_of_the_sample_in_its_augmentation():
    found = filled().encode(batch("cab", ["1 views", "0 views", "1 views"]), BOTH)
    for view, rows in ROWS.items():
        assert torch.equal(found[view].part("embedding"), torch.from_numpy(rows[[5, 0, 4]]))


def test_a_sample_without_text_has_no_row_of_it():
    found = filled().encode(batch("ab", ["0 views", "0 views"], texts=[1]), BOTH)
    assert found["text"].owner.tolist() == [1]
    assert torch.equal(found["text"].part("embedding"), torch.from_numpy(ROWS["text"][[1]]))


@pytest.mark.parametrize(("ids", "replay"), [("d", "0 views"), ("a", "2 views"), ("a", "0 other")])
def test_another_record_number_or_view_is_refused(ids, replay):
    with pytest.raises(DataError, match="no row of 1 of 2 samples: it was filled with other records, fewer replays or"):
        filled().encode(batch(f"b{ids}", ["0 views", replay]), BOTH)


def test_a_table_serves_later_runs_without_the_teacher(tmp_path: Path):
    path = tmp_path / "teacher.parquet"
    first = filled(table=path)
    later = Stored(table=path)
    assert (first.needs_refresh, later.needs_refresh) == (True, False)
    assert later.refresh_needs() == frozenset()
    asked = batch("cb", ["1 views", "0 views"])
    for view, found in first.encode(asked, BOTH).items():
        assert torch.equal(later.encode(asked, BOTH)[view].part("embedding"), found.part("embedding"))
    saved = later.state_dict()
    assert list(saved) == ["digest"]
    resumed = Stored(teacher="t", table=path)
    resumed.load_state_dict(saved)
    assert torch.equal(
        resumed.encode(asked, BOTH)["image"].part("embedding"), first.encode(asked, BOTH)["image"].part("embedding")
    )
    FeatureTable(["0 views a"], {f"{view}/embedding": rows[:1] for view, rows in ROWS.items()}).save(path)
    with pytest.raises(DataError, match=r"teacher\.parquet is not what this run was taught by: restore it"):
        resumed.load_state_dict(saved)


def test_a_checkpoint_without_table_holds_the_rows():
    saved, again = filled().state_dict(), Stored(teacher="t")
    again.load_state_dict(saved)
    asked = batch("c", ["1 views"])
    assert torch.equal(again.encode(asked, BOTH)["text"].part("embedding"), torch.from_numpy(ROWS["text"][[5]]))


def test_what_it_needs_and_refuses():
    store = Stored(teacher="t", views=["image"])
    assert sorted(map(str, store.refresh_needs())) == ["id.replay", "t:image/embedding"]
    assert sorted(map(str, store.needs())) == ["id.replay"]
    with pytest.raises(ConfigError, match="keeps image/embedding, and is asked text/embedding: ask for those"):
        store.check(BOTH)
    with pytest.raises(ConfigError, match="keeps image/embedding, and is asked image/tokens"):
        store.check(Plan.of(keys("image/tokens")))
    with pytest.raises(ConfigError, match="The stored teacher is empty: refresh it over replays"):
        store.encode(batch("a", ["0 views"]), BOTH)
    with pytest.raises(ConfigError, match="has neither teacher nor table"):
        Stored()


def test_a_run_that_was_killed_after_later_passes_goes_on_with_the_rows_of_its_checkpoint(tmp_path: Path):
    path, asked = tmp_path / "teacher.parquet", batch("c", ["1 views"])
    store = filled(table=path)
    saved = store.state_dict()
    for factor in (2, 3):  # as of a teacher that moves: two passes, and no checkpoint after them
        later = {f"t:{view}/embedding": factor * rows for view, rows in ROWS.items()}
        store.refresh(FeatureTable(IDS, {**later, "id.replay": REPLAYS}))
    resumed = Stored(teacher="t", table=path)
    resumed.load_state_dict(saved)
    found = resumed.encode(asked, BOTH)["image"].part("embedding")
    assert torch.equal(found, torch.from_numpy(ROWS["image"][[5]]))
    assert torch.equal(resumed.state_dict()["digest"], saved["digest"])  # a checkpoint names the rows that it stands on
    again = Stored(teacher="t", table=path)
    again.load_state_dict(store.state_dict())
    assert torch.equal(again.encode(asked, BOTH)["image"].part("embedding"), 3 * found)
