"""With few augmentations of each sample, one that comes again is the same bit for bit, whatever the run."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from medvlp.core import Batch, ConfigError, Plan
from medvlp.core.keys import keys
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
from medvlp.features.feature_pass import feature_pass
from medvlp.models.build import build_model
from medvlp.state.frozen import Frozen
from medvlp.state.stored import Stored
from tests.models.words import DUAL, HashWords

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


def test_a_stored_teacher_says_of_a_training_batch_what_the_teacher_says(
    cohort: Callable[..., Manifest], cache: Cache
) -> None:
    """The whole way: a pass over all augmentations, kept, and looked up for batches of another seed."""
    views = [Read(size=32), Sections()]
    model = build_model(DUAL, tokenizer=HashWords(), seed=3)
    teacher, store = Frozen(), Stored(teacher="large")
    teacher.bind(model)
    loader = Loader(prepare(cohort(COUNT), views, cache=cache), SUFFIX, batch=4, seed=0, replays=2, prefix=views)
    store.refresh(feature_pass(model, loader.replayed(), store.refresh_needs(), teachers={"large": teacher}))
    plan = Plan.of(keys("image/embedding", "text/embedding"))
    later = Loader(prepare(cohort(COUNT), views, cache=cache), SUFFIX, batch=6, seed=7, replays=2, prefix=views)
    for batch in itertools.islice(later, 2):
        said, kept = teacher.encode(batch, plan), store.encode(batch, plan)
        for view in ("image", "text"):
            assert torch.equal(kept[view].owner, said[view].owner)
            torch.testing.assert_close(kept[view].part("embedding"), said[view].part("embedding"), rtol=1e-4, atol=1e-6)
