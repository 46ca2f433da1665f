"""CAPro (Yang et al. 2023): labels mined from texts, anchored by the plainest texts and mended by their neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Terms
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives._noisy_labels import NoisyLabels, binary, two_way
from medvlp.state.class_prototypes import ClassPrototypes


class Capro(NoisyLabels):
    r"""Classifiers of cleaned labels, one of them taught by what is believed of similar samples.

    With y the labels that a state `class_prototypes` still believes, z a sample's projected row, k_j the keys of the
    queue and p_low(z) = softmax over absent and present of z . w / t for each finding, w learned unit vectors,

        classify  = BCE(high(row), y)
        low       = (1 - beta) CE(p_low(z), y)
        bootstrap = beta CE(p_low(z), sum_j w_j y_j),   w_j = [z . k_j]_+ / sum_i [z . k_i]_+,
                    y_j = alpha p_low(k_j) + (1 - alpha) p_prototype(k_j)
        instance  = -log softmax_j(z . [k; k_1; ...; k_N] / t) at the sample's own key k
        rebuilt   = mean square of back(z) - row

    so that a single wrong label weighs less than what all neighbours have (collective bootstrapping). Each finding is a
    question of its own with an absent and a present prototype: the paper's form for several labels. Beside it belong
    the objective `class_prototypes` (the prototype term), and in the state `anchors` (the samples whose reports are
    nearest to the definition of the finding), `predictions` (this classifier's part in the cleaning) and `clean_from`.

    Args:
        labels, view, part, state, teacher, queue, temperature, hidden, width: as in `NoisyLabels`.
        beta: weight of the bootstrapped target; 0 takes the term out.
        alpha: share of the classifier in what is believed of a neighbour.
        head: name of the projection, and with ``_low`` of the vectors w, ``_back`` of the way back.

    Returns:
        ``classify``, ``low``, ``bootstrap`` (without beta none), ``instance`` and ``rebuilt``.

    Raises:
        ConfigError: if the states are others.

    References:
        Yang et al. 2023, equations 3 to 11; the row that is drawn again is a constant here.

    Note:
        The web labels of the paper are labels mined from reports here. Neighbours mend labels that are wrong at random,
        but not those that are wrong in the same way for all that look alike: a labeller that misses every small
        effusion is believed. Keep a test set of labels that no labeller made.

    Example:
        >>> objective = Capro(labels=["effusion"])
        >>> sorted(map(str, objective.needs()))[:3], sorted(objective.heads())
        (['ema:image/capro', 'image/capro', 'image/capro_back'], ['capro', 'capro_back', 'capro_low', 'findings'])
    """

    def __init__(
        self,
        *,
        labels: list[str],
        view: str = "image",
        part: str = "findings",
        state: str = "class_prototypes",
        teacher: str = "ema",
        queue: str = "queue",
        beta: Annotated[float, Field(ge=0, le=1)] = 0.1,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        hidden: Annotated[int, Field(ge=1)] = 2048,
        width: Annotated[int, Field(ge=1)] = 128,
        head: str = "capro",
    ) -> None:
        states = {"state": state, "teacher": teacher, "queue": queue}
        rows = {"rows": head, "hidden": hidden, "width": width, "temperature": temperature}
        super().__init__(objective="capro", labels=labels, view=view, part=part, **states, **rows, rebuild=True)
        self.beta = beta
        self.alpha = alpha

    def heads(self) -> Mapping[str, HeadSpec]:
        """Those that all such methods have, and the vectors of the second classifier."""
        low = HeadSpec("prototypes", {"prototypes": 2 * len(self.labels), "width": self.width})
        return {**super().heads(), f"{self.rows}_low": low}

    def forward(self, ctx: Context) -> Terms:
        """Return the terms."""
        state, rows, targets = self.believed(ctx)
        low = self._low(ctx, rows)
        terms = {"classify": binary(ctx[self.key], targets), "low": two_way(low, targets).times(1 - self.beta)}
        if self.beta:
            terms["bootstrap"] = two_way(low, self.bootstrapped(ctx, rows, state)).times(self.beta)
        return {**terms, "instance": self.instance(ctx, rows), "rebuilt": self.rebuilt(ctx)}

    @torch.no_grad()
    def bootstrapped(self, ctx: Context, rows: Tensor, state: ClassPrototypes) -> Tensor:
        """Return how probable each finding is among the neighbours in the queue, (R, L); NaN where there are none."""
        past = self.queued(ctx, self.taught_key).to(rows)
        if not len(past) or not state.prototypes.shape[2]:
            return rows.new_full((len(rows), len(self.labels)), torch.nan)
        near = (rows @ past.T).clamp(min=0)
        weight = near / near.sum(dim=1, keepdim=True)  # NaN where no key is near at all
        of_low = self._low(ctx, past).softmax(dim=2)[:, :, 1]
        believed = self.alpha * of_low + (1 - self.alpha) * state.probability(past)
        return torch.where(state.founded.all(dim=1).to(rows.device), weight @ believed, torch.nan)

    def _low(self, ctx: Context, rows: Tensor) -> Tensor:
        """Return the second classifier's scores, (R, L, 2)."""
        scores = cast("Prototypes", ctx.heads[f"{self.rows}_low"]).scores(rows, learn=True)
        return scores.unflatten(1, (-1, 2)) / self.temperature
