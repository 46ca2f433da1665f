"""SiamLIP (Fini et al. 2023): each view predicts the other's projection, without negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import partners


class SiamLip(Objective):
    r"""Squared distance of a view's prediction to another view's projection, which stands still.

    With h the projection of a view's pooled features and p a predictor behind it, both of this objective's own,

        L = mean over the pairs (a, b) and both directions of mean over rows of 2 - 2 cos(p(h_a), stop(h_b)),

    a value in [0, 4]. In the paper pairs are image and text, once as they are and once for each combination of
    augmented images and texts; two views of one picture make it SimSiam. Of several rows of a view all pairs of one
    sample count; a row whose sample lacks the other view adds nothing. It is added to CLIP's loss.

    Args:
        pairs: of views.
        hidden: width of the hidden layers of projection and predictor, which have BatchNorm over all rows.
        width: of what is predicted.
        layers: linear layers of the projection; the predictor has two.
        head: name of the projection; the predictor is ``HEAD_predicted``.

    Returns:
        ``A_to_B`` for each direction, weighted so that their values add up to L.

    Raises:
        ConfigError: without a pair.

    References:
        Fini et al. 2023 (improved baselines for vision-language pre-training), section 3; Chen and He 2021 (SimSiam).

    Note:
        Without negatives it asks only that what is in both views agrees: what a report leaves out is not learned, and a
        finding in few films does not count. Alone it may collapse; keep CLIP's loss beside it.

    Example:
        >>> sorted(map(str, SiamLip().needs()))
        ['image/siamlip', 'image/siamlip_predicted', 'text/siamlip', 'text/siamlip_predicted']
    """

    def __init__(
        self,
        *,
        pairs: Sequence[tuple[str, str]] = (("image", "text"),),
        hidden: Annotated[int, Field(ge=1)] = 4096,
        width: Annotated[int, Field(ge=1)] = 256,
        layers: Annotated[int, Field(ge=2)] = 2,
        head: str = "siamlip",
    ) -> None:
        super().__init__()
        if not pairs:
            raise ConfigError("Objective 'siamlip' or 'byolip' has no pairs: name two views, [[image, text]].")
        # Both directions of each; a view with itself has one.
        self.directions = tuple(dict.fromkeys((x, y) for a, b in pairs for x, y in ((a, b), (b, a))))
        self.head = head
        self._target = ""
        spec = {"width": width, "hidden": hidden, "norm": "batch", "stage": "batch"}
        self._heads = {
            head: HeadSpec("projection", {**spec, "layers": layers}),
            f"{head}_predicted": HeadSpec("projection", {**spec, "reads": head}),
        }

    def needs(self) -> frozenset[Key]:
        """Predictions and projections of all views."""
        return keys(*(key for a, b in self.directions for key in self._keys(a, b)))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection and the predictor, of each kind its own."""
        return self._heads

    def forward(self, ctx: Context) -> Terms:
        """Return a term for each direction."""
        terms = {}
        for a, b in self.directions:
            predicted, target = self._keys(a, b)
            row, column = partners(ctx, predicted, target)
            cosine = (unit(ctx[predicted])[row] * unit(ctx[target].detach())[column]).sum(dim=1)
            terms[f"{a}_to_{b}"] = Term.of(2 - 2 * cosine).times(1 / len(self.directions))
        return terms

    def _keys(self, a: str, b: str) -> tuple[str, str]:
        return f"{a}/{self.head}_predicted", f"{self._target}{b}/{self.head}"
