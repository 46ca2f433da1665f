"""Rows against the prototypes of their findings: supervised, with labels that may be wrong."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.state.class_prototypes import ClassPrototypes


class ClassPrototypeLoss(Objective):
    r"""Cross entropy of cosines with the prototypes of a state `class_prototypes`.

    ``binary``: for each finding with a label, CE(z . [mu_absent, mu_present] / t, label), averaged over all pairs of a
    row and a finding; findings occur together, so each is a question of its own. ``exclusive``: CE over the findings'
    present prototypes, a row's present findings the positives and its absent ones the rest: the classes of CAPro and
    FoPro.
    Uncertain and missing labels take no part, nor do prototypes without a sample yet. Prototypes are constants here;
    they follow the features in the state, which also says whether a label is believed.

    Args:
        state: a state `class_prototypes`.
        reads: key of the rows; in the space of the state's.
        mode: see above.
        temperature: t; ``density``: each prototype's own, by how widely its samples lie about it (the state's
            `density`), as in FoPro.
        margin: taken from the cosine of the own prototype of a trusted sample, which must come so much nearer (FoPro,
            0.5).
        balanced: binary only: pairs weigh n / (2 n_label), by how often the state has seen the finding with that label.

    Returns:
        ``binary`` or ``exclusive``.

    Raises:
        ConfigError: for balanced classes that exclude each other.

    References:
        Ideas of Yang et al. 2023 (CAPro), Qin et al. 2022 (FoPro), Qu et al. 2023 (INS) and Wang et al. 2022 (PiCO),
        and none of these methods: no classifier, no relation module, no contrast of instances, densities as they are.

    Example:
        >>> sorted(map(str, ClassPrototypeLoss().needs()))
        ['image/embedding', 'state:class_prototypes']
    """

    def __init__(
        self,
        *,
        state: str = "class_prototypes",
        reads: str = "image/embedding",
        mode: Literal["binary", "exclusive"] = "binary",
        temperature: Annotated[float, Field(gt=0)] | Literal["density"] = 0.1,
        margin: Annotated[float, Field(ge=0)] = 0.0,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        if balanced and mode == "exclusive":
            raise ConfigError("balanced of objective 'class_prototypes' is of mode 'binary' only: leave it out.")
        self.state = state
        self.reads = reads
        self.mode = mode
        self.temperature = temperature
        self.margin = margin
        self.balanced = balanced

    def needs(self) -> frozenset[Key]:
        """The rows and the state; the state asks for the labels."""
        return keys(self.reads, f"state:{self.state}")

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        state = ctx.state[self.state]
        if not isinstance(state, ClassPrototypes):
            raise ConfigError(f"states.{self.state} is no 'class_prototypes', which the objective of that name needs.")
        rows = unit(ctx[self.reads])
        labels = state.targets(ctx, rows.detach(), self.reads)
        if not state.prototypes.shape[2]:  # no sample yet
            return {self.mode: contrast(rows[:, :1] * 0, torch.full((len(rows),), -1, device=rows.device))}
        founded, believed = state.founded.to(rows.device), labels.nan_to_num() > 0.5
        scores = state.scores(rows)
        if self.margin:
            trusted = state.sure_labels.trusted_rows(ctx, self.reads)[:, None, None]
            scores = scores - self.margin * (torch.stack([~believed, believed], dim=2) & trusted).to(scores)
        scores = scores / (state.density.to(scores) if self.temperature == "density" else float(self.temperature))
        if self.mode == "exclusive":
            exclude = labels.isnan() | ~founded[:, 1]
            return {"exclusive": contrast(scores[:, :, 1], believed, exclude=exclude)}
        asked = labels.isfinite() & founded.all(dim=1)
        weight = self._weight(state, torch.where(asked, believed.long(), -1)) if self.balanced else None
        target = torch.where(asked, labels.nan_to_num(), 0.0)
        shares = torch.stack([1 - target, target], dim=2) * asked[:, :, None]  # zeros: a pair that is not asked
        return {"binary": contrast(scores.flatten(0, 1), shares.flatten(0, 1).to(scores), row_weight=weight)}

    @staticmethod
    def _weight(state: ClassPrototypes, target: Tensor) -> Tensor:
        seen = state.seen.to(target.device, collectives.widest(target.device))
        weight = seen.sum(dim=1, keepdim=True) / (2 * seen.clamp(min=1))  # (L, 2)
        chosen = weight.expand(len(target), -1, -1).gather(2, target.clamp(min=0)[:, :, None])
        return chosen.flatten()
