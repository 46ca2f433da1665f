from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import build
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.samplers._order import order, rank_part

UNIFORM = [6, 0, 5, 0, 6, 4, 2, 1, 3, 0, 6]
ONE_OF = [3, 2, 5, 3, 4, 6, 0, 3, 1, 6, 3, 4]


def records(n: int, **columns: list[Any]) -> Manifest:
    told = {name.replace("_", "."): values for name, values in columns.items()}
    return Manifest.of({"id": [f"r{i}" for i in range(n)], "text": ["x"] * n, **told}, root=Path())


def made(manifest: Manifest, seed: int, *, name: str = "uniform", **options: Any) -> Any:
    return build("data/samplers", {"name": name, **options}, where="test", given={"manifest": manifest, "seed": seed})


@given(n=st.integers(1, 200), seed=st.integers(0, 2**31), epochs=st.integers(1, 3), batch=st.integers(1, 50))
def test_every_epoch_holds_each_sample_once_however_it_is_cut(n: int, seed: int, epochs: int, batch: int) -> None:
    stream = made(records(n), seed)
    cuts = [*range(0, n * epochs, batch), n * epochs]
    run = np.concatenate([stream.indices(a, b) for a, b in itertools.pairwise(cuts)])
    for epoch in range(epochs):
        assert sorted(run[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@given(world=st.integers(1, 8), each=st.integers(1, 9), k=st.integers(0, 20), n=st.integers(1, 60))
def test_rank_parts_joined_are_the_global_batch(world: int, each: int, k: int, n: int) -> None:
    size, stream = world * each, made(records(n), 3)
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


def test_an_origin_starts_its_own_epochs() -> None:
    prepared = prepare(records(5), [])
    late, early = (Loader(prepared, [], batch=5, seed=7, start=start, origin=start) for start in (12, 0))
    a, b = next(iter(late)), next(iter(early))
    assert a.ids == b.ids
    assert a.positions.tolist() == [12, 13, 14, 15, 16]


def test_the_numbers_are_those_of_before_samplers_were_components() -> None:
    """Written down with the stream that the loader made itself: runs go on where they were."""
    assert made(records(7), 3).indices(5, 16).tolist() == UNIFORM
    owner = ["p", "q", "p", "r", "q", "p", "s"]
    one_of = made(records(7, id_patient=owner), 3, name="one_of", column="id.patient")
    assert one_of.indices(2, 14).tolist() == ONE_OF


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=12), seed=st.integers(0, 2**31), batch=st.integers(1, 20)
)
def test_with_one_of_each_an_epoch_has_them_all_and_each_sends_its_records_in_turn(
    counts: list[int], seed: int, batch: int
) -> None:
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    manifest = records(len(owner), id_patient=[f"p{g}" for g in owner])
    stream, size = made(manifest, seed, name="one_of", column="id.patient"), len(counts)
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
    single = made(records(7), 3, name="one_of", column="id")
    assert single.indices(0, 30).tolist() == made(records(7), 3).indices(0, 30).tolist()


@given(
    labels=st.lists(st.sampled_from([1.0, 0.0, -1.0, float("nan")]), min_size=2, max_size=40),
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 20),
    weights=st.one_of(st.none(), st.tuples(st.floats(0.1, 10), st.floats(0.1, 10))),
)
def test_a_balanced_epoch_has_each_values_share_and_each_of_its_records_as_often(
    labels: list[float], seed: int, batch: int, weights: tuple[float, float] | None
) -> None:
    there = [value for value in (1.0, 0.0) if value in labels]
    given = dict(zip((1.0, 0.0), weights or (1.0, 1.0), strict=True))
    given = {value: given[value] for value in there}
    assume(given)
    size = sum(labels.count(value) for value in given)
    assume(all(weight / sum(given.values()) * size >= 1 for weight in given.values()))
    stream = made(
        records(len(labels), label_effusion=labels),
        seed,
        name="balanced",
        column="label.effusion",
        weights={int(value): weight for value, weight in given.items()},
    )
    epochs = 3
    cuts = [*range(0, size * epochs, batch), size * epochs]
    run = np.concatenate([stream.indices(a, b) for a, b in itertools.pairwise(cuts)]).reshape(epochs, size)
    values = np.array(labels)[run]
    for value, weight in given.items():
        share = weight / sum(given.values()) * size
        assert all(abs(int((epoch == value).sum()) - share) < 1 for epoch in values)
        seen = [int((run == i).sum()) for i, label in enumerate(labels) if label == value]
        assert max(seen) - min(seen) <= 1
    # Another cut of the same stream, taken up anywhere.
    middle = size * epochs // 2
    assert stream.indices(middle, size * epochs).tolist() == run.ravel()[middle:].tolist()


def test_words_and_all_values_alike() -> None:
    site = ["A", "A", "A", "A", "B", None]
    stream = made(records(6, site=site), 1, name="balanced", column="site")
    values = [site[i] for i in stream.indices(0, 5 * 40).tolist()]
    assert None not in values
    assert abs(values.count("A") - values.count("B")) == 40  # 3 and 2 of the 5 places of each epoch


