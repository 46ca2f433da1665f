"""What a state knows of samples, by their ids: looked up, given to batches, and saved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.sample import Batch, Column


def rows_of(values: Tensor, places: Mapping[str, int], ids: Sequence[str], *, missing: float) -> Tensor:
    """Return the rows of some samples, (n, ...).

    Args:
        values: (N, ...), rows of all samples that are known.
        places: of each of those samples its row.
        ids: the samples.
        missing: value of a sample that is not known.

    Example:
        >>> rows_of(torch.tensor([5, 7]), {"a": 0, "b": 1}, ["b", "c"], missing=-1).tolist()
        [7, -1]
    """
    at = torch.tensor([places.get(each, -1) for each in ids], dtype=torch.int64)
    found = torch.full((len(ids), *values.shape[1:]), missing, dtype=values.dtype)
    found[at >= 0] = values[at[at >= 0]]
    return found


def with_labels(batch: Batch, labels: Mapping[str, Tensor]) -> Batch:
    """Return the batch with fields of integer labels of its samples, (B, ...); a negative label becomes NaN."""
    owner = torch.arange(batch.size, device=batch.device)
    values = {name: torch.where(each >= 0, each.float(), torch.nan) for name, each in labels.items()}
    return batch.with_columns({name: Column(each.to(batch.device), owner) for name, each in values.items()})


def packed(ids: Iterable[str]) -> Tensor:
    """Return sample ids as bytes, (n,) uint8: a tensor of a checkpoint."""
    return torch.frombuffer(bytearray(json.dumps(list(ids)).encode()), dtype=torch.uint8)


def unpacked(ids: Tensor) -> dict[str, int]:
    """Return each of `packed` ids with its place."""
    return {each: i for i, each in enumerate(json.loads(bytes(ids.cpu().tolist()).decode()))}


def row_names(ctx: Context, key: str) -> list[str]:
    """Return names of a key's own rows: of the first of each sample its id, ``ID#1`` and so on of its further ones."""
    seen: Counter[int] = Counter()
    names = []
    for owner, each in zip(ctx.owner(key).tolist(), ctx.ids(key), strict=True):
        names.append(f"{each}#{seen[owner]}" if seen[owner] else each)
        seen[owner] += 1
    return names
