"""SimLAP (Hydra): any two classes are positives of each other in a subspace that a gate opens for the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Terms
from medvlp.models.heads.class_gate import ClassGate, gated_cosine
from medvlp.objectives._contrast import contrast
from medvlp.objectives._labels import labels_of
from medvlp.objectives._rows import first_partners


class Simlap(Objective):
    r"""Contrast of two views, in which the positives of a row are the rows of a second class, compared through a gate.

    A sample's class y is its set of present findings, the empty set included. Each row draws a second class y' from the
    batch and its gate g = g(y, y') (see `ClassGate`). With l_j = cos(g * a_i, g * b_j) / T, P the columns of
    class y' and N those of neither class,

        L = mean over rows of 1/|P| sum_{j in P} -log( e^{l_j} / (e^{l_j} + sum_{n in N} e^{l_n}) ).

    Columns of the row's own class are no negatives. Where all classes differ, y' = y and the gate is constant, L is
    InfoNCE between the views. Findings that share anatomy, such as effusion and cardiomegaly, may lie together in what
    is common to them without being confused elsewhere; the gates say what that is.

    Args:
        labels: findings, names of label fields without ``label.``; present is 1. A sample of which none is known to be
            present or absent takes no part.
        views: of a and b: two views of the image, or image and text.
        pairing: y' is that of another sample (``arbitrary``), of another sample of another class (``different``), or y
            (``same``).
        bank: of texts, whose embeddings are E: one a finding in their order, and one more of no finding; None: E is
            learned. The class of several findings is their mean.
        temperature: T.
        hidden: width of the hidden layer of the projection.
        width: of the rows that are compared.

    Returns:
        ``pairs``.

    Raises:
        ConfigError: without labels or two views, or for a bank with another number of texts.

    Note:
        Labels mined from reports are blank where nobody wrote of a finding, and a blank counts as absent here: two
        samples may seem one class because both reports were short.

    Example:
        >>> sorted(map(str, Simlap(labels=["effusion"]).needs()))
        ['image/simlap', 'label.effusion', 'text/simlap']
    """

    def __init__(
        self,
        *,
        labels: Sequence[str],
        views: Sequence[str] = ("image", "text"),
        pairing: Literal["arbitrary", "different", "same"] = "arbitrary",
        bank: str | None = None,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        hidden: Annotated[int, Field(ge=1)] = 2048,
        width: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__()
        if not labels or len(set(labels)) < len(labels) or not len(set(views)) == len(views) == 2:
            raise ConfigError(
                f"Objective 'simlap' has the labels {list(labels)} and the views {list(views)}: name each finding "
                "once, and two views."
            )
        self.labels = tuple(labels)
        self.views = tuple(f"{view}/simlap" for view in views)
        self.pairing = pairing
        self.bank = bank
        self.temperature = temperature
        self.projection = {"reads": "pooled", "hidden": hidden, "width": width, "norm": "layer"}

    def needs(self) -> frozenset[Key]:
        """Projected rows, the labels, and the bank."""
        bank = [] if self.bank is None else [f"bank.{self.bank}/embedding"]
        return keys(*self.views, *(f"label.{label}" for label in self.labels), *bank)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection and the gate."""
        classes = len(self.labels) + 1 if self.bank is None else None
        gate = {"width": self.projection["width"], "classes": classes}
        return {"simlap": HeadSpec("projection", self.projection), "simlap_gate": HeadSpec("class_gate", gate)}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        first, second = self.views
        rows, own = first_partners(ctx.owner(first), ctx.all_owner(second))
        classes, known, draws = self._of_columns(ctx, second)
        alike = (classes[own][:, None] == classes[None]).all(dim=2)  # (R, C)
        of = ctx.all_owner(second)
        chosen = self._second(own, alike if self.pairing == "different" else of[own][:, None] == of, known, draws)
        positive = (classes[chosen][:, None] == classes[None]).all(dim=2) & known & known[own][:, None]
        gates = cast("ClassGate", ctx.heads["simlap_gate"]).between(classes[own], classes[chosen], self._vectors(ctx))
        scores = gated_cosine(ctx[first][rows], gates, ctx.all(second)) / self.temperature
        return {"pairs": contrast(scores, positive, exclude=(alike & ~positive) | ~known, positives="each")}

    def _of_columns(self, ctx: Context, key: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return of everybody's rows the shares of their classes (C, K), whether they are known, and a draw each."""
        values, known = labels_of(ctx, key, self.labels)
        present = (values == 1).to(ctx[key])
        shares = torch.cat([present, (present.sum(dim=1, keepdim=True) == 0).to(present)], dim=1)
        draw = ctx.uniform(1, name="simlap")[ctx.parts[parse_key(key)].owner]
        packed = torch.cat([shares / shares.sum(dim=1, keepdim=True), known.any(dim=1, keepdim=True), draw], dim=1)
        everybody = ctx.gather(packed, ctx.owner(key)).values
        return everybody[:, :-2], everybody[:, -2] > 0, everybody[:, -1]

    def _second(self, own: Tensor, barred: Tensor, known: Tensor, draws: Tensor) -> Tensor:
        """Return the column whose class is a row's second one, (R,): the next in the order of the draws, cyclic.

        Columns of `barred` (R, C) are not taken: those of the row's own class, or of its own sample.
        """
        if self.pairing == "same" or not len(draws):
            return own
        allowed = known & ~barred
        ahead = (draws - draws[own][:, None]).remainder(1.0).masked_fill(~allowed, torch.inf)
        return torch.where(allowed.any(dim=1), ahead.argmin(dim=1), own)

    def _vectors(self, ctx: Context) -> Tensor | None:
        if self.bank is None:
            return None
        vectors = ctx[f"bank.{self.bank}/embedding"]
        if len(vectors) != len(self.labels) + 1:
            raise ConfigError(
                f"Objective 'simlap' has {len(self.labels)} labels and the bank {self.bank!r} {len(vectors)} texts: "
                "give one text a label in their order, and one of no finding."
            )
        return vectors
