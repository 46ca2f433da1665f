"""The three losses of MeDSLIP as functions of tensors, each a (sum, count): no loop over images or queries.

The matrix M holds 1 where a pathology was stated present at an anatomy, 0 where absent, -1 where nothing was said, and
may hold values between 0 and 1 for statements that are neither. It is never written to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import parse_key
from medvlp.core.term import Term
from medvlp.models.heads.dual_stream import DualStream
from medvlp.objectives._contrast import contrast
from medvlp.objectives._rows import first_partners

Stream = Literal["pathology", "anatomy"]
STREAMS: tuple[Stream, ...] = ("pathology", "anatomy")


def existence_loss(logits: Tensor, matrix: Tensor) -> Term:
    """Cross entropy of (absent, present) for each query that its row of the matrix says anything of.

    A query is present if any entry of its row is, else absent if any is absent, else it is left out.

    Args:
        logits: (R, Q, 2).
        matrix: (R, Q, K), the queries' rows.
    """
    present = matrix.amax(dim=-1)
    log = logits.log_softmax(dim=-1)
    rows = -(present * log[..., 1] + (1 - present) * log[..., 0])
    return Term.of(rows.flatten(), (present >= 0).flatten())


def prototype_loss(
    features: Tensor,
    matrix: Tensor,
    book: Tensor,
    draws: Tensor,
    *,
    negatives: int = 7,
    absent_only: bool = False,
    scale: Callable[[Tensor], Tensor] | None = None,
) -> Term:
    """Cross entropy of a present query's prototype among drawn entries of the other book.

    The prototype is the mean of the other book's vectors over the entries that the query is present at; the others are
    drawn without replacement from those that it is not present at. Scores are plain dot products; with `scale` both
    sides have unit length and the scale is put on them.

    Args:
        features: (R, Q, D), the queries in the space of the books.
        matrix: (R, Q, K), the queries' rows.
        book: (K, D), constant.
        draws: (R, Q, K) in [0, 1), of each sample.
        negatives: how many are drawn; fewer where there are fewer.
        absent_only: draw from the entries stated absent wherever there is one: an entry of which nothing was said may
            well be present.
        scale: cosine -> score; None: as published.

    Returns:
        Term: over all present (image, query); where there is none, sum and count are 0.
    """
    chosen = (matrix == 1).any(dim=-1)  # only queries with a prototype are computed at all
    rows, present = features[chosen], matrix[chosen] == 1
    book = book.to(rows.dtype)
    weight = present.to(rows.dtype)
    prototypes = (weight @ book) / weight.sum(dim=1, keepdim=True)
    if scale is not None:
        rows, prototypes, book = unit(rows), unit(prototypes), unit(book)
    others = draw_others(matrix[chosen], draws[chosen], count=negatives, absent_only=absent_only)
    against = (rows @ book.T).gather(1, others.clamp(min=0))
    scores = torch.cat([(rows * prototypes).sum(dim=1, keepdim=True), against], dim=1)
    left_out = torch.cat([torch.zeros_like(present[:, :1]), others < 0], dim=1)
    target = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    return contrast(scores if scale is None else scale(scores), target, exclude=left_out)


def draw_others(matrix: Tensor, draws: Tensor, *, count: int, absent_only: bool = False) -> Tensor:
    """Draw entries that are not present, each as likely as another and none twice: int64 (R, count), -1 for none left.

    Args:
        matrix: (R, K).
        draws: (R, K) in [0, 1); the entries with the smallest are drawn.
        count: at most K are drawn.
        absent_only: only those with 0 in rows that have one.
    """
    allowed = matrix != 1
    if absent_only:
        absent = matrix == 0
        allowed = torch.where(absent.any(dim=1, keepdim=True), absent, allowed)
    keys, order = draws.masked_fill(~allowed, torch.inf).topk(min(count, draws.shape[1]), dim=1, largest=False)
    return torch.where(keys.isfinite(), order, -1)


def pair_loss(scores: Tensor, matrix: Tensor) -> Term:
    """Binary cross entropy of each pair's logit with what the matrix says of it; pairs it is silent about are left out.

    Args:
        scores: (R, A, P), logits.
        matrix: (R, A, P).
    """
    stated = matrix >= 0
    rows = F.binary_cross_entropy_with_logits(scores, matrix.clamp(min=0), reduction="none")
    return Term.of(rows.flatten(), stated.flatten())


@dataclass(frozen=True)
class Stated:
    """Rows of the images of which something is stated."""

    rows: Tensor  # (R,) their index among the images' rows
    owner: Tensor  # (R,) their sample, within this process
    matrix: Tensor  # (R, A, P), see `_medslip`

    def of(self, stream: Stream) -> Tensor:
        """Return the matrix with the stream's queries as rows: (R, P, A) or (R, A, P)."""
        return self.matrix.transpose(1, 2) if stream == "pathology" else self.matrix


def stated(ctx: Context, *, image: str, head: str, matrix: str) -> Stated:
    """Bring each image together with the matrix of its sample, and let the head note what is stated.

    Raises:
        ConfigError: if the matrix has not one entry for each pair of the head's books.
    """
    logits = {stream: ctx.parts[parse_key(f"{image}/{head}_{stream}")] for stream in STREAMS}
    owner = logits["pathology"].owner
    shape = (logits["anatomy"].values.shape[1], logits["pathology"].values.shape[1])
    column = ctx.batch.columns.get(matrix)
    if column is None or not isinstance(column.values, Tensor) or not len(column.owner):
        none = owner[:0]
        return Stated(none, none, logits["anatomy"].values.new_zeros(0, *shape))
    if column.values.shape[1:] != (shape[0] * shape[1],):
        raise ConfigError(
            f"The field {matrix!r} has {tuple(column.values.shape[1:])} values a sample, and the head {head!r} has "
            f"{shape[0]} anatomies and {shape[1]} pathologies: make the matrix with the vocabulary of its books."
        )
    rows, of_matrix = first_partners(owner, column.owner)
    values = column.values[of_matrix].to(logits["anatomy"].values.dtype).view(-1, *shape)
    name = f"{parse_field(image).kind}/{head}"
    noting = ctx.heads[name] if name in ctx.heads else None  # noqa: SIM401 (torch's ModuleDict has no `get`)
    if isinstance(noting, DualStream):
        noting.note(values)
    return Stated(rows, owner[rows], values)
