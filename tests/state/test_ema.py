from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, DataError, HeadSpec, Plan
from medvlp.core.keys import keys
from medvlp.core.schedules import Ramp
from medvlp.state.ema import Ema
from tests.state.toy import Toy, moved

PLAN = Plan.of(keys("image/pooled"))


def follow(student: Toy, teacher: Ema, samples: list[int]) -> None:
    for step, seen in enumerate(samples):
        moved(student, step)
        teacher.after_step(student, seen)


def test_the_average_is_its_closed_form_over_uneven_steps():
    """theta_T = exp(-n / h) theta_0 + sum_k exp(-(n - n_k) / h) (1 - exp(-(n_k - n_{k-1}) / h)) theta_k."""
    student, teacher, horizon = Toy().double(), Ema(horizon=50.0), 50.0
    moved(student, 99)
    teacher.bind(student)
    samples = [8, 16, 19, 40, 41]
    states = [[t.clone() for t in (*student.parameters(), *student.buffers())]]
    for step, seen in enumerate(samples):
        moved(student, step)
        states.append([t.clone() for t in (*student.parameters(), *student.buffers())])
        teacher.after_step(student, seen)
    last, before = samples[-1], [0, *samples[:-1]]
    weight = [math.exp(-last / horizon)]
    weight += [
        math.exp(-(last - n) / horizon) * (1 - math.exp(-(n - b) / horizon))
        for n, b in zip(samples, before, strict=True)
    ]
    assert sum(weight) == pytest.approx(1, abs=1e-14)
    own = (*teacher.model.parameters(), *teacher.model.buffers())
    for i, tensor in enumerate(own):
        if tensor.is_floating_point():
            expected = sum(w * state[i] for w, state in zip(weight, states, strict=True))
            torch.testing.assert_close(tensor, expected, rtol=1e-12, atol=1e-12)
        else:
            assert tensor.item() == len(samples) - 1  # counters are copied


