from __future__ import annotations

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part, collectives
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.state.queue import Queue

KEY = "image/raw"


def rows(step: int, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(step))


def context(values: torch.Tensor, samples_seen: int = 0) -> Context:
    parts = {parse_key(KEY): Part(values, torch.arange(len(values)))}
    batch = Batch.of({"id.patient": ["p"] * len(values)})
    return Context(parts=parts, batch=batch, samples_seen=samples_seen)


def follow(queue: Queue, steps: range) -> None:
    for step in steps:
        queue.observe(context(rows(step).requires_grad_(), 4 * step))
        queue.after_step(None, 4 * step + 4)


def test_it_keeps_the_newest_rows_oldest_first_at_unit_length_without_gradient():
    queue = Queue(reads=[KEY], size=10)
    follow(queue, range(2))
    assert len(queue.rows(KEY)) == 8
    assert not queue.full(KEY)
    follow(queue, range(2, 5))
    assert queue.full(KEY)
    torch.testing.assert_close(queue.rows(KEY), unit(torch.cat([rows(step) for step in range(5)]))[-10:])
    assert not queue.rows(KEY).requires_grad


def test_a_steps_own_rows_enter_after_it_and_those_of_a_skipped_step_never():
    queue = Queue(reads=[KEY], size=10)
    queue.observe(context(rows(0)))
    assert len(queue.rows(KEY)) == 0
    queue.observe(context(rows(1)))  # the first step was not taken
    queue.after_step(None, 4)
    torch.testing.assert_close(queue.rows(KEY), unit(rows(1)))
    queue.after_step(None, 8)
    assert len(queue.rows(KEY)) == 4


def test_beside_rows_it_keeps_what_belongs_to_them_as_it_is():
    """Logits of the same rows, and the label of each row's sample: two rows a sample here."""
    queue = Queue(reads=[KEY], size=5, beside=["image/findings", "label.effusion"])
    owner = torch.tensor([0, 0, 1, 1])
    for step in range(2):
        logits = 10 * rows(step + 7)
        parts = {parse_key(KEY): Part(rows(step), owner), parse_key("image/findings"): Part(logits, owner)}
        queue.observe(Context(parts=parts, batch=Batch.of({"label.effusion": torch.tensor([float(step), torch.nan])})))
        queue.after_step(None, 0)
    assert torch.equal(queue.rows("image/findings"), torch.cat([10 * rows(7), 10 * rows(8)])[-5:])
    assert queue.rows("label.effusion")[1:3].tolist() == [1.0, 1.0]
    assert queue.rows("label.effusion")[[0, 3, 4]].isnan().all()
    assert len(queue.rows(KEY)) == 5


def test_rows_enter_from_its_begin_on():
    queue = Queue(reads=[KEY], size=100, begin=8)
    follow(queue, range(4))
    torch.testing.assert_close(queue.rows(KEY), unit(torch.cat([rows(2), rows(3)])))


def test_saved_it_goes_on_bit_for_bit():
    whole, first, second = (Queue(reads=[KEY], size=10) for _ in range(3))
    follow(whole, range(6))
    follow(first, range(4))
    second.load_state_dict(first.state_dict())
    follow(second, range(4, 6))
    assert torch.equal(second.rows(KEY), whole.rows(KEY))
    Queue(reads=[KEY]).load_state_dict(Queue(reads=[KEY]).state_dict())


def filled(bounds: list[int]) -> torch.Tensor:
    queue = Queue(reads=[KEY], size=10)
    for step in range(5):
        own = rows(step)[bounds[collectives.rank()] : bounds[collectives.rank() + 1]]
        queue.observe(context(own))
        queue.after_step(None, 0)
    return queue.rows(KEY)


@pytest.mark.pool
def test_one_process_is_two(pool):
    for got in pool.run(2, filled, [0, 1, 4]):
        assert torch.equal(got, filled([0, 4]))


def test_what_is_refused():
    with pytest.raises(ConfigError, match="'queue' reads nothing: name the keys"):
        Queue(reads=[])
    with pytest.raises(ConfigError, match=r"The queue does not keep 'text/raw'"):
        Queue(reads=[KEY]).rows("text/raw")
