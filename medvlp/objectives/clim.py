"""CLIM (Wu et al. 2024): in a mosaic of pictures, each tile finds the report of the picture it came from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Terms
from medvlp.models.heads._regions import map_of, within
from medvlp.objectives._regions import plane
from medvlp.objectives._targets import Exclusion, Paired, Relation


class Clim(Paired):
    r"""Contrast of the tiles of mosaics with their reports, tokens being projected one by one.

    With T (N, D) the projected tokens of a mosaic at unit length, laid out as a map, and b_i the box of sample i's tile
    on it::

        z_i = unit(RoIAlign(T, b_i))        the mean of the tile's tokens
        L   = the loss of `clip` between z_i and the text, which is held

    A tile is a region whose caption is known, so tokens learn to name what lies in them without a drawn box. Of a tower
    that sees only a token's own pixels, and mosaics that are not resized, z_i is what the picture alone gives, and L is
    CLIP's loss of averaged tokens. The objective `clip` beside this one keeps single pictures, which the paper has in
    the same batch.

    Args:
        image: view of the single pictures, one a sample.
        mosaic: view of the mosaics, which the batch view `mosaic` makes, with their tiles in ``boxes.ROLE``.
        text: view of the texts.
        part: name of the projection of tokens, which the bundle keeps: the map `similarity` reads ``local``.
        positives: as in `clip`.
        exclude: as in `clip`.
        teach_text: whether the texts learn from tiles too; the paper's do not.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight.

    Note:
        A report speaks of a whole study, so every tile gets sentences that not each of its tokens can know; and a
        tower that knows where in a picture a token lies meets hearts in four places.

    References:
        Wu et al. 2024 (CLIM: Contrastive language-image mosaic for region representation), section 3.

    Example:
        >>> sorted(map(str, Clim(positives="own").needs()))
        ['boxes.mosaic', 'image.mosaic/local', 'image/embedding', 'text/embedding']
    """

    def __init__(
        self,
        *,
        image: str = "image",
        mosaic: str = "image.mosaic",
        text: str = "text",
        part: str = "local",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        teach_text: bool = False,
    ) -> None:
        super().__init__(image=image, text=text, positives=positives, exclude=exclude)
        self.key, self.tiles = f"{mosaic}/{part}", f"boxes.{parse_field(mosaic).role}"
        self.part, self.teach_text = part, teach_text

    def needs(self) -> frozenset[Key]:
        """Projected tokens of mosaics, their tiles, single pictures, texts, and what tells who is the same."""
        return super().needs() | keys(self.key, self.tiles, f"{self.image}/embedding", f"{self.text}/embedding")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection of tokens."""
        return {self.part: HeadSpec("projection", {"reads": "tokens"}, keep=True)}

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions."""
        mosaics = ctx.parts[parse_key(self.key)].owner
        tiles, pixels = ctx.batch[self.tiles], ctx.batch[self.key.partition("/")[0]].values
        assert isinstance(tiles.values, Tensor), "boxes are tensors"
        assert isinstance(pixels, Tensor), "pictures are tensors"
        # A mosaic is its first's.
        on = torch.searchsorted(mosaics.contiguous(), tiles.owner.contiguous(), right=True) - 1
        maps = map_of(unit(ctx[self.key]), plane(ctx, self.key))
        boxes = tiles.values / tiles.values.new_tensor((pixels.shape[-1], pixels.shape[-2]) * 2)
        rows = unit(within(maps, boxes, on).flatten(1))
        return self.both_ways(ctx, rows, f"{self.image}/embedding", teach_text=self.teach_text)
