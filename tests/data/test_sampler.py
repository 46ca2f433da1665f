from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.data.sampler import Groups, Stream, order, rank_part


@given(n=st.integers(1, 200), seed=st.integers(0, 2**31), epochs=st.integers(1, 3), batch=st.integers(1, 50))
def test_every_epoch_holds_each_sample_once_however_it_is_cut(n: int, seed: int, epochs: int, batch: int) -> None:
    stream = Stream(n, seed)
    cuts = [*range(0, n * epochs, batch), n * epochs]
    run = np.concatenate([stream.indices(a, b) for a, b in itertools.pairwise(cuts)])
    for epoch in range(epochs):
        assert sorted(run[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@given(world=st.integers(1, 8), each=st.integers(1, 9), k=st.integers(0, 20), n=st.integers(1, 60))
def test_rank_parts_joined_are_the_global_batch(world: int, each: int, k: int, n: int) -> None:
    size, stream = world * each, Stream(n, 3)
    whole = stream.indices(k * size, (k + 1) * size)
    parts = [rank_part(size, rank=r, world=world) for r in range(world)]
    joined = np.concatenate([stream.indices(k * size + p.start, k * size + p.stop) for p in parts])
    assert joined.tolist() == whole.tolist()
    assert {p.stop - p.start for p in parts} == {each}


def test_epochs_differ_seeds_differ_and_the_permutation_is_fixed_for_ever() -> None:
    assert order(100, seed=0, epoch=0).tolist() != order(100, seed=0, epoch=1).tolist()
    assert order(100, seed=0, epoch=0).tolist() != order(100, seed=1, epoch=0).tolist()
    # Written down once: a run resumed on another machine or NumPy version must go on in the same order.
    assert order(8, seed=0, epoch=0).tolist() == [1, 7, 3, 6, 5, 2, 4, 0]


def test_without_shuffling_the_manifest_is_repeated_and_an_origin_starts_its_own_epochs() -> None:
    assert Stream(3, 0, shuffle=False).indices(2, 7).tolist() == [2, 0, 1, 2, 0]
    late = Stream(5, 7, origin=12)
    assert late.indices(12, 22).tolist() == Stream(5, 7).indices(0, 10).tolist()


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=12), seed=st.integers(0, 2**31), batch=st.integers(1, 20)
)
def test_with_groups_an_epoch_has_one_sample_of_each_and_all_of_them_in_turn(
    counts: list[int], seed: int, batch: int
) -> None:
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    groups = Groups.of([np.flatnonzero(owner == g).tolist() for g in range(len(counts))])
    stream, size = Stream(len(owner), seed, groups=groups), len(counts)
    epochs = int(np.lcm.reduce(counts))  # after so many, every sample was sent equally often by its group
    cuts = [*range(0, size * epochs, batch), size * epochs]
    run = np.concatenate([stream.indices(a, b) for a, b in itertools.pairwise(cuts)]).reshape(epochs, size)
    assert all(sorted(owner[epoch].tolist()) == list(range(size)) for epoch in run)
    seen = np.bincount(run.ravel(), minlength=len(owner))
    assert seen.tolist() == [epochs // counts[g] for g in owner]
    for g in range(size):
        sent = [int(epoch[owner[epoch] == g][0]) for epoch in run]
        assert all(len(set(sent[i : i + counts[g]])) == counts[g] for i in range(0, epochs, counts[g]))


def test_groups_of_one_are_every_sample() -> None:
    single = Stream(7, 3, groups=Groups.of([[i] for i in range(7)]))
    assert single.indices(0, 30).tolist() == Stream(7, 3).indices(0, 30).tolist()


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="10 samples cannot be cut into 4 equal parts: choose a multiple of 4"):
        rank_part(10, rank=0, world=4)
