"""MeDSLIP's prototypical contrast: what is present knows where it lies, among places where it does not."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._medslip import STREAMS, Stated, Stream, prototype_loss, stated

_LARGEST_SCALE = math.log(100.0)


class MedslipProtocl(Objective):
    r"""Prototypical contrast in each of two streams (Fan et al. 2024, MeDSLIP, "ProtoCL").

    For a pathology q that is present in an image, with R its places there, E_a the anatomies' constant vectors and f
    the query's vector in their space::

        c_0 = mean of E_a[r] over R;   c_1 .. c_n drawn from E_a[r], r not in R, anew each time the sample is seen
        L_p = - log softmax(<c_0, f>, <c_1, f>, .. <c_n, f>)_0

    L_a is the mirror image: a place with something present in it, among pathologies that are not present there. Both
    are means over all present (image, query) of the batch. It contrasts within an image; no other image takes part.

    Args:
        image: view of the images.
        head: name of their `dual_stream` head.
        matrix: field with the flattened matrix of each sample.
        pathology: bank of the head's pathologies.
        anatomy: bank of its anatomies.
        negatives: n.
        absent_only: draw only places stated to be free of q, where there is one. Published: any place not stated to
            have it, although the report may just not mention it there.
        temperature: first value of a learned temperature over cosines. None, as published: plain dot products with
            vectors of BERT, whose length of 10 to 20 makes scores large.

    Returns:
        ``prototypes_pathology`` and ``prototypes_anatomy``.

    Example:
        >>> sorted(map(str, MedslipProtocl().needs()))[:3]
        ['bank.anatomy/raw', 'bank.pathology/raw', 'image/medslip_anatomy']
    """

    def __init__(
        self,
        *,
        image: str = "image",
        head: str = "medslip",
        matrix: str = "vector.triplets",
        pathology: str = "pathology",
        anatomy: str = "anatomy",
        negatives: Annotated[int, Field(ge=1)] = 7,
        absent_only: bool = False,
        temperature: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        self.image, self.head, self.matrix = image, head, matrix
        self.negatives = negatives
        self.absent_only = absent_only
        self._other = {"pathology": f"bank.{anatomy}/raw", "anatomy": f"bank.{pathology}/raw"}
        self.log_scale = None if temperature is None else nn.Parameter(torch.tensor([-math.log(temperature)]))

    def needs(self) -> frozenset[Key]:
        """Existence logits (for who is asked), queries in the space of the books, both books, and the matrix."""
        own = [f"{self.image}/{self.head}_{stream}{part}" for stream in STREAMS for part in ("", "_text")]
        return keys(*own, *self._other.values(), self.matrix)

    def forward(self, ctx: Context) -> Terms:
        """Return the two terms."""
        facts = stated(ctx, image=self.image, head=self.head, matrix=self.matrix)
        return {f"prototypes_{stream}": self._term(ctx, facts, stream) for stream in STREAMS}

    def _term(self, ctx: Context, facts: Stated, stream: Stream) -> Term:
        matrix = facts.of(stream)
        draws = ctx.uniform(*matrix.shape[1:], name=f"medslip negatives {stream}")
        return prototype_loss(
            ctx[f"{self.image}/{self.head}_{stream}_text"][facts.rows],
            matrix,
            ctx[self._other[stream]],
            draws[facts.owner],
            negatives=self.negatives,
            absent_only=self.absent_only,
            scale=None if self.log_scale is None else self._scaled,
        )

    def _scaled(self, cosine: Tensor) -> Tensor:
        assert self.log_scale is not None
        return cosine * self.log_scale.exp()

    def after_step(self, samples_seen: int) -> None:
        """Keep the temperature at 0.01 or above."""
        if self.log_scale is not None:
            with torch.no_grad():
                self.log_scale.clamp_(max=_LARGEST_SCALE)
