"""CLIP-Refine (Yamaguchi et al. 2025): a short second training that closes the gap between images and texts."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.schedules import Number, value_at
from medvlp.core.term import Term, Terms
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._draws import normal
from medvlp.objectives._mimicry import affinity, mixed
from medvlp.objectives._targets import Relation
from medvlp.objectives._tiles import by_tiles


class ClipRefine(Compared):
    r"""Hybrid contrastive distillation, and random feature alignment: two terms that hold each other.

    L = 1/2 sum over directions of T^2 KL(q || softmax(s v t^T / T)) + w [ MSE(f_I, z) + MSE(f_T, z) ], with

        q = alpha I + (1 - alpha) softmax(s_0 v_0 t_0^T / T).

    v and t are unit embeddings, f_I and f_T the raw ones, v_0, t_0 and s_0 the teacher's, which is the model as it was.
    z is drawn anew for every sample and step, and is the same for its image and its text. As |i - z|^2 + |t - z|^2 =
    2 |z - m|^2 + |i - t|^2 / 2 with m the mean of the two, that term draws a pair together and all pairs towards one
    distribution, where the modalities no longer lie apart. Alone it would undo what was learnt: the distillation keeps
    it. The public code leaves s out, although features of unit length need one; here it is the model's.

    Args:
        image, text, positives: as in `clip`.
        teacher: state that encodes, a ``frozen`` copy of the model.
        alpha: share of the pairs that belong together in q; 1 is `clip`, 0 plain distillation.
        temperature: T.
        random_weight: w, a number or a ramp; 0 leaves the random term out.
        prior: of z: normal, or uniform with the same mean and deviation.
        mean: of z in each dimension.
        deviation: standard deviation of z in each dimension.

    Returns:
        ``image_to_text`` and ``text_to_image`` at half weight, and ``image_random`` and ``text_random``.

    References:
        Yamaguchi et al. 2025 (CLIP-Refine), section 4: random feature alignment and hybrid contrastive-distillation.

    Note:
        A gap that is closed makes cosines of images and texts larger as a whole: thresholds and calibration of the
        model as it was are no longer right, and what the new hospital's reports never say is held by the teacher alone.

    Example:
        >>> from medvlp.state.frozen import Frozen
        >>> objective = ClipRefine(teacher="before", alpha=1.0, random_weight=0.0)
        >>> rows = {str(key): torch.eye(2) for key in objective.needs() if key.part}
        >>> teacher = Frozen()
        >>> teacher._model = torch.nn.Module()
        >>> teacher._model.scale = torch.nn.Identity()
        >>> ctx = Context.of(rows, {"text": ["a", "b"]}, states={"before": teacher})
        >>> round(objective(ctx)["image_to_text"].value().item(), 4)  # half of log(1 + 1/e), as `clip` has it
        0.1566
    """

    def __init__(
        self,
        *,
        teacher: str,
        image: str = "image",
        text: str = "text",
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        positives: Relation = "same_report",
        random_weight: Number = 1.0,
        prior: Literal["normal", "uniform"] = "normal",
        mean: float = 0.0,
        deviation: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        name = "clip_refine"
        super().__init__(objective=name, image=image, text=text, score="dot", positives=positives, exclude="none")
        self.teacher = teacher
        self.alpha = alpha
        self.temperature = temperature
        self.random_weight = random_weight
        self.prior = prior
        self.mean, self.deviation = mean, deviation

    def needs(self) -> frozenset[Key]:
        """Embeddings by student and teacher, and the student's raw ones."""
        views = (self.image, self.text)
        asked = (name for view in views for name in (f"{view}/raw", f"{self.teacher}:{view}/embedding"))
        return super().needs() | keys(*asked)

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions, and what draws each view to its sample's random vector."""
        weight = value_at(self.random_weight, ctx.samples_seen)
        return {
            **super().forward(ctx),
            "image_random": self._random(ctx, f"{self.image}/raw").times(weight),
            "text_random": self._random(ctx, f"{self.text}/raw").times(weight),
        }

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        def term(scores: Tensor, part: slice) -> Term:
            soft = affinity(ctx, [self.teacher], rows, columns, temperature=self.temperature, part=part)
            target = mixed(self._pairs(ctx, rows, columns, part).target, soft, self.alpha)
            found = contrast(scores / self.temperature, target)
            # Cross entropy less the target's own entropy: 0 where the student is what it is held to.
            return Term(found.sum + torch.special.xlogy(target, target).sum(), found.count)

        return by_tiles(self._similarity(ctx, rows, columns), term).times(self.temperature**2)

    def _random(self, ctx: Context, key: str) -> Term:
        raw = ctx[key]
        return Term.of((raw - self._drawn(ctx, raw)[ctx.parts[parse_key(key)].owner]).square().mean(dim=1))

    def _drawn(self, ctx: Context, raw: Tensor) -> Tensor:
        """Return z of each own sample, (B, D)."""
        share = ctx.uniform(raw.shape[1], name="clip_refine")
        wide = share.to(collectives.widest(share.device))
        unit = normal(share) if self.prior == "normal" else 12**0.5 * (wide + 2.0**-25 - 0.5)
        return (self.mean + self.deviation * unit).to(raw)
