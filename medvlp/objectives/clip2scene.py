"""CLIP2Scene (Chen et al. 2023): a volume tower learns what a frozen model of single slices sees in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.term import Term, Terms
from medvlp.models.heads._regions import map_of
from medvlp.models.heads.voxel_texts import VoxelTexts
from medvlp.objectives._labelled import Labelled
from medvlp.objectives._voxels import agreement, projected, spread
from medvlp.state._model_teacher import ModelTeacher


class Clip2scene(Labelled):
    r"""Semantic and spatial consistency of voxels with the words that a 2D teacher gives their slices.

    With T (K, D) the teacher's unit vectors of class texts and u_n those of its cells, as in MaskCLIP (Zhou et al.
    2022), enlarged to the volume tower's grid, a voxel has the label y = argmax_k <u, T_k>. With its meaning m and its
    place p, two heads of the volume tower, and g the voxels of its block of `cell` that have its label::

        semantic = mean over voxels of CE(m T^T, y)
        grouped  = mean over voxels of 1 - sigmoid(<f, p>),    f = sum over g of softmax_g(<p, T_y>) p

    A block spans neighbouring slices, so that voxels which the teacher saw in different slices agree. From `own_from`
    samples on a volume is taught by its own argmax instead of the teacher's, one time in two.

    Args:
        teacher: state with the 2D model.
        bank: class texts, the first of what is nothing else; encoded by the teacher.
        labels: names of the others.
        view: the stack.
        slices: field of its slices as images, made by the view `every_slice`.
        cells: part of the teacher's cells: ``tokens`` are projected as a picture all of whose cells are alike; another,
            such as ``local``, is in the space of texts already.
        part: name of the head.
        head: options of the head `voxel_texts`.
        cell: slices, rows and columns of a block.
        own_from: None: never.

    Returns:
        ``semantic`` and ``grouped``.

    Raises:
        ConfigError: without labels, or for a bank, a teacher or slices that do not fit.

    Note:
        Nothing here knows where an organ ends but the teacher: what its words confuse in every slice (fluid and a
        collapsed lobe) stays confused, smoother.

    References:
        Chen et al. 2023 (CLIP2Scene: towards label-efficient 3D scene understanding by CLIP), as its released code does
        it. Slices cover all voxels, so no point is unpaired; the softmax is over all voxels of a block, in the paper
        over up to eight points of a coarse cell in three sweeps.

    Example:
        >>> objective = Clip2scene(teacher="frozen", bank="regions", labels=["effusion"])
        >>> sorted(map(str, objective.needs()))[:2]
        ['frozen:bank.regions/embedding', 'frozen:image.slices/tokens']
    """

    scope: Literal["batch", "sample"] = "batch"
    answer = "segmentation"

    def __init__(
        self,
        *,
        teacher: str,
        bank: str,
        labels: list[str],
        view: str = "stack",
        slices: str = "image.slices",
        cells: str = "tokens",
        part: str = "voxels",
        head: dict[str, Any] = {},  # noqa: B006  (read only; the default is part of the schema)
        cell: tuple[int, int, int] = (3, 2, 2),
        own_from: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        if not labels or min(cell) < 1:
            raise ConfigError("Objective 'clip2scene' needs labels, and a cell of at least one voxel along each axis.")
        own = {"name": "voxel_texts", **head}
        super().__init__(objective="clip2scene", labels=labels, view=view, part=part, head=own, more=1)
        self.teacher, self.slices, self.cell, self.own_from = teacher, slices, tuple(cell), own_from
        self.bank, self.cells = f"{teacher}:bank.{bank}/embedding", f"{teacher}:{slices}/{cells}"
        self.asked = {"exclusive": True}

    def needs(self) -> frozenset[Key]:
        """The teacher's cells and texts, and what the head gives."""
        return keys(self.cells, self.bank, self.view, self.key, f"{self.key}_meaning", f"{self.key}_place")

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What makes images of slices."""
        return ({"name": "every_slice", "field": self.view, "to": self.slices},)

    def forward(self, ctx: Context) -> Terms:
        """Return the two terms."""
        meaning, place = ctx[f"{self.key}_meaning"], ctx[f"{self.key}_place"]
        texts = unit(ctx[self.bank]).to(meaning)
        if texts.shape != (len(self.labels) + 1, meaning.shape[1]):
            raise ConfigError(
                f"The bank of objective 'clip2scene' has {tuple(texts.shape)} vectors, for {len(self.labels)} labels "
                f"and a head {meaning.shape[1]} wide: give a text more than labels, and set head.dim."
            )
        cast("VoxelTexts", ctx.heads[self.key]).note(texts)
        logits = torch.einsum("rdzyx,kd->rkzyx", meaning, texts)
        labels, real = self._taught(ctx, texts, meaning)
        if self.own_from is not None and ctx.samples_seen >= self.own_from and len(labels):
            own = (ctx.uniform(name="own labels of clip2scene") < 0.5)[ctx.parts[parse_key(self.key)].owner]
            labels = torch.where(own.view(-1, 1, 1, 1), logits.detach().argmax(1), labels)
        # In a list, since torch has no deterministic kernel of a map's on CUDA.
        losses = F.cross_entropy(logits.movedim(1, -1).flatten(0, -2), labels.flatten(), reduction="none")
        alike, there = agreement(place, texts, labels, real, cell=self.cell)
        return {
            "semantic": Term.of(losses, real.flatten().to(losses.dtype)),
            "grouped": Term.of((1 - alike.sigmoid()).flatten(), there.flatten().to(losses.dtype)),
        }

    def _taught(self, ctx: Context, texts: Tensor, meaning: Tensor) -> tuple[Tensor, Tensor]:
        """Labels of the teacher, (R, s, h, w) int64, and which voxels are real."""
        if not len(meaning):  # the batch may have no such field
            return meaning.argmax(1), meaning[:, 0] > 0
        cells, column = ctx[self.cells], ctx.batch[self.view]
        assert isinstance(column.values, Tensor), "stacks are tensors"
        if self.cells.endswith("/tokens"):
            cells = projected(cast("ModelTeacher", ctx.state[self.teacher]), cells)
        scores = torch.einsum("nmd,kd->nmk", unit(cells).to(texts), texts)
        there = column.mask if column.mask is not None else column.values.new_ones(column.values.shape[:2]).bool()
        if int(there.sum()) != len(scores):
            raise ConfigError(
                f"{len(scores)} rows of {self.slices!r} do not fit {int(there.sum())} slices of {self.view!r}: let the "
                "view `every_slice` make them, last."
            )
        maps, real = spread(map_of(scores, ctx.grid(self.cells)), there, meaning.shape[2:])
        return maps.argmax(1), real
