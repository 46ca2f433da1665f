"""Img-Diff (Jiao et al. 2025): two studies that differ in one finding, and the words that tell which is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._labels import labels_of
from medvlp.objectives._targets import Exclusion


class ImgDiff(Compared):
    r"""An image tells its report from those of samples that have one finding more or less, and a report its image.

    With D(i) the samples of the step (of all processes) whose labels differ from those of i in one finding,
    averaged over the i that have one::

        L = 1/2 mean -log( e^{s v_i t_i} / (e^{s v_i t_i} + sum over j in D(i) of e^{s v_i t_j}) )
          + 1/2 mean -log( e^{s v_i t_i} / (e^{s v_i t_i} + sum over j in D(i) of e^{s v_j t_i}) )

    The paper makes such pairs of images with a diffusion model and captions what differs. A cohort has them: a patient
    before and after, or two patients; the sampler ``img_diff`` brings them into one batch. Each stands as often on one
    side as on the other, so that base rates tell nothing.

    Args:
        labels: findings that are compared (fields ``label.LABEL``); both samples know the one that differs, and both
            know or both do not know each other one.
        most: most findings in which two samples of a pair differ.
        image: view of the images.
        text: view of the texts.
        exclude: as in `clip`: with ``true_of`` a text that does not say what differs is no negative.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight; a sample without a partner adds nothing.

    Raises:
        ConfigError: without labels.

    Note:
        Labels do not say everything: another size, side or device differs too, and the model may go by that. Pairs of
        one patient differ least in what is no finding.

    References:
        Jiao et al. 2025 (Img-Diff), section 3: object replacement; the loss is the hard-negative form of `clip`.

    Example:
        >>> rows = {"image/embedding": torch.eye(3), "text/embedding": torch.eye(3)}
        >>> labels = {"label.effusion": torch.tensor([1.0, 0.0, 0.0]), "label.nodule": torch.tensor([0.0, 0.0, 0.0])}
        >>> terms = ImgDiff(labels=["effusion", "nodule"])(Context.of(rows, labels))
        >>> round(terms["image_to_text"].value().item(), 4)  # half of (log(1 + 2/e) + 2 log(1 + 1/e)) / 3
        0.1963
    """

    def __init__(
        self,
        *,
        labels: Sequence[str],
        most: Annotated[int, Field(ge=1)] = 1,
        image: str = "image",
        text: str = "text",
        exclude: Exclusion = "none",
    ) -> None:
        super().__init__(objective="img_diff", image=image, text=text, score="dot", positives="own", exclude=exclude)
        if not labels:
            raise ConfigError("labels of objective 'img_diff' is empty: name the findings in which studies may differ.")
        self.labels, self.most = tuple(labels), most

    def needs(self) -> frozenset[Key]:
        """Embeddings of both views, the labels, and what `exclude` compares."""
        return super().needs() | keys(*(f"label.{label}" for label in self.labels))

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        scores, found = self.between(ctx, rows, columns)
        apart = self._apart(ctx, f"{rows}/embedding", f"{columns}/embedding")
        negative = apart & ~found.target if found.exclude is None else apart & ~found.target & ~found.exclude
        weight = negative.any(dim=1).to(torch.float32)
        return contrast(scores, found.target, exclude=~(found.target | negative), row_weight=weight)

    def _apart(self, ctx: Context, rows: str, columns: str) -> Tensor:
        """Whether own rows and everybody's columns differ in a few findings that both know, bool (R, C)."""
        own, other = (self._findings(ctx, key) for key in (rows, columns))
        every = ctx.gather(other, ctx.owner(columns)).values
        differ = own[:, None] != every[None]
        known = (own[:, None] >= 0) & (every[None] >= 0)
        count = differ.sum(dim=2)
        return (count >= 1) & (count <= self.most) & ~(differ & ~known).any(dim=2)

    def _findings(self, ctx: Context, key: str) -> Tensor:
        """Return the labels beside own rows of a key, (R, L); -1 where unknown."""
        values, known = labels_of(ctx, key, self.labels)
        return torch.where(known, values, -1.0)
