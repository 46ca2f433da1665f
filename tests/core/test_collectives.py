from __future__ import annotations

import pytest
import torch

from medvlp.core import collectives


def test_without_a_process_group_everything_is_identity():
    values = torch.arange(3.0)
    assert (collectives.rank(), collectives.world_size()) == (0, 1)
    assert collectives.gather_rows(values) is values
    assert collectives.gather_objects("a") == ["a"]
    assert collectives.broadcast_object("a") == "a"
    assert torch.equal(collectives.total(values), values)
    values.grad = torch.arange(3.0)
    collectives.average_gradients_([values])
    assert values.grad.tolist() == [0, 1, 2]


def gathered(rows: list[int]) -> dict:
    rank = collectives.rank()
    generator = torch.Generator().manual_seed(rank)
    own = torch.randn(rows[rank], 3, generator=generator, dtype=torch.float64).requires_grad_()
    everything = collectives.gather_rows(own)
    # A loss that is not symmetric in rank, row or process: each process weighs each row differently.
    weight = torch.arange(1.0, everything.numel() + 1, dtype=torch.float64).view_as(everything) * (rank + 1)
    (weight * everything**2).sum().backward()
    # Of three parameters only the last process has a gradient of the second, and nobody one of the third.
    dtypes = (torch.float32, torch.float64, torch.float64)
    parameters = [torch.zeros(2, dtype=dtype, requires_grad=True) for dtype in dtypes]
    parameters[0].grad = torch.full((2,), float(rank))
    if rank == len(rows) - 1:
        parameters[1].grad = torch.ones(2, dtype=torch.float64)
    collectives.average_gradients_(parameters)
    several = collectives.gather_together([own.detach(), own.detach()[:, :2] + 1])
    return {
        "own": own.detach(),
        "grad": own.grad,
        "everything": everything.detach(),
        "bool": collectives.gather_rows(own.detach() > 0),
        "int": collectives.gather_rows(torch.full((rows[rank],), rank)),
        "total": collectives.total(torch.tensor(rank + 1.0)),
        "averaged": parameters[0].grad,
        "of one": parameters[1].grad,
        "of none": parameters[2].grad is None,
        "several": several,
        "objects": collectives.gather_objects(f"rank {rank}"),
        "broadcast": collectives.broadcast_object(f"from {rank}"),
    }


@pytest.mark.pool
@pytest.mark.parametrize("rows", [[2, 2], [3, 1], [0, 2], [1, 0, 3, 2]])
def test_rows_and_their_gradients_are_exact_for_any_number_of_rows(pool, rows):
    world = len(rows)
    results = pool.run(world, gathered, rows)
    own = torch.cat([r["own"] for r in results])
    weight = torch.arange(1.0, own.numel() + 1, dtype=torch.float64).view_as(own)
    grad = torch.cat([r["grad"] for r in results])
    # The sum over processes of their losses' gradients: (1 + ... + world) * weight * 2 rows.
    torch.testing.assert_close(grad, world * (world + 1) / 2 * weight * 2 * own, rtol=1e-12, atol=1e-12)
    for r in results:
        assert torch.equal(r["everything"], own)
        assert torch.equal(r["bool"], own > 0)
        assert r["int"].tolist() == [rank for rank, n in enumerate(rows) for _ in range(n)]
        assert r["total"].item() == world * (world + 1) / 2
        assert r["averaged"].tolist() == [(world - 1) / 2] * 2
        assert r["of one"].tolist() == [1 / world] * 2
        assert r["of none"]
        assert torch.equal(r["several"][0], own)
        assert torch.equal(r["several"][1], own[:, :2] + 1)
        assert r["objects"] == [f"rank {rank}" for rank in range(world)]
        assert r["broadcast"] == "from 0"