def test_the_horizon_does_not_depend_on_the_size_of_steps():
    """A student at rest: two steps of 10 samples are one of 20."""
    averages = []
    for samples in ([20], [10, 20], [1, 2, 5, 20]):
        student, teacher = Toy(seed=1).double(), Ema(horizon=30.0)
        teacher.bind(Toy(seed=2).double())
        for seen in samples:
            teacher.after_step(student, seen)
        averages.append(teacher.model.tower.weight)
    torch.testing.assert_close(averages[1], averages[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(averages[2], averages[0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_neither_does_a_ramped_one_and_an_infinite_one_stands_still(shape):
    averages = []
    ramp = Ramp(start=20.0, end=math.inf, begin=5, until=40, shape=shape)
    for samples in ([30, 60], [10, 20, 60], [1, 2, 3, 7, 30, 44, 60]):
        student, teacher = Toy(seed=1).double(), Ema(horizon=ramp)
        teacher.bind(Toy(seed=2).double())
        for seen in samples:
            teacher.after_step(student, seen)
        averages.append(teacher.model.tower.weight.clone())
        teacher.after_step(student, 5000)
        assert torch.equal(teacher.model.tower.weight, averages[-1])
    # 5 samples at 1/20, then half of the way down over 35.
    kept = math.exp(-(5 + 35 / 2) / 20)
    expected = kept * Toy(seed=2).double().tower.weight + (1 - kept) * Toy(seed=1).double().tower.weight
    for average in averages:
        torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-12)


def test_after_a_horizon_an_old_weight_has_fallen_to_1_over_e():
    student, teacher = Toy().double(), Ema(horizon=1000.0)
    teacher.bind(student)
    start = student.tower.weight.detach().clone()
    with torch.no_grad():
        student.tower.weight.zero_()
    for seen in range(10, 1001, 10):
        teacher.after_step(student, seen)
    torch.testing.assert_close(teacher.model.tower.weight, start / math.e, rtol=1e-12, atol=1e-12)


def test_a_student_at_rest_is_its_own_average_bit_for_bit():
    student, teacher = Toy(seed=3), Ema(horizon=123.0)
    teacher.bind(student)
    for seen in range(7, 70, 7):
        teacher.after_step(student, seen)
    assert torch.equal(teacher.model.tower.weight, student.tower.weight)


def test_the_teacher_encodes_in_eval_mode_without_gradient_and_leaves_the_student_alone():
    student, teacher = Toy(), Ema(horizon=10.0)
    student.train()
    teacher.bind(student)
    batch = Batch.of({"image": torch.randn(5, 4, generator=torch.Generator().manual_seed(0))})
    before = student.norm.running_mean.clone()
    first, second = (teacher.encode(batch, PLAN)["image"].part("pooled") for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    assert torch.equal(first, teacher.model.norm(teacher.model.tower(batch["image"].values)))
    assert torch.equal(student.norm.running_mean, before)
    assert not first.requires_grad
    assert student.training
    assert all(p.requires_grad for p in student.parameters())
    assert not any(p.requires_grad for p in teacher.model.parameters())


def test_what_a_teacher_gives_can_be_part_of_a_graph():
    teacher, batch = Ema(horizon=10.0), Batch.of({"image": torch.ones(2, 4)})
    teacher.bind(Toy())
    weight = torch.ones(3, requires_grad=True)
    (teacher.encode(batch, PLAN)["image"].part("pooled") * weight).sum().backward()
    assert weight.grad is not None


def test_a_saved_teacher_goes_on_bit_for_bit():
    samples = [4, 8, 12, 16, 20]
    student, whole = Toy(), Ema(horizon=30.0)
    whole.bind(student)
    follow(student, whole, samples)
    student, first, second = Toy(), Ema(horizon=30.0), Ema(horizon=30.0)
    first.bind(student)
    follow(student, first, samples[:3])
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second.bind(Toy(seed=9))
    second.load_state_dict(saved)
    for step, seen in list(enumerate(samples))[3:]:
        moved(student, step)
        second.after_step(student, seen)
    assert second.state_dict().keys() == whole.state_dict().keys()
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_bound_again_it_takes_new_heads_and_keeps_its_average():
    student, teacher = Toy(), Ema(horizon=30.0)
    teacher.bind(student)
    follow(student, teacher, [10, 20])
    average = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student.mount({"shift": HeadSpec("shift")}, PLAN)
    with pytest.raises(ConfigError, match=r"student changed under its EMA teacher \('heads.shift.by'\)"):
        teacher.after_step(student, 30)
    teacher.bind(student)
    now = teacher.state_dict()
    assert all(torch.equal(tensor, now[name]) for name, tensor in average.items())
    assert torch.equal(now["model.heads.shift.by"], torch.zeros(1))
    teacher.after_step(student, 30)


def replicas() -> dict:
    student, teacher = Toy(), Ema(horizon=17.0)
    teacher.bind(student)
    follow(student, teacher, [3, 6, 9, 12, 15])
    return teacher.state_dict()


@pytest.mark.pool
def test_every_process_holds_the_same_bytes(pool):
    first, *others = pool.run(4, replicas)
    for other in others:
        assert all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"horizon of state 'ema' is 0.0: use a number of samples above 0"):
        Ema(horizon=0.0)
    with pytest.raises(ConfigError, match=r"horizon of state 'ema' is -1.0: use a number of samples above 0"):
        Ema(horizon=Ramp(start=-1.0, end=2.0, until=5))
    with pytest.raises(ConfigError, match=r"centre_horizon of state 'ema' is 0.0: use a number of samples above 0"):
        Ema(horizon=1.0, centre_horizon=0.0)
    with pytest.raises(ConfigError, match=r"centre of state 'ema' names 'label.effusion': name view/part of the teach"):
        Ema(horizon=1.0, centre=["label.effusion"])
    with pytest.raises(ConfigError, match=r"keeps no centre of 'dino': name its keys in centre of the state"):
        Ema(horizon=1.0).centre("dino")
    teacher = Ema(horizon=1.0)
    with pytest.raises(ConfigError, match=r"no model yet: bind it to the student"):
        teacher.encode(Batch.of({"image": torch.ones(1, 4)}), PLAN)
    teacher.bind(Toy())
    saved = teacher.state_dict()
    other = Ema(horizon=1.0)
    other.bind(Toy(width=5))
    before = other.model.tower.weight.clone()
    with pytest.raises(DataError, match=r"saved EMA teacher does not fit this model at 'norm.bias': resume with"):
        other.load_state_dict(saved)
    assert torch.equal(other.model.tower.weight, before)
