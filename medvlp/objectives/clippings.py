"""CLIPPINGS (Arora et al. 2023): records that are the same are found by one embedding of image and text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._rows import first_partners


class Clippings(Objective):
    r"""Supervised contrast of the pooled embedding of a record: its image and its text in one vector.

    With E = unit(w v + (1 - w) t) of each record with an image and a text, P(i) the other records with the same value
    of a field and A(i) all other records, of all processes,

        L = mean over records i with P(i) not empty of
            -1/|P(i)| sum_{p in P(i)} log( e^{E_i . E_p / T} / sum_{a in A(i)} e^{E_i . E_a / T} ).

    Records of one identity then lie together, whether it is the image or the text that tells; those far apart are
    linked by their nearest neighbour, or by single linkage under a distance that is chosen on validation. A batch needs
    several records of a value: the sampler ``m_per_class`` sees to it, and puts values that look alike together. With
    w = 1 images alone take part, with w = 0 texts alone.

    Args:
        by: field whose equal values are one class: ``id.patient``, ``id.study``, a label. A missing value, or an
            uncertain label (-1), equals nothing, its record is a negative of all.
        image: view of the images.
        text: view of the texts; of several of a sample the first counts.
        image_share: w. The paper trains with 1/2 and chooses another w for linking.
        temperature: T.

    Returns:
        ``records``.

    References:
        Arora et al. 2023, second stage, T = 0.1; Khosla et al. 2020, eq. 2.

    Note:
        By patient it learns to recognise people: good for duplicates and leaks between splits, but a released model can
        then tie an anonymous film to a name, and what changes between two studies is what it unlearns. Split by patient
        before, and keep such a model for audits.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(3), "text/embedding": torch.eye(3)}
        >>> term = Clippings()(Context.of(rows, {"text": list("abc"), "id.patient": ["p", "p", "q"]}))["records"]
        >>> round(term.value().item(), 4), term.count.item()  # one of two others, as far away; q has no other record
        (0.6931, 2.0)
    """

    def __init__(
        self,
        *,
        by: str = "id.patient",
        image: str = "image",
        text: str = "text",
        image_share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        super().__init__()
        self.by = by
        self.image_share = image_share
        self.temperature = temperature
        self._views = (f"{image}/embedding", f"{text}/embedding")

    def needs(self) -> frozenset[Key]:
        """Embeddings of both, and the field."""
        return keys(*self._views, self.by)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        image, text = self._views
        rows, of_text = first_partners(ctx.owner(image), ctx.owner(text))
        columns, of_texts = first_partners(ctx.all_owner(image), ctx.all_owner(text))
        w = self.image_share
        own = unit(w * ctx[image][rows] + (1 - w) * ctx[text][of_text])
        everybody = unit(w * ctx.all(image)[columns] + (1 - w) * ctx.all(text)[of_texts])
        same = ctx.same(self.by, rows=image, columns=image)[rows][:, columns]
        itself = ctx.own(image)[rows][:, None] == columns[None, :]
        return {"records": contrast(own @ everybody.T / self.temperature, same & ~itself, exclude=itself)}
