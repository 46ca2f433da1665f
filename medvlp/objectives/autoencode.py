"""An image drawn again from its code."""

from __future__ import annotations

from typing import Literal

from medvlp.core.context import Context
from medvlp.core.encoded import promoted
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms


class Autoencode(Objective):
    """Mean squared error of the reconstruction by the head `autoencoded`, over pixels and images.

    MEVF and PubMedCLIP have it at weight 0.001 beside the loss of answers (Nguyen et al. 2019).

    Args:
        part: name of the head.
        image: view of the images.

    Returns:
        ``pixels``.

    Example:
        >>> sorted(map(str, Autoencode(part="seen").needs()))
        ['image/seen_decoded', 'image/seen_gray']
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(self, *, part: str = "autoencoded", image: str = "image") -> None:
        super().__init__()
        self._decoded, self._gray = f"{image}/{part}_decoded", f"{image}/{part}_gray"

    def needs(self) -> frozenset[Key]:
        """The reconstruction and the gray input."""
        return keys(self._decoded, self._gray)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        difference = promoted(ctx[self._decoded]) - promoted(ctx[self._gray])
        return {"pixels": Term.of(difference.square().mean(dim=(1, 2)))}
