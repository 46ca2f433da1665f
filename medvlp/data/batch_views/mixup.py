"""Pictures and labels of two samples, mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.randomness import numpy_generator
from medvlp.core.sample import Batch, Column


class Mixup:
    """x <- lambda x + (1 - lambda) x', y <- lambda y + (1 - lambda) y', with lambda from Beta(alpha, alpha).

    Neighbours in the run's stream, the first and second sample of a batch, the third and fourth ..., are mixed with
    each other, both with their own lambda; the stream is a random permutation, so they are a random pair. So a pair
    lies in one process and needs nothing of another, and any number of processes and chunks mixes the same. All label
    fields are mixed; a label that is unknown or uncertain in one of the two is unknown in both. Texts, and whatever
    else a sample has, stay those of x.

    Args:
        alpha: of the distribution; small values mix little.
        fields: image fields that are mixed.

    Raises:
        ConfigError: if a field is no image; by the call, if a process has an odd number of samples, or a sample not one
            picture.

    References:
        Zhang et al. 2018 (mixup), eq. 1.

    Example:
        >>> batch = Batch.of({"image": torch.eye(2).view(2, 1, 1, 2), "label.effusion": torch.tensor([1.0, 0.0])})
        >>> mixed = Mixup()(batch, seed=0)
        >>> bool(torch.equal(mixed["image"].values[:, 0, 0, 0], mixed["label.effusion"].values))
        True
    """

    loses_labels = True

    def __init__(self, *, alpha: Annotated[float, Field(gt=0)] = 0.2, fields: Sequence[str] = ("image",)) -> None:
        for name in fields:
            if parse_field(name).kind != "image":
                raise ConfigError(f"fields of batch view 'mixup' names {name!r}: name fields of kind image.")
        self.alpha = alpha
        self.fields = tuple(fields)

    def __call__(self, batch: Batch, *, seed: int) -> Batch:
        """See `BatchView`."""
        if batch.size % 2:
            raise ConfigError(
                f"mixup mixes pairs and a process has {batch.size} samples: make training.batch a multiple of twice "
                "the number of processes."
            )
        positions = batch.positions.tolist()
        draws = [numpy_generator(seed, position, "mixup").beta(self.alpha, self.alpha) for position in positions]
        share = torch.tensor(draws, dtype=torch.float64)
        made = {name: self._mixed_images(batch, name, share) for name in self.fields}
        for name, column in batch.columns.items():
            if parse_field(name).kind == "label" and isinstance(column.values, Tensor):
                known = torch.where((column.values == 1) | (column.values == 0), column.values, torch.nan)
                made[name] = replace(column, values=_mixed(known, share))
        return batch.with_columns(made)

    def _mixed_images(self, batch: Batch, name: str, share: Tensor) -> Column:
        column = batch[name]
        if not isinstance(column.values, Tensor) or column.owner.tolist() != list(range(batch.size)):
            raise ConfigError(f"mixup needs one {name!r} of each sample: keep records that have it (data.having).")
        return replace(column, values=_mixed(column.values, share))


def _mixed(values: Tensor, share: Tensor) -> Tensor:
    """Mix each row (B, ...) with its neighbour's."""
    neighbour = torch.arange(len(values), device=values.device) ^ 1
    own = share.to(values.dtype).to(values.device).view(-1, *[1] * (values.dim() - 1))
    return own * values + (1 - own) * values[neighbour]
