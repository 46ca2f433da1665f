"""Bipartite matching of tokens, relaxed: LightCLIP (Nie et al. 2023), its token-level alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import HeadSpec, Score


class Bipartite(Score):
    r"""f(v, t) = the mean cosine of matched tokens, each token of the shorter side matched once.

    The plan P solves max sum_il P_il cos(v_i, t_l) - temperature sum P (log P - 1), where each real token of the side
    that has fewer carries the mass 1 and each of the other at most `capacity`; f = sum P cos / min(N, L). It is found
    by Sinkhorn's scaling with one side capped and is constant to the gradient, which so is that of the maximum above.
    Temperature 0 is the assignment itself; without a capacity each token of the shorter side takes its nearest, FILIP's
    score of that side. Rows and columns may be exchanged; of equally long
    sides the rows' is matched whole.

    Args:
        capacity: how many tokens one of the longer side may serve; None: any number.
        temperature: of the plan, of cosines, at least 0.02; 0: the exact assignment, found on the CPU.
        iterations: of the scaling.
        tile: cosines formed at a time; in training all R C N L are held.

    Raises:
        ConfigError: for a temperature between 0 and 0.02, of which float32 has no plan.

    References:
        Nie et al. 2023 (LightCLIP); Chizat et al. 2018, table 1 (scaling with capped marginals).

    Note:
        Where FILIP lets all words share one bright patch, here they have to spread; of a film without findings most
        words have no place of their own, so a matching says less there.

    Example:
        >>> tokens = {"local": torch.eye(2)[None], "mask": torch.ones(1, 2, dtype=torch.bool)}
        >>> shared = {"local": torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), "mask": torch.ones(1, 2, dtype=torch.bool)}
        >>> exact = Bipartite(temperature=0.0)
        >>> exact(tokens, tokens).tolist(), exact(tokens, shared).tolist()
        ([[1.0]], [[0.5]])
    """

    reads = ("local", "mask")

    def __init__(
        self,
        *,
        capacity: Annotated[int, Field(ge=1)] | None = 1,
        temperature: Annotated[float, Field(ge=0)] = 0.05,
        iterations: Annotated[int, Field(ge=1)] = 10,
        tile: Annotated[int, Field(ge=1)] = 2**24,
    ) -> None:
        super().__init__()
        if 0 < temperature < 0.02:
            raise ConfigError(f"temperature of score 'bipartite' is {temperature}: use 0, or 0.02 or more.")
        self.capacity = capacity
        self.temperature = temperature
        self.iterations = iterations
        self.tile = tile

    def heads(self) -> Mapping[str, HeadSpec]:
        """Return the projection of tokens into the common space; it stays in the bundle."""
        return {"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}

    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        """Return (R, C) of ``local`` (R, N, D), (C, L, D) and ``mask`` (R, N), (C, L)."""
        own, other = unit(rows["local"]), unit(columns["local"])
        size = max(1, self.tile // max(own.shape[1] * other.shape[0] * other.shape[1], 1))
        parts = zip(own.split(size), rows["mask"].split(size), strict=True)
        scores = [self._score(part, real, other, columns["mask"]) for part, real in parts]
        return torch.cat(scores) if scores else own.new_zeros(0, other.shape[0])

    def _score(self, own: Tensor, own_real: Tensor, other: Tensor, other_real: Tensor) -> Tensor:
        cosines = torch.einsum("rnd,cld->rcnl", own, other)
        real = own_real[:, None, :, None] & other_real[None, :, None, :]
        count, counts = own_real.sum(dim=1)[:, None], other_real.sum(dim=1)[None]
        with torch.no_grad():
            plan = self._plan(cosines.detach(), real, count <= counts)
        return (plan * cosines).sum(dim=(2, 3)) / torch.minimum(count, counts).clamp(min=1)

    def _plan(self, cosines: Tensor, real: Tensor, fewer: Tensor) -> Tensor:
        """Return P (r, C, N, L); `fewer` (r, C) says where the rows' side is the shorter, which is matched whole."""
        match = self._assigned if self.temperature == 0 else self._scaled
        if bool(fewer.all()):
            return match(cosines, real)
        other = match(cosines.transpose(2, 3), real.transpose(2, 3)).transpose(2, 3)
        return torch.where(fewer[:, :, None, None], match(cosines, real), other) if bool(fewer.any()) else other

    def _scaled(self, cosines: Tensor, real: Tensor) -> Tensor:
        """Scale until each real n has the sum 1 and each l at most `capacity`."""
        nearest = torch.where(real, cosines, -1.0).amax(dim=3, keepdim=True)
        kernel = ((cosines - nearest) / self.temperature).exp() * real
        most, tiny = torch.inf if self.capacity is None else self.capacity, torch.finfo(kernel.dtype).tiny
        plan = kernel / kernel.sum(dim=3, keepdim=True).clamp(min=tiny)
        factor = torch.ones_like(kernel[:, :, :1])
        for _ in range(self.iterations):
            factor = (factor * most / plan.sum(dim=2, keepdim=True).clamp(min=tiny)).clamp(max=1)
            plan = kernel * factor
            plan = plan / plan.sum(dim=3, keepdim=True).clamp(min=tiny)
        return plan

    def _assigned(self, cosines: Tensor, real: Tensor) -> Tensor:
        """Assign each real n to an l, zeros and ones; each l is there `capacity` times."""
        from scipy.optimize import linear_sum_assignment

        if self.capacity is None:  # each takes its nearest
            nearest = cosines.masked_fill(~real, -torch.inf).argmax(dim=3, keepdim=True)
            return torch.zeros_like(cosines).scatter(3, nearest, 1.0) * real
        plan = torch.zeros(cosines.shape, dtype=cosines.dtype)
        values, there = cosines.cpu().double().numpy(), real.cpu().numpy()
        for r, c in torch.cartesian_prod(torch.arange(len(plan)), torch.arange(plan.shape[1])).tolist():
            rows, columns = (there[r, c].any(axis=axis).nonzero()[0] for axis in (1, 0))
            columns = columns.repeat(self.capacity)
            i, j = linear_sum_assignment(values[r, c][rows][:, columns], maximize=True)
            plan[r, c, rows[i], columns[j]] = 1.0
        return plan.to(cosines.device)
