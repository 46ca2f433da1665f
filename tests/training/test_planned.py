"""Fields that are planned and that a process, or a chunk, has none of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvlp.core import Batch, Column, Context, Key, Objective, Term, collectives
from medvlp.core.keys import keys
from medvlp.models.build import build_model
from medvlp.training._planned import with_planned
from medvlp.training.task import Task
from tests.models.words import DUAL, HashWords
from tests.training.world import FLOAT32, gradients_of, own_part, whole_batch

FIELDS = ("boxes.nodule", "graph.facts", "id.patient", "label.nodule", "mask", "stack", "text.other", "vector.place")


class Places(Objective):
    """Pulls an image towards what a vector, and how many boxes, its sample has; rows of all processes are used."""

    def needs(self) -> frozenset[Key]:
        return keys("image/raw", "vector.place", "boxes.nodule", "mask", "graph.facts")

    def forward(self, ctx: Context) -> dict[str, Term]:
        place = ctx.rows("vector.place", "image/raw")
        boxes = ctx.rows("boxes.nodule", "image/raw")
        everybody = ctx.gather(place.values, ctx.owner("image/raw")[place.row])
        far = (ctx["image/raw"][place.row] - place.values.to(ctx["image/raw"])).square().sum(1)
        size = (ctx["image/raw"][boxes.row, :4] * boxes.values.to(ctx["image/raw"])).sum(1)
        masks = ctx.gather(ctx.rows("mask", "image/raw").values, ctx.owner("image/raw")[:0])
        return {"place": Term.of(far * everybody.values.mean()), "size": Term.of(size * masks.values.sum())}


def fields() -> dict[str, Column]:
    """Of eight samples the first three have a place, one has two boxes and a mask."""
    draw = torch.Generator().manual_seed(2)
    return {
        "vector.place": Column(torch.randn(3, 8, generator=draw), torch.arange(3)),
        "boxes.nodule": Column(torch.rand(2, 4, generator=draw), torch.tensor([1, 1])),
        "mask": Column(torch.eye(3).bool()[None], torch.tensor([2])),
        "graph.facts": Column(torch.tensor([[0, 5]]), torch.tensor([0])),
    }


def step(chunks: int) -> dict[str, Any]:
    model = build_model(DUAL, tokenizer=HashWords(), seed=3).double()
    objectives = {"places": Places()}
    task = Task(model=model, objectives=objectives, states={}, seed=5, chunks=chunks, precision=FLOAT32)
    log = task.backward(own_part(whole_batch(torch.float64).with_columns(fields())), {"places": 1.0}, samples_seen=0)
    return {"loss": log.loss, "gradients": gradients_of(model)}


@pytest.mark.pool
@pytest.mark.parametrize(("processes", "chunks"), [(2, 1), (4, 1), (2, 2)])
def test_a_process_without_any_row_of_a_field_takes_part(pool: Any, processes: int, chunks: int) -> None:
    expected = step(1)
    assert expected["loss"] != 0
    for got in pool.run(processes, step, chunks):
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-12)
        assert got["gradients"].keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            torch.testing.assert_close(got["gradients"][name], gradient, rtol=1e-10, atol=1e-12)


def shapes() -> dict[str, list[int]]:
    """What the fields of a batch are like where the first process alone has some."""
    there = fields() if collectives.rank() == 0 else {}
    stack = Column(torch.zeros(1, 5, 1, 4, 4), torch.arange(1), torch.ones(1, 5).bool(), torch.zeros(1, 5, 3))
    there |= {"stack": stack} if collectives.rank() == 0 else {}
    batch = with_planned(Batch(("a", "b", "c"), torch.arange(3), there), FIELDS)
    return {name: list(getattr(batch[name].values, "shape", (len(batch[name].values),))) for name in FIELDS}


@pytest.mark.pool
def test_rows_that_are_not_there_have_the_shape_of_those_that_are(pool: Any) -> None:
    first, second = pool.run(2, shapes)
    assert first["id.patient"] == second["id.patient"] == [3]
    assert first["label.nodule"] == second["label.nodule"] == [3]
    for name in ("boxes.nodule", "graph.facts", "mask", "stack", "vector.place"):
        assert second[name] == [0, *first[name][1:]]


def test_what_no_process_has_is_as_its_kind_says() -> None:
    batch = with_planned(Batch.of({"text": ["a", "b"]}), FIELDS)
    shape = {name: tuple(batch[name].values.shape) for name in FIELDS if isinstance(batch[name].values, torch.Tensor)}
    assert shape == {
        "boxes.nodule": (0, 4),
        "graph.facts": (0, 2),
        "label.nodule": (2,),
        "mask": (0, 0, 0),
        "stack": (0, 0, 0, 0, 0),
        "vector.place": (0, 0),
    }
    assert batch["mask"].values.dtype == torch.bool
    assert batch["graph.facts"].values.dtype == torch.int64
    assert batch["id.patient"].values == ("", "")
    assert batch["text.other"].values == ()
    stack = batch["stack"]
    assert stack.mask is not None
    assert stack.position is not None
    assert stack.position.shape == (0, 0, 3)
    assert batch["label.nodule"].values.isnan().all()
    assert batch["text"].values == ("a", "b")
