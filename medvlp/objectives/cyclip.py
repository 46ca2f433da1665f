"""CyCLIP (Goel et al. 2022): similarities agree across and within images and reports, beside `clip`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import first_partners


class Cyclip(Objective):
    r"""Squared differences of cosines: image to text against text to image, and images among themselves against texts.

    Over the N pairs (v_j, t_j) of a batch of all processes, at unit length,

        cross modal   L_C = 1/N sum_j sum_k (v_j . t_k - v_k . t_j)^2
        in modal      L_I = 1/N sum_j sum_k (v_j . v_k - t_j . t_k)^2

    so that an image lies to another pair's text as its own text lies to that pair's image, and two images lie to each
    other as their texts do. It is used beside `clip`, whose loss it regularises, and says nothing of the logit scale:
    cosines are compared, not logits. Both are sums over columns, as in the paper: they grow with the batch, and
    weights that were good for 128 pairs are strong for 4,096.

    Samples that have no image or no text form no pair; of several texts of a sample the first counts.

    Args:
        image: view of the images.
        text: view of the texts.
        cross_modal: weight of L_C, lambda_1 of the paper.
        in_modal: weight of L_I, lambda_2.

    Returns:
        ``cross_modal`` and ``in_modal``, each times its weight.

    References:
        Goel et al. 2022, eq. 2 (cross-modal) and eq. 3 (in-modal), lambda_1 = lambda_2 = 0.25.

    Note:
        Two patients with one and the same normal report have texts at cosine 1, and in-modal consistency then asks that
        their images be at cosine 1 too. Where most reports say the same, what images show beside it (age, devices,
        anatomy) is flattened: use a smaller weight, or look at image retrieval.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)[[0, 0]]}
        >>> terms = Cyclip()(Context.of(rows, {"text": ["clear", "clear"]}))
        >>> {name: term.value().item() for name, term in terms.items()}
        {'cross_modal': 0.25, 'in_modal': 0.25}
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        cross_modal: Annotated[float, Field(ge=0)] = 0.25,
        in_modal: Annotated[float, Field(ge=0)] = 0.25,
    ) -> None:
        super().__init__()
        self.views = (f"{image}/embedding", f"{text}/embedding")
        self.cross_modal = cross_modal
        self.in_modal = in_modal

    def needs(self) -> frozenset[Key]:
        """Embeddings of both."""
        return keys(*self.views)

    def forward(self, ctx: Context) -> Terms:
        """Return the two terms."""
        image, text = self.views
        rows, of_row = first_partners(ctx.owner(image), ctx.owner(text))
        columns, of_column = first_partners(ctx.all_owner(image), ctx.all_owner(text))
        v, t = ctx[image][rows], ctx[text][of_row]
        all_v, all_t = ctx.all(image)[columns], ctx.all(text)[of_column]
        cross, within = v @ all_t.T - t @ all_v.T, v @ all_v.T - t @ all_t.T
        return {
            "cross_modal": Term.of(cross.square().sum(dim=1)).times(self.cross_modal),
            "in_modal": Term.of(within.square().sum(dim=1)).times(self.in_modal),
        }
