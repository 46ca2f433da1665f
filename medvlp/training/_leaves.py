"""Where a step is cut: the rows of all chunks as leaves of a graph, and their gradients handed back chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded, concatenate


def floating_tensors(rows: Encoded) -> dict[str, Tensor]:
    """Floating tensors of a view by name: what gradients flow through."""
    named = {f.name: getattr(rows, f.name) for f in fields(rows) if f.name not in ("owner", "grid", "extra", "mask")}
    named |= {f"extra {name}": value for name, value in rows.extra.items()}
    return {name: t for name, t in named.items() if isinstance(t, Tensor) and t.is_floating_point()}


def leaves_of(chunks: Sequence[dict[str, Encoded]], firsts: Sequence[int]) -> dict[str, Encoded]:
    """Concatenate the chunks' rows and cut the graph: every floating tensor becomes a leaf."""
    views: dict[str, Encoded] = {}
    for view in dict.fromkeys(name for chunk in chunks for name in chunk):
        there = [(chunk[view], first) for chunk, first in zip(chunks, firsts, strict=True) if view in chunk]
        there = [each for each in there if not each[0].blank] or there  # a stand-in has neither their size nor a say
        rows = concatenate([r for r, _ in there], [f for _, f in there])
        cut = {name: t.detach().requires_grad_() for name, t in floating_tensors(rows).items()}
        plain = {name: t for name, t in cut.items() if not name.startswith("extra ")}
        extra = {name.removeprefix("extra "): t for name, t in cut.items() if name.startswith("extra ")}
        views[view] = Encoded(
            owner=rows.owner,
            mask=rows.mask,
            grid=rows.grid,
            size=None,
            extra={**rows.extra, **extra},
            blank=rows.blank,
            **plain,
        )
    return views


class Cursor:
    """Hands the leaves' gradients out again, chunk by chunk, in the order in which they were put together."""

    def __init__(self, leaves: Mapping[str, Encoded]) -> None:
        self._leaves = {view: floating_tensors(rows) for view, rows in leaves.items()}
        self._done = dict.fromkeys(leaves, 0)

    def next(self, encoded: Mapping[str, Encoded]) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return this chunk's tensors with their gradients.

        Tensors that no term used are sent zeros: a process without a single report must still take part in the average
        of its text tower, and the optimiser must meet the same gradients on one process as on several.
        """
        outputs: list[Tensor] = []
        grads: list[Tensor | None] = []
        for view, rows in encoded.items():
            start, stop = self._done[view], self._done[view] + (0 if rows.blank else rows.owner.shape[0])
            self._done[view] = stop
            for name, tensor in floating_tensors(rows).items():
                grad = None if rows.blank else self._leaves[view][name].grad
                if grad is None and tensor.requires_grad:
                    outputs.append(tensor)
                    grads.append(torch.zeros_like(tensor))
                elif grad is not None and tensor.requires_grad:
                    piece = grad[start:stop]
                    # Leaves were padded to the longest chunk; this chunk's own tokens come first.
                    piece = piece[tuple(slice(0, n) for n in tensor.shape)]
                    outputs.append(tensor)
                    grads.append(piece.to(tensor.dtype))
        return outputs, grads
