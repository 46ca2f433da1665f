"""What an encoder returns: per-row tensors with the sample that owns each row, never a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, did_you_mean


def promoted(values: Tensor) -> Tensor:
    """Return half precision as float32, everything else as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def unit(values: Tensor) -> Tensor:
    """Return the rows of (R, D) at unit length; a zero row stays zero, and has no direction that a gradient could turn.

    Half precision is promoted to float32 first: a length in bfloat16 is wrong in the third digit.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    wide = promoted(values)
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return wide / torch.where(length > 1e-12, length, torch.inf)


@dataclass(frozen=True)
class Encoded:
    """Encoded rows of one view: the tensors that an encoder returns.

    Attributes:
        owner: (R,) int64, index of the sample in the batch that owns each row; -1 marks the masked row that stands in
            for a view that the batch lacks, or a row of a bank.
        pooled: (R, W).
        tokens: (R, N, W); tokens of a stack are its slices.
        mask: (R, N) bool, True where a token is real.
        grid: (rows, columns) of image tokens, (slices, rows, columns) of a volume's, where they form a grid.
        size: of the view in pixels, (H, W) or (S, H, W); told inside the model only, to heads that draw maps.
        pixels: (R, ...) what the tower was shown; inside the model only, for heads that look themselves.
        position: (R, N, 3) in mm.
        layers: (R, L, N, W) hidden states, first to last.
        attention: (R, L, Q, N).
        extra: name -> (R, ...), what heads give; ``raw`` is the projected embedding before it is scaled to unit length.
        blank: whether rows may stand in for a view that the batch lacks; None: nobody has looked.
    """

    owner: Tensor
    pooled: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    grid: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    pixels: Tensor | None = None
    position: Tensor | None = None
    layers: Tensor | None = None
    attention: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    blank: bool | None = None

    def part(self, name: str) -> Tensor:
        """Return a part by its name in a key; ``embedding`` is ``raw`` at unit length.

        Raises:
            ConfigError: if the part was not planned.

        Example:
            >>> e = Encoded(owner=torch.arange(1), extra={"raw": torch.tensor([[0.0, 2.0]])})
            >>> e.part("embedding").tolist()
            [[0.0, 1.0]]
        """
        if name == "embedding" and "raw" in self.extra:
            return unit(self.extra["raw"])
        value = self.extra.get(name) if name in self.extra else getattr(self, name, None) if name in _TENSORS else None
        if value is None:
            raise ConfigError(f"Part {name!r} was not planned and so not computed: {did_you_mean(name, self.parts())}.")
        return value

    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are there."""
        there = [name for name in _TENSORS if getattr(self, name) is not None]
        return tuple(there + sorted(self.extra) + (["embedding"] if "raw" in self.extra else []))

    def give(self, values: Mapping[str, Tensor]) -> Encoded:
        """Return the same rows with more extras, refused where one has another number of rows (ConfigError)."""
        if odd := [name for name, value in values.items() if len(value) != len(self.owner)]:
            raise ConfigError(f"{odd[0]!r} has {len(values[odd[0]])} of {len(self.owner)} rows: let its head give all.")
        return replace(self, extra={**self.extra, **values})

    def rows(self, index: Tensor) -> Encoded:
        """Return some rows (index or bool mask over R)."""
        some = {name: value[index] for name in _TENSORS if (value := getattr(self, name)) is not None}
        extra = {name: value[index] for name, value in self.extra.items()}
        return replace(self, owner=self.owner[index], extra=extra, **some)

    def present(self) -> Encoded:
        """Return the rows that a sample owns, without those that stand in for an absent view.

        Example:
            >>> Encoded(owner=torch.tensor([0, -1, 1]), pooled=torch.eye(3)).present().owner.tolist()
            [0, 1]
        """
        owned = self.owner >= 0
        if self.blank is False or bool(owned.all()):  # the host waits for a device only where nobody has looked
            return self
        return replace(self.rows(owned), blank=False)


_TENSORS = ("pooled", "tokens", "mask", "position", "layers", "attention")


def concatenate(parts: Sequence[Encoded], first_samples: Sequence[int]) -> Encoded:
    """Put the rows of several chunks together; owners are shifted to the whole batch, token axes padded alike.

    Args:
        parts: the same view, chunk by chunk.
        first_samples: index of each chunk's first sample in the whole batch.

    Example:
        >>> a = Encoded(owner=torch.tensor([0]), pooled=torch.ones(1, 2))
        >>> concatenate([a, a], [0, 5]).owner.tolist()
        [0, 5]
    """
    owner = torch.cat(
        [torch.where(p.owner >= 0, p.owner + first, p.owner) for p, first in zip(parts, first_samples, strict=True)]
    )
    joined = {name: _cat([getattr(p, name) for p in parts]) for name in _TENSORS if getattr(parts[0], name) is not None}
    extra = {name: _cat([p.extra[name] for p in parts]) for name in parts[0].extra}
    blank = False if all(part.blank is False for part in parts) else None
    return Encoded(owner=owner, grid=parts[0].grid, size=None, extra=extra, blank=blank, **joined)


def _cat(tensors: list[Tensor]) -> Tensor:
    """Concatenate along rows; axes that differ (token counts of texts) are padded with zeros to the longest."""
    shape = [max(t.shape[axis] for t in tensors) for axis in range(1, tensors[0].dim())]
    if all(list(t.shape[1:]) == shape for t in tensors):
        return torch.cat(tensors)
    padded = []
    for tensor in tensors:
        amounts = [a for axis in range(tensor.dim() - 1, 0, -1) for a in (0, shape[axis - 1] - tensor.shape[axis])]
        padded.append(torch.nn.functional.pad(tensor, amounts))
    return torch.cat(padded)
