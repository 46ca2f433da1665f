from __future__ import annotations

import pytest

from medvlp.core.errors import UserError
from medvlp.training.guard import Guard, GuardOptions


def test_a_step_that_is_not_finite_is_refused_and_counted() -> None:
    guard = Guard(GuardOptions())
    terms = {"clip/pairs": float("nan"), "koleo/spread": -1.0, "mgca/words": -float("inf")}
    told = "the loss is not finite (clip/pairs, mgca/words)"
    assert guard.refuses(loss=float("nan"), norm=1.0, terms=terms) == told
    assert guard.refuses(loss=float("inf"), norm=1.0, terms={"clip/pairs": 1.0}) == "the loss is not finite"
    assert guard.refuses(loss=1.0, norm=float("nan")) == "the gradient is not finite"
    assert (guard.skipped, guard.in_a_row) == (3, 3)
    assert guard.refuses(loss=1.0, norm=1.0) is None
    assert (guard.skipped, guard.in_a_row) == (3, 0)


def test_a_spike_is_measured_against_the_median_and_is_not_remembered() -> None:
    guard = Guard(GuardOptions(spike=5.0))
    for norm in (1.0, 2.0, 3.0) * 4:
        assert guard.refuses(loss=1.0, norm=norm) is None
    assert guard.refuses(loss=1.0, norm=10.0) is None
    reason = guard.refuses(loss=1.0, norm=10.1)
    assert reason == "the gradient norm 10.1 is over 5 times the median 2"
    assert max(guard.norms) == 10.0


def test_steps_without_a_gradient_are_no_measure_of_those_that_have_one() -> None:
    """Where three batches of four hold no box, the fourth is no spike over a median of 0."""
    guard = Guard(GuardOptions())
    boxes = [float(step % 4 == 3) for step in range(200)]
    assert [guard.refuses(loss=norm, norm=norm) for norm in boxes] == [None] * 200
    assert guard.refuses(loss=1.0, norm=101.0) == "the gradient norm 101 is over 100 times the median 1"


def test_a_run_without_a_gradient_is_refused_when_it_ends() -> None:
    """Steps of batches of one sample, under CLIP, have none; one that has one is enough, be it the last and a spike."""
    guard = Guard(GuardOptions(spike=5.0, most=1))
    for _ in range(20):
        guard.refuses(loss=0.0, norm=0.0)
    with pytest.raises(UserError, match=r"No step of the run had a gradient, .*training\.batch is above 1"):
        guard.finish()
    for norm in (*[1.0] * 10, 50.0):
        assert guard.refuses(loss=1.0, norm=norm) is None
        guard.finish()


def test_a_term_that_never_was_anything_is_named_when_the_run_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Its records lack what it reads; one step with a value is enough, also before the run was interrupted."""
    guard = Guard(GuardOptions())
    for step in range(3):
        terms = {"clip/pairs": 0.0, "dice/masks": 0.0, "koleo/spread": -1.0 * (step == 0)}
        guard.refuses(loss=1.0, norm=1.0, terms=terms)
        again = Guard(GuardOptions())
        again.restore(guard.state())
        guard = again
    guard.refuses(loss=1.0, norm=1.0, terms={"clip/pairs": float("nan")})
    guard.finish()
    assert [record.getMessage() for record in caplog.records] == [
        "0 in every step, so that nothing was learnt from it: dice/masks. Look whether records have what it reads."
    ]


def test_many_spikes_in_a_row_are_another_stretch_of_the_loss() -> None:
    guard = Guard(GuardOptions(spike=5.0, most=3))
    for _ in range(20):
        guard.refuses(loss=1.0, norm=1.0)
    reasons = [guard.refuses(loss=1.0, norm=50.0) for _ in range(4)]
    assert [reason is None for reason in reasons] == [False, False, True, True]
    assert guard.skipped == 2


def test_its_memory_survives_a_checkpoint() -> None:
    guard = Guard(GuardOptions())
    for i in range(150):
        guard.refuses(loss=1.0, norm=float(i + 1), terms={"clip": 1.0, "mask": 0.0})
    other = Guard(GuardOptions())
    other.restore(guard.state())
    assert other == guard
    assert len(guard.norms) == 100


def test_too_many_in_a_row_stop_the_run_with_one_sentence() -> None:
    guard = Guard(GuardOptions(most=3))
    for _ in range(3):
        guard.stop("nothing")
        reason = guard.refuses(loss=float("nan"), norm=1.0)
    with pytest.raises(UserError, match=r"3 training steps in a row were skipped .* lower optimiser\.rate"):
        guard.stop(str(reason))
