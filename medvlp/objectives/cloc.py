"""CLOC (Chen et al. 2024): what a picture shows in a box finds its phrase, and a phrase finds its box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.models.heads.prompter import Prompter
from medvlp.objectives._contrast import contrast
from medvlp.objectives._regions import phrases, plane, regions_of


class Cloc(Objective):
    r"""Contrast of regions with phrases both ways, and the boxes that phrases ask for.

    With at most M drawn boxes b of a picture with tokens X, t the embedding of the phrase of a box's finding, P the
    prompter and s the model's logit scale, over all boxes of all processes::

        z      = unit(P(b, X))
        region = 1/2 [ mean of contrast(s z t^T) + mean of contrast(s t z^T) ], a box's own phrase the positive
        place  = mean over boxes and corners of (b - MLP(P(t, X)))^2

    Pairs of two boxes whose phrases are the same, or nearly (a cosine above `same_above`), leave the denominators. All
    three are multiplied by the share of the pictures that have a box.

    Args:
        labels: findings, whose boxes are the fields ``boxes.LABEL``.
        bank: a phrase for each, in their order.
        image: view of the pictures, whose tokens form a grid.
        most: M; of more boxes some are drawn at random.
        same_above: above.
        place: weight of that term.

    Returns:
        ``region_to_text`` and ``text_to_region``, each at half weight, and ``place``.

    Raises:
        ConfigError: without labels; by a batch, for a bank of another length.

    Note:
        A phrase without a side asks for one box where a finding on both sides has two: the middle between them is the
        answer of least error, and of no use. Boxes are of findings that are there, so nothing is learned of absence.

    References:
        Chen et al. 2024 (Contrastive localized language-image pre-training), section 3, eq. 1-4.

    Example:
        >>> sorted(map(str, Cloc(labels=["nodule"], bank="findings").needs()))
        ['bank.findings/embedding', 'boxes.nodule', 'image/tokens']
    """

    def __init__(
        self,
        *,
        labels: list[str],
        bank: str,
        image: str = "image",
        most: Annotated[int, Field(ge=1)] = 4,
        same_above: Annotated[float, Field(ge=0, le=1)] = 0.9,
        place: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__()
        if not labels:
            raise ConfigError("Objective 'cloc' has no labels: name the findings that have boxes.")
        self.labels, self.bank, self.key = tuple(labels), bank, f"{image}/tokens"
        self.most, self.same_above, self.place = most, same_above, place

    def needs(self) -> frozenset[Key]:
        """Tokens, phrases and boxes."""
        return keys(self.key, f"bank.{self.bank}/embedding", *(f"boxes.{label}" for label in self.labels))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The prompter."""
        return {"cloc": HeadSpec("prompter")}

    def forward(self, ctx: Context) -> Terms:
        """Return the three terms."""
        prompter = cast("Prompter", ctx.heads["cloc"])
        texts = phrases(ctx, self.bank, self.labels, objective="cloc")
        found = regions_of(ctx, self.key, self.labels, most=self.most, name="boxes of cloc")
        tokens, grid = ctx[self.key][found.row], plane(ctx, self.key)
        boxes, own = found.boxes.to(tokens), texts[found.label]
        rows = unit(prompter.of_boxes(tokens, grid, boxes))
        everybody, label = ctx.gather(rows, found.owner).values, ctx.gather(found.label, found.owner).values
        # A box is itself: its picture and the place among those of its picture tell it from the others.
        number = torch.arange(len(found.row), device=found.row.device) - torch.searchsorted(found.row, found.row)
        name = ctx.own(self.key)[found.row] * self.most + number
        names = ctx.gather(name, found.owner).values
        itself = name[:, None] == names
        share = len((names // self.most).unique()) / max(len(ctx.all_owner(self.key)), 1)
        alike = (texts @ texts.T).detach() > self.same_above
        alike |= torch.eye(len(texts), dtype=torch.bool, device=alike.device)
        exclude = alike[found.label][:, label] & ~itself
        apart = (prompter.boxes_of(tokens, grid, own) - boxes).square().mean(dim=1)
        terms = {
            "region_to_text": contrast(ctx.scale(rows @ texts[label].T), itself, exclude=exclude).times(0.5),
            "text_to_region": contrast(ctx.scale(own @ everybody.T), itself, exclude=exclude).times(0.5),
            "place": Term.of(apart).times(self.place),
        }
        return {name: term.times(share) for name, term in terms.items()}
