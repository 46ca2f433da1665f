"""UniME's first stage (Gu et al. 2025): texts lie to each other as a stronger encoder of texts says they do."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._tiles import by_tiles


class UnimeDistill(Objective):
    r"""Textual discriminative distillation: divergence of the rows of two similarity matrices.

    L = 1/N sum_i KL( softmax_j(h_i . h_j / T) || softmax_j(e_i . e_j / T) ) over the texts of all processes, h the
    teacher's embeddings and e the student's, both at unit length. Only similarities are compared, so that the teacher
    may have any width, and an image tower is not needed: it is a phase of texts alone. The loss is 0 if and only if
    the softmaxed rows are equal. Nothing flows into the teacher. A text without a stored vector is left out, as a row
    and as a column.

    A row is compared with itself as well, as in the paper, at cosine 1: with T = 0.02 it outweighs a text at cosine 0.8
    by e^10. Reports, which are much alike, leave something for the others; of unlike texts little is taught.

    Args:
        teacher: key of the teacher's rows: ``frozen:text/embedding`` of a state that encodes, or a field with one
            stored vector a sample, ``vector.teacher``.
        text: view of the texts.
        temperature: T of both.

    Returns:
        ``texts``.

    References:
        Gu et al. 2025, textual discriminative knowledge distillation; there the student is a language model with
        adapters, and the teacher NV-Embed v2.

    Note:
        The teacher's errors are taken over. A general encoder of sentences puts "effusion" and "no effusion" next to
        each other: measure a teacher on negated and side-exchanged pairs before it teaches.

    Example:
        >>> import torch
        >>> objective = UnimeDistill(teacher="frozen:text/embedding", temperature=1.0)
        >>> rows = {"text/embedding": torch.eye(2)[[0, 0]], "frozen:text/embedding": torch.eye(2)}
        >>> ctx = Context.of(rows, {"text": ["a", "b"]})
        >>> round(objective(ctx)["texts"].value().item(), 4)  # of (0.731, 0.269) from (1/2, 1/2)
        0.1109
    """

    def __init__(self, *, teacher: str, text: str = "text", temperature: Annotated[float, Field(gt=0)] = 0.02) -> None:
        super().__init__()
        self.teacher = teacher
        self.temperature = temperature
        self._text = f"{text}/embedding"

    def needs(self) -> frozenset[Key]:
        """Embeddings of the texts by both."""
        return keys(self._text, self.teacher)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        everybody, known = self._taught(ctx)
        own = ctx.own(self._text)

        def term(scores: Tensor, part: slice) -> Term:
            rows = own[part]
            alike = (everybody[rows] @ everybody.T / self.temperature).masked_fill(~known, -torch.inf)
            # Where nothing is known all are -inf, and their softmax is none.
            target = torch.where(known[rows][:, None], alike.softmax(dim=1), 0.0).detach()
            found = contrast(scores, target, exclude=(~known).expand(scores.shape))
            return Term(found.sum + target.xlogy(target).sum(), found.count)

        scores = Similarity(ctx[self._text], ctx.all(self._text), lambda a, b: (a / self.temperature) @ b.T)
        return {"texts": by_tiles(scores, term)}

    def _taught(self, ctx: Context) -> tuple[Tensor, Tensor]:
        """Return the teacher's rows of everybody's texts, at unit length, and of which texts there is one."""
        if not parse_key(self.teacher).is_field:
            every = ctx.all(self.teacher)
            return unit(every), torch.ones(len(every), dtype=torch.bool, device=every.device)
        values = ctx[self._text].detach()[:, :0]
        if self.teacher in ctx.batch:
            values = ctx.rows(self.teacher, self._text).one().to(values)
        there = values.isfinite().all(dim=1, keepdim=True) & (values.shape[1] > 0)
        # The mark stands first: where a process lacks the field its rows are filled up with zeros behind it.
        marked = torch.cat([there.to(values), torch.where(there, values, 0.0)], dim=1)
        every = ctx.gather(marked, ctx.owner(self._text)).values
        return unit(every[:, 1:]), every[:, 0] > 0
