from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from medvlp.core import Batch, ConfigError, DataError, Plan
from medvlp.core.keys import keys
from medvlp.models.build import build_model
from medvlp.state.frozen import Frozen
from tests.models.words import DUAL, HashWords, pairs
from tests.state.toy import Toy, moved

PLAN = Plan.of(keys("image/pooled"))
BATCH = Batch.of({"image": torch.arange(8.0).reshape(2, 4)})


def test_the_student_moves_and_its_frozen_copy_does_not():
    student, teacher = Toy(), Frozen()
    teacher.bind(student)
    before = teacher.encode(BATCH, PLAN)["image"].part("pooled")
    torch.testing.assert_close(before, student.eval()(BATCH, PLAN)["image"].part("pooled"), rtol=0, atol=0)
    moved(student, 1)
    teacher.after_step(student, 8)
    teacher.bind(student)  # bound again, it stays
    assert torch.equal(teacher.encode(BATCH, PLAN)["image"].part("pooled"), before)
    assert not before.requires_grad


def test_a_saved_copy_is_taken_back_whatever_the_new_student_is():
    first, second = Frozen(), Frozen()
    first.bind(Toy(seed=1))
    second.bind(Toy(seed=2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(
        first.encode(BATCH, PLAN)["image"].part("pooled"), second.encode(BATCH, PLAN)["image"].part("pooled")
    )
    third = Frozen()
    third.bind(Toy(width=5))
    with pytest.raises(DataError, match=r"saved frozen teacher does not fit this model at 'norm.bias'"):
        third.load_state_dict(first.state_dict())


def test_it_is_copied_once_more_where_it_begins_and_never_again():
    student, teacher = Toy(), Frozen(begin=16)
    teacher.bind(student)
    first = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    moved(student, 1)
    teacher.after_step(student, 8)
    assert all(torch.equal(tensor, first[name]) for name, tensor in teacher.model.state_dict().items())
    teacher.after_step(student, 24)  # a step that was skipped called nobody
    begun = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    moved(student, 2)
    for each in (teacher, Frozen(begin=16)):
        each.bind(student)
        each.load_state_dict(teacher.state_dict())
        each.after_step(student, 32)
        assert all(torch.equal(tensor, begun[name]) for name, tensor in each.model.state_dict().items())
        assert not any(parameter.requires_grad for parameter in each.model.parameters())
    with pytest.raises(ConfigError, match="state 'frozen' has a bundle, which never changes, and begin"):
        Frozen(bundle=Path("bundle"), begin=16)


@pytest.fixture
def released(monkeypatch, tmp_path):
    """Bundles by the seed of their weights; the reader itself is tested with the models."""
    module = ModuleType("medvlp.models.bundle")
    module.load_model = lambda path: Toy(seed=int(path.name))
    monkeypatch.setitem(sys.modules, "medvlp.models.bundle", module)
    return tmp_path


def test_a_bundle_teaches_instead_of_the_student_and_only_its_digest_is_saved(released):
    teacher = Frozen(bundle=released / "7")
    teacher.bind(Toy(seed=1))
    expected = Toy(seed=7).eval()(BATCH, PLAN)["image"].part("pooled")
    assert torch.equal(teacher.encode(BATCH, PLAN)["image"].part("pooled"), expected)
    saved = teacher.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == {"digest": (32,)}
    again = Frozen(bundle=released / "7")
    again.bind(Toy(seed=2))
    again.load_state_dict(saved)


def test_a_bundle_that_changed_is_refused(released):
    teacher, other = Frozen(bundle=released / "7"), Frozen(bundle=released / "8")
    teacher.bind(Toy())
    other.bind(Toy())
    with pytest.raises(
        DataError, match=r"weights in .*8 are not those that this run was taught by: restore the bundle"
    ):
        other.load_state_dict(teacher.state_dict())


def test_heads_behind_the_towers_run_without_autocast_as_the_students_do():
    """Projections of stage batch of a frozen copy are its student's to the bit, and float32."""
    late = {"image/late": {"name": "projection", "reads": "pooled", "stage": "batch"}}
    student = build_model({**DUAL, "heads": late}, tokenizer=HashWords(), seed=3)
    teacher, plan, batch = Frozen(), Plan.of(keys("image/late")), pairs()
    teacher.bind(student)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rows = student.eval()(batch, plan)
            taught = teacher.encode(batch, plan)["image"].part("late")
        own = student.finish(rows, plan)["image"].part("late")
    assert rows["image"].part("pooled").dtype is torch.bfloat16
    assert taught.dtype is torch.float32
    assert torch.equal(taught, own)
