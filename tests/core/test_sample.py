from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Batch, Column, Tokens


def batch() -> Batch:
    """Five samples; sample 1 has no image and sample 3 has two."""
    return Batch(
        ids=tuple("abcde"),
        positions=torch.arange(5) + 10,
        columns={
            "image": Column(torch.arange(5.0), torch.tensor([0, 2, 3, 3, 4])),
            "text": Column(("u", "v", "w", "x", "y"), torch.arange(5)),
        },
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_chunks_are_all_samples_once_in_order(count):
    pieces = list(batch().chunks(count))
    assert [start for start, _ in pieces] == [sum(p.size for _, p in pieces[:i]) for i in range(len(pieces))]
    assert tuple(i for _, piece in pieces for i in piece.ids) == batch().ids
    assert torch.cat([piece.positions for _, piece in pieces]).tolist() == [10, 11, 12, 13, 14]
    assert torch.cat([piece["image"].values for _, piece in pieces]).tolist() == [0, 1, 2, 3, 4]
    assert torch.cat([piece["image"].owner + start for start, piece in pieces]).tolist() == [0, 2, 3, 3, 4]
    assert max(p.size for _, p in pieces) - min(p.size for _, p in pieces) <= 1


def test_rows_follow_their_samples():
    whole = batch()
    piece = whole.take(1, 4)
    assert piece["image"].values.data_ptr() == whole["image"].values[1:].data_ptr()  # a chunk is no copy
    assert piece.ids == ("b", "c", "d")
    assert piece["image"].values.tolist() == [1, 2, 3]
    assert piece["image"].owner.tolist() == [1, 2, 2]
    assert piece["text"].values == ("v", "w", "x")


def test_no_device_but_cuda_is_given_memory_that_may_be_gone_when_it_reads_it():
    """mps does not wait: what it copies later may be another tensor's by then (pytorch#189690)."""
    waits = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._schema.name == "aten::_to_copy":
                waits.append(not kwargs.get("non_blocking", False))
            return func(*args, **(kwargs or {}))

    tokens = Tokens(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool))
    columns = {"image": Column(torch.rand(2, 1), torch.arange(2)), "text": Column(["a", "b"], torch.arange(2))}
    columns["text"] = replace(columns["text"], tokens={"": tokens})
    with Copies():
        Batch(("a", "b"), torch.arange(2), columns).to(torch.device("meta"))
    assert len(waits) == 5  # pixels, ids and mask of words, two owners
    assert all(waits)


def test_every_tensor_of_a_batch_is_pinned(monkeypatch):
    """One that was not would hold up the copies of the others."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    tokens = Tokens(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool))
    place = torch.arange(2)
    stack = Column(torch.rand(2, 2, 1), place, torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, 3))
    boxes = Column(torch.rand(2, 4), place, known=torch.ones(2, dtype=torch.bool), place=torch.zeros(2).long())
    columns = {"stack": stack, "boxes": boxes, "text": Column(("a", "b"), place, tokens={"": tokens})}
    given = Batch(("a", "b"), place, columns)
    found = given.pin_memory()
    assert len(pinned) == 4 + 4 + 3
    assert found["text"].values == ("a", "b")
    assert found.positions is given.positions  # the host reads them
    assert torch.equal(found["stack"].values, stack.values)
    assert found["stack"].values is not stack.values


def test_strings_of_a_field_that_is_not_there_are_empty():
    assert batch().strings("text.negative") == [""] * 5


def test_a_missing_field_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"The batch has no field 'imag': did you mean 'image'\?"):
        _ = batch()["imag"]
    assert "imag" not in batch()
    assert "image" in batch()
