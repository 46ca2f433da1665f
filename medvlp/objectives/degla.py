"""DeGLA (Hu et al. 2025): hard negatives before the image and before the text, and a teacher that holds the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term, Terms
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._facts import true_of
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._targets import Exclusion, Relation, related
from medvlp.objectives._tiles import by_tiles
from medvlp.objectives.hard_negatives import HardNegatives
from medvlp.text.facts import stated_field


class Degla(Compared):
    r"""CLIP with false copies among the texts, two contrasts with a sample's own copies, and self-distillation.

    With v and t unit embeddings, n the false copies, v' t' n' what the teacher makes of the same pictures and texts::

        base    = 1/2 CE of images over all texts and all copies + 1/2 CE of texts over all images
        image   = mean of -log e^{s v t} / (e^{s v t} + sum over own n of e^{s v n})            (image-grounded)
        text    = mean of -log e^{10 t t'} / (e^{10 t t'} + sum over own n of e^{10 t n})       (text-grounded)
        distill = sum of |v - v'|^2 + |t - t'|^2 + |n - n'|^2, divided by the number of images
        L       = base + 0.1 image + 0.1 text + 1.28 distill

    A text stays near what the teacher makes of it and leaves its own false copies, which no image is needed for; the
    teacher, an average of the student, keeps what was learnt before. Only a sample's own copies enter `image` and
    `text`. Without copies and distillation it is `clip`.

    Args:
        image, positives: as in `clip`.
        teacher: state that encodes: ``ema`` as in the paper (a decay of 0.9996 at steps of 256 samples is a horizon of
            640,000), or ``frozen``.
        text: view of the true texts.
        negative: view of the false copies, as ``hard_negative`` or ``other_side`` writes them.
        exclude: as in `clip`; copies of other samples are left out by it too (``true_of``: a copy that is false of its
            own picture and true of this one), a sample's own never.
        image_grounded: weight of `image`.
        text_grounded: weight of `text`.
        distillation: weight of `distill`; the paper sums over a batch of 256 at 0.005.
        text_scale: the factor 10.

    Returns:
        ``image_to_text``, ``text_to_image``, ``image_grounded``, ``text_grounded`` and ``distillation``, weighted.

    Note:
        A copy of a report is often true of another patient, whose report says nearly the same; ``exclude: none``
        teaches it as false. The teacher must know something: begin with a phase of `clip`, or with a bundle.

    References:
        Hu et al. 2025 (DeGLA), section 3.

    Example:
        >>> rows = {"image": torch.eye(2), "text": torch.eye(2), "text.negative": torch.eye(2)[[1]]}
        >>> objective = Degla()
        >>> at = {str(key): rows[key.view] for key in objective.needs() if key.part}
        >>> terms = objective(Context.of(at, {"text": ["left", "right"]}))
        >>> {name: round(term.value().item(), 4) for name, term in terms.items() if "grounded" in name}
        {'image_grounded': 0.0313, 'text_grounded': 0.0}
    """

    def __init__(
        self,
        *,
        teacher: str = "ema",
        image: str = "image",
        text: str = "text",
        negative: str = "text.negative",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        image_grounded: Annotated[float, Field(ge=0)] = 0.1,
        text_grounded: Annotated[float, Field(ge=0)] = 0.1,
        distillation: Annotated[float, Field(ge=0)] = 1.28,
        text_scale: Annotated[float, Field(gt=0)] = 10.0,
    ) -> None:
        super().__init__(objective="degla", image=image, text=text, score="dot", positives=positives, exclude=exclude)
        self.teacher, self.negative, self.text_scale = teacher, negative, text_scale
        self.image_grounded, self.text_grounded, self.distillation = image_grounded, text_grounded, distillation
        self._of_image = HardNegatives(image=image, text=text, negative=negative)

    def needs(self) -> frozenset[Key]:
        """Embeddings of the three views by student and teacher, and what tells who is the same."""
        read = [f"{view}/embedding" for view in (self.image, self.text, self.negative)]
        facts = [stated_field(self.negative)] if self.exclude == "true_of" else []
        return super().needs() | keys(*read, *(f"{self.teacher}:{key}" for key in read), *facts)

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What reads the facts of texts and of copies, where they are compared."""
        return (*super().data_views(), *({"name": "facts", "field": self.negative},) * (self.exclude == "true_of"))

    def forward(self, ctx: Context) -> Terms:
        """Return the five terms."""
        return {
            "image_to_text": self._among_copies(ctx).times(0.5),
            "text_to_image": self.summed(ctx, self.text, self.image, contrast).times(0.5),
            "image_grounded": self._of_image(ctx)["own_text"].times(self.image_grounded),
            "text_grounded": self._of_text(ctx).times(self.text_grounded),
            "distillation": self._distilled(ctx).times(self.distillation),
        }

    def _among_copies(self, ctx: Context) -> Term:
        both = {"rows": f"{self.image}/embedding", "columns": f"{self.negative}/embedding"}
        copies = Similarity({"embedding": ctx[both["rows"]]}, {"embedding": ctx.all(both["columns"])}, self.score)

        def term(scores: Tensor, part: slice) -> Term:
            found = self._pairs(ctx, self.image, self.text, part)
            unfit = nothing = found.target.new_zeros(len(scores), copies.shape[1])
            if self.exclude == "true_of":
                unfit = true_of(ctx, **both, text=self.negative, part=part)
            elif self.exclude != "none":
                unfit = related(ctx, self.exclude, **both, text=self.text, part=part)
            own = ctx.same("sample", **both, part=part)
            exclude = torch.zeros_like(found.target) if found.exclude is None else found.exclude
            exclude = torch.cat([exclude, unfit & ~own], dim=1)
            return contrast(scores, torch.cat([found.target, nothing], dim=1), exclude=exclude)

        return by_tiles(self._similarity(ctx, self.image, self.text).beside(copies), term)

    def _of_text(self, ctx: Context) -> Term:
        text, taught = self._both(ctx, self.text)
        copies = f"{self.negative}/embedding"
        own = ctx.owner(f"{self.text}/embedding")[:, None] == ctx.owner(copies)
        scores = torch.cat([(text * taught).sum(dim=1, keepdim=True), text @ ctx[copies].T], dim=1)
        return contrast(
            self.text_scale * scores,
            torch.zeros(len(text), dtype=torch.int64, device=text.device),
            exclude=torch.cat([own.new_zeros(len(own), 1), ~own], dim=1),
            row_weight=own.any(dim=1).to(torch.float32),
        )

    def _distilled(self, ctx: Context) -> Term:
        pairs = [self._both(ctx, view) for view in (self.image, self.text, self.negative)]
        apart = sum(((own - taught).square().sum() for own, taught in pairs), start=pairs[0][0].new_zeros(()))
        return Term(apart, torch.tensor(float(len(pairs[0][0])), dtype=apart.dtype, device=apart.device))

    def _both(self, ctx: Context, view: str) -> tuple[Tensor, Tensor]:
        return ctx[f"{view}/embedding"], ctx[f"{self.teacher}:{view}/embedding"].detach()
