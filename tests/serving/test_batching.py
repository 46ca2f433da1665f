"""What threads ask while a batch is computed is the next batch, and nobody's error is another's."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import numpy as np
import pytest

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.errors import ConfigError
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle
from medvlp.serving import BatchingQueue
from medvlp.text import train_wordpiece


class Held:
    """Work that notes its batches, and waits with the first one until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = Event(), Event()
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, numbers: Sequence[int]) -> list[float]:
        self.batches.append(list(numbers))
        self.threads.add(get_ident())
        self.begun.set()
        assert self.go.wait(60)
        return [1 / number for number in numbers]


def test_what_comes_while_a_batch_is_computed_is_the_next_one() -> None:
    work = Held()
    queue = BatchingQueue(work, most=4)
    first = queue.submit(1)
    assert work.begun.wait(60)
    rest = [queue.submit(number) for number in (2, 4, 5, 8, 10, 16)]
    work.go.set()
    assert [each.result(60) for each in (first, *rest)] == [1, 1 / 2, 1 / 4, 1 / 5, 1 / 8, 1 / 10, 1 / 16]
    assert work.batches == [[1], [2, 4, 5, 8], [10, 16]]
    assert len(work.threads) == 1


def test_an_item_that_cannot_be_is_nobody_elses_error_and_one_that_is_cancelled_is_not_computed() -> None:
    work = Held()
    queue = BatchingQueue(work)
    first = queue.submit(1)
    assert work.begun.wait(60)
    good, bad, gone, other = (queue.submit(number) for number in (2, 0, 3, 4))
    assert gone.cancel()
    work.go.set()
    assert (first.result(60), good.result(60), other.result(60)) == (1, 1 / 2, 1 / 4)
    with pytest.raises(ZeroDivisionError):
        bad.result(60)
    assert work.batches == [[1], [2, 0, 4], [2], [0], [4]]
    assert queue(8) == 1 / 8


def test_fewer_results_than_items_are_an_error_of_each_and_keep_nobody_waiting() -> None:
    queue = BatchingQueue(lambda some: [])
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        queue(1)


def test_pictures_that_threads_ask_about_at_one_time_have_the_embeddings_that_they_have_alone() -> None:
    words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    spec = {"name": "single", "width": 16, "layers": 1, "image_size": 32}
    model = VisionLanguageModel(
        Bundle(build_model(spec, tokenizer=words), words, preprocessing=[{"name": "read", "size": 32}])
    )
    pictures = [np.random.default_rng(i).random((40, 30)) for i in range(12)]
    queue = BatchingQueue(lambda some: model.embed_prepared([each.pixels for each in some]), most=5)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda each: queue(model.prepare(each)), pictures))
    alone = np.stack([model.embed_image(each)[0] for each in pictures])
    np.testing.assert_allclose(np.stack(found), alone, atol=1e-6)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"most is 0, and a batch has an item: give 1 or more"):
        BatchingQueue(list, most=0)
