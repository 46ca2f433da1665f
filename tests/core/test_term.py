from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medvlp.core.errors import ConfigError
from medvlp.core.term import Term, checked_terms


def test_terms_of_chunks_add_up_to_the_term_of_the_whole():
    """What a mean of means gets wrong: chunks with 3, 1 and 0 valid rows."""
    rows = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.tensor([1.0, 1, 1, 0, 0, 1, 0, 0, 0])
    whole = Term.of(rows, weight)
    parts = [Term.of(rows[i : i + 3], weight[i : i + 3]) for i in (0, 3, 6)]
    total = parts[0] + parts[1] + parts[2]
    torch.testing.assert_close(total.value(), rows[weight > 0].mean(), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(total.value(), whole.value(), rtol=1e-14, atol=1e-14)


def test_a_count_of_zero_gives_zero_with_zero_gradient():
    rows = torch.tensor([float("nan"), float("inf")], requires_grad=True)
    term = Term.of(rows, torch.zeros(2))
    term.value().backward()
    assert term.value().item() == 0
    assert rows.grad is not None
    assert rows.grad.tolist() == [0, 0]
    assert Term(torch.tensor(float("nan")), torch.tensor(0.0)).value().item() == 0


def test_the_count_carries_no_gradient():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not Term.of(torch.ones(2), weight).count.requires_grad
    assert Term.of(torch.ones(2), weight).sum.item() == 3


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (torch.ones(2).mean(), r"'mine' gave a tensor \(\): let it return \{name: Term"),
        (None, "'mine' gave NoneType"),
        ({"loss": torch.ones(2).mean()}, r"The term mine/loss is a tensor \(\): make it Term\.of\(rows\)"),
        ({"loss": Term(torch.ones(2), torch.tensor(2.0))}, r"mine/loss holds a tensor \(2,\): its sum and count"),
        ({"loss": Term(torch.ones(()), 2)}, "mine/loss holds int: its sum and count are tensors"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_term_is_refused(found, sentence):
    with pytest.raises(ConfigError, match=sentence):
        checked_terms(found, "mine")
    assert checked_terms({"loss": Term.of(torch.ones(2))}, "mine")["loss"].value() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_and_count_have_the_dtype_of_the_rows(dtype):
    for weight in (None, torch.tensor([True, False])):
        term = Term.of(torch.ones(2, dtype=dtype), weight)
        assert (term.sum.dtype, term.count.dtype) == (dtype, dtype)


def test_the_number_of_rows_is_written_where_they_are():
    """A number of the host that is copied to a GPU waits for all that the GPU still has to do."""
    copied = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            copied.extend([func] if func._schema.name in ("aten::lift_fresh", "aten::_to_copy") else [])
            return func(*args, **(kwargs or {}))

    rows = torch.ones(3, requires_grad=True)
    with Copies():
        term = Term.of(rows)
    assert not copied
    assert term.count.item() == 3
    assert not term.count.requires_grad
