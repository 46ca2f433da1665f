"""What is stated of the images of a batch, as the matrices that both objectives of MeDSLIP read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import parse_key
from medvlp.models.heads.dual_stream import DualStream
from medvlp.objectives._rows import first_partners

Stream = Literal["pathology", "anatomy"]
STREAMS: tuple[Stream, ...] = ("pathology", "anatomy")


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