def test_labels_are_named_as_numbers_or_as_a_configuration_that_was_written_names_them() -> None:
    manifest = records(6, label_effusion=[1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    streams = [
        made(manifest, 0, name="balanced", column="label.effusion", weights={yes: 2.0, no: 1.0}).indices(0, 12).tolist()
        for yes, no in ((1, 0), (1.0, 0.0), ("1", "0"), ("1.0", "0.0"))
    ]
    assert all(stream == streams[0] for stream in streams)


def test_what_a_sampler_refuses() -> None:
    manifest = records(3, label_effusion=[1.0, 0.0, float("nan")], site=[None] * 3)
    with pytest.raises(ConfigError, match=r"names '2', which no record has in 'label.effusion': allowed are 0, 1"):
        made(manifest, 0, name="balanced", column="label.effusion", weights={2: 1.0})
    with pytest.raises(ConfigError, match=r"weights of sampler 'balanced' gives '1' 0.0: use a number above 0"):
        made(manifest, 0, name="balanced", column="label.effusion", weights={1: 0.0})
    with pytest.raises(ConfigError, match=r"gives '1' less than one record in an epoch of 2, so that it would never"):
        made(manifest, 0, name="balanced", column="label.effusion", weights={0: 9.0, 1: 1.0})
    with pytest.raises(ConfigError, match=r"finds no value in column 'site': name another column"):
        made(manifest, 0, name="balanced", column="site")
    with pytest.raises(DataError, match=r"no column 'id.patiant'"):
        made(manifest, 0, name="one_of", column="id.patiant")


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="10 samples cannot be cut into 4 equal parts: choose a multiple of 4"):
        rank_part(10, rank=0, world=4)


# img_diff -------------------------------------------------------------------------------------------------------------


def pairs_of(stream: Any, n: int, epochs: int = 6) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in stream.indices(0, 2 * n * epochs).reshape(-1, 2).tolist()]


def test_pairs_differ_in_one_finding_and_each_finding_is_drawn_alike() -> None:
    # 0..39 are normal, 40..59 have e, 60 has n, 61 has both; 62's n is unknown.
    e = [0.0] * 40 + [1.0] * 20 + [0.0, 1.0, 1.0]
    n = [0.0] * 60 + [1.0, 1.0, None]
    manifest = Manifest.of(
        {"id": [f"r{i}" for i in range(63)], "text": ["x"] * 63, "label.e": e, "label.n": n}, root=Path()
    )
    found = pairs_of(made(manifest, 4, name="img_diff", within=None), 63)
    assert sorted(first for first, _ in found[:63]) == [*range(63)]  # each record once an epoch
    partners = {row: {other for first, other in found if first == row} for row in range(63)}
    for row in range(62):
        for other in partners[row]:
            assert (e[row] != e[other]) + (n[row] != n[other]) == 1
            assert other != 62
    normal = [other for first, other in found if first < 40]
    share = sum(other == 60 for other in normal) / len(normal)
    assert abs(share - 0.5) < 0.12  # one record with n is drawn as often as twenty with e


def test_a_patients_own_study_comes_first_and_labels_can_be_chosen() -> None:
    columns = {
        "id": list("abcdef"),
        "text": ["x"] * 6,
        "id.patient": ["p", "p", "q", "q", "r", None],
        "label.e": [1, 0, 1, 1, 0, 1],
        "label.n": [0, 0, 1, 0, 0, 0],
    }
    manifest = Manifest.of(columns, root=Path())
    found = set(pairs_of(made(manifest, 0, name="img_diff"), 6, 20))
    assert {other for first, other in found if first == 0} == {1}
    assert {other for first, other in found if first == 3} == {2}
    assert {other for first, other in found if first == 4} == {0, 3, 5}
    only = set(pairs_of(made(manifest, 0, name="img_diff", labels=["n"], within="id.patient"), 6, 20))
    assert {other for first, other in only if first == 2} == {3}
    assert {other for first, other in only if first == 0} == {2}


def test_pairs_are_a_function_of_the_place_and_impossible_ones_are_refused() -> None:
    columns = {"id": list("abcd"), "text": list("wxyz"), "label.e": [1, 0, 1, 0], "label.n": [0, 0, 1, 1]}
    stream = made(Manifest.of(columns, root=Path()), 7, name="img_diff", within=None)
    whole = stream.indices(0, 40)
    cut = np.concatenate([stream.indices(a, b) for a, b in itertools.pairwise([0, 3, 8, 9, 25, 40])])
    assert whole.tolist() == cut.tolist()
    with pytest.raises(ConfigError, match="sampler 'img_diff' finds no label in the manifest"):
        made(records(3), 0, name="img_diff")
    equal = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "label.e": [1, 1]}, root=Path())
    with pytest.raises(ConfigError, match=r"finds no two records that differ in one of label\.e"):
        made(equal, 0, name="img_diff", within=None)
