"""Matryoshka representation learning (MRL, Kusupati et al. 2022): each prefix of the embedding is an embedding too."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import nn

from medvlp.core.context import Context
from medvlp.core.term import Terms
from medvlp.objectives._readings import Reading
from medvlp.objectives._targets import Exclusion, Relation
from medvlp.objectives.clip import Clip


class Matryoshka(Clip):
    r"""CLIP's loss, summed over nested prefixes of the embeddings: the whole, the first half, the first quarter, ...

    L = sum_{h=0}^{H} L_clip(v_{1:D/2^h}, t_{1:D/2^h}), each prefix brought to unit length by itself, all at the model's
    one logit scale and with weight 1, as in the paper. With H = 0 it is `clip`. Afterwards an index may hold the first
    D / 2^h numbers of each embedding only: the surgery `keep_prefix` cuts a model to them, the score `prefix` compares
    them. Nothing is added to the towers.

    Args:
        image, text, positives, exclude, reading: as in `clip`.
        halvings: H; the paper halves 2,048 numbers eight times.

    Returns:
        ``image_to_text`` and ``text_to_image`` of the whole embedding; with ``_1``, ``_2`` ... behind, of its prefixes.

    References:
        Kusupati et al. 2022, eq. 1, and what section 3 says of contrastive learning, as known from the paper; the
        authors' code has the sum for classifiers alone. None stands on a prefix here: MRL and its efficient form are
        one.

    Note:
        A short prefix keeps what is frequent and large first; a rare or small finding is the first that goes. Measure
        each finding at the length that is used.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(4)[:2], "text/embedding": torch.eye(4)[:2]}
        >>> terms = Matryoshka(halvings=1)(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> {name: round(term.value().item(), 4) for name, term in terms.items()}
        {'image_to_text': 0.1566, 'text_to_image': 0.1566, 'image_to_text_1': 0.1566, 'text_to_image_1': 0.1566}
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        halvings: Annotated[int, Field(ge=0)] = 3,
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        reading: Reading = "shared",
    ) -> None:
        options: dict[str, Any] = {"image": image, "text": text, "positives": positives, "exclude": exclude}
        super().__init__(**options, reading=reading)
        scores = ({"name": "prefix", "halvings": h + 1} for h in range(halvings))
        self.nested = nn.ModuleList(Clip(**options, reading=reading, score=score) for score in scores)

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions of each prefix."""
        terms = dict(super().forward(ctx))
        for h, clip in enumerate(self.nested, start=1):
            terms |= {f"{name}_{h}": term for name, term in clip(ctx).items()}
        return terms
