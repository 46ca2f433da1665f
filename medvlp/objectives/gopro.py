"""What GOPro (Singha et al. 2023) adds to the cross entropy: prompts and pictures agree over views of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._similarity import Similarity


class GOProLoss(Objective):
    r"""Consistency of image-conditioned prompts over augmented views, and SimCLR between two views (GOPro).

    With t(x) (K, D) the texts that the patch `gopro` makes of a picture x, x' and x'' its two augmented views, and
    p = BN(A v) of an embedding v::

        L = mean (t(x) - t(x'))^2 + mean (t(x) - t(x''))^2 + simclr NT-Xent(p(x), p(x'))

    NT-Xent (Chen et al. 2020, eq. 1) is the mean over the 2 B rows of all processes, each row's partner against all
    rows but itself, by cosine at a temperature. The cross entropy is the objective `classify` with the head
    `text_classifier`, whose `part` this one reads.

    Args:
        image: view of the pictures.
        strong: view of x'.
        mixed: view of x''.
        part: what the head that asks the texts is mounted as.
        head: name of the projection p.
        simclr: weight of its term.
        temperature: of it.

    Returns:
        ``consistency`` and ``simclr``, weighted.

    Raises:
        ConfigError: by a batch where a picture lacks a view.

    Example:
        >>> sorted(map(str, GOProLoss().needs()))[:3]
        ['image.mixed/findings_texts', 'image.strong/findings_texts', 'image.strong/gopro']
    """

    def __init__(
        self,
        *,
        image: str = "image",
        strong: str = "image.strong",
        mixed: str = "image.mixed",
        part: str = "findings",
        head: str = "gopro",
        simclr: Annotated[float, Field(ge=0)] = 0.1,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        super().__init__()
        self.image, self.strong, self.mixed = image, strong, mixed
        self.part, self.head = part, head
        self.simclr, self.temperature = simclr, temperature

    def needs(self) -> frozenset[Key]:
        """The texts that three views ask, and the projection of two."""
        texts = [f"{view}/{self.part}_texts" for view in (self.image, self.strong, self.mixed)]
        return keys(*texts, f"{self.image}/{self.head}", f"{self.strong}/{self.head}")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection, which only training needs."""
        return {self.head: HeadSpec("linear_norm")}

    def forward(self, ctx: Context) -> Terms:
        """Return the two terms."""
        first, *others = (self._texts(ctx, view) for view in (self.image, self.strong, self.mixed))
        strong, mixed = ((first - each).square().flatten(1).mean(dim=1) for each in others)
        return {"consistency": Term.of(strong + mixed), "simclr": self._simclr(ctx)}

    def _texts(self, ctx: Context, view: str) -> Tensor:
        key = f"{view}/{self.part}_texts"
        if not torch.equal(ctx.owner(key), ctx.owner(f"{self.image}/{self.part}_texts")):
            raise ConfigError(
                f"Objective 'gopro' compares {view!r} with {self.image!r}, and a picture lacks one of them: let views "
                "of the data make one of each."
            )
        return ctx[key]

    def _simclr(self, ctx: Context) -> Term:
        pair = [f"{view}/{self.head}" for view in (self.image, self.strong)]
        rows, columns = ([unit(read(key)) for key in pair] for read in (ctx.__getitem__, ctx.all))
        own, count = ctx.own(pair[0]), len(columns[0])
        itself, other = torch.cat([own, own + count]), torch.cat([own + count, own])

        def exclude(part: slice) -> Tensor:
            place = itself[part, None]
            return torch.zeros(len(place), 2 * count, dtype=torch.bool, device=place.device).scatter_(1, place, True)

        scores = Similarity(torch.cat(rows), torch.cat(columns), lambda a, b: (a / self.temperature) @ b.T)
        return contrast(scores, other, exclude=exclude).times(self.simclr)
