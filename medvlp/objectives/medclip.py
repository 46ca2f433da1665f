"""MedCLIP (Wang et al. 2022): images and texts are as near as their findings are alike, paired or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._labels import labels_of


class Medclip(Compared):
    r"""Semantic matching: cross entropy between the similarity of findings and the similarity of embeddings.

    L = 1/2 [ mean over image rows i of CE(q_i, softmax(s v_i t^T)) + the same from texts to images ], with

        q_ij = exp(l_i . l_j / tau) / sum over j' of exp(l_i . l_j' / tau).

    l is the vector of a sample's findings: 1 present, 0 absent or not known, 1/2 uncertain; and one entry more, 1 where
    something is known and nothing is present or uncertain: without it normal films would be like nothing, not even each
    other. A pair of one sample is nothing special, so samples may have an image and labels, or a text and labels, only:
    films without reports and reports without films train together.

    Args:
        image, text, score: as in `clip`.
        labels: the K findings that are compared.
        similarity: ``dot`` counts shared findings, as the public code does; ``cosine`` is the paper's.
        temperature: tau of the targets, 1 in the paper; smaller is sharper.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight. A row of whose labels none is known adds nothing
        and is nobody's column.

    Raises:
        ConfigError: without labels.

    References:
        Wang et al. 2022 (MedCLIP), eq. 3-6.

    Note:
        What the labels do not name is taken for alike: left and right, small and large, old and new. Beside `clip` it
        softens false negatives; alone it can teach no more than the labels say. At tau = 1 the targets of a large batch
        are almost uniform.

    Example:
        >>> objective = Medclip(labels=["effusion"])
        >>> rows = {str(key): torch.eye(2) for key in objective.needs() if key.part}
        >>> terms = objective(Context.of(rows, {"text": ["a", "b"], "label.effusion": torch.tensor([1.0, 0.0])}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # the entropy of (0.731, 0.269)
        0.5822
    """

    def __init__(
        self,
        *,
        labels: Sequence[str],
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        similarity: Literal["dot", "cosine"] = "dot",
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        if not labels:
            raise ConfigError("labels of objective 'medclip' is empty: name the findings by which samples are alike.")
        super().__init__(objective="medclip", image=image, text=text, score=score, positives="own", exclude="none")
        self.labels = tuple(labels)
        self.similarity = similarity
        self.temperature = temperature

    def needs(self) -> frozenset[Key]:
        """What the score reads of both views, and the labels."""
        return super().needs() | keys(*(f"label.{label}" for label in self.labels))

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        scores = self._similarity(ctx, rows, columns)
        part = self.score.reads[0]
        key, others = f"{rows}/{part}", f"{columns}/{part}"
        own, known = self._findings(ctx, key)
        vectors, there = self._findings(ctx, others)
        every = ctx.gather(torch.cat([vectors, there[:, None].to(vectors)], dim=1), ctx.owner(others)).values
        vectors, there = every[:, :-1], every[:, -1] > 0

        def target(part: slice) -> Tensor:
            alike = own[part] @ vectors.T / self.temperature
            valid = known[part, None] & there[None, :]
            soft = torch.where(valid, alike, torch.finfo(alike.dtype).min).softmax(dim=1)
            return torch.where(valid, soft, 0.0).to(ctx[key].dtype)

        return contrast(scores, target, exclude=lambda part: (~there).expand(len(own[part]), -1))

    def _findings(self, ctx: Context, key: str) -> tuple[Tensor, Tensor]:
        """Return the vector of findings of each own row, (R, K + 1), and whether anything is known of it."""
        uncertain = dict.fromkeys(self.labels, 0.5)
        values, known = labels_of(ctx, key, self.labels, uncertain=uncertain)
        labelled = known.any(dim=1)
        normal = labelled & (values.sum(dim=1) == 0)
        vectors = torch.cat([values, normal[:, None].to(values)], dim=1)
        return (unit(vectors) if self.similarity == "cosine" else vectors), labelled
