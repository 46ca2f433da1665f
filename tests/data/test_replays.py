"""With few augmentations of each sample, one that comes again is the same bit for bit, whatever the run."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from medvlp.core import Batch, ConfigError
from medvlp.data.cache import Cache
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import replay_tag
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.views.affine import Affine
from medvlp.data.views.intensity import Intensity
from medvlp.data.views.read import Read
from medvlp.data.views.sections import Sections
from medvlp.data.views.sentences import Sentences

PREFIX = [Read(size=16), Sections()]
SUFFIX = [Affine(), Intensity(), Sentences(probability=1)]
COUNT, REPLAYS = 6, 3


@pytest.fixture
def prepared(cohort: Callable[..., Manifest], cache: Cache) -> Prepared:
    return prepare(cohort(COUNT), PREFIX, cache=cache)


def rows(batches: list[Batch]) -> list[tuple[tuple[str, str], torch.Tensor, str, object]]:
    """(sample, augmentation), pixels, words and record of each sample."""
    found = []
    for batch in batches:
        for i, (each, replay) in enumerate(zip(batch.ids, batch.strings("id.replay"), strict=True)):
            picture = batch["image"].values[i]
            found.append(((each, replay), picture, batch.strings("text")[i], batch.records["image"][i]))
    return found


def test_every_place_of_every_run_is_one_of_the_stored_augmentations(prepared: Prepared) -> None:
    every = Loader(prepared, SUFFIX, batch=4, seed=0, replays=REPLAYS).replayed()
    stored = {key: rest for key, *rest in rows(list(every))}
    assert len(stored) == COUNT * REPLAYS
    drawn = set()
    for seed in (0, 1):
        loader = Loader(prepared, SUFFIX, batch=4, seed=seed, replays=REPLAYS)
        for key, picture, words, record in rows(list(itertools.islice(loader, 12))):
            assert torch.equal(picture, stored[key][0])
            assert (words, record) == (stored[key][1], stored[key][2])
            drawn.add(key)
    assert drawn == stored.keys()
    pictures = [picture for picture, *_ in stored.values()]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(pictures, 2))


def test_processes_share_the_pass_and_workers_change_nothing(prepared: Prepared) -> None:
    every = Loader(prepared, SUFFIX, batch=4, seed=0, replays=2).replayed()
    whole = {key: picture for key, picture, *_ in rows(list(every))}
    parts = [Loader(prepared, SUFFIX, batch=4, seed=9, replays=2, rank=rank, world=2, workers=rank) for rank in (0, 1)]
    shared = [(key, picture) for loader in parts for key, picture, *_ in rows(list(loader.replayed()))]
    assert sorted(key for key, _ in shared) == sorted(whole)
    assert all(torch.equal(picture, whole[key]) for key, picture in shared)


def test_other_views_are_another_augmentation() -> None:
    tag = replay_tag(PREFIX, SUFFIX)
    assert tag == replay_tag(PREFIX, [*SUFFIX, Sections()])  # what draws nothing comes after
    others = replay_tag(PREFIX[:1], SUFFIX), replay_tag(PREFIX, SUFFIX[1:]), replay_tag(PREFIX, [Affine(scale=0.2)])
    assert len({tag, *others}) == 4


def test_without_replays_nothing_is_told_and_no_pass_is_made(prepared: Prepared) -> None:
    assert "id.replay" not in next(iter(Loader(prepared, SUFFIX, batch=4, seed=0)))
    assert "id.replay" not in next(Loader(prepared, SUFFIX, batch=4, seed=0, replays=2).once())
    with pytest.raises(ConfigError, match=r"A pass over replays needs augmentations .*: set data\.replays"):
        Loader(prepared, SUFFIX, batch=4, seed=0).replayed()
