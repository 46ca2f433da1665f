"""Score maps of class names beside the picture's levels: words help to draw, as in DenseCLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.protocols import Level
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossBlock
from medvlp.models.heads._dense import DenseHead, Pyramid, conv, real_only
from medvlp.models.heads.segmenter import class_vectors

__all__ = ["DenseClip"]

_TEMPERATURE = 0.07


class DenseClip(DenseHead):
    r"""DenseCLIP (Rao et al. 2022, section 3): levels and class names -> logits of pixels and a score map of each name.

    With z (R, D, h, w) a convolution of one cell over the coarsest level, g its mean, T (K, D) the texts of a bank::

        T'    = T + gamma Decoder(T; [g, z])      words look at each other and at the picture; gamma (D,) starts at 1e-4
        score = <z / |z|, T' / |T'|>              in [-1, 1]

    The scores are put beside the coarsest level, and a feature pyramid draws the logits over all levels.
    ``NAME_scores`` is score / 0.07, enlarged to the view, for an auxiliary loss (``dice_ce`` with `scores`). The
    paper's learnt words before the text encoder are not done, as the bank's vectors are constant.

    Args:
        bank: whose texts are the classes, in the order of the labels; with `exclusive` the first is the background's.
        classes: K, checked against the bank.
        width: channels of the pyramid.
        decoder_width: of the words while they look.
        decoder_layers: how often they do.
        heads: of their attention.
        dropout: likewise.

    Raises:
        ConfigError: as `Segmenter`.

    Example:
        >>> words = Bank("organs", ("lung", "heart"), torch.eye(2, 6))
        >>> head = DenseClip(levels=(Level(4, (2, 2)),), banks={"organs": words}, bank="organs", classes=2, width=8)
        >>> rows = Encoded(owner=torch.arange(1), size=(16, 16), extra={"level[0]": torch.rand(1, 4, 8, 8)})
        >>> {name: tuple(part.shape) for name, part in head(rows, "organs").items()}
        {'organs': (1, 2, 16, 16), 'organs_scores': (1, 2, 16, 16)}
    """

    name = "dense_clip"
    gives = ("scores",)
    texts: Tensor

    def __init__(
        self,
        *,
        levels: Annotated[Sequence[Level], FromModel("levels")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        bank: str,
        classes: Annotated[int, Field(ge=1)],
        width: Annotated[int, Field(ge=1)] = 128,
        decoder_width: Annotated[int, Field(ge=1)] = 256,
        decoder_layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(levels)
        self.register_buffer("texts", class_vectors(banks, bank, classes, head=self.name))
        dim, last = self.texts.shape[1], levels[-1]
        self.pixels = conv(len(last.stride), last.channels, dim, 1)
        self.enter = nn.Linear(dim, decoder_width)
        self.blocks = nn.ModuleList(
            CrossBlock(
                width=decoder_width, context_width=dim, heads=heads, mlp_ratio=4.0, dropout=dropout, causal=False
            )
            for _ in range(decoder_layers)
        )
        self.leave = nn.Sequential(nn.LayerNorm(decoder_width), nn.Linear(decoder_width, dim))
        self.gamma = nn.Parameter(torch.full((dim,), 1e-4))
        self.pyramid = Pyramid([*levels[:-1], replace(last, channels=last.channels + classes)], width)
        self.output = conv(len(last.stride), width, classes, 1)

    def draw(self, maps: list[Tensor], real: Tensor | None) -> Mapping[str, Tensor]:
        """See `DenseHead`."""
        scores = self.scores(maps[-1], real)
        maps = [*maps[:-1], torch.cat([maps[-1], scores], dim=1)]
        return {"": self.output(self.pyramid(maps, real).relu()), "_scores": scores}

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return logits and scores, each (R, K, H, W) or (R, K, S, H, W)."""
        drawn = super().forward(encoded, name)
        return {**drawn, f"{name}_scores": drawn[f"{name}_scores"] / _TEMPERATURE}

    def scores(self, level: Tensor, real: Tensor | None) -> Tensor:
        """Return cosines of cells and words (R, K, ...), of the coarsest level."""
        dense = self.pixels(level)
        cells = dense.flatten(2).transpose(1, 2)
        there = None if real is None else real.expand(-1, 1, *dense.shape[2:]).flatten(1)
        count = cells.shape[1] if there is None else there.sum(1)[:, None, None]
        mean = (cells if there is None else cells * there[:, :, None]).sum(1, keepdim=True) / count
        seen = None if there is None else torch.cat([torch.ones_like(there[:, :1]), there], dim=1)
        words = self.enter(self.texts).expand(len(cells), -1, -1)
        for block in self.blocks:
            words = block(words, torch.cat([mean, cells], dim=1), seen)
        words = unit(self.texts + self.gamma * self.leave(words))
        found = torch.einsum("rnd,rkd->rkn", unit(cells), words).unflatten(2, dense.shape[2:])
        return real_only(found, real)
