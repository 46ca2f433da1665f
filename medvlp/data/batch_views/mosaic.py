"""Pictures of several samples, tiled into one."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Batch, Column


class Mosaic:
    """Tile each S x S neighbours of the run's stream, row by row, into one picture of their size: CLIM's mosaics.

    A mosaic is a row of the field `to`, owned by the first of its samples; the tile of every sample is its one box in
    ``boxes.ROLE``, in pixels of the mosaic. The stream is a random permutation, so neighbours are a random group; a
    group lies in one process, so that any number of processes and chunks tiles the same. Single pictures stay.

    Args:
        side: S.
        field: image field that is tiled.
        to: image field that is written; it has a role.
        resize: whether a mosaic has the size of one picture; False: S times its sides, for towers that take any.

    Raises:
        ConfigError: for other fields; by the call, if samples are left over, or one has not one picture.

    References:
        Wu et al. 2024 (CLIM), section 3.1: mosaics of 2 x 2, 3 x 3 and 4 x 4 in one batch; here one size a view.

    Note:
        A tile keeps its sides, but not its place: what a tower learned of where in a picture the heart lies is wrong
        in a mosaic. Anatomy around a finding ends at the edge of its tile.

    Example:
        >>> batch = Batch.of({"image": torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)})
        >>> made = Mosaic(side=2, resize=False)(batch, seed=0)
        >>> made["image.mosaic"].values[0, 0, :, 1].tolist(), made["boxes.mosaic"].values[1].tolist()
        ([0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0])
    """

    def __init__(
        self,
        *,
        side: Annotated[int, Field(ge=1)] = 2,
        field: str = "image",
        to: str = "image.mosaic",
        resize: bool = True,
    ) -> None:
        own, made = parse_field(field), parse_field(to)
        if not (own.kind == made.kind == "image" and own != made and made.role):
            raise ConfigError(
                f"Batch view 'mosaic' tiles {field!r} into {to!r}: name an image field, and another one with a role."
            )
        self.side, self.field, self.to, self.resize = side, field, to, resize
        self.boxes = f"boxes.{made.role}"

    @property
    def adds(self) -> tuple[str, ...]:
        """The mosaics and their tiles."""
        return (self.to, self.boxes)

    def __call__(self, batch: Batch, *, seed: int) -> Batch:
        """See `BatchView`."""
        tiles = self.side**2
        column = batch.columns.get(self.field)
        if batch.size % tiles:
            raise ConfigError(
                f"mosaic tiles {tiles} samples and a process has {batch.size}: make training.batch a multiple of "
                f"{tiles} times the number of processes."
            )
        each = list(range(batch.size))
        if column is None or not isinstance(column.values, Tensor) or column.owner.tolist() != each:
            raise ConfigError(
                f"mosaic needs one {self.field!r} of each sample: keep records that have it (data.having)."
            )
        pixels = column.values
        height, width = pixels.shape[-2:]
        made = pixels.unflatten(0, (-1, self.side, self.side)).permute(0, 3, 1, 4, 2, 5)  # (G, C, S, H, S, W)
        made = made.flatten(2, 3).flatten(3, 4)
        if self.resize:
            made = F.interpolate(made, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        across, down = made.shape[-1] / self.side, made.shape[-2] / self.side
        place = torch.arange(batch.size, device=pixels.device) % tiles
        low = torch.stack([place % self.side * across, place // self.side * down], dim=1).to(pixels)
        corners = torch.cat([low, low + low.new_tensor([across, down])], dim=1)
        known, first = torch.ones_like(place, dtype=torch.bool), torch.zeros_like(place)
        tile = Column(corners, column.owner, known=known, place=first)
        return batch.with_columns({self.to: Column(made, column.owner[::tiles]), self.boxes: tile})
