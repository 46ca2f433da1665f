"""DINO (Caron et al. 2021): every crop of a picture is told apart as a slow teacher tells its large crops apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.schedules import Number, ends_of, value_at
from medvlp.core.term import Term, Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._sinkhorn import sinkhorn


class _Centred(Protocol):
    def centre(self, part: str) -> Tensor: ...


class Dino(Objective):
    r"""Cross entropy of the student's distribution over prototypes of one crop to the teacher's of another.

    With g the cosines of a crop with K prototypes (head `dino`), of the student g_s and of its moving average g_t,

        L = mean over pairs (large crop a, other crop b of the same sample) of CE(P_a, softmax(g_s(b) / tau_s)),

    P_a = softmax((g_t(a) - c) / tau_t) with c the running mean of the teacher's scores, or, with ``sinkhorn``, the
    equal shares of all teacher rows of the step at epsilon = tau_t. A crop is never compared with itself. The teacher
    sees large crops only, the student all: what a small crop shows is read as part of the whole picture. A view may
    have several rows a sample, as ``crops`` makes them. No text takes part.

    Args:
        teacher: state `ema`; with ``mean`` it keeps the centre: ``centre: [image.large/dino]`` names every large view.
        large: views that the teacher sees too.
        small: views of the student alone.
        student_temperature: tau_s.
        teacher_temperature: tau_t, or a ramp of it in samples: DINOv2 warms it from 0.04 to 0.07.
        centring: ``mean`` (DINO) or ``sinkhorn`` (DINOv2).
        hidden: width of the head's hidden layers.
        layers: of the head, before the prototypes.
        bottleneck: width in which crops meet prototypes.
        prototypes: K; 65,536 in the papers, far fewer for small batches.
        head: name of the head.

    Returns:
        ``crops``.

    Raises:
        ConfigError: without a second crop, or if a view is named twice.

    References:
        Caron et al. 2021, eq. 2 and 3, algorithm 1; Oquab et al. 2023 (DINOv2), section 4; on chest films
        Perez-Garcia et al. 2024 (RAD-DINO).

    Note:
        Crops must not mirror, and those of a film must stay large enough that a small finding is still one: two crops
        that share no lung are told to agree all the same, so findings at the edge are the first to be forgotten.

    Example:
        >>> sorted(map(str, Dino(large=["image.large"], small=["image.local"]).needs()))
        ['ema:image.large/dino', 'image.large/dino', 'image.local/dino', 'state:ema']
    """

    def __init__(
        self,
        *,
        teacher: str = "ema",
        large: Sequence[str] = ("image.large",),
        small: Sequence[str] = ("image.local",),
        student_temperature: Annotated[float, Field(gt=0)] = 0.1,
        teacher_temperature: Number = 0.04,
        centring: Literal["mean", "sinkhorn"] = "mean",
        hidden: Annotated[int, Field(ge=1)] = 2048,
        layers: Annotated[int, Field(ge=1)] = 3,
        bottleneck: Annotated[int, Field(ge=1)] = 256,
        prototypes: Annotated[int, Field(ge=2)] = 65536,
        head: str = "dino",
    ) -> None:
        super().__init__()
        for end in ends_of(teacher_temperature):
            if not end > 0:
                raise ConfigError(f"teacher_temperature of objective 'dino' is {end}: use a number above 0.")
        self.large, self.views = tuple(large), (*large, *small)
        if not large or len(set(self.views)) < len(self.views):
            raise ConfigError(
                f"Objective 'dino' has the views {', '.join(self.views) or 'none'}: name a large one, and each once."
            )
        self.teacher = teacher
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.centring = centring
        self.head = head
        sizes = {"hidden": hidden, "layers": layers, "bottleneck": bottleneck, "prototypes": prototypes}
        self._head = HeadSpec("dino", sizes)

    def needs(self) -> frozenset[Key]:
        """Scores of all views by the student, of the large ones by the teacher."""
        student = (f"{view}/{self.head}" for view in self.views)
        return keys(f"state:{self.teacher}", *student, *(f"{self.teacher}:{view}/{self.head}" for view in self.large))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The network and its prototypes, which the teacher has too."""
        return {self.head: self._head}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        total: Term | None = None
        for large, taught in zip(self.large, self._taught(ctx), strict=True):
            above = ctx.owner(f"{large}/{self.head}")
            for view in self.views:
                owner = ctx.owner(f"{view}/{self.head}")
                pairs = (owner[:, None] == above[None, :]).to(taught)
                if view == large:
                    pairs.fill_diagonal_(0)
                # The cross entropy is linear in its target: that to the mean, as often as there are pairs.
                count = pairs.sum(dim=1)
                target = (pairs @ taught) / count.clamp(min=1)[:, None]
                term = contrast(ctx[f"{view}/{self.head}"] / self.student_temperature, target, row_weight=count)
                total = term if total is None else total + term
        assert total is not None
        return {"crops": total}

    @torch.no_grad()
    def _taught(self, ctx: Context) -> list[Tensor]:
        """Return the teacher's distribution of own rows of each large view, (R, K)."""
        seen = [f"{self.teacher}:{view}/{self.head}" for view in self.large]
        temperature = value_at(self.teacher_temperature, ctx.samples_seen)
        if self.centring == "sinkhorn":
            every = [ctx.all(key) for key in seen]
            shares = sinkhorn(torch.cat(every), epsilon=temperature).split([len(rows) for rows in every])
            return [share[ctx.own(key)] for share, key in zip(shares, seen, strict=True)]
        centre = cast("_Centred", ctx.state[self.teacher]).centre(self.head)
        return [((ctx[key] - centre.to(ctx[key])) / temperature).softmax(dim=1) for key in seen]
