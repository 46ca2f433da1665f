"""Rows of a view beside the labels of their samples, unknown apart from absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.context import Context


def labels_of(
    ctx: Context,
    key: str,
    labels: Sequence[str],
    *,
    uncertain: Mapping[str, float] | None = None,
    blank: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (R, K) labels of each row, 1 or 0 (0 where unknown), and where they are known.

    NaN and -1 (uncertain) are unknown; a label between 0 and 1 is a share and taken as it is.

    Args:
        ctx: of one chunk.
        key: whose rows are labelled.
        labels: K findings.
        uncertain: label -> what its -1 is taken for.
        blank: what NaN is taken for.

    Example:
        >>> ctx = Context.of({"image/x": torch.zeros(2, 1)}, {"label.effusion": torch.tensor([1.0, -1.0])})
        >>> [t.flatten().tolist() for t in labels_of(ctx, "image/x", ["effusion"])]
        [[1.0, 0.0], [True, False]]
    """
    values = torch.stack([ctx.rows(f"label.{label}", key).one() for label in labels], dim=1)
    if blank is not None:
        values = values.nan_to_num(nan=blank)
    if uncertain:
        filled = values.new_tensor([uncertain.get(label, -1.0) for label in labels])
        values = torch.where(values == -1, filled, values)
    known = values >= 0  # false for NaN
    return torch.where(known, values, torch.zeros_like(values)), known
