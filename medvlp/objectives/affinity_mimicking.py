"""Affinity mimicking (TinyCLIP, Wu et al. 2023): images and texts lie to each other as they do for a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._mimicry import affinity, mixed
from medvlp.objectives._targets import Relation


class AffinityMimicking(Compared):
    r"""Cross entropy between the teachers' and the student's distribution of a row over everybody's columns.

    L = 1/2 [ mean over image rows of CE(q, softmax(s v t^T)) + the same from texts to images ], with

        q = h I + (1 - h) mean over teachers k of softmax(s_k v_k t_k^T).

    A teacher says of every pair of the batch how near it is, not only which one is true: so a small student gets more
    from a sample, and two reports that mean the same are no longer forced apart. With h = 0 this is TinyCLIP's loss,
    with several teachers whose rows were stored MobileCLIP's distillation (lambda = 1 - h), and with h = 1 `clip`. As
    cross entropy is linear in its target, h mixes the two losses as their weights would.

    Args:
        teachers: states that encode, such as ``frozen`` and ``stored``; of widths and scales of their own.
        image: view of the images.
        text: view of the texts.
        score: component of `models/scores`, the student's.
        own: h, the share of the pairs that belong together.
        teacher_scale: s_k of all teachers, 100 in MobileCLIP; None: each one's own.
        scale: fixed s of the student, 50 in TinyCLIP's recipes; None: its own.
        positives: which texts belong to an image, where h is not 0.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight. Their least value is the teachers' entropy.

    Raises:
        ConfigError: without teachers.

    References:
        Wu et al. 2023 (TinyCLIP), eq. 1-3; Vasu et al. 2024 (MobileCLIP), eq. 2-4 (ensemble, lambda).

    Note:
        What a teacher takes for alike the student will too: one that was trained on other images, and cannot tell left
        from right or a denial from a finding, hands that on. Evaluate the teacher first.

    Example:
        >>> import torch
        >>> objective = AffinityMimicking(teachers=["t"], teacher_scale=1.0)
        >>> rows = {str(key): torch.eye(2) for key in objective.needs() if key.part}
        >>> terms = objective(Context.of(rows, {"text": ["a", "b"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # the entropy of (0.731, 0.269)
        0.5822
    """

    def __init__(
        self,
        *,
        teachers: Sequence[str],
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        own: Annotated[float, Field(ge=0, le=1)] = 0.0,
        teacher_scale: Annotated[float, Field(gt=0)] | None = None,
        scale: Annotated[float, Field(gt=0)] | None = None,
        positives: Relation = "same_report",
    ) -> None:
        if not teachers:
            raise ConfigError("teachers of objective 'affinity_mimicking' is empty: name states that encode.")
        name = "affinity_mimicking"
        super().__init__(objective=name, image=image, text=text, score=score, positives=positives, exclude="none")
        self.teachers = tuple(teachers)
        self.own = own
        self.teacher_scale = teacher_scale
        self.scale = scale

    def needs(self) -> frozenset[Key]:
        """What the student's score reads, and the teachers' embeddings of both views."""
        views = (self.image, self.text)
        return super().needs() | keys(*(f"{name}:{view}/embedding" for name in self.teachers for view in views))

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        scores = self._similarity(ctx, rows, columns)
        if self.scale is not None:
            fixed = self.scale
            scores = scores.at(lambda cosines: fixed * cosines)

        def target(part: slice) -> Tensor:
            soft = affinity(ctx, self.teachers, rows, columns, scale=self.teacher_scale, part=part)
            return mixed(self._pairs(ctx, rows, columns, part).target, soft, self.own)

        return contrast(scores, target)
