"""iBOT (Zhou et al. 2022): hidden patches of a picture are told apart as a teacher who sees them tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.schedules import Number, ends_of, value_at
from medvlp.core.term import Terms
from medvlp.models.heads.dino import DinoHead
from medvlp.objectives._contrast import contrast
from medvlp.objectives._sinkhorn import sinkhorn


class Ibot(Objective):
    r"""Cross entropy of the student's distribution over prototypes of a hidden patch to the teacher's of that patch.

    The student sees a view with patches hidden by the patch `masked_image`, the teacher (its moving average) sees it
    whole. With M_i the hidden patches of row i, and g the cosines of a patch's token with K prototypes,

        L = mean over rows i that have hidden patches of mean over j in M_i of CE(Q_ij, softmax(g_s(i, j) / tau_s)),

    Q the equal shares (Sinkhorn at epsilon = tau_t) of all hidden patches of the step by the teacher's scores. Only
    hidden patches meet the prototypes, so K may be large; prototypes are of this objective's own, as in DINOv2.

    Args:
        teacher: state `ema` of the student.
        view: the view with hidden patches.
        student_temperature: tau_s.
        teacher_temperature: tau_t, or a ramp of it in samples.
        iterations: see `sinkhorn`.
        hidden: width of the head's hidden layers.
        layers: of the head, before the prototypes.
        bottleneck: width in which patches meet prototypes.
        prototypes: K.
        head: name of the head.

    Returns:
        ``hidden``; a row without hidden patch adds nothing (DINOv2's code counts it as 0).

    References:
        Zhou et al. 2022, eq. 2; Oquab et al. 2023 (DINOv2), section 4: untied heads, Sinkhorn-Knopp centring.

    Note:
        It teaches what usually is at a place: where a finding is hidden whole the answer is the normal lung, so it
        belongs beside a term that reads reports or labels.

    Example:
        >>> sorted(map(str, Ibot(view="image.large").needs()))
        ['ema:image.large/tokens', 'image.large/hidden', 'image.large/tokens', 'state:ema']
    """

    def __init__(
        self,
        *,
        teacher: str = "ema",
        view: str = "image.large",
        student_temperature: Annotated[float, Field(gt=0)] = 0.1,
        teacher_temperature: Number = 0.04,
        iterations: Annotated[int, Field(ge=1)] = 3,
        hidden: Annotated[int, Field(ge=1)] = 2048,
        layers: Annotated[int, Field(ge=1)] = 3,
        bottleneck: Annotated[int, Field(ge=1)] = 256,
        prototypes: Annotated[int, Field(ge=2)] = 65536,
        head: str = "ibot",
    ) -> None:
        super().__init__()
        for end in ends_of(teacher_temperature):
            if not end > 0:
                raise ConfigError(f"teacher_temperature of objective 'ibot' is {end}: use a number above 0.")
        self.teacher = teacher
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.iterations = iterations
        self.head = head
        self._tokens, self._hidden, self._taught = f"{view}/tokens", f"{view}/hidden", f"{teacher}:{view}/tokens"
        sizes = {"hidden": hidden, "layers": layers, "bottleneck": bottleneck, "prototypes": prototypes}
        self._head = HeadSpec("dino", {**sizes, "reads": "tokens", "stage": "call"})

    def needs(self) -> frozenset[Key]:
        """Tokens of the view by both, and which of the student's were hidden."""
        return keys(f"state:{self.teacher}", self._tokens, self._hidden, self._taught)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The network and its prototypes, which the teacher has too."""
        return {self.head: self._head}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        owner, hidden = ctx.owner(self._tokens), ctx[self._hidden]
        row, place = hidden.nonzero(as_tuple=True)
        student = cast("DinoHead", ctx.heads[self.head]).scores(ctx[self._tokens][row, place])
        target = self._target(ctx, ctx[self._taught][row, place], owner[row])
        weight = 1 / hidden.sum(dim=1)[row].to(student)
        return {"hidden": contrast(student / self.student_temperature, target, row_weight=weight)}

    @torch.no_grad()
    def _target(self, ctx: Context, tokens: Tensor, owner: Tensor) -> Tensor:
        """Return the teacher's equal shares of own hidden patches (P, W), (P, K)."""
        model = getattr(ctx.state[self.teacher], "model", None)
        if model is None or self.head not in model.heads:
            raise ConfigError(
                f"The teacher {self.teacher!r} has no head {self.head!r}: objective 'ibot' needs a state 'ema' that "
                "follows the student."
            )
        everybody = ctx.gather(cast("DinoHead", model.heads[self.head]).scores(tokens), owner)
        temperature = value_at(self.teacher_temperature, ctx.samples_seen)
        shares = sinkhorn(everybody.values, epsilon=temperature, iterations=self.iterations)
        return shares[torch.isin(everybody.owner, owner)]
