"""KoLeo (Sablayrolles et al. 2019): rows spread evenly, each away from its nearest neighbour."""

from __future__ import annotations

from typing import Literal

import torch

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms

_FIELDS = {"sample": (), "study": ("id.study",), "patient": ("id.patient",)}


class Koleo(Objective):
    r"""L = -mean over own rows i of log(|z_i - z_n(i)| + 1e-8), z at unit length, n(i) the nearest row of all others.

    It is Kozachenko and Leonenko's estimate of the entropy of the rows' distribution, up to constants, with its sign
    turned: the lower, the more evenly rows fill the sphere. Neighbours are looked for among the rows of all processes;
    both ends of a pair are pushed. Equal rows push nobody.

    Args:
        view: whose rows; several views are several objectives (``as: NAME``).
        part: of the view: ``pooled`` in DINOv2.
        apart: whose rows are no neighbours: those of the same sample (its other crops), study or patient.

    Returns:
        ``spread``; a row without any neighbour adds nothing.

    References:
        Sablayrolles et al. 2019, eq. 4; Oquab et al. 2023 (DINOv2): weight 0.1, beside DINO and iBOT.

    Note:
        It pushes apart films that look alike because they show the same, two normal chests above all: keep its weight
        small, and leave a patient's own films out of it (``apart: patient``).

    Example:
        >>> square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
        >>> ctx = Context.of({"image/pooled": square}, {"text": list("abcd")})
        >>> round(Koleo(view="image")(ctx)["spread"].value().item(), 4)  # -log of the square root of 2
        -0.3466
    """

    def __init__(
        self,
        *,
        view: str = "image.large",
        part: str = "pooled",
        apart: Literal["sample", "study", "patient"] = "sample",
    ) -> None:
        super().__init__()
        self.apart = apart
        self._key = f"{view}/{part}"

    def needs(self) -> frozenset[Key]:
        """The rows, and the field that tells who belongs together."""
        return keys(self._key, *_FIELDS[self.apart])

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        own, everybody = unit(ctx[self._key]), unit(ctx.all(self._key))
        if not len(everybody):
            return {"spread": Term.of(own.sum(dim=1), own.new_zeros(len(own)))}
        same = ctx.same(self.apart, rows=self._key, columns=self._key)
        with torch.no_grad():
            cosine = (own @ everybody.T).masked_fill(same, -torch.inf)
            nearest, index = cosine.max(dim=1)
        distance = (own - everybody[index]).norm(dim=1)
        return {"spread": Term.of(-(distance + 1e-8).log(), (nearest > -torch.inf).to(distance))}
