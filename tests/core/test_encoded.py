from __future__ import annotations

import pytest
import torch

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError


def test_unit_rows_have_length_one_and_a_zero_row_stays_zero():
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[2] = 0
    lengths = unit(rows).norm(dim=1)
    assert torch.allclose(lengths, torch.tensor([1, 1, 0, 1, 1], dtype=torch.float64), atol=1e-15)


def test_a_gradient_turns_a_row_and_leaves_a_zero_row_where_it_is():
    """dL/dx = (g - (g . u) u) / |x|; a picture that is the mean of all, and so a row of zeros, outweighs no other."""
    rows, given = (torch.randn(5, 3, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    rows[2] = 0
    directions = unit(rows.requires_grad_())
    (directions * given).sum().backward()
    length = rows.detach().norm(dim=1, keepdim=True)
    turned = given - (given * directions).sum(dim=1, keepdim=True) * directions
    torch.testing.assert_close(rows.grad, torch.where(length > 0, turned / length, 0.0), rtol=1e-12, atol=1e-15)


def test_unit_of_half_precision_is_computed_in_float32():
    rows = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(unit(rows), unit(rows.float()))
    assert unit(rows).dtype == torch.float32


def test_embedding_is_raw_at_unit_length():
    raw = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    encoded = Encoded(owner=torch.arange(3)).give({"raw": raw})
    assert torch.equal(encoded.part("embedding"), unit(raw))
    assert encoded.parts() == ("raw", "embedding")


def test_a_part_that_was_not_planned_is_refused_with_what_is_there():
    encoded = Encoded(owner=torch.arange(1), pooled=torch.zeros(1, 2), tokens=torch.zeros(1, 3, 2))
    with pytest.raises(ConfigError, match=r"Part 'token' was not planned.*did you mean 'tokens'\?.*pooled, tokens"):
        encoded.part("token")
    with pytest.raises(ConfigError, match="Part 'owner' was not planned"):
        encoded.part("owner")
    with pytest.raises(ConfigError, match="Part 'grid' was not planned"):
        encoded.part("grid")


def test_an_extra_has_a_row_for_each_row():
    """One row for all, as of a head that takes a mean over the batch, would be compared with every other."""
    rows = Encoded(owner=torch.arange(3), pooled=torch.eye(3))
    assert rows.give({"raw": torch.eye(3)}).extra["raw"].shape == (3, 3)
    with pytest.raises(ConfigError, match=r"'own' has 1 of 3 rows: let its head give all"):
        rows.give({"raw": torch.eye(3), "own": torch.ones(1, 3)})


def test_rows_select_every_part_alike():
    encoded = Encoded(
        owner=torch.tensor([0, 0, 2]),
        pooled=torch.arange(6.0).reshape(3, 2),
        tokens=torch.arange(12.0).reshape(3, 2, 2),
        mask=torch.tensor([[True, False], [True, True], [False, True]]),
        grid=(1, 2),
        extra={"raw": torch.arange(3.0)[:, None]},
    )
    for index in (torch.tensor([0, 2]), torch.tensor([True, False, True])):
        some = encoded.rows(index)
        assert some.owner.tolist() == [0, 2]
        assert some.grid == (1, 2)
        assert some.attention is None
        for part in ("pooled", "tokens", "mask", "raw"):
            assert torch.equal(some.part(part), encoded.part(part)[[0, 2]])
