"""Pixels against words: each pixel's vector is compared with the vectors of class names, as in LSeg."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.protocols import Level
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.heads._dense import DenseHead, Pyramid, conv


class Segmenter(DenseHead):
    r"""Levels -> logits of pixels by LSeg (Li et al. 2022, section 3): the classes are texts, and only pixels learn.

    With I (R, D, h, w) the unit vectors that a feature pyramid and a convolution of one cell make of the picture, and T
    (K, D) the constant unit vectors of a bank, ``logit[k] = scale <I, T[k]> + bias``; see `DenseHead`.
    Another bank asks about other words. `scale` starts at 1 / 0.07 and is learnt, at most 100, as CLIP's; `bias` is for
    sigmoids. LSeg's spatial blocks behind the logits are left out.

    Args:
        bank: whose texts are the classes, in the order of the labels; with `exclusive` the first is the background's.
        classes: K, checked against the bank.
        width: channels of the pyramid.

    Raises:
        ConfigError: for a bank that there is not, that has no vectors, or as many texts as there are classes.

    Example:
        >>> words = Bank("organs", ("lung", "heart"), torch.eye(2, 6))
        >>> head = Segmenter(levels=(Level(4, (2, 2)),), banks={"organs": words}, bank="organs", classes=2, width=8)
        >>> rows = Encoded(owner=torch.arange(1), size=(16, 16), extra={"level[0]": torch.rand(1, 4, 8, 8)})
        >>> head(rows, "organs")["organs"].shape
        torch.Size([1, 2, 16, 16])
    """

    name = "segmenter"
    texts: Tensor

    def __init__(
        self,
        *,
        levels: Annotated[Sequence[Level], FromModel("levels")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        bank: str,
        classes: Annotated[int, Field(ge=1)],
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(levels)
        self.register_buffer("texts", class_vectors(banks, bank, classes, head=self.name))
        self.pyramid = Pyramid(levels, width)
        self.output = conv(len(levels[0].stride), width, self.texts.shape[1], 1)
        self.log_scale = nn.Parameter(torch.full((1,), -math.log(0.07)))
        self.bias = nn.Parameter(torch.zeros(1))

    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """See `DenseHead`."""
        pixels = unit(self.output(self.pyramid(maps, real).relu()).movedim(1, -1))
        return {"": torch.einsum("r...d,kd->rk...", pixels, self.texts) * self.log_scale.exp() + self.bias}

    def after_step(self, samples_seen: int) -> None:
        """Keep the scale at 100 at most."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100))


def class_vectors(banks: Mapping[str, Bank], bank: str, classes: int, *, head: str) -> Tensor:
    """Return the unit vectors (K, D) of a bank's texts, which are a head's classes.

    Raises:
        ConfigError: as `class_bank`, or if the bank has no vectors.
    """
    vectors = class_bank(banks, bank, classes, head=head).vectors
    if vectors is None:
        raise ConfigError(
            f"Head {head!r} needs constant vectors of the bank {bank!r}, as its text encoder is frozen: give "
            f"banks.{bank} an encoder."
        )
    return unit(vectors.detach().clone())


def class_bank(banks: Mapping[str, Bank], bank: str, classes: int, *, head: str) -> Bank:
    """Return the bank whose texts are a head's classes.

    Raises:
        ConfigError: for a bank that there is not, or another number of texts than classes.
    """
    if bank not in banks:
        raise ConfigError(f"Head {head!r} compares pixels with the bank {bank!r}: {did_you_mean(bank, banks)}.")
    if len(banks[bank].texts) != classes:
        raise ConfigError(
            f"Head {head!r} is to tell {classes} classes apart and the bank {bank!r} has {len(banks[bank].texts)} "
            f"texts: give it a text for each label, and with exclusive one for the background before them."
        )
    return banks[bank]
