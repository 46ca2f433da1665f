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
from medvlp.models.heads._cells import Project, cells_of, cells_read
from medvlp.models.heads._dense import DenseHead, Pyramid, conv, real_only, resize
from medvlp.models.heads.segmenter import class_bank, class_vectors
from medvlp.models.heads.text_classifier import TextsOf

_TEMPERATURE = 0.07


class DenseClip(DenseHead):
    r"""DenseCLIP (Rao et al. 2022, section 3): levels and class names -> logits of pixels and a score map of each name.

    With z (R, D, h, w) the cells of a picture, g (R, D) what stands for the whole, T (K, D) the texts of a bank::

        T'    = T + gamma Decoder(T; [g, z])      words look at each other and at the picture; gamma (D,) starts at 1e-4
        score = <z / |z|, T' / |T'|>              in [-1, 1]

    The scores are put beside the coarsest level, and a feature pyramid draws the logits over all levels.
    ``NAME_scores`` is score / 0.07, enlarged to the view, for an auxiliary loss (``dice_ce`` with `scores`).

    The whole method has four more parts, and each is said where the engine has it: learnt words before the text encoder
    are the patch ``{name: coop, view: bank.NAME}`` on a bank without vectors; the towers' rates are ``optimiser.rates:
    {"model.towers.image.*": 0.1}``; the text tower is frozen by ``trainable``; and z and g come through the projection
    of a pretrained model with ``cells: image``. The paper's rate falls by a polynomial, ours by a cosine. In its code T
    is as long as the text tower makes it, and T, g and z pass norms before the decoder, z and g a linear layer too.

    Args:
        bank: whose texts are the classes, in the order of the labels; with `exclusive` the first is the background's.
            A bank without vectors is encoded in each step by the text tower, with the patches that stand before it.
        classes: K, checked against the bank.
        cells: ``new``: z is a convolution of one cell over the coarsest level and g its mean; ``image``: z are the
            tokens through the model's projection of pictures and g its ``raw``, so that scores mean something before
            the first step; or a part of tokens that is in the space of texts, such as ``local``.
        width: channels of the pyramid.
        decoder_width: of the words while they look.
        decoder_layers: how often they do; the paper's code has 3, and 6 as its class's default.
        heads: of their attention.
        dropout: likewise.

    Raises:
        ConfigError: as `Segmenter`; for cells that cannot be compared with the texts.

    Note:
        A name is drawn where the picture is like it, so a film without the finding still has a brightest place: the
        logits decide, not the scores. A report's side is in no class name: name the sides where masks are sided.

    Example:
        >>> words = Bank("organs", ("lung", "heart"), torch.eye(2, 6))
        >>> head = DenseClip(levels=(Level(4, (2, 2)),), books={"organs": words}, bank="organs", classes=2, width=8)
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
        books: Annotated[Mapping[str, Bank], FromModel("banks")],
        texts_of: Annotated[TextsOf | None, FromModel("texts_of")] = None,
        project: Annotated[Project | None, FromModel("project")] = None,
        embed_dim: Annotated[int, FromModel("embed_dim")] = 0,
        bank: str,
        classes: Annotated[int, Field(ge=1)],
        cells: str = "new",
        width: Annotated[int, Field(ge=1)] = 128,
        decoder_width: Annotated[int, Field(ge=1)] = 256,
        decoder_layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(levels)
        self._texts_of, self._project, self.source = None, project, cells
        if texts_of is not None and class_bank(books, bank, classes, head=self.name).vectors is None:
            self._texts_of, self.banks, dim = texts_of, (bank,), embed_dim
        else:
            self.register_buffer("texts", class_vectors(books, bank, classes, head=self.name))
            dim = self.texts.shape[1]
        self.reads = (*self.reads, *cells_read(cells))
        self.dim, last = dim, levels[-1]
        self.pixels = conv(len(last.stride), last.channels, dim, 1) if cells == "new" else None
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

    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """See `DenseHead`."""
        scores = self.scores(maps[-1], real, encoded)
        beside = resize(scores, maps[-1].shape[2:])
        maps = [*maps[:-1], torch.cat([maps[-1], beside], dim=1)]
        return {"": self.output(self.pyramid(maps, real).relu()), "_scores": scores}

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return logits and scores, each (R, K, H, W) or (R, K, S, H, W)."""
        drawn = super().forward(encoded, name)
        return {**drawn, f"{name}_scores": drawn[f"{name}_scores"] / _TEMPERATURE}

    def scores(self, level: Tensor, real: Tensor | None, encoded: Encoded) -> Tensor:
        """Return cosines of cells and words (R, K, ...), of the coarsest level or of the tokens."""
        if self.pixels is not None:
            dense = self.pixels(level)
        else:
            axes = level.dim() - 2
            dense = cells_of(encoded, self.source, self._project, axes=axes, width=self.dim, head=self.name)
        cells = dense.flatten(2).transpose(1, 2)
        there = None if real is None else real.expand(-1, 1, *dense.shape[2:]).flatten(1)
        if self.pixels is None:
            whole = encoded.part("raw")[:, None]
        elif there is None:
            whole = cells.mean(1, keepdim=True)
        else:
            whole = (cells * there[:, :, None]).sum(1, keepdim=True) / there.sum(1)[:, None, None]
        seen = None if there is None else torch.cat([torch.ones_like(there[:, :1]), there], dim=1)
        texts = self.texts if self._texts_of is None else self._texts_of(self.banks[0], encoded)
        words = self.enter(texts).expand(len(cells), -1, -1)
        for block in self.blocks:
            words = block(words, torch.cat([whole, cells], dim=1), seen)
        words = unit(texts + self.gamma * self.leave(words))
        found = torch.einsum("rnd,rkd->rkn", unit(cells), words).unflatten(2, dense.shape[2:])
        return real_only(found, real)
