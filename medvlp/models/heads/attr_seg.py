"""Classes taken apart into attributes and put together again in sight of the picture: AttrSeg."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Level
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import CrossBlock, at_rest
from medvlp.models.heads._cells import Project, cells_of, cells_read
from medvlp.models.heads._dense import DenseHead, Pyramid, conv
from medvlp.models.heads.segmenter import class_bank, class_vectors
from medvlp.models.heads.text_classifier import TextsOf


class AttrSeg(DenseHead):
    r"""Levels and n attributes of each class -> logits of pixels, by AttrSeg (Ma et al. 2023).

    From memory of the paper, whose code is not public: stages, centres, temperature and losses are not checked. With
    A^0 (n, D) the texts of one class's attributes, V the pixels' vectors (D, h, w), G (m, D) each stage's centres::

        A' = A + residual of (self-attention, cross-attention to V, network)
        a  = softmax over centres of <W_q G, W_k A'> / sqrt(D)     each attribute in one centre, straight through
        A  = G + W_o (sum_j a_j W_v A'_j / sum_j a_j)              (m, D), the attributes of the next stage

    The last stage has one centre, and logit = scale cos(V, A) + bias. At the start the residual is zero and W_o W_v the
    identity, so that a class is the mean of its attributes but for small centres. `scale` starts at 1 / 0.07. Another
    order of attributes, or each of them twice, changes nothing.

    Args:
        bank: book of attributes whose names are ``CLASS/ATTRIBUTE``, the classes in the order of the labels and each
            with as many; a bank without names has one attribute a class. Without vectors the text tower encodes it.
        classes: K, checked against the bank.
        cells: what V is: ``new``: what a pyramid draws from the levels; else as of `DenseClip`.
        centres: m of each stage, the last 1.
        hard: whether an attribute is its likeliest centre's alone, with the gradient of the softmax.
        width: channels of the pyramid.
        heads: of the attentions; divides D.

    Raises:
        ConfigError: for a bank that does not fit, stages that do not end in one centre, a tower of volumes.

    References:
        Ma et al. 2023 (AttrSeg); Xu et al. 2022 (GroupViT, eq. 3 to 6), whose grouping is the same.

    Note:
        Attributes say how a finding appears on a film (place, shape, density, texture), for rare findings and for names
        that a local report uses; those of two findings may be the same, and then only what differs tells them apart.

    Example:
        >>> names = ("effusion/place", "effusion/shape", "nodule/place", "nodule/shape")
        >>> book = Bank("signs", ("at the base", "a meniscus", "anywhere", "round"), torch.eye(4, 8), names=names)
        >>> head = AttrSeg(levels=(Level(4, (2, 2)),), books={"signs": book}, bank="signs", classes=2, width=8)
        >>> rows = Encoded(owner=torch.arange(1), size=(16, 16), extra={"level[0]": torch.rand(1, 4, 8, 8)})
        >>> tuple(head(rows, "drawn")["drawn"].shape)
        (1, 2, 16, 16)
    """

    name = "attr_seg"
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
        centres: Sequence[int] = (2, 1),
        hard: bool = True,
        width: Annotated[int, Field(ge=1)] = 128,
        heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__(levels)
        if len(levels[0].stride) != 2 or not centres or centres[-1] != 1 or min(centres) < 1:
            raise ConfigError(
                f"Head 'attr_seg' draws on images, by stages that end in one centre, not {list(centres)}."
            )
        self.count_of = attributes_of(books, bank, classes)
        self._texts_of, self._project, self.source = None, project, cells
        number = classes * self.count_of
        if texts_of is not None and class_bank(books, bank, number, head=self.name).vectors is None:
            self._texts_of, self.banks, dim = texts_of, (bank,), embed_dim
        else:
            self.register_buffer("texts", class_vectors(books, bank, number, head=self.name))
            dim = self.texts.shape[1]
        self.reads, self.dim = (*self.reads, *cells_read(cells)), dim
        self.pyramid = Pyramid(levels, width) if cells == "new" else None
        self.pixels = conv(2, width, dim, 1) if cells == "new" else None
        shape = {"width": dim, "context_width": dim, "heads": heads, "mlp_ratio": 4.0, "dropout": 0.0, "causal": False}
        self.fusions = nn.ModuleList(at_rest(CrossBlock(**shape)) for _ in centres)  # pyrefly: ignore
        self.stages = nn.ModuleList(Clustering(count, dim, hard=hard) for count in centres)
        self.log_scale = nn.Parameter(torch.full((1,), -math.log(0.07)))
        self.bias = nn.Parameter(torch.zeros(1))

    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """See `DenseHead`."""
        if self.pyramid is not None and self.pixels is not None:
            pixels = self.pixels(self.pyramid(maps, real).relu())
        else:
            pixels = cells_of(encoded, self.source, self._project, axes=2, width=self.dim, head=self.name)
        # The attributes look at means about as large as the coarsest cells: a fine level's pixels are too many keys.
        kernel = max(pixels.shape[2] // maps[-1].shape[2], 1), max(pixels.shape[3] // maps[-1].shape[3], 1)
        seen = F.avg_pool2d(pixels, kernel).flatten(2).transpose(1, 2)
        found = torch.einsum("rhwd,rkd->rkhw", unit(pixels.movedim(1, -1)), unit(self.class_vectors(seen, encoded)))
        return {"": found * self.log_scale.exp() + self.bias}

    def class_vectors(self, seen: Tensor, encoded: Encoded) -> Tensor:
        """Return what the attributes of each class become in sight of cells (R, N, D), (R, K, D)."""
        texts = self.texts if self._texts_of is None else self._texts_of(self.banks[0], encoded)
        parts = texts.unflatten(-2, (-1, self.count_of)).expand(len(seen), -1, -1, -1)
        tokens, context = parts.flatten(0, 1), seen.repeat_interleave(parts.shape[1], dim=0)
        for fusion, stage in zip(self.fusions, self.stages, strict=True):
            tokens = stage(fusion(tokens, context, None))
        return tokens[:, 0].unflatten(0, parts.shape[:2])

    def after_step(self, samples_seen: int) -> None:
        """Keep the scale at 100 at most."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100))


def attributes_of(books: Mapping[str, Bank], bank: str, classes: int) -> int:
    """Return how many attributes each of a bank's classes has, by its names."""
    names = books[bank].names if bank in books else ()
    heads = [name.partition("/")[0] for name in names]
    order, each = list(dict.fromkeys(heads)), max(len(heads) // classes, 1)
    if heads and heads != [name for name in order for _ in range(each)]:
        raise ConfigError(
            f"The bank {bank!r} of head 'attr_seg' names {', '.join(names[:4])} ...: name its texts CLASS/ATTRIBUTE, "
            f"class by class, with as many attributes in each of {classes} classes."
        )
    return each


class Clustering(nn.Module):
    r"""G + W_o (sum_j a_j W_v x_j / sum_j a_j) of tokens x (R, n, D), with a the softmax over centres G (m, D).

    W_o and W_v start as the identity, and centres small. Of an empty centre the mean is 0. With `hard` each token is
    wholly its likeliest centre's, with the gradient of the softmax (straight through, without Gumbel's noise).

    References:
        Xu et al. 2022 (GroupViT), eq. 3 to 6.

    Example:
        >>> one = Clustering(1, 2, hard=True)
        >>> _ = one.centres.data.zero_()
        >>> one(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])).tolist()
        [[[0.5, 0.5]]]
    """

    def __init__(self, count: int, width: int, *, hard: bool) -> None:
        super().__init__()
        self.hard = hard
        self.centres = nn.Parameter(0.1 * width**-0.5 * torch.randn(count, width))
        # Of one centre the softmax is 1: it has nothing to compare.
        self.query, self.key = (nn.Linear(width, width, bias=False) if count > 1 else None for _ in range(2))
        self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(2))
        for layer in (self.value, self.output):
            nn.init.eye_(layer.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (R, m, D)."""
        share = self.shares(tokens)
        total = share.sum(dim=2, keepdim=True)
        # The choice has a gradient where a centre is empty too: divided by next to nothing it would outweigh all else.
        mean = share @ self.value(tokens) / torch.where(total > (0.5 if self.hard else 1e-6), total, 1.0)
        return self.centres + self.output(mean)

    def shares(self, tokens: Tensor) -> Tensor:
        """Return how much of each token is each centre's, (R, m, n), of sum 1 over centres."""
        if self.query is None or self.key is None:
            return tokens.new_ones(len(tokens), 1, tokens.shape[1])
        near = self.query(self.centres) @ self.key(tokens).transpose(1, 2) * tokens.shape[2] ** -0.5
        soft = near.softmax(dim=1)
        if not self.hard:
            return soft
        # In bfloat16 shares of 0.499 and 0.501 are the same, and the scores are not.
        whole = torch.zeros_like(soft).scatter(1, near.argmax(dim=1, keepdim=True), 1.0)
        return whole + (soft - soft.detach())
