"""Findings by a linear layer, or another head: fine-tuning, linear probing and prompt learning with labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.registry import schema
from medvlp.core.term import Term, Terms
from medvlp.objectives._labelled import Labelled
from medvlp.objectives._labels import labels_of

Share = Annotated[float, Field(ge=0, le=1)]


class Classify(Labelled):
    r"""Binary cross entropy of each finding, or with `exclusive` the cross entropy of classes that exclude each other.

    With z the logits, y the labels and w the positive weights, averaged over all pairs of a row and a finding whose
    label is known::

        binary = - (w y log sigmoid(z) + (1 - y) log sigmoid(-z))

    as torch's `BCEWithLogitsLoss` with `pos_weight`. With `exclusive`, averaged over rows, each weighing w of its class
    (torch's `CrossEntropyLoss` with `weight`)::

        exclusive = - sum over classes of y log softmax(z)

    NaN and -1 (uncertain) take no part, unless they are taken for something; a row of exclusive classes counts as far
    as they are there: one is 1, or those of two pictures that the batch view `mixup` mixed are shares.

    Args:
        labels: K findings, fields ``label.LABEL``.
        view: whose rows are classified.
        reads: part that the linear layer classifies: ``pooled``, or what a head gives.
        part: name of the head.
        head: component of `models/heads` that gives the logits; None: ``linear``. With ``{name: text_classifier, bank:
            findings}`` the classes are texts, and learned prompts are trained.
        exclusive: whether a row is of one class.
        positive_weights: w, one a label; None: 1.
        uncertain: label -> what its -1 is taken for: 1, 0 (U-Ones, U-Zeros of Irvin et al. 2019), or a share between.
        blank: what a missing label is taken for: 0 where a labeller of reports leaves blank what is not mentioned.

    Returns:
        ``binary`` or ``exclusive``.

    Raises:
        ConfigError: for labels, weights or shares that cannot be.

    Example:
        >>> objective = Classify(labels=["effusion", "nodule"])
        >>> sorted(map(str, objective.needs())), objective.answers()[0].options
        (['image/findings', 'label.effusion', 'label.nodule'], {'part': 'findings', 'labels': ['effusion', 'nodule']})
    """

    def __init__(
        self,
        *,
        labels: list[str],
        view: str = "image",
        reads: str = "pooled",
        part: str = "findings",
        head: dict[str, Any] | None = None,
        exclusive: bool = False,
        positive_weights: list[float] | None = None,
        uncertain: dict[str, Share] = {},  # noqa: B006  (read only)
        blank: Share | None = None,
    ) -> None:
        chosen = head or {"name": "linear", "reads": reads}
        super().__init__(objective="classify", labels=labels, view=view, part=part, head=chosen)
        weights = [1.0] * len(labels) if positive_weights is None else positive_weights
        if len(weights) != len(labels) or min(weights) <= 0:
            raise ConfigError(
                f"positive_weights of objective 'classify' are {weights} for {len(labels)} labels: give each one above "
                f"0."
            )
        if exclusive and len(labels) == 1:
            raise ConfigError("A single label of objective 'classify' excludes nothing: set exclusive: false.")
        for name in uncertain.keys() - set(labels):
            raise ConfigError(
                f"uncertain of objective 'classify' names {name!r}, which is none of its labels: "
                f"{did_you_mean(name, labels)}."
            )
        shares = [*uncertain.values(), *([] if blank is None else [blank])]
        if exclusive and any(0 < share < 1 for share in shares):
            raise ConfigError(
                "Of classes that exclude each other objective 'classify' takes the one that is present, and no share: "
                "let uncertain and blank be 0 or 1, or set exclusive: false."
            )
        self.uncertain, self.blank = uncertain, blank
        if "labels" in schema("models/heads", self.head.name).model_fields:  # a head that knows them by name checks
            self.head = replace(self.head, options={**self.head.options, "labels": list(labels)})
        self.exclusive = exclusive
        self.asked = {"exclusive": True} if exclusive else {}
        self.weights = tuple(weights)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        labels, known = labels_of(ctx, self.key, self.labels, uncertain=self.uncertain, blank=self.blank)
        logits = ctx[self.key]
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        if self.exclusive:
            return {"exclusive": _exclusive(logits, labels, weights)}
        losses = F.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype), pos_weight=weights, reduction="none"
        )
        return {"binary": Term.of(losses.flatten(), known.flatten().to(losses.dtype))}


def _exclusive(logits: Tensor, shares: Tensor, weights: Tensor) -> Term:
    if bool((shares.sum(1) > 1.001).any()):
        raise DataError(
            "A sample has several classes that exclude each other: mend its labels, or set exclusive: false."
        )
    shares = shares.to(logits.dtype) * weights
    return Term(-(shares * logits.log_softmax(1)).sum(), shares.sum())
